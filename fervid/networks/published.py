"""The networks of published systems, to train and to compare with ours. The line loads them only by name.

Each takes normalised crops of any size and resizes them to the size it works at.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fervid.errors import ConfigError, MissingDependency
from fervid.networks.base import Block, Network
from fervid.networks.dlib_resnet import SIDE_PX, DlibResNet

__all__ = ["SECNN", "Backbone", "Baseline", "DlibFace", "torchvision_backbone", "vgg16", "vggface2"]

#: Side in pixels at which torchvision's networks see a face. They were designed for 224, but a face of 48 pixels shows
#: no more detail there, and 112 costs a quarter.
_TORCHVISION_PX = 112
#: Side of the faces on which facenet-pytorch's InceptionResnetV1 was trained, scaled to (pixel - 127.5) / 128.
_VGGFACE2_PX = 160


def _resize(x: Tensor, side: int) -> Tensor:
    """Resize (n, c, h, w) to (n, c, side, side), bilinear."""
    if x.shape[-2:] == (side, side):
        return x
    return F.interpolate(x, (side, side), mode="bilinear", align_corners=False, antialias=x.shape[-1] > side)


class Baseline(Network):
    """The plain CNN that studies start from: convolutions with pooling, then dense layers.

    Parameters
    ----------
    n_classes : int
        Number of outputs.
    convolutions : tuple of (int, int)
        Width and kernel size of each convolution; max pooling follows each.
    grid : int
        The last feature map is averaged to grid x grid cells.
    dense : tuple of int
        Widths of the dense layers before the head.
    channels : int
        1 for grey crops, 3 for colour.
    """

    def __init__(
        self,
        n_classes: int,
        convolutions: tuple[tuple[int, int], ...],
        grid: int,
        dense: tuple[int, ...],
        *,
        channels: int = 1,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inside, (outside, kernel) in zip((channels, *(width for width, _ in convolutions)), convolutions):
            layers += [nn.Conv2d(inside, outside, kernel, padding="same", bias=False), nn.BatchNorm2d(outside)]
            layers += [nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.25)]
        layers += [nn.AdaptiveAvgPool2d(grid), nn.Flatten()]
        for inside, outside in zip((convolutions[-1][0] * grid**2, *dense), dense):
            layers += [nn.Linear(inside, outside, bias=False), nn.BatchNorm1d(outside), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(dense[-1], n_classes)

    def features(self, x: Tensor) -> Tensor:
        """Compute the features (n, dense[-1]) of the crops (n, channels, h, w)."""
        return self.layers(x)


class SECNN(Network):
    """A residual CNN with squeeze-and-excitation for 64x64 crops: a stem, residual blocks, two dense layers.

    Parameters
    ----------
    n_classes : int
        Number of outputs.
    blocks : tuple of int
        Residual blocks per width (64, 128, 256, 512); the first block of a width halves the resolution. Five blocks
        make the network of 13 layers: 1 + 2 x 5 + 2.
    channels : int
        1 for grey crops, 3 for colour.
    """

    def __init__(self, n_classes: int, blocks: tuple[int, int, int, int], *, channels: int = 1) -> None:
        super().__init__()
        first = nn.Conv2d(channels, 32, 3, 1, 1, bias=False)
        self.stem = nn.Sequential(first, nn.BatchNorm2d(32), nn.ReLU(inplace=True))
        layers: list[nn.Module] = []
        inside = 32
        for outside, count in zip((64, 128, 256, 512), blocks):
            for stride in (2, *[1] * (count - 1)):
                layers.append(Block(inside, outside, stride))
                inside = outside
        self.blocks = nn.Sequential(*layers)
        self.dense = nn.Sequential(nn.Linear(inside, 256), nn.ReLU(inplace=True))
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(256, n_classes)

    def features(self, x: Tensor) -> Tensor:
        """Compute the features (n, 256) of the crops (n, channels, h, w)."""
        return self.dense(self.blocks(self.stem(_resize(x, 64))).mean((2, 3)))


class Backbone(Network):
    """A network for colour images without its classifier; grey crops are repeated over the three channels.

    Normalised crops have mean 0 and standard deviation 1, close to faces normalised by ImageNet's mean and standard
    deviation.

    Parameters
    ----------
    n_classes : int
        Number of outputs.
    backbone : nn.Module
        Maps (n, 3, side_px, side_px) to (n, n_features).
    n_features : int
        Width of the features.
    side_px : int
        Side to which crops are resized.
    contrast : float
        Factor on the crops, for a backbone that was trained on another scale.
    """

    def __init__(
        self, n_classes: int, backbone: nn.Module, n_features: int, *, side_px: int, contrast: float = 1.0
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.side_px, self.contrast = side_px, contrast
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(n_features, n_classes)

    def features(self, x: Tensor) -> Tensor:
        """Compute the features (n, n_features) of the crops (n, 1 or 3, h, w)."""
        return self.backbone((_resize(x, self.side_px) * self.contrast).expand(-1, 3, -1, -1))


def torchvision_backbone(n_classes: int, arch: str) -> Backbone:
    """Build a network of torchvision, such as resnet18 or efficientnet_b3, with random weights.

    Parameters
    ----------
    n_classes : int
        Number of outputs.
    arch : str
        Its name in torchvision.models.

    Returns
    -------
    Backbone
    """
    from torchvision import models

    net = getattr(models, arch)(weights=None)
    if arch.startswith("resnet"):
        n_features, net.fc = net.fc.in_features, nn.Identity()
    else:
        n_features, net.classifier = net.classifier[1].in_features, nn.Identity()
    return Backbone(n_classes, net, n_features, side_px=_TORCHVISION_PX)


def vgg16(n_classes: int) -> Backbone:
    """Build the convolutions of VGG16; global average pooling replaces its dense layers of 120 million weights.

    Parameters
    ----------
    n_classes : int
        Number of outputs.

    Returns
    -------
    Backbone
    """
    from torchvision import models

    with torch.device("meta"):  # initialising the dense layers would take seconds
        net = models.vgg16(weights=None)
    net.avgpool, net.classifier = nn.AdaptiveAvgPool2d(1), nn.Identity()
    net.to_empty(device="cpu")
    for layer in net.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return Backbone(n_classes, net, 512, side_px=_TORCHVISION_PX)


def vggface2(n_classes: int) -> Backbone:
    """Build facenet-pytorch's InceptionResnetV1, with its 512 embedding dimensions (not normalised) as features.

    Parameters
    ----------
    n_classes : int
        Number of outputs.

    Returns
    -------
    Backbone

    Raises
    ------
    MissingDependency
        If facenet-pytorch is not installed.
    """
    try:
        from facenet_pytorch import InceptionResnetV1
    except ImportError:
        reason = "the architecture vggface2 needs facenet-pytorch: pip install facenet-pytorch==2.5.3"
        raise MissingDependency(reason) from None
    net = InceptionResnetV1()
    net.classify, net.logits = True, nn.Identity()
    return Backbone(n_classes, net, 512, side_px=_VGGFACE2_PX, contrast=0.5)


class DlibFace(Network):
    """dlib's face recognition network without its last block, whose single cell encodes identity only.

    Parameters
    ----------
    n_classes : int
        Number of outputs.
    channels : int
        1, for grey crops.

    Raises
    ------
    ConfigError
        If the crops are to be coloured.
    """

    def __init__(self, n_classes: int, *, channels: int = 1) -> None:
        if channels != 1:
            raise ConfigError("the architecture dlibface takes grey crops: set colour = false")
        super().__init__()
        self.backbone = DlibResNet(blocks=13)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(256, n_classes)

    def features(self, x: Tensor) -> Tensor:
        """Compute the features (n, 256) of the crops (n, 1, h, w)."""
        return self.backbone(_resize(x, SIDE_PX))
