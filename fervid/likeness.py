"""How alike two looks are, wherever the camera pointed and however bright it was, on thumbnails -> -1..1."""

import math
from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np

__all__ = ["DOUBTFUL", "FLAT", "THUMB", "Sight", "change", "correlation", "likeness", "still", "thumbnails"]

#: Rows and columns of a thumbnail.
THUMB = (18, 32)
#: A thumbnail of less contrast (standard deviation, of 255) shows nothing: black, white, a title card's ground.
FLAT = 4.0
#: Where the `change` from one look to the next is no more than this, no shot begins, unless by a dissolve or a fade.
DOUBTFUL = 0.15


def thumbnails(picture: np.ndarray) -> np.ndarray:
    """Pictures (n, h, w, 3) -> their means over 18 x 32 fields (n, 18, 32, 3) uint8."""
    from PIL import Image

    down, across = (max(1, side // (3 * fields)) for side, fields in zip(picture.shape[1:3], THUMB))
    sparse = picture[:, ::down, ::across]  # three rows and columns of a field are enough
    shrunk = (Image.fromarray(one).resize(THUMB[::-1], Image.Resampling.BOX) for one in sparse)
    small = [np.asarray(one) for one in shrunk]
    return np.stack(small) if small else np.zeros((0, *THUMB, 3), np.uint8)


def change(thumb: np.ndarray, before: np.ndarray | None = None) -> np.ndarray:
    """How little each of n thumbnails is like the one before it -> (n,): 0 for the same, 1 for another, 2 at most.

    Above DOUBTFUL a shot may begin: every hard cut is there, and fast motion and flashes too. `before` is the last
    thumbnail (18, 32, 3) of those that came earlier; without it the first of them counts as new. A dissolve shows
    when pictures farther apart are compared: with the thumbnail of the last look that was searched for faces, say.
    """
    seen = thumb.astype(np.float64) if before is None else np.concatenate([before[None], thumb]).astype(np.float64)
    centred = seen - seen.mean((1, 2), keepdims=True)
    power = (centred**2).sum((1, 2, 3))
    product = (centred[1:] * centred[:-1]).sum((1, 2, 3))
    alike = product / np.sqrt(np.maximum(power[1:] * power[:-1], 1e-9))
    first = np.full(min(len(thumb), 1) if before is None else 0, 2.0)
    return np.concatenate([first, 1 - alike])


@dataclass(frozen=True)
class Sight:
    """One look: its thumbnail without the means of its colours (3, 18, 32), and what is often asked of it."""

    look: int
    pts_s: float
    centred: np.ndarray = field(repr=False)
    contrast: float

    @classmethod
    def of(cls, look: int, pts_s: float, thumb: np.ndarray) -> "Sight":
        planes = np.ascontiguousarray(thumb.transpose(2, 0, 1), np.float64).reshape(3, -1)
        centred = (planes - planes.mean(1, keepdims=True)).reshape(3, *THUMB)
        return cls(look, pts_s, centred, math.sqrt(np.vdot(centred, centred) / centred.size))

    @cached_property
    def spectrum(self) -> np.ndarray:
        """For correlation at every shift at once."""
        return np.fft.rfft2(self.centred, _PADDED)

    @cached_property
    def sums(self) -> np.ndarray:
        """Integral images (4, 19, 33) of the three planes and of their squares."""
        stacked = np.concatenate([self.centred, (self.centred**2).sum(0, keepdims=True)])
        return np.pad(stacked, [(0, 0), (1, 0), (1, 0)]).cumsum(1).cumsum(2)

    @cached_property
    def coarse(self) -> np.ndarray:
        """Means over 2 x 2 fields, as one vector: what moves a little stays where it is."""
        rows, columns = THUMB
        return self.centred.reshape(3, rows // 2, 2, columns // 2, 2).mean((2, 4)).ravel()


_PADDED = (2 * THUMB[0], 2 * THUMB[1])


@cache
def _shifts(rows: int, columns: int) -> tuple[np.ndarray, ...]:
    """Every shift so far that leaves a third of the picture in common, and the rectangles in common (in one, other)."""
    down, across = np.meshgrid(np.arange(-6, 7), np.arange(-21, 22), indexing="ij")
    area = (THUMB[0] - np.abs(down)) * (THUMB[1] - np.abs(across))
    kept = (area >= THUMB[0] * THUMB[1] / 3) & (np.abs(down) <= rows) & (np.abs(across) <= columns)
    shift = np.stack([down, across, area])[:, kept]
    down, across, _ = shift
    one = (np.maximum(down, 0), np.minimum(THUMB[0] + down, THUMB[0]),
           np.maximum(across, 0), np.minimum(THUMB[1] + across, THUMB[1]))  # fmt: skip
    return shift, np.array(one), np.array(one) - np.array([down, down, across, across])


def _within(sums: np.ndarray, box: np.ndarray) -> np.ndarray:
    top, bottom, left, right = box
    return sums[:, bottom, right] - sums[:, top, right] - sums[:, bottom, left] + sums[:, top, left]


def likeness(one: Sight, other: Sight, reach: float) -> float:
    """The best normalised correlation of two looks over shifts up to `reach` columns (and half as many rows), -1..1.

    Over the part in common, so that the camera may move (Lewis 1995, Fast Normalized Cross-Correlation).
    """
    (down, across, area), in_one, in_other = _shifts(int(reach / 2), int(reach))
    product = np.fft.irfft2((one.spectrum * np.conj(other.spectrum)).sum(0), _PADDED)[down, across]
    mine, yours = _within(one.sums, in_one), _within(other.sums, in_other)
    common = product - (mine[:3] * yours[:3]).sum(0) / area
    mine_2, yours_2 = (sums[3] - (sums[:3] ** 2).sum(0) / area for sums in (mine, yours))
    flat = area * 3 * FLAT**2
    fair = (mine_2 > flat) & (yours_2 > flat)
    return float(np.where(fair, common / np.sqrt(np.maximum(mine_2 * yours_2, 1e-9)), -1.0).max())


def still(one: Sight, other: Sight) -> float:
    """The correlation of the half of the fields that changed least, unmoved: 1 where things move before a still ground.

    Of two unrelated pictures it is about 0.75, because the half is chosen. -1 if that half shows nothing.
    """
    change = np.abs(one.centred - other.centred).sum(0)
    half = change <= np.median(change)
    mine, yours = one.centred[:, half], other.centred[:, half]
    mine, yours = (part - part.mean(1, keepdims=True) for part in (mine, yours))
    return correlation(mine, yours) if min(mine.std(), yours.std()) > FLAT else -1.0


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Of two arrays without means, unmoved: -1..1."""
    return float(np.vdot(one, other) / math.sqrt(max(np.vdot(one, one) * np.vdot(other, other), 1e-9)))
