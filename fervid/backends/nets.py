"""The classifier's network: a residual CNN with squeeze-and-excitation for small grey faces; and all others by name.

Residual blocks: He et al. 2016, arXiv 1603.05027. Squeeze-and-excitation: Hu et al. 2018, arXiv 1709.01507.
"""

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["ARCHITECTURES", "Block", "Network", "SEResNet", "build", "folded"]

#: Every network that fervid trains and loads; the name is written beside the weights. All but ours are in zoo.py.
ARCHITECTURES = (
    "seresnet", "baseline", "basecnn", "secnn13", "secnn15", "secnn17",
    "vgg16", "resnet18", "resnet50", "efficientnet_b3", "efficientnet_b4", "vggface2", "dlibface",
)  # fmt: skip


class Network(nn.Module):
    """What training and the line ask of every architecture: features, and one linear head over them."""

    drop: nn.Dropout
    head: nn.Linear

    def features(self, x: Tensor) -> Tensor:
        """Give what the head sees (n, head.in_features) of normalised grey crops (n, 1, h, w)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits (n, n_classes) of normalised grey crops (n, 1, h, w)."""
        return self.head(self.drop(self.features(x)))


class SqueezeExcite(nn.Module):
    """Weigh the channels by what the whole picture says (Hu et al. 2018, section 3)."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, channels // reduction, 1)
        self.up = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w)."""
        squeezed = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.up(torch.relu(self.down(squeezed))))


class Block(nn.Module):
    """Two 3x3 convolutions with a squeeze-and-excitation, added to their input."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outside)
        self.excite = SqueezeExcite(outside)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inside != outside:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        """(n, inside, h, w) -> (n, outside, h / stride, w / stride)."""
        y = torch.relu(self.norm1(self.conv1(x)))
        y = self.excite(self.norm2(self.conv2(y)))
        return torch.relu(y + self.shortcut(x))


class SEResNet(Network):
    """(n, 1, 48, 48) normalised grey crops -> (n, n_classes) logits. 2.8 M parameters, 0.26 G multiply-adds."""

    def __init__(self, n_classes: int, widths: tuple[int, ...] = (64, 128, 256), dropout: float = 0.3) -> None:
        super().__init__()
        stem = 32
        self.stem = nn.Sequential(nn.Conv2d(1, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU(inplace=True))
        blocks = []
        for inside, outside in zip((stem, *widths[:-1]), widths):
            blocks += [Block(inside, outside, 2), Block(outside, outside, 1)]
        self.blocks = nn.Sequential(*blocks)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], n_classes)

    def features(self, x: Tensor) -> Tensor:
        """Give what the head sees (n, widths[-1]) of the crops (n, 1, h, w)."""
        return self.blocks(self.stem(x)).mean((2, 3))


def build(arch: str, n_classes: int) -> Network:
    """Build an architecture by name, its weights random; KeyError if unknown (callers check against ARCHITECTURES)."""
    if arch == "seresnet":
        return SEResNet(n_classes)
    from fervid.backends.zoo import make

    return make(arch, n_classes)


def folded(net: Network) -> Network:
    """Copy a network that is done training, each batch-norm taken into the convolution declared right before it.

    The same function with a layer less (Jacob et al. 2018, arXiv 1712.05877, section 3.2), to float rounding.
    """
    net = copy.deepcopy(net).eval()
    for module in list(net.modules()):
        for (name, layer), (next_name, norm) in pairwise(list(module.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(layer, norm))
                setattr(module, next_name, nn.Identity())
    return net
