"""What every architecture offers, and the blocks that several share."""

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["Block", "Network", "SqueezeExcite", "fuse_batch_norm"]


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


def fuse_batch_norm(net: Network) -> Network:
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
