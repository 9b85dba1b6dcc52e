"""Split a long video into segments that can be decoded independently, planned from the file's packets alone."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

__all__ = ["BEFORE_S", "SEGMENT_S", "WHOLE", "Index", "NotSplittable", "Segment", "plan_segments"]

#: A segment is at least this long: a worker decodes up to two groups of pictures (ten seconds each) beside its own.
SEGMENT_S = 120.0
#: Frames are correct from this many seconds before a segment on: its samples continue those before it (jobs.shards).
BEFORE_S = 5.0
#: Packets are at most this many places away from display order: 16 frames in H.264 and HEVC (annexes A).
_MAX_REORDER = 32
_MAX_GAP_S = 3600


class NotSplittable(Exception):
    """This video must be read by one worker, from start to end; the message says why, in a few words."""


@dataclass(frozen=True)
class Index:
    """The n packets of one stream, in file order.

    Attributes
    ----------
    pts : ndarray, shape (n,), int64
        Presentation timestamps, in ticks.
    key : ndarray, shape (n,), bool
        Whether a packet holds a keyframe.
    tick : Fraction
        Seconds per tick.
    """

    pts: np.ndarray
    key: np.ndarray
    tick: Fraction


@dataclass(frozen=True)
class Segment:
    """The frames with start <= pts < stop.

    Attributes
    ----------
    number : int
        From 0.
    seek : int or None
        Timestamp of the keyframe at which decoding starts, in ticks: the last but one that is BEFORE_S before `start`.
        What follows the last one is correct then, also where groups of pictures are open. None: the start of the file.
    start, stop : int or None
        In ticks; None: the start, or the end, of the file.
    """

    number: int
    seek: int | None
    start: int | None
    stop: int | None


WHOLE = Segment(0, None, None, None)


def plan_segments(index: Index, segment_s: float = SEGMENT_S) -> list[Segment]:
    """Split at keyframes, as soon as a segment is long enough. Segments cover everything and do not overlap.

    A keyframe is a clean split point if no packet before it in the file is displayed after it, and no packet after the
    next keyframe is displayed before it.

    Parameters
    ----------
    index : Index
    segment_s : float
        The least length of a segment; half of it for the last one.

    Returns
    -------
    list of Segment
        At least two.

    Raises
    ------
    NotSplittable
        If there are fewer than two segments, or if the timestamps do not belong to one clock.
    """
    pts, key = index.pts, index.key
    if not len(pts) or not key[0]:
        raise NotSplittable("it does not begin with a keyframe")
    _check_clock(pts, index.tick)
    clean = pts[_clean_split_points(pts, key)].tolist()
    least, before, last, final = segment_s / float(index.tick), BEFORE_S / float(index.tick), pts[0], pts.max()
    splits: list[tuple[int, int | None]] = []
    for at in clean:
        if at - last >= least and final - at >= least / 2:
            seeks = [keyframe for keyframe in clean if keyframe <= at - before]
            splits.append((at, seeks[-2] if len(seeks) > 1 else None))
            last = at
    if not splits:
        raise NotSplittable(f"no two segments of {segment_s:g} s between its keyframes")
    starts = [(None, None), *splits]
    stops = [*(at for at, _ in splits), None]
    return [Segment(i, seek, start, stop) for i, ((start, seek), stop) in enumerate(zip(starts, stops))]


def _check_clock(pts: np.ndarray, tick: Fraction) -> None:
    order = np.argsort(pts, kind="stable")
    steps = np.diff(pts[order])
    if (steps == 0).any():
        raise NotSplittable("its timestamps repeat")
    if (steps * float(tick) > _MAX_GAP_S).any() or (abs(order - np.arange(len(pts))) > _MAX_REORDER).any():
        raise NotSplittable("its timestamps jump")


def _clean_split_points(pts: np.ndarray, key: np.ndarray) -> list[int]:
    """Return the indices of the keyframes, but for the first, at which the file can be split."""
    places = np.flatnonzero(key)
    following = np.append(places[1:], len(pts))
    latest = np.maximum.accumulate(pts)
    earliest = np.append(np.minimum.accumulate(pts[::-1])[::-1], np.iinfo(np.int64).max)
    return [int(i) for i, n in zip(places, following) if i and latest[i - 1] < pts[i] < earliest[n]]
