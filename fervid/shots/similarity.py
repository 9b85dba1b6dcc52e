"""How alike two looks are, wherever the camera pointed and however bright it was, on thumbnails -> -1..1."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np

from fervid.types import THUMB

__all__ = [
    "FAST_PAN",
    "MIN_CONTRAST",
    "MIN_SIMILARITY",
    "SLOW_PAN",
    "FrameSignature",
    "correlation",
    "is_similar",
    "signatures",
    "similarity",
    "static_correlation",
]

#: A thumbnail of less contrast (standard deviation, of 255) shows nothing: black, white, a title card's ground.
MIN_CONTRAST = 4.0
#: Two looks of one shot correlate more than this; where they do unmoved, and more than _SURE, nothing else is asked.
MIN_SIMILARITY, _SURE = 0.62, 0.7
#: Else what they have in common kept its colour and its brightness within this (of 255, at one contrast), or half of it
#: changed less than this, in parts of its contrast: any head before any smooth wall is like any other, once it is
#: shifted there.
_COLOUR, _GREY, _KEPT = 6.0, 12.0, 0.3
#: What stands still changes less than this, of 255, or less than _KEPT.
_STILL = 13.0
#: How fast a camera may go, in columns of a thumbnail a second, from one look to the next, and over several; and for
#: how long at the most.
FAST_PAN, SLOW_PAN, _FOR_S = 60.0, 6.0, 0.3


@dataclass(frozen=True)
class FrameSignature:
    """One look: its thumbnail without the means of its colours, centred (3, 18, 32), and what is often asked of it.

    mean: the means of its colours (3, 1); norm: the length of `centred`; coarse (432,): its means over 2 x 2 fields,
    where what moves a little stays, and their length.
    """

    index: int
    pts_s: float
    centred: np.ndarray = field(repr=False)
    mean: np.ndarray = field(repr=False)
    norm: float
    coarse: np.ndarray = field(repr=False)
    coarse_norm: float

    @property
    def contrast(self) -> float:
        """The standard deviation of the thumbnail."""
        return self.norm / _ROOT

    @cached_property
    def spectrum(self) -> np.ndarray:
        """For correlation at every shift at once."""
        return np.fft.rfft2(self.centred, _PADDED)

    @cached_property
    def sums(self) -> np.ndarray:
        """Integral images (4, 19, 33) of the three planes and of their squares."""
        stacked = np.concatenate([self.centred, (self.centred**2).sum(0, keepdims=True)])
        return np.pad(stacked, [(0, 0), (1, 0), (1, 0)]).cumsum(1).cumsum(2)


_ROOT = math.sqrt(3 * THUMB[0] * THUMB[1])


def signatures(pts_s: np.ndarray, thumb: np.ndarray, first: int = 0) -> list[FrameSignature]:
    """Times (n,) and thumbnails (n, 18, 32, 3) -> n sights, numbered from `first`."""
    n = len(thumb)
    planes = np.ascontiguousarray(thumb.reshape(n, THUMB[0] * THUMB[1], 3).swapaxes(1, 2), np.float64)
    mean = planes.mean(2, keepdims=True)
    planes -= mean
    norm = np.sqrt((planes**2).sum((1, 2)))
    planes = planes.reshape(n, 3, *THUMB)
    rows = planes[:, :, 0::2] + planes[:, :, 1::2]
    coarse = ((rows[..., 0::2] + rows[..., 1::2]) / 4).reshape(n, 3 * THUMB[0] * THUMB[1] // 4)
    lengths = np.sqrt((coarse**2).sum(1))
    each = zip(pts_s.tolist(), planes, mean, norm.tolist(), coarse, lengths.tolist())
    return [FrameSignature(first + i, *one) for i, one in enumerate(each)]


def is_similar(one: FrameSignature, other: FrameSignature, columns_per_s: float) -> bool:
    """Whether two looks may be of one shot, with a camera of this speed. Those that show nothing are like each other.

    Where the look before, or one of the same shot, is not alike, a new shot may begin: shots.py decides when it has
    seen what follows, adaptive.py searches there at once.
    """
    if min(one.contrast, other.contrast) < MIN_CONTRAST:
        return max(one.contrast, other.contrast) < MIN_CONTRAST
    if correlation(one, other) > _SURE:
        return True
    return similarity(one, other, 4 + columns_per_s * min(abs(one.pts_s - other.pts_s), _FOR_S)) > MIN_SIMILARITY


_PADDED = (2 * THUMB[0], 2 * THUMB[1])


@cache
def _shifts(rows: int, columns: int) -> tuple[np.ndarray, ...]:
    """Every shift so far that leaves a third of the picture in common, and the rectangles in common (in one, other)."""
    down, across = np.meshgrid(np.arange(-6, 7), np.arange(-21, 22), indexing="ij")
    area = (THUMB[0] - np.abs(down)) * (THUMB[1] - np.abs(across))
    kept = (area >= THUMB[0] * THUMB[1] / 3) & (np.abs(down) <= rows) & (np.abs(across) <= columns)
    shift = np.stack([down, across, area])[:, kept]
    down, across, _ = shift
    one = (
        np.maximum(down, 0),
        np.minimum(THUMB[0] + down, THUMB[0]),
        np.maximum(across, 0),
        np.minimum(THUMB[1] + across, THUMB[1]),
    )
    return shift, np.array(one), np.array(one) - np.array([down, down, across, across])


def _within(sums: np.ndarray, box: np.ndarray) -> np.ndarray:
    top, bottom, left, right = box
    return sums[:, bottom, right] - sums[:, top, right] - sums[:, bottom, left] + sums[:, top, left]


def similarity(one: FrameSignature, other: FrameSignature, reach: float) -> float:
    """The best normalised correlation of two looks over shifts up to `reach` columns (and half as many rows), -1..1.

    Over the part in common, so that the camera may move (Lewis 1995, Fast Normalized Cross-Correlation), which
    has about the same colours then.
    """
    (down, across, area), in_one, in_other = _shifts(int(reach / 2), int(reach))
    product = np.fft.irfft2((one.spectrum * np.conj(other.spectrum)).sum(0), _PADDED)[down, across]
    mine, yours = _within(one.sums, in_one), _within(other.sums, in_other)
    common = product - (mine[:3] * yours[:3]).sum(0) / area
    mine_2, yours_2 = (sums[3] - (sums[:3] ** 2).sum(0) / area for sums in (mine, yours))
    flat = area * 3 * MIN_CONTRAST**2
    fair = (mine_2 > flat) & (yours_2 > flat)
    scores = np.where(fair, common / np.sqrt(np.maximum(mine_2 * yours_2, 1e-9)), -1.0)
    gain = np.where(fair, mine_2 / np.maximum(yours_2, 1e-9), 1.0) ** 0.25
    differ = (mine[:3] / area + one.mean) / gain - (yours[:3] / area + other.mean) * gain
    grey = differ.mean(0)
    same = (np.abs(grey) < _GREY) & (np.linalg.norm(differ - grey, axis=0) < _COLOUR)
    best = int(scores.argmax())
    if not same[best]:
        most = _KEPT * math.sqrt(max(mine_2[best], yours_2[best]) / (3 * area[best]))
        if not _unchanged(_part(one, in_one[:, best]), _part(other, in_other[:, best]), most).any():
            scores = np.where(same, scores, -1.0)
    return float(scores.max())


def _part(sight: FrameSignature, box: Iterable[int]) -> np.ndarray:
    """The fields (3, n) in a rectangle, in their own colours."""
    top, bottom, left, right = box
    return sight.centred[:, top:bottom, left:right].reshape(3, -1) + sight.mean


def _unchanged(mine: np.ndarray, yours: np.ndarray, most: float) -> np.ndarray:
    """The half of the fields (n,) that changed least; none if it changed by more than `most`, of 255."""
    change = np.linalg.norm(mine - yours, axis=0) / math.sqrt(3)
    middle = np.median(change)
    return (change <= middle) & (middle <= most)


def static_correlation(one: FrameSignature, other: FrameSignature) -> float:
    """The correlation of the half of the fields that changed least, unmoved: 1 where things move before a still ground.

    Of two unrelated pictures it is about 0.75, because the half is chosen. -1 if it changed too, or shows nothing.
    """
    mine, yours = (_part(sight, (0, THUMB[0], 0, THUMB[1])) for sight in (one, other))
    half = _unchanged(mine, yours, max(_STILL, _KEPT * max(one.contrast, other.contrast)))
    if not half.any():
        return -1.0
    mine, yours = (part[:, half] - part[:, half].mean(1, keepdims=True) for part in (mine, yours))
    if min(mine.std(), yours.std()) <= MIN_CONTRAST:
        return -1.0
    return float(np.vdot(mine, yours) / math.sqrt(np.vdot(mine, mine) * np.vdot(yours, yours)))


def correlation(one: FrameSignature, other: FrameSignature) -> float:
    """Of two looks, unmoved: -1..1."""
    return float(one.centred.ravel().dot(other.centred.ravel())) / max(one.norm * other.norm, 1e-9)
