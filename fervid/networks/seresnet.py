"""The network of the bundled model seresnet: a residual CNN with squeeze-and-excitation for small faces.

Residual blocks: He et al. 2016, arXiv 1603.05027. Squeeze-and-excitation: Hu et al. 2018, arXiv 1709.01507.
"""

from torch import Tensor, nn

from fervid.networks.base import Block, Network

__all__ = ["SEResNet"]


class SEResNet(Network):
    """A residual CNN for small crops: 2.8 million parameters, 0.26 G multiply-adds per crop of 48x48.

    Parameters
    ----------
    n_classes : int
        Number of outputs.
    widths : tuple of int
        Channels of each pair of blocks; the first block of a pair halves the resolution.
    dropout : float
        Dropout before the head.
    channels : int
        1 for grey crops, 3 for colour.
    """

    def __init__(
        self, n_classes: int, widths: tuple[int, ...] = (64, 128, 256), dropout: float = 0.3, *, channels: int = 1
    ) -> None:
        super().__init__()
        stem = 32
        first = nn.Conv2d(channels, stem, 3, 1, 1, bias=False)
        self.stem = nn.Sequential(first, nn.BatchNorm2d(stem), nn.ReLU(inplace=True))
        blocks = []
        for inside, outside in zip((stem, *widths[:-1]), widths):
            blocks += [Block(inside, outside, 2), Block(outside, outside, 1)]
        self.blocks = nn.Sequential(*blocks)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], n_classes)

    def features(self, x: Tensor) -> Tensor:
        """Compute the features (n, widths[-1]) of the crops (n, channels, h, w)."""
        return self.blocks(self.stem(x)).mean((2, 3))
