"""Degrade crops as video does: soft, small, compressed, grey, dark, tinted, noisy, partly covered. Grey or RGB."""

from collections.abc import Callable, Collection

import torch
import torch.nn.functional as F
from torch import Tensor

from fervid.lab.training.augment import COSINES, LUMINANCE, select, uniform
from fervid.lab.training.kinds import VIDEO_KINDS

__all__ = ["degrade"]

#: Weights of red, green and blue in luma (ITU-R BT.601).
_LUMA = torch.tensor([0.299, 0.587, 0.114])
#: The first row of the chrominance table of ITU-T T.81, K.2; all but its 4x4 corner is 99.
_CHROMINANCE = torch.full((8, 8), 99.0)
_CHROMINANCE[:4, :4] = torch.tensor([[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]])
#: RGB to YCbCr (ITU-T T.871), chroma around 0.
_TO_YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
_TO_RGB = torch.linalg.inv(_TO_YCC)


def degrade(x: Tensor, generator: torch.Generator, *, strength: float = 1.0, kinds: Collection[str]) -> Tensor:
    """Degrade some of the crops; each kind chooses its crops independently of the others.

    Parameters
    ----------
    x : Tensor
        Crops (n, c, h, h) in 0..1, c = 1 or 3. It may be overwritten.
    generator : torch.Generator
        Source of randomness, on the device of `x`.
    strength : float
        Factor on the probability of every kind.
    kinds : Collection of str
        The kinds to apply, of VIDEO_KINDS; others are ignored.

    Returns
    -------
    Tensor
        (n, c, h, h) in 0..1.
    """
    for kind in VIDEO_KINDS:
        if kind in kinds and kind in _KINDS:
            share, change = _KINDS[kind]
            some = select(len(x), share * strength, generator)
            if len(some):
                x[some] = change(x[some], generator)
    return x


