"""Vary training crops as real footage does: pose, framing, light, darkness, sharpness, compression, occlusion."""

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["KINDS", "augment"]

#: What `augment` can vary.
KINDS = ("flip", "move", "soften", "light", "compress", "erase")


def augment(
    x: Tensor,
    dice: torch.Generator,
    *,
    strength: float = 1.0,
    size_px: int | None = None,
    kinds: Collection[str] = KINDS,
) -> Tensor:
    """Vary crops x (n, 1, h, h) in 0..1 -> (n, 1, size_px, size_px), windows of the images at their own resolution.

    `strength` scales every reach and every probability; 0 only flips and takes a window from the middle. Only the
    `kinds` named are varied.
    """
    s = {kind: strength if kind in kinds else 0.0 for kind in KINDS}
    x = _move(x, dice, s["move"], size_px or x.shape[-1], flipped=0.5 if "flip" in kinds else 0.0)
    x = _soften(x, dice, 0.2 * s["soften"])
    x = _light(x, dice, s["light"])
    x = _compress(x, dice, 0.15 * s["compress"])
    return _erase(x, dice, s["erase"])


def _uniform(n: int, low: float, high: float, dice: torch.Generator) -> Tensor:
    return torch.rand(n, generator=dice) * (high - low) + low


def _some(n: int, share: float, dice: torch.Generator) -> Tensor:
    """Choose each of n with probability `share` -> their indices."""
    return (torch.rand(n, generator=dice) < share).nonzero()[:, 0]


def _move(x: Tensor, dice: torch.Generator, s: float, size: int, *, flipped: float) -> Tensor:
    """Flip, turn (17 degrees), zoom (20%), squeeze (8%) and shift (9% of the side)."""
    n, _, side, _ = x.shape
    window = size / side
    angle, zoom, squeeze = (
        _uniform(n, mid - s * by, mid + s * by, dice) for mid, by in ((0, 0.3), (1, 0.2), (1, 0.08))
    )
    flip = torch.where(torch.rand(n, generator=dice) < flipped, -window, window)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    reach = 0.18 * s + (1 - window) * min(1.0, s)
    across, down = _uniform(n, -reach, reach, dice), _uniform(n, -reach, reach, dice)
    upper = torch.stack([cos * flip * squeeze, -sin * window, across], 1)
    lower = torch.stack([sin * flip * squeeze, cos * window, down], 1)
    theta = torch.stack([upper, lower], 1)
    grid = F.affine_grid(theta, [n, 1, size, size], align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _soften(x: Tensor, dice: torch.Generator, share: float) -> Tensor:
    """Make some faces as unsharp as small or distant ones: down to 14 pixels and up again."""
    some, side = _some(len(x), share, dice), x.shape[-1]
    if len(some):
        few = int(torch.randint(14, side - 4, (), generator=dice))
        small = F.interpolate(x[some], (few, few), mode="bilinear", antialias=True)
        x[some] = F.interpolate(small, (side, side), mode="bilinear")
    return x


def _light(x: Tensor, dice: torch.Generator, s: float) -> Tensor:
    """Contrast, brightness, gamma (darkness, glare) and the noise of a sensor."""
    n = len(x)
    mean = x.mean((1, 2, 3), keepdim=True)
    contrast, light = 1 + s * _uniform(n, -0.3, 0.3, dice), s * _uniform(n, -0.15, 0.15, dice)
    x = ((x - mean) * contrast[:, None, None, None] + mean + light[:, None, None, None]).clamp_(0, 1)
    dark, noisy = _some(n, 0.2 * s, dice), _some(n, 0.15 * s, dice)
    x[dark] = x[dark] ** torch.exp(_uniform(len(dark), -0.6, 0.9, dice))[:, None, None, None]
    sigma = _uniform(len(noisy), 0.01, 0.07, dice)[:, None, None, None]
    x[noisy] += sigma * torch.randn(x[noisy].shape, generator=dice)
    return x.clamp_(0, 1)


def _compress(x: Tensor, dice: torch.Generator, share: float) -> Tensor:
    """Quantise the 8x8 cosine transform (JPEG, ITU-T T.81, its luminance table) of some images at quality 8 to 50."""
    some, side = _some(len(x), share, dice), x.shape[-1]
    if not len(some) or side % 8:
        return x
    quality = _uniform(len(some), 8, 50, dice)[:, None, None, None, None]
    step = (_LUMINANCE * (50 / quality)).clamp(1, 255) / 255
    blocks = x[some].view(-1, side // 8, 8, side // 8, 8).transpose(2, 3)
    waves = _COSINES @ blocks @ _COSINES.T
    blocks = _COSINES.T @ (torch.round(waves / step) * step) @ _COSINES
    x[some] = blocks.transpose(2, 3).reshape(-1, 1, side, side).clamp_(0, 1)
    return x


def _erase(x: Tensor, dice: torch.Generator, s: float) -> Tensor:
    """Cover a rectangle of some faces with their mean: hands, hair (Zhong et al. 2017, arXiv 1708.04896)."""
    n, _, h, w = x.shape
    rows, columns = torch.arange(h)[None, :, None], torch.arange(w)[None, None, :]
    top, left = (_uniform(n, 0, side, dice)[:, None, None] for side in (h, w))
    tall, wide = (_uniform(n, 0.1 * side, 0.4 * side, dice)[:, None, None] for side in (h, w))
    inside = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
    inside &= (torch.rand(n, generator=dice) < 0.4 * s)[:, None, None]
    return torch.where(inside[:, None], x.mean((1, 2, 3), keepdim=True), x)


#: Orthonormal cosine transform of 8 samples, and the luminance table of ITU-T T.81, K.1.
_COSINES = torch.cos(torch.pi / 8 * torch.outer(torch.arange(8), torch.arange(8) + 0.5)) / 2
_COSINES[0] /= 2**0.5
_LUMINANCE = torch.tensor(
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
