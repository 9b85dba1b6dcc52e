"""Resizing by area: means over any rectangle of an image, at a cost that does not depend on its size."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

__all__ = ["AreaResizer", "IntegralImage", "bins"]

#: The most white pixels whose sum 16 bits hold.
_MAX_PIXELS = (2**16 - 1) // 255


class IntegralImage:
    """Means over any rectangle of images, from integral images (summed-area tables, Crow 1984).

    A table entry holds the three channels side by side in one int64, 16 bits each, red lowest. The sums overflow; the
    difference of four does not while its rectangle is small, and larger rectangles are halved (`_MAX_PIXELS`).

    Parameters
    ----------
    images : ndarray, shape (n, h, w, 3), uint8
    device : torch.device
    """

    def __init__(self, images: np.ndarray, device: torch.device) -> None:
        self.n, self.height, self.width, _ = images.shape
        table = np.zeros((self.n, self.height + 1, self.width + 1), np.int64)
        for pixels, sums in zip(images, table):  # one image at a time stays in the cache
            packed = pixels[..., 2].astype(np.int64)
            for channel in (1, 0):
                packed <<= 16
                packed += pixels[..., channel]
            for y, row in enumerate(packed):  # twice as fast as np.cumsum along this axis
                np.add(sums[y, 1:], row, out=sums[y + 1, 1:])
        self._table = torch.from_numpy(table).to(device).cumsum_(2).view(-1)

    def crop(self, frame: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> Tensor:
        """Cut boxes out of the images and resize them, exactly as `F.interpolate(mode="area")` does.

        Parameters
        ----------
        frame : ndarray, shape (m,)
            The image of each box.
        box : ndarray, shape (m, 4), int
            x0, y0, x1, y1 without the last pixel; inside the image and not empty.
        size : tuple of (int, int)
            Rows and columns of the result.

        Returns
        -------
        Tensor, shape (m, 4, rows, columns), float32, channels last
            RGB in 0..255, and a channel of zeros.
        """
        return self.mean(frame, bins(box[:, 1], box[:, 3], size[0]), bins(box[:, 0], box[:, 2], size[1]))

    def mean(self, frame: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Tensor:
        """Average the rectangles in which rows and columns cross.

        Parameters
        ----------
        frame : ndarray, shape (m,)
            The image of each grid of rectangles.
        rows : ndarray, shape (2, m or 1, r)
            First and last + 1 row of each rectangle, as `bins` returns them.
        columns : ndarray, shape (2, m or 1, c)

        Returns
        -------
        Tensor, shape (m, 4, r, c), float32, channels last
            RGB in 0..255, and a channel of zeros.
        """
        tall, wide = (torch.from_numpy((last - first).astype(np.float32)) for first, last in (rows, columns))
        mean = self._sum(frame, rows, columns)
        mean.div_(tall.to(mean.device)[:, :, None])
        mean.div_(wide.repeat_interleave(4, 1).to(mean.device)[:, None])
        return mean.view(len(frame), tall.shape[1], wide.shape[1], 4).permute(0, 3, 1, 2)

    def _sum(self, frame: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Tensor:
        """Sum over the same rectangles -> (m, r, c * 4) float32."""
        tall, wide = (rows[1] - rows[0]).max(), (columns[1] - columns[0]).max()
        if tall * wide > _MAX_PIXELS and tall > wide:
            upper, lower = _halves(rows)
            return self._sum(frame, upper, columns).add_(self._sum(frame, lower, columns))
        if tall * wide > _MAX_PIXELS:
            left, right = _halves(columns)
            return self._sum(frame, rows, left).add_(self._sum(frame, rows, right))
        if rows.shape[1] == columns.shape[1] == 1:
            return self._grid(frame, rows, columns)
        above, below = (frame[:, None] * (self.height + 1) + rows) * (self.width + 1)
        left, right = columns
        sums = self._look_up(below, right).sub_(self._look_up(above, right))
        sums.sub_(self._look_up(below, left)).add_(self._look_up(above, left))
        return sums.view(torch.uint16).float()

    def _grid(self, frame: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Tensor:
        """Sum where all images have the same rectangles, twice as fast as with four look-ups: rows, then columns."""
        device, shape = self._table.device, (len(frame), rows.shape[2], columns.shape[2])
        above, below = (torch.from_numpy(edge[0]).to(device) for edge in rows)
        lines = (self.width + 1) * np.arange(shape[1])[:, None]
        left, right = (
            torch.from_numpy((lines + edge).astype(np.int32).reshape(-1)).to(device) for edge in columns[:, 0]
        )
        sums = torch.empty((shape[0], shape[1] * shape[2]), dtype=torch.int64, device=device)
        for i, one in zip(frame, sums):  # one image at a time stays in the cache
            table = self._table.view(self.n, self.height + 1, self.width + 1)[i]
            band = table.index_select(0, below).sub_(table.index_select(0, above)).view(-1)
            torch.sub(band.index_select(0, right), band.index_select(0, left), out=one)
        sums = sums.view(shape)
        return sums.view(torch.uint16).float()

    def _look_up(self, row: np.ndarray, column: np.ndarray) -> Tensor:
        index = row.astype(np.int32)[:, :, None] + column.astype(np.int32)[:, None]
        found = self._table.index_select(0, torch.from_numpy(index.reshape(-1)).to(self._table.device))
        return found.view(index.shape)


class AreaResizer:
    """The crops of IntegralImage, to float rounding, by matrix products: faster for a few boxes in many images.

    Parameters
    ----------
    images : sequence of ndarray, shape (h, w, 3), uint8
        All of one size.
    device : torch.device
    """

    def __init__(self, images: Sequence[np.ndarray], device: torch.device) -> None:
        self._images, self._device = images, device
        self.height, self.width, _ = images[0].shape

    def crop(self, frame: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> Tensor:
        """Cut boxes out of the images and resize them; see `IntegralImage.crop`."""
        crops = torch.zeros((len(frame), *size, 4))
        for crop, i, (x0, y0, x1, y1) in zip(crops, frame, box):
            part = torch.from_numpy(self._images[i][y0:y1, x0:x1]).float()
            tall, wide = _averaging(y1 - y0, size[0]), _averaging(x1 - x0, size[1])
            band = (tall @ part.view(y1 - y0, -1)).view(size[0], x1 - x0, 3).transpose(1, 2).reshape(-1, x1 - x0)
            crop[..., :3] = (band @ wide.T).view(size[0], 3, size[1]).transpose(1, 2)
        return crops.to(self._device).permute(0, 3, 1, 2)


@lru_cache(1024)
def _averaging(length: int, n: int) -> Tensor:
    """Build the matrix (n, length) that averages over the bins of a side."""
    first, last = bins(0, length, n)[:, 0, :, None]
    i = np.arange(length)
    return torch.from_numpy(((i >= first) & (i < last)) / (last - first)).float()


def bins(start: np.ndarray | int, stop: np.ndarray | int, n: int) -> np.ndarray:
    """Divide ranges into bins that touch or overlap, as adaptive pooling does.

    Parameters
    ----------
    start, stop : ndarray, shape (m,), or int
    n : int
        Number of bins.

    Returns
    -------
    ndarray, shape (2, m, n)
        First and last + 1 element of each bin.
    """
    start, i = np.reshape(start, (-1, 1)), np.arange(n)
    length = np.reshape(stop, (-1, 1)) - start
    return np.stack((start + i * length // n, start - (i + 1) * -length // n))


def _halves(bins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divide every bin (2, m, n) in two."""
    first, last = bins
    middle = (first + last) // 2
    return np.stack((first, middle)), np.stack((middle, last))