def _column(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return uniform(n, low, high, generator)[:, None, None, None]


def _small(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shrink to 0.3 to 0.8 of the side, and enlarge again."""
    side = x.shape[-1]
    small = max(2, int(side * float(uniform(1, 0.3, 0.8, generator))))
    x = F.interpolate(x, (small, small), mode="bilinear", antialias=True)
    return F.interpolate(x, (side, side), mode="bilinear")


def _soft(x: Tensor, generator: torch.Generator) -> Tensor:
    """Blur by a Gaussian of 0.6 to 1.9% of the side."""
    n, c, side, _ = x.shape
    sigma = uniform(n, 0.006, 0.019, generator) * side
    reach = max(1, int(0.04 * side))
    offset = torch.arange(-reach, reach + 1, device=x.device)
    kernel = torch.exp(-0.5 * (offset / sigma[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(c, 0)[:, None]
    x = x.reshape(1, n * c, side, side)
    x = F.conv2d(F.pad(x, (0, 0, reach, reach), "replicate"), kernel[..., None], groups=n * c)
    x = F.conv2d(F.pad(x, (reach, reach, 0, 0), "replicate"), kernel[:, :, None], groups=n * c)
    return x.view(n, c, side, side)


def _jpeg(x: Tensor, generator: torch.Generator) -> Tensor:
    """Compress like JPEG at quality 20 to 70, with chroma at half the resolution."""
    side = x.shape[-1]
    quality = _column(len(x), 20, 70, generator)
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)[:, None]  # as libjpeg scales its tables
    x = F.pad(x, (0, -side % 16, 0, -side % 16), "replicate")
    luminance, chrominance = LUMINANCE.to(x.device), _CHROMINANCE.to(x.device)
    if x.shape[1] == 1:
        return _quantise(x, luminance * scale)[..., :side, :side].clamp(0, 1)
    ycc = torch.einsum("ij,njhw->nihw", _TO_YCC.to(x.device), x)
    luma = _quantise(ycc[:, :1], luminance * scale)
    chroma = _quantise(F.avg_pool2d(ycc[:, 1:], 2), chrominance * scale)
    ycc = torch.cat([luma, F.interpolate(chroma, scale_factor=2, mode="bilinear")], 1)
    return torch.einsum("ij,njhw->nihw", _TO_RGB.to(x.device), ycc)[..., :side, :side].clamp(0, 1)


def _quantise(x: Tensor, table: Tensor) -> Tensor:
    """Quantise the cosine transform of blocks of 8x8; `table` is (n, 1, 1, 8, 8), in 1/255."""
    n, c, h, w = x.shape
    step, cosines = table.clamp(1, 255) / 255, COSINES.to(x.device)
    blocks = x.view(n, c, h // 8, 8, w // 8, 8).transpose(3, 4).reshape(n, -1, 1, 8, 8)
    blocks = (blocks @ cosines.T).transpose(-1, -2) @ cosines.T  # transposed coefficients
    step = step.transpose(-1, -2)
    blocks = torch.round(blocks / step) * step
    blocks = ((blocks @ cosines).transpose(-1, -2) @ cosines).view(n, c, h // 8, w // 8, 8, 8)
    return blocks.transpose(3, 4).reshape(n, c, h, w)


def _grey(x: Tensor, generator: torch.Generator) -> Tensor:
    return x if x.shape[1] == 1 else torch.einsum("c,nchw->nhw", _LUMA.to(x.device), x)[:, None].expand_as(x)


def _dark(x: Tensor, generator: torch.Generator) -> Tensor:
    """Change contrast (0.6 to 1.3) and brightness (-35 to 30 of 255)."""
    contrast, light = _column(len(x), 0.6, 1.3, generator), _column(len(x), -35 / 255, 30 / 255, generator)
    return ((x - 0.5) * contrast + 0.5 + light).clamp_(0, 1)


def _gamma(x: Tensor, generator: torch.Generator) -> Tensor:
    return x.clamp(1e-4, 1) ** _column(len(x), 0.6, 1.9, generator)


def _tint(x: Tensor, generator: torch.Generator) -> Tensor:
    """Scale each channel by 0.85 to 1.15."""
    n, c = x.shape[:2]
    return (x * uniform(n * c, 0.85, 1.15, generator).view(n, c, 1, 1)).clamp_(0, 1)


def _noise(x: Tensor, generator: torch.Generator) -> Tensor:
    """Add grey Gaussian noise with a deviation of 2 to 12 of 255."""
    n, _, h, w = x.shape
    sigma = _column(n, 2 / 255, 12 / 255, generator)
    return (x + sigma * torch.randn((n, 1, h, w), generator=generator, device=x.device)).clamp_(0, 1)


def _covered(x: Tensor, generator: torch.Generator) -> Tensor:
    """Cover a rectangle with sides of 0.1 to 0.4, with any grey or the crop's mean."""
    n, _, h, w = x.shape
    rows = torch.arange(h, device=x.device)[None, :, None] / h
    columns = torch.arange(w, device=x.device)[None, None, :] / w
    top, left = (uniform(n, -0.1, 1, generator)[:, None, None] for _ in range(2))
    tall, wide = (uniform(n, 0.1, 0.4, generator)[:, None, None] for _ in range(2))
    inside = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
    grey = uniform(n, 0, 1, generator)
    fill = torch.where(uniform(n, 0, 1, generator) < 0.5, grey, x.mean((1, 2, 3)))
    return torch.where(inside[:, None], fill[:, None, None, None], x)


#: Of each kind, the share of the crops at strength 1, and what changes them.
_KINDS: dict[str, tuple[float, Callable[[Tensor, torch.Generator], Tensor]]] = {
    "small": (0.3, _small),
    "soft": (0.1, _soft),
    "jpeg": (0.2, _jpeg),
    "grey": (0.25, _grey),
    "dark": (0.6, _dark),
    "gamma": (0.25, _gamma),
    "tint": (0.3, _tint),
    "noise": (0.15, _noise),
    "covered": (0.3, _covered),
}
