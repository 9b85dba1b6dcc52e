"""Augment training crops by what varies in footage: pose, alignment, light, sharpness, compression, occlusion."""

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor

from fervid.lab.training.kinds import PLAIN_KINDS

__all__ = ["COSINES", "LUMINANCE", "augment", "change_pixels", "select", "uniform"]


def augment(
    x: Tensor,
    generator: torch.Generator,
    *,
    strength: float = 1.0,
    size_px: int | None = None,
    kinds: Collection[str] = PLAIN_KINDS,
) -> Tensor:
    """Augment crops; each result is a window of its crop at the same resolution.

    Parameters
    ----------
    x : Tensor
        Crops (n, 1, h, h) in 0..1.
    generator : torch.Generator
        Source of randomness, on the device of `x`.
    strength : float
        Factor on every range and probability; 0 only flips and takes the central window.
    size_px : int, optional
        Side of the window; by default the whole crop.
    kinds : Collection of str
        The kinds to apply, of PLAIN_KINDS; others are ignored.

    Returns
    -------
    Tensor
        (n, 1, size_px, size_px) in 0..1.
    """
    moved = strength if "move" in kinds else 0.0
    x = _move(x, generator, moved, size_px or x.shape[-1], flipped=0.5 if "flip" in kinds else 0.0)
    return change_pixels(x, generator, strength=strength, kinds=kinds)


def change_pixels(x: Tensor, generator: torch.Generator, *, strength: float, kinds: Collection[str]) -> Tensor:
    """Apply the kinds of augmentation that leave a face where it is.

    Parameters
    ----------
    x : Tensor
        Crops (n, c, h, h) in 0..1. It may be overwritten.
    generator : torch.Generator
    strength : float
        As for `augment`.
    kinds : Collection of str
        Those of soften, light, compress and erase to apply; others are ignored.

    Returns
    -------
    Tensor
        (n, c, h, h) in 0..1.
    """
    s = {kind: strength if kind in kinds else 0.0 for kind in PLAIN_KINDS}
    x = _blur(x, generator, 0.2 * s["soften"])
    x = _light(x, generator, s["light"])
    x = _compress(x, generator, 0.15 * s["compress"])
    return _erase(x, generator, s["erase"])


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Draw numbers from a uniform distribution.

    Parameters
    ----------
    n : int
    low, high : float
    generator : torch.Generator

    Returns
    -------
    Tensor
        (n,).
    """
    return torch.rand(n, generator=generator, device=generator.device) * (high - low) + low


def select(n: int, share: float, generator: torch.Generator) -> Tensor:
    """Choose each of n items with the same probability.

    Parameters
    ----------
    n : int
    share : float
        The probability.
    generator : torch.Generator

    Returns
    -------
    Tensor
        Their indices, int64.
    """
    return (torch.rand(n, generator=generator, device=generator.device) < share).nonzero()[:, 0]


def _move(x: Tensor, generator: torch.Generator, s: float, size: int, *, flipped: float) -> Tensor:
    """Flip, rotate (17 degrees), scale (20%), change the aspect (8%) and shift (9% of the side)."""
    n, _, side, _ = x.shape
    window = size / side
    angle, scale, aspect = (
        uniform(n, mid - s * by, mid + s * by, generator) for mid, by in ((0, 0.3), (1, 0.2), (1, 0.08))
    )
    flip = torch.where(uniform(n, 0, 1, generator) < flipped, -window, window)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    reach = 0.18 * s + (1 - window) * min(1.0, s)
    across, down = uniform(n, -reach, reach, generator), uniform(n, -reach, reach, generator)
    upper = torch.stack([cos * flip * aspect, -sin * window, across], 1)
    lower = torch.stack([sin * flip * aspect, cos * window, down], 1)
    theta = torch.stack([upper, lower], 1)
    grid = F.affine_grid(theta, [n, 1, size, size], align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _blur(x: Tensor, generator: torch.Generator, share: float) -> Tensor:
    """Blur some faces like small or distant ones: downscale to 14 pixels or more, and upscale."""
    some, side = select(len(x), share, generator), x.shape[-1]
    if len(some):
        side_small = int(torch.randint(14, side - 4, (), generator=generator, device=x.device))
        small = F.interpolate(x[some], (side_small, side_small), mode="bilinear", antialias=True)
        x[some] = F.interpolate(small, (side, side), mode="bilinear")
    return x


def _light(x: Tensor, generator: torch.Generator, s: float) -> Tensor:
    """Vary contrast, brightness and gamma (darkness, glare), and add sensor noise."""
    n = len(x)
    mean = x.mean((1, 2, 3), keepdim=True)
    contrast, light = 1 + s * uniform(n, -0.3, 0.3, generator), s * uniform(n, -0.15, 0.15, generator)
    x = ((x - mean) * contrast[:, None, None, None] + mean + light[:, None, None, None]).clamp_(0, 1)
    dark, noisy = select(n, 0.2 * s, generator), select(n, 0.15 * s, generator)
    x[dark] = x[dark] ** torch.exp(uniform(len(dark), -0.6, 0.9, generator))[:, None, None, None]
    sigma = uniform(len(noisy), 0.01, 0.07, generator)[:, None, None, None]
    x[noisy] += sigma * torch.randn(x[noisy].shape, generator=generator, device=x.device)
    return x.clamp_(0, 1)


def _compress(x: Tensor, generator: torch.Generator, share: float) -> Tensor:
    """Quantise the 8x8 cosine transform (JPEG, ITU-T T.81, its luminance table) of some images at quality 8 to 50."""
    some, side = select(len(x), share, generator), x.shape[-1]
    if not len(some) or side % 8:
        return x
    quality = uniform(len(some), 8, 50, generator)[:, None, None, None, None]
    cosines = COSINES.to(x.device)
    step = (LUMINANCE.to(x.device) * (50 / quality)).clamp(1, 255) / 255
    chosen = x[some]
    step = step.repeat_interleave(chosen.shape[1], 0)
    blocks = chosen.reshape(-1, side // 8, 8, side // 8, 8).transpose(2, 3)
    coefficients = cosines @ blocks @ cosines.T
    blocks = cosines.T @ (torch.round(coefficients / step) * step) @ cosines
    x[some] = blocks.transpose(2, 3).reshape(chosen.shape).clamp_(0, 1)
    return x


def _erase(x: Tensor, generator: torch.Generator, s: float) -> Tensor:
    """Cover a rectangle of some faces with their mean, like hands or hair (Zhong et al. 2017, arXiv 1708.04896)."""
    n, _, h, w = x.shape
    rows = torch.arange(h, device=x.device)[None, :, None]
    columns = torch.arange(w, device=x.device)[None, None, :]
    top, left = (uniform(n, 0, side, generator)[:, None, None] for side in (h, w))
    tall, wide = (uniform(n, 0.1 * side, 0.4 * side, generator)[:, None, None] for side in (h, w))
    inside = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
    inside &= (uniform(n, 0, 1, generator) < 0.4 * s)[:, None, None]
    return torch.where(inside[:, None], x.mean((1, 2, 3), keepdim=True), x)


#: Orthonormal cosine transform of 8 samples, and the luminance table of ITU-T T.81, K.1.
COSINES = torch.cos(torch.pi / 8 * torch.outer(torch.arange(8), torch.arange(8) + 0.5)) / 2
COSINES[0] /= 2**0.5
LUMINANCE = torch.tensor(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    dtype=torch.float32,
)
