"""Place faces in the network's input: placement, random move and mirror image in one resampling of the stored image."""

from collections.abc import Collection

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fervid.lab.training.augment import uniform

__all__ = ["identity", "random_moves", "resample"]

#: Share of mirrored images under the kind flip.
_FLIPPED = 0.5
#: A stored image is first reduced where a pixel of the input covers this many of its pixels.
_REDUCED_FROM = 1.5


def identity(n: int, device: torch.device | str = "cpu") -> Tensor:
    """Make affine maps that change nothing.

    Parameters
    ----------
    n : int
    device : torch.device or str

    Returns
    -------
    Tensor
        (n, 2, 3).
    """
    return torch.eye(2, 3, device=device).repeat(n, 1, 1)


def random_moves(n: int, generator: torch.Generator, *, strength: float, kinds: Collection[str]) -> Tensor:
    """Draw random moves of faces within the input's unit square.

    Parameters
    ----------
    n : int
    generator : torch.Generator
    strength : float
        Factor on the ranges of move and shake.
    kinds : Collection of str
        "flip" mirrors half of the images. "shake" turns (standard deviation 6 degrees, at most 15), scales (5%),
        stretches (4%) and shifts (2.5% of the side), like landmarks that are slightly off; "move" does so in wider
        ranges (17 degrees, 20%, 8%, 9%), for faces without alignment.

    Returns
    -------
    Tensor
        (n, 2, 3), affine maps from the unit square of the input to itself.
    """
    device = generator.device
    angle, scale, aspect = (torch.full((n,), value, device=device) for value in (0.0, 1.0, 1.0))
    shift = torch.zeros(n, 2, device=device)
    if "move" in kinds:
        angle = angle + uniform(n, -0.3, 0.3, generator) * strength
        scale = scale * (1 + uniform(n, -0.2, 0.2, generator) * strength)
        aspect = aspect * (1 + uniform(n, -0.08, 0.08, generator) * strength)
        shift = shift + uniform(2 * n, -0.09, 0.09, generator).view(n, 2) * strength
    if "shake" in kinds:
        normal = torch.randn((5, n), generator=generator, device=device) * strength
        angle = angle + (0.105 * normal[0]).clamp(-0.262 * strength, 0.262 * strength)
        scale, aspect = scale * torch.exp(0.05 * normal[1]), aspect * torch.exp(0.04 * normal[2])
        shift = shift + 0.025 * normal[3:].T
    mirrored = uniform(n, 0, 1, generator) < (_FLIPPED if "flip" in kinds else 0.0)
    sign = torch.where(mirrored, -1.0, 1.0)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    linear = torch.stack([torch.stack([cos * aspect * sign, -sin / aspect], 1),
                          torch.stack([sin * aspect * sign, cos / aspect], 1)], 1)  # fmt: skip
    return torch.cat([linear, (0.5 + shift - linear.sum(2) / 2)[..., None]], 2)


def resample(image: np.ndarray | Tensor, place: Tensor, size_px: int, channels: int) -> Tensor:
    """Resample stored images into the network's input, with antialiasing; what lies outside repeats the edge.

    Parameters
    ----------
    image : np.ndarray or Tensor
        (n, S, S) grey or (n, S, S, 3) RGB, uint8; computed on the device of a tensor.
    place : Tensor
        (n, 2, 3) on the same device, affine maps from the unit square of the input to that of the image.
    size_px : int
        Side of the input.
    channels : int
        1 or 3. Grey images are repeated in three channels; RGB ones become luma in one.

    Returns
    -------
    Tensor
        (n, channels, size_px, size_px) in 0..1.
    """
    x = torch.from_numpy(np.ascontiguousarray(image)) if isinstance(image, np.ndarray) else image
    x = x[:, None].float() if x.ndim == 3 else x.permute(0, 3, 1, 2).float()
    if x.shape[1] == 3 and channels == 1:
        x = (x * torch.tensor([0.299, 0.587, 0.114], device=x.device)[:, None, None]).sum(1, keepdim=True)
    side = x.shape[-1]
    if side == size_px and torch.equal(place, identity(len(x), x.device)):
        out = x
    else:
        shrink = torch.linalg.det(place[:, :, :2]).abs().sqrt() * (side / size_px)
        levels = (shrink / _REDUCED_FROM).floor().clamp(1, side).int()
        out = x.new_empty(len(x), x.shape[1], size_px, size_px)
        for level in levels.unique().tolist():
            rows = slice(None) if (levels == level).all() else (levels == level).nonzero()[:, 0]
            out[rows] = _sample(_reduce(x[rows], level), place[rows], size_px)
    out = out / 255
    return out.repeat(1, channels, 1, 1) if out.shape[1] != channels else out


def _reduce(x: Tensor, level: int) -> Tensor:
    if level == 1:
        return x
    side = -(-x.shape[-1] // level)
    return F.interpolate(x, (side, side), mode="bilinear", antialias=True)


def _sample(x: Tensor, place: Tensor, size_px: int) -> Tensor:
    linear = place[:, :, :2]
    theta = torch.cat([linear, (linear.sum(2) + 2 * place[:, :, 2] - 1)[..., None]], 2)  # of -1..1 instead of 0..1
    grid = F.affine_grid(theta, [len(x), 1, size_px, size_px], align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
