"""Means over any rectangle of a picture, and Pillow's way of resizing, as arithmetic that any torch device can do.

The numbers are those of area_table.py and of Pillow, which the line uses on a CPU; only the shape of the work differs:
everything is one operation over a whole batch, and nothing comes back from the device.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["TensorIntegralImage", "resize", "resize_area", "tent_filter"]

#: Sums of one channel that 32 bits hold.
_SUM_32 = 2**31 // 255


class TensorIntegralImage:
    """Means over any rectangle of pictures (n, h, w, 3) uint8 from summed-area tables (Crow 1984) on their device."""

    def __init__(self, picture: Tensor) -> None:
        self.n, self.height, self.width, _ = picture.shape
        whole = torch.int32 if self.height * self.width < _SUM_32 else torch.int64
        table = picture.new_zeros((self.n, self.height + 1, self.width + 1, 3), dtype=whole)
        table[:, 1:, 1:].copy_(picture).cumsum_(1).cumsum_(2)
        self._table = table

    def level(self, rows: int, columns: int) -> Tensor:
        """Resize every picture by area -> (n, 4, rows, columns) float32 in 0..255, channels last: RGB and 0."""
        device = self._table.device
        whole = torch.zeros(1, dtype=torch.int64, device=device)
        (top, bottom), (left, right) = (
            _bins(whole, whole + side, cells)[:, 0] for side, cells in ((self.height, rows), (self.width, columns))
        )
        band = self._table.index_select(1, bottom) - self._table.index_select(1, top)
        sums = band.index_select(2, right) - band.index_select(2, left)
        return _mean(sums, (bottom - top)[None], (right - left)[None])

    def crop(self, frame: Tensor, box: Tensor, side: int) -> Tensor:
        """Resize boxes (m, 4) int64 x0, y0, x1, y1 of pictures frame (m,) by area -> (m, 4, side, side), as `level`.

        A box has no last pixel in it, lies inside the picture and is not empty.
        """
        (top, bottom), (left, right) = (_bins(box[:, i], box[:, i + 2], side) for i in (1, 0))
        cells = self._table.view(-1, 3)

        def look_up(rows: Tensor, columns: Tensor) -> Tensor:
            index = ((frame[:, None] * (self.height + 1) + rows) * (self.width + 1))[:, :, None] + columns[:, None]
            return cells.index_select(0, index.view(-1)).view(len(frame), side, side, 3)

        sums = look_up(bottom, right) - look_up(top, right) - look_up(bottom, left) + look_up(top, left)
        return _mean(sums, bottom - top, right - left)


def resize_area(plane: Tensor, rows: int, columns: int) -> Tensor:
    """Resize one picture (H, W, C) uint8 by area -> (rows, columns, C) float32, parts of pixels in parts."""
    for axis, cells in enumerate((rows, columns)):
        if cells == plane.shape[axis]:
            continue
        until = torch.linspace(0, plane.shape[axis], cells + 1, dtype=torch.float64, device=plane.device)
        whole = until.long().clamp_(max=plane.shape[axis] - 1)
        share = (until - whole).view((-1, 1, 1) if axis == 0 else (-1, 1))
        sums = F.pad(plane.double().cumsum(axis), (0, 0, 0, 0, 1, 0) if axis == 0 else (0, 0, 1, 0))
        sums = sums.index_select(axis, whole).lerp(sums.index_select(axis, whole + 1), share)
        plane = sums.diff(dim=axis) * (cells / plane.shape[axis])
    return plane.float()


def _mean(sums: Tensor, tall: Tensor, wide: Tensor) -> Tensor:
    """Sums (n, r, c, 3) over rectangles as tall (n or 1, r) and as wide (n or 1, c) -> (n, 4, r, c), channels last."""
    mean = sums.new_zeros((*sums.shape[:3], 4), dtype=torch.float32)
    mean[..., :3] = sums
    mean /= tall[:, :, None, None]
    mean /= wide[:, None, :, None]
    return mean.permute(0, 3, 1, 2)


def _bins(start: Tensor, stop: Tensor, n: int) -> Tensor:
    """Do what area_table.bins does: cut start..stop (m,) into n bins -> first, last + 1 (2, m, n)."""
    start, i = start[:, None], torch.arange(n, device=start.device)
    length = stop[:, None] - start
    first = torch.div(i * length, n, rounding_mode="floor")
    last = -torch.div(-(i + 1) * length, n, rounding_mode="floor")
    return torch.stack((start + first, start + last))


def tent_filter(x: Tensor) -> Tensor:
    """Pillow's BILINEAR: 1 in the middle, 0 from 1 on."""
    return (1 - x.abs()).clamp_(min=0)


def resize(
    part: Tensor, size: Tensor, small: Tensor, cells: tuple[int, int], kernel: Callable[[Tensor], Tensor]
) -> Tensor:
    """Shrink m pictures as Pillow's resize does, each from its own size to its own -> (m, cells y, cells x) float32.

    part (m, h, w) float32, of which size (m, 2) int (width, height) count; small (m, 2), the sizes to come to, at most
    `cells` (rows, columns); what lies beyond them means nothing. Greys are rounded after each of the two passes.
    """
    rows, columns = cells
    across = _weights(size[:, 0], small[:, 0], columns, part.shape[2], kernel)
    down = _weights(size[:, 1], small[:, 1], rows, part.shape[1], kernel)
    narrow = torch.bmm(part, across.mT).add_(0.5).floor_()
    return torch.bmm(down, narrow).add_(0.5).floor_()


def _weights(size: Tensor, small: Tensor, n_out: int, n_in: int, kernel: Callable[[Tensor], Tensor]) -> Tensor:
    """What each source pixel counts in each pixel of the result (m, n_out, n_in); rows sum to 1."""
    scale = (size.double() / small)[:, None, None]
    out, source = (torch.arange(n, dtype=torch.float64, device=size.device) + 0.5 for n in (n_out, n_in))
    weight = kernel((source - out[:, None] * scale) / scale.clamp(min=1))
    weight = weight * (source < size[:, None, None])
    return (weight / weight.sum(2, keepdim=True).clamp_(min=1e-12)).float()
