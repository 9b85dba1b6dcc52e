"""Cut a long video into pieces that can be read apart: planned from the packets of the file, and from nothing else."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

__all__ = ["SEGMENT_S", "WHOLE", "Index", "NotSplittable", "Segment", "plan_segments"]

#: A piece is at least this long: a worker decodes up to two groups of pictures (ten seconds each) beside its own.
SEGMENT_S = 120.0
#: Frames are right from so many seconds before a piece on: its looks are taken up at the look before (see shards.py).
BEFORE_S = 5.0
#: Packets of a stream are at most so many places away from the order of display: 16 in H.264 and HEVC (annexes A).
_REORDERED = 32
_LONGEST_GAP_S = 3600


class NotSplittable(Exception):
    """This video has to be read by one worker, from its start to its end; the message says why, in a few words."""


@dataclass(frozen=True)
class Index:
    """The n packets of one stream in the order of the file: pts (n,) int64 in ticks, key (n,) bool; seconds a tick."""

    pts: np.ndarray
    key: np.ndarray
    tick: Fraction


@dataclass(frozen=True)
class Segment:
    """The frames with start <= pts < stop, in ticks; decoding begins at `seek`, the last key frame but one that is
    BEFORE_S before the start: what follows the last one is right, also where groups of pictures are open.

    None is the start of the file for `seek` and `start`, and its end for `stop`.
    """

    number: int
    seek: int | None
    start: int | None
    stop: int | None


WHOLE = Segment(0, None, None, None)


def plan_segments(index: Index, piece_s: float = SEGMENT_S) -> list[Segment]:
    """Cut at key frames, as soon as a piece is piece_s long. Pieces cover everything and do not overlap.

    A key frame is a cut if nothing before it in the file is shown after it, and nothing behind the next key frame is
    shown before it. NotSplittable if fewer than two pieces come out, or if the timestamps are not those of one clock.
    """
    pts, key = index.pts, index.key
    if not len(pts) or not key[0]:
        raise NotSplittable("it does not begin with a key frame")
    _check_clock(pts, index.tick)
    sound = _sound_cuts(pts, key)
    least, before, last, final = piece_s / float(index.tick), BEFORE_S / float(index.tick), pts[0], pts.max()
    cuts: list[tuple[int, int | None]] = []
    for at in pts[sound].tolist():
        if at - last >= least and final - at >= least / 2:
            seeks = [key for key in pts[sound].tolist() if key <= at - before]
            cuts.append((at, seeks[-2] if len(seeks) > 1 else None))
            last = at
    if not cuts:
        raise NotSplittable(f"no two pieces of {piece_s:g} s between its key frames")
    starts = [(None, None), *cuts]
    stops = [*(at for at, _ in cuts), None]
    return [Segment(i, seek, start, stop) for i, ((start, seek), stop) in enumerate(zip(starts, stops))]


def _check_clock(pts: np.ndarray, tick: Fraction) -> None:
    order = np.argsort(pts, kind="stable")
    steps = np.diff(pts[order])
    if (steps == 0).any():
        raise NotSplittable("timestamps that repeat")
    if (steps * float(tick) > _LONGEST_GAP_S).any() or (abs(order - np.arange(len(pts))) > _REORDERED).any():
        raise NotSplittable("timestamps that jump")


def _sound_cuts(pts: np.ndarray, key: np.ndarray) -> list[int]:
    """Indices of the key frames, but for the first, at which the file can be cut."""
    places = np.flatnonzero(key)
    following = np.append(places[1:], len(pts))
    latest = np.maximum.accumulate(pts)
    earliest = np.append(np.minimum.accumulate(pts[::-1])[::-1], np.iinfo(np.int64).max)
    return [int(i) for i, n in zip(places, following) if i and latest[i - 1] < pts[i] < earliest[n]]
