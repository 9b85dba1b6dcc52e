"""Compare thumbnails of two frames, whatever the camera's direction and the brightness -> -1..1."""

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

#: A thumbnail of less contrast (standard deviation, of 255) is blank: black, white, the background of a title card.
MIN_CONTRAST = 4.0
#: Two frames of one shot correlate by more than this. Above _SURE without any shift, no further test is made.
MIN_SIMILARITY, _SURE = 0.62, 0.7
#: Otherwise their common part must have kept its colour and its brightness within these (of 255, at equal contrast), or
#: half of it changed by less than _KEPT times its contrast: correlation alone finds any head in front of any smooth
#: wall similar to any other, once it is shifted there.
_COLOUR, _GREY, _KEPT = 6.0, 12.0, 0.3
#: Static pixels change by less than this, of 255, or by less than _KEPT times the contrast.
_STATIC = 13.0
#: The fastest pan of a camera, in columns of a thumbnail per second, from one frame to the next and over several; and
#: the longest time for which it counts, in seconds.
FAST_PAN, SLOW_PAN, _PAN_S = 60.0, 6.0, 0.3


@dataclass(frozen=True)
class FrameSignature:
    """The thumbnail of one frame, prepared for comparison.

    Attributes
    ----------
    index : int
        The number of the frame among the sampled ones.
    pts_s : float
        Its time in seconds.
    centred : ndarray, shape (3, 18, 32), float64
        The thumbnail without the mean of each colour plane.
    mean : ndarray, shape (3, 1)
        The means of the colour planes.
    norm : float
        The Euclidean norm of `centred`.
    coarse : ndarray, shape (432,)
        `centred`, averaged over blocks of 2 x 2, which tolerate small movements.
    coarse_norm : float
        The Euclidean norm of `coarse`.
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
        """The zero-padded Fourier transform, for the correlation at all shifts at once."""
        return np.fft.rfft2(self.centred, _PADDED)

    @cached_property
    def sums(self) -> np.ndarray:
        """The integral images (4, 19, 33) of the three planes and of the sum of their squares."""
        stacked = np.concatenate([self.centred, (self.centred**2).sum(0, keepdims=True)])
        return np.pad(stacked, [(0, 0), (1, 0), (1, 0)]).cumsum(1).cumsum(2)


_ROOT = math.sqrt(3 * THUMB[0] * THUMB[1])
_PADDED = (2 * THUMB[0], 2 * THUMB[1])


def signatures(pts_s: np.ndarray, thumb: np.ndarray, first: int = 0) -> list[FrameSignature]:
    """Prepare frames for comparison.

    Parameters
    ----------
    pts_s : ndarray, shape (n,)
        Seconds.
    thumb : ndarray, shape (n, 18, 32, 3), uint8
        Thumbnails, RGB.
    first : int
        The index of the first frame.

    Returns
    -------
    list of FrameSignature
        n of them.
    """
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
    """Report whether two frames may belong to one shot, given the speed of the camera. Blank frames are all similar.

    A frame that is not similar to the one before may start a new shot: the shot detector decides when it has seen what
    follows; the search between keyframes treats it as a keyframe at once.

    Parameters
    ----------
    one, other : FrameSignature
    columns_per_s : float
        FAST_PAN between neighbours, SLOW_PAN over several frames.

    Returns
    -------
    bool
    """
    if min(one.contrast, other.contrast) < MIN_CONTRAST:
        return max(one.contrast, other.contrast) < MIN_CONTRAST
    if correlation(one, other) > _SURE:
        return True
    return similarity(one, other, 4 + columns_per_s * min(abs(one.pts_s - other.pts_s), _PAN_S)) > MIN_SIMILARITY


def similarity(one: FrameSignature, other: FrameSignature, reach: float) -> float:
    """Compute the best normalised correlation of two frames over all shifts of the camera.

    It is computed on the part that both frames show (Lewis 1995, Fast Normalized Cross-Correlation), whose colours must
    be about the same.

    Parameters
    ----------
    one, other : FrameSignature
    reach : float
        The largest shift in columns of the thumbnail; half as many rows.

    Returns
    -------
    float
        -1..1.
    """
    (down, across, area), in_one, in_other = _shifts(int(reach / 2), int(reach))
    product = np.fft.irfft2((one.spectrum * np.conj(other.spectrum)).sum(0), _PADDED)[down, across]
    sums_1, sums_2 = _box_sums(one.sums, in_one), _box_sums(other.sums, in_other)
    covariance = product - (sums_1[:3] * sums_2[:3]).sum(0) / area
    variance_1, variance_2 = (sums[3] - (sums[:3] ** 2).sum(0) / area for sums in (sums_1, sums_2))
    blank = area * 3 * MIN_CONTRAST**2
    valid = (variance_1 > blank) & (variance_2 > blank)
    scores = np.where(valid, covariance / np.sqrt(np.maximum(variance_1 * variance_2, 1e-9)), -1.0)
    gain = np.where(valid, variance_1 / np.maximum(variance_2, 1e-9), 1.0) ** 0.25
    difference = (sums_1[:3] / area + one.mean) / gain - (sums_2[:3] / area + other.mean) * gain
    grey = difference.mean(0)
    same_colour = (np.abs(grey) < _GREY) & (np.linalg.norm(difference - grey, axis=0) < _COLOUR)
    best = int(scores.argmax())
    if not same_colour[best]:
        limit = _KEPT * math.sqrt(max(variance_1[best], variance_2[best]) / (3 * area[best]))
        if not _unchanged(_part(one, in_one[:, best]), _part(other, in_other[:, best]), limit).any():
            scores = np.where(same_colour, scores, -1.0)
    return float(scores.max())


def static_correlation(one: FrameSignature, other: FrameSignature) -> float:
    """Correlate the half of two thumbnails that changed least, without a shift.

    Parameters
    ----------
    one, other : FrameSignature

    Returns
    -------
    float
        1 where things move in front of a static background; about 0.75 for unrelated images, because the half is
        selected; -1 if that half changed too, or is blank.
    """
    pixels_1, pixels_2 = (_part(frame, (0, THUMB[0], 0, THUMB[1])) for frame in (one, other))
    half = _unchanged(pixels_1, pixels_2, max(_STATIC, _KEPT * max(one.contrast, other.contrast)))
    if not half.any():
        return -1.0
    a, b = (pixels[:, half] - pixels[:, half].mean(1, keepdims=True) for pixels in (pixels_1, pixels_2))
    if min(a.std(), b.std()) <= MIN_CONTRAST:
        return -1.0
    return float(np.vdot(a, b) / math.sqrt(np.vdot(a, a) * np.vdot(b, b)))


def correlation(one: FrameSignature, other: FrameSignature) -> float:
    """Correlate two thumbnails without a shift.

    Parameters
    ----------
    one, other : FrameSignature

    Returns
    -------
    float
        -1..1.
    """
    return float(one.centred.ravel().dot(other.centred.ravel())) / max(one.norm * other.norm, 1e-9)


@cache
def _shifts(rows: int, columns: int) -> tuple[np.ndarray, ...]:
    """List the shifts up to so many rows and columns that leave at least a third of the thumbnail in common.

    -> the shifts with their common areas (3, n), and the common rectangle in one and in the other frame (4, n).
    """
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


def _box_sums(sums: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Look up the sums over rectangles (4, n) in integral images (p, h, w) -> (p, n)."""
    top, bottom, left, right = box
    return sums[:, bottom, right] - sums[:, top, right] - sums[:, bottom, left] + sums[:, top, left]


def _part(frame: FrameSignature, box: Iterable[int]) -> np.ndarray:
    """Return the pixels (3, n) in a rectangle, in their original colours."""
    top, bottom, left, right = box
    return frame.centred[:, top:bottom, left:right].reshape(3, -1) + frame.mean


def _unchanged(one: np.ndarray, other: np.ndarray, limit: float) -> np.ndarray:
    """Mark the half of the pixels (n,) that changed least; none if it changed by more than `limit`, of 255."""
    change = np.linalg.norm(one - other, axis=0) / math.sqrt(3)
    median = np.median(change)
    return (change <= median) & (median <= limit)
