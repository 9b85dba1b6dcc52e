"""Cut faces out of frames on a torch device: many at a time, with the geometry and the greys of faces.crop_face.

    luma -> region around each face -> shrunk, antialiased, to 1.5 pixels per pixel of the crop -> rotated, stretched

Two matrix products replace Pillow's two passes of shrinking, and a look-up of four neighbours its rotation.
"""

import numpy as np
import torch
from torch import Tensor

from fervid.faces.crop import LUMA, colour_px
from fervid.runtime.device import deterministic_fp32
from fervid.types import THUMB, samples
from fervid.video.readers.tensor_frame import full_range_of
from fervid.video.readers.tensor_resize import resize, tent_filter

__all__ = ["cut_faces", "thumbnails_of"]

#: Pixels of frames, or weights for them, to process at once: 30 bytes each.
_PIXELS = 2**23


@deterministic_fp32()
def cut_faces(
    luma: Tensor,
    frame: np.ndarray,
    place: np.ndarray,
    size_px: int,
    *,
    stretch: tuple[float, float] = (1.0, 1.0),
    limited: bool = False,
    image: Tensor | None = None,
) -> np.ndarray:
    """Cut parallelograms out of luma planes, and colour them by small images.

    Parameters
    ----------
    luma : Tensor, shape (n, H, W), uint8
    frame : ndarray, shape (m,), int64
        The luma plane of each crop.
    place : ndarray, shape (m, 2, 3)
        As `FaceAlignment.places` returns them, in displayed pixels.
    size_px : int
        Side of the crops.
    stretch : tuple of (float, float)
        Stored pixels per displayed pixel, horizontally and vertically.
    limited : bool
        Whether luma has the range 16..235, which is stretched to 0..255.
    image : Tensor, shape (n, h, w, 3), uint8, optional
        The same frames in RGB, of any size: they colour the crops, as `faces.crop.add_colour` does.

    Returns
    -------
    ndarray, shape (m, size_px, size_px, 1 or 3), uint8
        Within 2 of the greys of `faces.crop.crop_face`, and of the colours of the CPU.
    """
    if not len(frame) or not size_px:
        return np.zeros((len(frame), size_px, size_px, 1 if image is None else 3), np.uint8)
    stored = np.array(stretch)
    if image is not None and image.shape[1:3] == luma.shape[1:3]:
        return _cut_rgb(image, frame, place, size_px, stored).cpu().numpy()
    grey = _cut_planes(luma, frame, _Plan(place, size_px, stored), limited)
    if image is None:
        return grey[..., None].cpu().numpy()
    shrunk = np.array(image.shape[2:0:-1]) / luma.shape[:0:-1]
    return _add_colour(grey, _cut_rgb(image, frame, place, colour_px(size_px), stored * shrunk)).cpu().numpy()


def _cut_rgb(image: Tensor, frame: np.ndarray, place: np.ndarray, size_px: int, stretch: np.ndarray) -> Tensor:
    """Cut colour crops out of images (n, h, w, 3) -> (m, size_px, size_px, 3) uint8."""
    planes = image.permute(0, 3, 1, 2).reshape(-1, *image.shape[1:3])
    each = (3 * frame[:, None] + np.arange(3)).reshape(-1)
    cut = _cut_planes(planes, each, _Plan(place.repeat(3, 0), size_px, stretch), limited=False)
    return cut.view(-1, 3, size_px, size_px).permute(0, 2, 3, 1)


