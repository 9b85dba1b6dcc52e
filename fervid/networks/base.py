"""The interface of every architecture, and the blocks that several of them share."""

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["Block", "Network", "SqueezeExcite", "fuse_batch_norm"]


class Network(nn.Module):
    """The interface that training and the line use: features, and one linear head on top of them.

    Attributes
    ----------
    drop : nn.Dropout
        Applied to the features before the head, during training.
    head : nn.Linear
        Maps the features to the logits of all classes.
    """

    drop: nn.Dropout
    head: nn.Linear

    def features(self, x: Tensor) -> Tensor:
        """Compute the input of the head.

        Parameters
        ----------
        x : Tensor
            Normalised crops, (n, 1, h, w) if grey, else (n, 3, h, w).

        Returns
        -------
        Tensor
            Features, (n, head.in_features).
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits (n, n_classes) of normalised crops (n, channels, h, w)."""
        return self.head(self.drop(self.features(x)))


class SqueezeExcite(nn.Module):
    """Reweight the channels by a function of their global averages (Hu et al. 2018, arXiv 1709.01507, section 3).

    Parameters
    ----------
    channels : int
        Number of input and output channels.
    reduction : int
        Factor by which the bottleneck is narrower.
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, channels // reduction, 1)
        self.up = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Reweight feature maps (n, c, h, w); the shape stays."""
        squeezed = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.up(torch.relu(self.down(squeezed))))


class Block(nn.Module):
    """A residual block: two 3x3 convolutions and squeeze-and-excitation, added to the input.

    Parameters
    ----------
    inside, outside : int
        Numbers of input and output channels.
    stride : int
        Stride of the first convolution.
    """

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
        """Map (n, inside, h, w) to (n, outside, h / stride, w / stride)."""
        y = torch.relu(self.norm1(self.conv1(x)))
        y = self.excite(self.norm2(self.conv2(y)))
        return torch.relu(y + self.shortcut(x))


def fuse_batch_norm(net: Network) -> Network:
    """Copy a trained network and fuse each batch norm into the convolution declared right before it.

    The copy computes the same function up to floating-point rounding (Jacob et al. 2018, arXiv 1712.05877,
    section 3.2).

    Parameters
    ----------
    net : Network
        A trained network. It is not modified.

    Returns
    -------
    Network
        The copy, in evaluation mode.
    """
    net = copy.deepcopy(net).eval()
    for module in list(net.modules()):
        for (name, layer), (next_name, norm) in pairwise(list(module.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(layer, norm))
                setattr(module, next_name, nn.Identity())
    return net
