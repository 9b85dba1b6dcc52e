"""Cut faces out of frames on a torch device: many at a time, with the geometry and the greys of faces.crop_face.

    luma -> region around each face -> shrunk, antialiased, to 1.5 pixels per pixel of the crop -> rotated

Two matrix products replace Pillow's two passes of shrinking, and a look-up of four neighbours its rotation.
"""

import numpy as np
import torch
from torch import Tensor

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
    square: np.ndarray,
    size_px: int,
    *,
    stretch: tuple[float, float] = (1.0, 1.0),
    limited: bool = False,
) -> np.ndarray:
    """Cut rotated squares out of luma planes.

    Parameters
    ----------
    luma : Tensor, shape (n, H, W), uint8
    frame : ndarray, shape (m,), int64
        The luma plane of each square.
    square : ndarray, shape (m, 4)
        As `FaceAlignment.squares` returns them, in displayed pixels.
    size_px : int
        Side of the crops.
    stretch : tuple of (float, float)
        Stored pixels per displayed pixel, horizontally and vertically.
    limited : bool
        Whether luma has the range 16..235, which is stretched to 0..255.

    Returns
    -------
    ndarray, shape (m, size_px, size_px), uint8
        Within 2 of the greys of `faces.crop.crop_face`.
    """
    crop = np.zeros((len(frame), size_px, size_px), np.uint8)
    if not crop.size:
        return crop
    plan = _Plan(square, size_px, np.array(stretch))
    order = np.argsort(plan.size.max(1), kind="stable")  # similar sizes together: each chunk is as large as its largest
    while len(order):
        widest = int(plan.size[order[-1]].max())
        most = max(1, _PIXELS // (widest * max(widest, 2 * size_px)))
        some, order = order[-most:], order[:-most]
        crop[some] = _cut(luma, frame[some], plan, some, limited).cpu().numpy()
    return crop


class _Plan:
    """The geometry of m crops, as faces.crop_face computes it for one.

    low (m, 2), the first column and row of the region; size (m, 2), its columns and rows; small (m, 2), the same after
    shrinking; transform (m, 2, 3), from a pixel of the crop to one of the shrunk region.
    """

    def __init__(self, square: np.ndarray, size_px: int, stretch: np.ndarray) -> None:
        side, angle = square[:, 2:3], square[:, 3]
        centre = square[:, :2] * stretch
        across = np.stack((np.cos(angle), np.sin(angle)), 1) * side * stretch
        down = np.stack((-np.sin(angle), np.cos(angle)), 1) * side * stretch
        reach = (np.abs(across) + np.abs(down)) / 2
        self.size_px = size_px
        self.low = np.floor(centre - reach).astype(np.int64) - 1
        self.size = np.ceil(centre + reach).astype(np.int64) + 1 - self.low
        shrink = np.maximum(side * stretch / (1.5 * size_px), 1)
        self.small = np.maximum(np.rint(self.size / shrink), 1).astype(np.int64)
        ratio = self.small / self.size
        start = (centre - self.low - (across + down) / 2) * ratio
        self.transform = np.stack((across * ratio / size_px, down * ratio / size_px, start), 2)


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
    region = luma.view(-1)[index].float()
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
