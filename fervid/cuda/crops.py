"""Cut faces out of frames that lie on a torch device: the geometry and the greys of faces.crop_face, many at a time.

    luma -> the part around each face -> shrunk, antialiased, to 1.5 pixels for each of the crop's -> turned

Pillow's two passes of shrinking are two matrix products here, its turning a look-up of four neighbours.
"""

import numpy as np
import torch
from torch import Tensor

from fervid.runtime.device import deterministic_fp32
from fervid.types import THUMB, samples
from fervid.video.readers.tensor_frame import full_range_of
from fervid.video.readers.tensor_resize import resize, tent_filter

__all__ = ["cut_faces", "thumbnails_of"]

#: Pixels of frames that are cut out at once, or weights for them: 30 bytes each.
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
    """Cut tilted squares (m, 4) (Framing.squares) out of luma (n, H, W)[frame] -> (m, size_px, size_px) uint8.

    `stretch` is the luma's pixels to a displayed one, across and down; `limited` luma is stretched to 0..255. Greys
    are those of faces.crop_face within 2 of 255.
    """
    crop = np.zeros((len(frame), size_px, size_px), np.uint8)
    if not crop.size:
        return crop
    plan = _Plan(square, size_px, np.array(stretch))
    order = np.argsort(plan.size.max(1), kind="stable")  # alike sizes together: all are as large as one
    while len(order):
        widest = int(plan.size[order[-1]].max())
        most = max(1, _PIXELS // (widest * max(widest, 2 * size_px)))
        some, order = order[-most:], order[:-most]
        crop[some] = _cut(luma, frame[some], plan, some, limited).cpu().numpy()
    return crop


class _Plan:
    """What faces.crop_face works out for one face, for m: where its part lies, and how that is shrunk and turned.

    low (m, 2), the part's first column and row; size (m, 2), its columns and rows; small (m, 2), the same once it is
    shrunk; turn (m, 2, 3), from a pixel of the crop to one of the shrunk part.
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
        fewer = np.maximum(side * stretch / (1.5 * size_px), 1)
        self.small = np.maximum(np.rint(self.size / fewer), 1).astype(np.int64)
        ratio = self.small / self.size
        start = (centre - self.low - (across + down) / 2) * ratio
        self.turn = np.stack((across * ratio / size_px, down * ratio / size_px, start), 2)


def _cut(luma: Tensor, frame: np.ndarray, plan: _Plan, some: np.ndarray, limited: bool) -> Tensor:
    device = luma.device
    low, size, small = (torch.from_numpy(a[some]).to(device) for a in (plan.low, plan.size, plan.small))
    columns, rows = (
        (low[:, i, None] + torch.arange(int(plan.size[some, i].max()), device=device)).clamp_(0, luma.shape[2 - i] - 1)
        for i in (0, 1)
    )
    line = torch.from_numpy(frame).to(device)[:, None] * luma.shape[1] + rows
    index = (line * luma.shape[2])[:, :, None] + columns[:, None]
    part = luma.view(-1)[index].float()
    if limited:
        part = full_range_of(part)
    cells = int(plan.small[some, 1].max()), int(plan.small[some, 0].max())
    shrunk = resize(part, size, small, cells, tent_filter)
    return _turned(shrunk, small, torch.from_numpy(plan.turn[some]).to(device), plan.size_px)


def _turned(part: Tensor, size: Tensor, turn: Tensor, size_px: int) -> Tensor:
    """Sample parts (m, h, w), of which size (m, 2) (width, height) count -> (m, size_px, size_px) uint8.

    As Pillow's transform with BILINEAR: 0 outside, the edge repeated within half a pixel, greys cut down to whole.
    """
    m, _, width = part.shape
    at = torch.arange(size_px, dtype=torch.float64, device=part.device) + 0.5
    a, b, c = (turn[:, :, i, None, None] for i in range(3))
    place = a * at + b * at[:, None] + c  # (m, 2, size_px, size_px): x, y
    limit = size[:, :, None, None]
    outside = ((place < 0) | (place >= limit)).any(1)
    place = place - 0.5
    first = place.floor()
    share = place - first
    lower, upper = (torch.minimum(p.clamp(min=0), (limit - 1).double()).long() for p in (first, first + 1))
    flat = part.reshape(m, -1)

    def look_up(x: Tensor, y: Tensor) -> Tensor:
        return flat.gather(1, (y * width + x).view(m, -1)).view(m, size_px, size_px).double()

    above, below = (
        look_up(lower[:, 0], y) * (1 - share[:, 0]) + look_up(upper[:, 0], y) * share[:, 0]
        for y in (lower[:, 1], upper[:, 1])
    )
    grey = above * (1 - share[:, 1]) + below * share[:, 1]
    return (grey + 1e-6).floor_().masked_fill_(outside, 0).to(torch.uint8)


def thumbnails_of(picture: Tensor) -> np.ndarray:
    """Do what likeness.thumbnails does: pictures (n, h, w, 3) uint8 -> (n, 18, 32, 3) uint8."""
    n, height, width, _ = picture.shape
    chosen = torch.from_numpy(samples(height, width).reshape(-1)).to(picture.device)
    spread = picture.flatten(1, 2).index_select(1, chosen).view(n, 9, *THUMB, 3)
    return ((spread.int().sum(1) + 4) // 9).to(torch.uint8).cpu().numpy()
