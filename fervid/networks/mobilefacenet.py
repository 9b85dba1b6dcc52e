"""MobileFaceNet, a small network for face recognition (Chen et al. 2018, arXiv 1804.07573), with an emotion head.

Its trunk has the tensors of the published weights of foamliu/MobileFaceNet (Apache-2.0), under the same names but for
one prefix: their `features.N` is `blocks.N` here, since `features` is a method of every network. The tensors `conv3`
and `bn` of those weights, the embedding, have no place here, and `gdconv.depthwise.weight` has a cell per position of
the last feature map: 7x7 for crops of 112 pixels, 5x5 for 80.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fervid.networks.base import Network

__all__ = ["MobileFaceNet"]

#: The bottlenecks (table 1 of the paper): expansion, output channels, how many, stride of the first.
_BLOCKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
_FEATURES = 512
#: Input pixels per position of the last feature map, along each side.
_STRIDE = 16


class StridedDepthwise(nn.Conv2d):
    """A depthwise convolution of stride 2 that computes in fp32 when a CPU trains in bfloat16.

    oneDNN's backward pass of it takes 2.3 ms per face in bfloat16 and 0.12 ms in fp32 (one thread, 80 pixels).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (n, c, h, w); under autocast on a CPU the output is fp32."""
        if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


def _layer(inside: int, outside: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Build a convolution with batch norm and ReLU6."""
    conv = StridedDepthwise if groups > 1 and stride > 1 else nn.Conv2d
    return nn.Sequential(
        conv(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU6(inplace=True),
    )


class Bottleneck(nn.Module):
    """An inverted residual block (Sandler et al. 2018, arXiv 1801.04381): expand, depthwise 3x3, project.

    Parameters
    ----------
    inside, outside : int
        Numbers of input and output channels.
    stride : int
        Stride of the depthwise convolution. The input is added to the output where their shapes are equal.
    expansion : int
        Factor by which the depthwise convolution is wider than the input.
    """

    def __init__(self, inside: int, outside: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inside * expansion
        self.shortcut = stride == 1 and inside == outside
        self.conv = nn.Sequential(
            _layer(inside, wide, 1),
            _layer(wide, wide, 3, stride, wide),
            nn.Conv2d(wide, outside, 1, bias=False),
            nn.BatchNorm2d(outside),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inside, h, w) to (n, outside, h / stride, w / stride)."""
        return x + self.conv(x) if self.shortcut else self.conv(x)


class Separable(nn.Module):
    """A depthwise 3x3 convolution and a pointwise one, each with batch norm and ReLU.

    Parameters
    ----------
    channels : int
        Number of input and output channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, h, w) to the same shape."""
        return F.relu(self.bn2(self.pointwise(F.relu(self.bn1(self.depthwise(x))))))


class GlobalDepthwise(nn.Module):
    """Pooling with one learned weight per channel and position (section 3.2 of the paper).

    Parameters
    ----------
    channels : int
    side : int
        Height and width of the feature map.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, side, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, side, side) to (n, channels, 1, 1)."""
        return self.bn(self.depthwise(x))


class MobileFaceNet(Network):
    """MobileFaceNet for crops of one size: 0.93 million parameters, 0.12 G multiply-adds per crop of 80 pixels.

    The first convolution takes three channels; grey crops are repeated over them, so that the published weights fit
    either kind.

    Parameters
    ----------
    n_classes : int
        Number of outputs.
    size_px : int
        Side of the crops: the last layer of the trunk has a weight per position.
    dropout : float
        Dropout before the head.
    """

    def __init__(self, n_classes: int, *, size_px: int = 112, dropout: float = 0.2) -> None:
        super().__init__()
        self.conv1, self.dw_conv = _layer(3, 64, 3, 2), Separable(64)
        blocks, inside = [], 64
        for expansion, outside, count, stride in _BLOCKS:
            for i in range(count):
                blocks.append(Bottleneck(inside, outside, stride if i == 0 else 1, expansion))
                inside = outside
        self.blocks = nn.Sequential(*blocks)
        self.conv2 = _layer(inside, _FEATURES, 1)
        self.gdconv = GlobalDepthwise(_FEATURES, -(-size_px // _STRIDE))
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(_FEATURES, n_classes)

    def features(self, x: Tensor) -> Tensor:
        """Compute the features (n, 512) of the crops (n, 1 or 3, size_px, size_px)."""
        x = self.blocks(self.dw_conv(self.conv1(x.expand(-1, 3, -1, -1))))
        return self.gdconv(self.conv2(x)).flatten(1)
