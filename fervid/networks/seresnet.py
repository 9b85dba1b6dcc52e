"""The classifier's network: a residual CNN with squeeze-and-excitation for small grey faces; and all others by name.

Residual blocks: He et al. 2016, arXiv 1603.05027. Squeeze-and-excitation: Hu et al. 2018, arXiv 1709.01507.
"""

from torch import Tensor, nn

from fervid.networks.base import Block, Network

__all__ = ["SEResNet"]


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
