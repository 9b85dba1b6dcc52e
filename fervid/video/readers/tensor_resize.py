"""Area sums over any rectangle of an image, and Pillow's resize, as operations that run on any torch device.

The numbers are those of fervid.faces.integral_image and of Pillow, which the pipeline uses on a CPU. Only the shape of
the work differs: everything is one operation per batch, and nothing is copied back from the device.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["TensorIntegralImage", "resize", "resize_area", "tent_filter"]

#: The most pixels whose sum, of one channel, 32 bits hold.
_PIXELS_32 = 2**31 // 255


class TensorIntegralImage:
    """Means over any rectangle of images, from integral images (summed-area tables, Crow 1984) on their device.

    Parameters
    ----------
    image : Tensor, shape (n, h, w, 3), uint8
    """

    def __init__(self, image: Tensor) -> None:
        self.n, self.height, self.width, _ = image.shape
        dtype = torch.int32 if self.height * self.width < _PIXELS_32 else torch.int64
        table = image.new_zeros((self.n, self.height + 1, self.width + 1, 3), dtype=dtype)
        table[:, 1:, 1:].copy_(image).cumsum_(1).cumsum_(2)
        self._table = table

    def level(self, rows: int, columns: int) -> Tensor:
        """Resize all images by area, for one level of an image pyramid.

        Parameters
        ----------
        rows, columns : int

        Returns
        -------
        Tensor, shape (n, 4, rows, columns), float32, channels last
            RGB in 0..255, and a channel of zeros.
        """
        zero = torch.zeros(1, dtype=torch.int64, device=self._table.device)
        (top, bottom), (left, right) = (
            _bins(zero, zero + side, cells)[:, 0] for side, cells in ((self.height, rows), (self.width, columns))
        )
        band = self._table.index_select(1, bottom) - self._table.index_select(1, top)
        sums = band.index_select(2, right) - band.index_select(2, left)
        return _mean(sums, (bottom - top)[None], (right - left)[None])

    def crop(self, frame: Tensor, box: Tensor, side: int) -> Tensor:
        """Cut boxes out of the images and resize them by area.

        Parameters
        ----------
        frame : Tensor, shape (m,), int64
            The image of each box.
        box : Tensor, shape (m, 4), int64
            x0, y0, x1, y1, exclusive of x1 and y1; not empty, and within the image.
        side : int
            Of the square results.

        Returns
        -------
        Tensor, shape (m, 4, side, side), float32, channels last
            As `level`.
        """
        (top, bottom), (left, right) = (_bins(box[:, i], box[:, i + 2], side) for i in (1, 0))
        cells = self._table.view(-1, 3)

        def look_up(rows: Tensor, columns: Tensor) -> Tensor:
            index = ((frame[:, None] * (self.height + 1) + rows) * (self.width + 1))[:, :, None] + columns[:, None]
            return cells.index_select(0, index.view(-1)).view(len(frame), side, side, 3)

        sums = look_up(bottom, right) - look_up(top, right) - look_up(bottom, left) + look_up(top, left)
        return _mean(sums, bottom - top, right - left)


def resize_area(plane: Tensor, rows: int, columns: int) -> Tensor:
    """Resize one image by area; pixels that straddle two cells count in both, in proportion.

    Parameters
    ----------
    plane : Tensor, shape (H, W, C), uint8
    rows, columns : int

    Returns
    -------
    Tensor, shape (rows, columns, C), float32
    """
    for axis, cells in enumerate((rows, columns)):
        if cells == plane.shape[axis]:
            continue
        border = torch.linspace(0, plane.shape[axis], cells + 1, dtype=torch.float64, device=plane.device)
        whole = border.long().clamp_(max=plane.shape[axis] - 1)
        share = (border - whole).view((-1, 1, 1) if axis == 0 else (-1, 1))
        sums = F.pad(plane.double().cumsum(axis), (0, 0, 0, 0, 1, 0) if axis == 0 else (0, 0, 1, 0))
        sums = sums.index_select(axis, whole).lerp(sums.index_select(axis, whole + 1), share)
        plane = sums.diff(dim=axis) * (cells / plane.shape[axis])
    return plane.float()


def _mean(sums: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Divide sums (n, r, c, 3) by the areas of their cells, height (n or 1, r) times width (n or 1, c).

    -> (n, 4, r, c), channels last.
    """
    mean = sums.new_zeros((*sums.shape[:3], 4), dtype=torch.float32)
    mean[..., :3] = sums
    mean /= height[:, :, None, None]
    mean /= width[:, None, :, None]
    return mean.permute(0, 3, 1, 2)


def _bins(start: Tensor, stop: Tensor, n: int) -> Tensor:
    """Divide start..stop (m,) into n bins, as fervid.faces.integral_image does -> first, last + 1 (2, m, n)."""
    start, i = start[:, None], torch.arange(n, device=start.device)
    length = stop[:, None] - start
    first = torch.div(i * length, n, rounding_mode="floor")
    last = -torch.div(-(i + 1) * length, n, rounding_mode="floor")
    return torch.stack((start + first, start + last))


def tent_filter(x: Tensor) -> Tensor:
    """Compute Pillow's BILINEAR filter: 1 in the middle, falling to 0 at a distance of 1.

    Parameters
    ----------
    x : Tensor
        Distances.

    Returns
    -------
    Tensor
        Of the same shape.
    """
    return (1 - x.abs()).clamp_(min=0)


def resize(
    image: Tensor, size: Tensor, target: Tensor, cells: tuple[int, int], kernel: Callable[[Tensor], Tensor]
) -> Tensor:
    """Resize m grey images as Pillow does, each from its own size to its own. Grey levels are rounded after each pass.

    Parameters
    ----------
    image : Tensor, shape (m, h, w), float32
    size : Tensor, shape (m, 2), int
        The width and height of each image within (h, w); pixels beyond them do not count.
    target : Tensor, shape (m, 2)
        The width and height of each result.
    cells : tuple of int
        The rows and columns of the returned tensor.
    kernel : callable
        The filter, such as `tent_filter`.

    Returns
    -------
    Tensor, shape (m, *cells), float32
        Pixels beyond `target` are undefined.
    """
    rows, columns = cells
    across = _weights(size[:, 0], target[:, 0], columns, image.shape[2], kernel)
    down = _weights(size[:, 1], target[:, 1], rows, image.shape[1], kernel)
    narrow = torch.bmm(image, across.mT).add_(0.5).floor_()
    return torch.bmm(down, narrow).add_(0.5).floor_()


def _weights(size: Tensor, target: Tensor, n_out: int, n_in: int, kernel: Callable[[Tensor], Tensor]) -> Tensor:
    """Compute the weight of each source pixel in each pixel of the result (m, n_out, n_in); rows sum to 1."""
    scale = (size.double() / target)[:, None, None]
    out, source = (torch.arange(n, dtype=torch.float64, device=size.device) + 0.5 for n in (n_out, n_in))
    weight = kernel((source - out[:, None] * scale) / scale.clamp(min=1))
    weight = weight * (source < size[:, None, None])
    return (weight / weight.sum(2, keepdim=True).clamp_(min=1e-12)).float()