def _cut_planes(luma: Tensor, frame: np.ndarray, plan: "_Plan", limited: bool) -> Tensor:
    """Cut planned crops out of planes (n, H, W), some at a time -> (m, size_px, size_px) uint8."""
    size_px = plan.size_px
    crop = torch.zeros((len(frame), size_px, size_px), dtype=torch.uint8, device=luma.device)
    order = np.argsort(plan.size.max(1), kind="stable")  # similar sizes together: each chunk is as large as its largest
    while len(order):
        widest = int(plan.size[order[-1]].max())
        most = max(1, _PIXELS // (widest * max(widest, 2 * size_px)))
        some, order = order[-most:], order[:-most]
        crop[torch.from_numpy(some).to(luma.device)] = _cut(luma, frame[some], plan, some, limited)
    return crop


def _add_colour(luma: Tensor, rgb: Tensor) -> Tensor:
    """Colour grey crops (m, S, S) by smaller ones (m, s, s, 3) -> (m, S, S, 3); see `faces.crop.add_colour`."""
    own = ((rgb.int() * torch.tensor(LUMA, device=rgb.device)).sum(3) + 128) >> 8
    side, small = luma.shape[1], rgb.shape[1]
    pixels = side**2 * small**2
    excess = own.sum((1, 2)) * side**2 - luma.sum((1, 2)) * small**2
    offset = (excess + pixels // 2).div(pixels, rounding_mode="floor")
    difference = rgb - (own - offset[:, None, None])[..., None]
    nearest = torch.arange(side, device=luma.device) * small // side
    coloured = luma[..., None] + difference[:, nearest[:, None], nearest]
    return coloured.clamp_(0, 255).to(torch.uint8)


class _Plan:
    """The geometry of m crops, as faces.crop_face computes it for one.

    low (m, 2), the first column and row of the region; size (m, 2), its columns and rows; small (m, 2), the same after
    shrinking; transform (m, 2, 3), from a pixel of the crop to one of the shrunk region.
    """

    def __init__(self, place: np.ndarray, size_px: int, stretch: np.ndarray) -> None:
        across, down, start = (place[:, :, i] * stretch for i in range(3))
        centre = start + (across + down) / 2
        reach = (np.abs(across) + np.abs(down)) / 2
        self.size_px = size_px
        self.low = np.floor(centre - reach).astype(np.int64) - 1
        self.size = np.ceil(centre + reach).astype(np.int64) + 1 - self.low
        shrink = np.maximum(np.hypot(across, down) / (1.5 * size_px), 1)
        self.small = np.maximum(np.rint(self.size / shrink), 1).astype(np.int64)
        ratio = self.small / self.size
        corner = (centre - self.low - (across + down) / 2) * ratio
        self.transform = np.stack((across * ratio / size_px, down * ratio / size_px, corner), 2)


def _cut(luma: Tensor, frame: np.ndarray, plan: _Plan, some: np.ndarray, limited: bool) -> Tensor:
    """Cut out some of the planned crops."""
    device = luma.device
    low, size, small = (torch.from_numpy(a[some]).to(device) for a in (plan.low, plan.size, plan.small))
    columns, rows = (
        (low[:, i, None] + torch.arange(int(plan.size[some, i].max()), device=device)).clamp_(0, luma.shape[2 - i] - 1)
        for i in (0, 1)
    )
    line = torch.from_numpy(frame).to(device)[:, None] * luma.shape[1] + rows
    index = (line * luma.shape[2])[:, :, None] + columns[:, None]
    region = luma.reshape(-1)[index].float()
    if limited:
        region = full_range_of(region)
    cells = int(plan.small[some, 1].max()), int(plan.small[some, 0].max())
    shrunk = resize(region, size, small, cells, tent_filter)
    return _rotate(shrunk, small, torch.from_numpy(plan.transform[some]).to(device), plan.size_px)


def _rotate(region: Tensor, size: Tensor, transform: Tensor, size_px: int) -> Tensor:
    """Sample regions (m, h, w), of which size (m, 2) (width, height) are valid -> (m, size_px, size_px) uint8.

    As Pillow's transform with BILINEAR: 0 outside, the edge repeated within half a pixel, greys truncated.
    """
    m, _, width = region.shape
    at = torch.arange(size_px, dtype=torch.float64, device=region.device) + 0.5
    a, b, c = (transform[:, :, i, None, None] for i in range(3))
    point = a * at + b * at[:, None] + c  # (m, 2, size_px, size_px): x, y
    limit = size[:, :, None, None]
    outside = ((point < 0) | (point >= limit)).any(1)
    point = point - 0.5
    first = point.floor()
    share = point - first
    lower, upper = (torch.minimum(p.clamp(min=0), (limit - 1).double()).long() for p in (first, first + 1))
    flat = region.reshape(m, -1)

    def look_up(x: Tensor, y: Tensor) -> Tensor:
        return flat.gather(1, (y * width + x).view(m, -1)).view(m, size_px, size_px).double()

    above, below = (
        look_up(lower[:, 0], y) * (1 - share[:, 0]) + look_up(upper[:, 0], y) * share[:, 0]
        for y in (lower[:, 1], upper[:, 1])
    )
    grey = above * (1 - share[:, 1]) + below * share[:, 1]
    return (grey + 1e-6).floor_().masked_fill_(outside, 0).to(torch.uint8)


def thumbnails_of(image: Tensor) -> np.ndarray:
    """Make thumbnails of images on a device, as `types.thumbnails` does.

    Parameters
    ----------
    image : Tensor, shape (n, h, w, 3), uint8

    Returns
    -------
    ndarray, shape (n, 18, 32, 3), uint8
    """
    n, height, width, _ = image.shape
    chosen = torch.from_numpy(samples(height, width).reshape(-1)).to(image.device)
    spread = image.flatten(1, 2).index_select(1, chosen).view(n, 9, *THUMB, 3)
    return ((spread.int().sum(1) + 4) // 9).to(torch.uint8).cpu().numpy()
