"""Detect shot boundaries on thumbnails of the sampled frames as they pass -> ShotBatch.

There is a cut where no frame of the 0.5 seconds before it is similar to any frame of the 0.5 seconds after it, wherever
the camera points. A flash, a strobe or an explosion, after which the same image returns, is therefore no cut, and
neither is a fast pan, which shifts the image. Nor is there a cut where half of the image stays the same: people walk in
front of the camera. Similarity is the best correlation over all shifts, which ignores brightness and contrast.

A dissolve is found by its middle, which is a mixture of the frames before and after it; a fade by the contrast that
falls before the boundary or rises after it.
"""

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

import numpy as np

from fervid.runtime.profiling import stage
from fervid.shots.similarity import (
    FAST_PAN,
    MIN_CONTRAST,
    MIN_SIMILARITY,
    SLOW_PAN,
    FrameSignature,
    is_similar,
    signatures,
    static_correlation,
)
from fervid.types import FaceBatch, ShotBatch

__all__ = ["Shot", "ShotDetector", "assign_shots"]

#: Frames this close to a candidate cut are compared across it; it is decided when they have all been seen.
_REACH_S = 0.5
#: Two frames of one shot correlate by more than this in the half of the image that changed least.
_MIN_STATIC_CORRELATION = 0.93
#: The lengths of dissolve that are tried, how long to wait for a better one, and how often to search.
_DISSOLVE_LENGTHS_S = (0.4, 0.6, 0.8, 1.0, 1.4, 2.0)
_SETTLE_S, _STEP_S = 0.3, 0.07
#: Frames this far behind the newest are final (half of the longest dissolve, and the wait), and so are all but the
#: newest _MAX_PENDING ones.
_FINAL_S, _MAX_PENDING = 1.6, 160
#: Seconds of signatures that are kept: the longest dissolve, with margin.
_KEPT_S = 2.6


@dataclass(frozen=True)
class Shot:
    """A shot [start_s, end_s).

    Attributes
    ----------
    shot : int
        Its number, from 0.
    start_s, end_s : float
        Seconds.
    kind : str
        How it begins: "start", "cut", "fade" or "dissolve".
    from_s, to_s : float
        The transition into it, from the last frame that shows only the shot before to the first that shows only this.
    """

    shot: int
    start_s: float
    end_s: float
    kind: str
    from_s: float
    to_s: float


def assign_shots(faces: Iterable[FaceBatch], detector: "ShotDetector") -> Iterator[ShotBatch]:
    """Assign each sampled frame the number of its shot.

    Parameters
    ----------
    faces : iterable of FaceBatch
        With thumbnails of the sampled frames.
    detector : ShotDetector
        Fresh; it knows all shots when the iterator is exhausted.

    Yields
    ------
    ShotBatch
        One per batch, in order, up to 1.6 seconds of video later.
    """
    waiting: deque[tuple[int, FaceBatch]] = deque()
    first = 0
    for batch in faces:
        waiting.append((first, batch))
        first += len(batch.sampled_s)
        with stage("shots"):
            detector.push(batch.sampled_s, batch.thumb)
        while waiting and waiting[0][0] + len(waiting[0][1].sampled_s) <= detector.settled:
            yield _numbered(*waiting.popleft(), detector)
    detector.finish()
    while waiting:
        yield _numbered(*waiting.popleft(), detector)


def _numbered(first: int, batch: FaceBatch, detector: "ShotDetector") -> ShotBatch:
    columns = {f.name: getattr(batch, f.name) for f in fields(batch) if f.name != "thumb"}
    starts = [boundary.index for boundary in detector.boundaries]
    shot = np.searchsorted(starts, np.arange(first, first + len(batch.sampled_s)), side="right").astype(np.int32)
    return ShotBatch(**columns, shot=shot)


@dataclass(frozen=True)
class _Boundary:
    """The first frame of a shot, by index and time, and the transition into it (see Shot)."""

    index: int
    pts_s: float
    kind: str
    from_s: float
    to_s: float


class ShotDetector:
    """Find shot boundaries in sampled frames as they are pushed; memory does not grow with the length of a shot.

    Parameters
    ----------
    enabled : bool
        Without it, the whole video is one shot.

    Attributes
    ----------
    boundaries : list
        The boundaries found so far, each with `index` (its first frame), `pts_s`, `kind`, `from_s` and `to_s`.
    settled : int
        The number of frames whose shot is final.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled = enabled
        self.boundaries: list[_Boundary] = []
        self.settled = 0
        self._n = 0
        self._first_s = self._last_s = 0.0
        self._seen: deque[FrameSignature] = deque()  # frames of the last seconds that have contrast
        self._candidates: deque[int] = deque()  # frames before which there may be a cut
        self._dissolve: _Dissolve | None = None
        self._searched_s = -math.inf  # when a dissolve was last searched for

    def push(self, pts_s: np.ndarray, thumb: np.ndarray) -> None:
        """Process the next sampled frames; the size of the batches makes no difference.

        Parameters
        ----------
        pts_s : ndarray, shape (n,)
            Seconds.
        thumb : ndarray, shape (n, 18, 32, 3), uint8
            Thumbnails, RGB.
        """
        if self._n == 0 and len(pts_s):
            self._first_s = float(pts_s[0])
        for frame in signatures(pts_s, thumb, self._n):
            self._n, self._last_s = self._n + 1, frame.pts_s
            self._push(frame)

    def _push(self, frame: FrameSignature) -> None:
        if not self.enabled:
            self.settled = self._n
            return
        if frame.contrast >= MIN_CONTRAST:
            self._compare(frame)
        recent = next((one.index for one in self._seen if frame.pts_s - one.pts_s <= _FINAL_S), self._n)
        earliest = min([recent, *self._candidates, self._n])
        self.settled = max(self.settled, earliest, self._n - _MAX_PENDING)

    def finish(self) -> None:
        """Decide all pending candidates: no more frames will come."""
        while self._candidates:
            self._decide(self._candidates.popleft())
        if self._dissolve:
            self._add_dissolve(self._dissolve)
        self.settled = self._n

    def shots(self, end_s: float | None = None) -> list[Shot]:
        """List the shots found so far.

        Parameters
        ----------
        end_s : float, optional
            Where the last shot ends; by default, and at least, the time of the last frame.

        Returns
        -------
        list of Shot
        """
        if self._n == 0:
            return []
        start = _Boundary(0, self._first_s, "start", self._first_s, self._first_s)
        starts, end_s = [start, *self.boundaries], self._last_s if end_s is None else max(end_s, self._last_s)
        ends = [*(boundary.pts_s for boundary in self.boundaries), end_s]
        return [Shot(i, b.pts_s, end, b.kind, b.from_s, b.to_s) for i, (b, end) in enumerate(zip(starts, ends))]

    def _compare(self, frame: FrameSignature) -> None:
        """Find candidate cuts and dissolves at a frame, and decide the candidates for which enough has been seen."""
        before = self._seen[-1] if self._seen else None
        self._seen.append(frame)
        if before is not None and not is_similar(before, frame, FAST_PAN):
            self._candidates.append(frame.index)
        while self._candidates and self._can_decide(self._candidates[0], frame):
            self._decide(self._candidates.popleft())
        self._search_dissolve(frame)
        seen = self._seen
        while len(seen) > 4 and (frame.pts_s - seen[2].pts_s > _KEPT_S or len(seen) > 4 * _MAX_PENDING):
            seen.popleft()

    def _can_decide(self, index: int, newest: FrameSignature) -> bool:
        """Report whether enough follows a candidate: half a second, and at least one more frame."""
        candidate = next((one for one in self._seen if one.index == index), newest)
        behind = sum(one.index > index for one in self._seen)
        return behind >= 1 and (newest.pts_s + 1e-6 >= candidate.pts_s + _REACH_S or behind >= _MAX_PENDING // 4)

    def _decide(self, index: int) -> None:
        """Add a boundary unless some frame before the candidate is similar to some frame after it."""
        floor = self.boundaries[-1].index if self.boundaries else 0
        old = [one for one in self._seen if floor <= one.index < index]
        new = [one for one in self._seen if one.index >= index]
        if not old or not new:
            return
        near = _representatives([one for one in reversed(old) if old[-1].pts_s - one.pts_s <= _REACH_S] + old[-2:-1])
        far = _representatives([one for one in new if one.pts_s - new[0].pts_s <= _REACH_S] + new[1:2])
        if any(is_similar(a, b, SLOW_PAN) for b in far for a in near):
            return
        if any(static_correlation(a, b) > _MIN_STATIC_CORRELATION for b in far for a in near):
            return
        self._add(_cut_or_fade(old, new))

    def _add(self, boundary: _Boundary) -> None:
        if boundary.index < max(self.settled, self.boundaries[-1].index + 1 if self.boundaries else 1):
            return
        self.boundaries.append(boundary)
        self._dissolve = None
        self._candidates = deque(index for index in self._candidates if index > boundary.index)

    def _search_dissolve(self, frame: FrameSignature) -> None:
        if frame.pts_s < self._searched_s + _STEP_S:
            return
        self._searched_s = frame.pts_s
        best = self._dissolve
        if best and frame.pts_s > best.end.pts_s + _SETTLE_S and not self._candidates:
            self._add_dissolve(best)
            best = None
        floor = self.boundaries[-1].index if self.boundaries else 0
        past = [one for one in self._seen if one.index >= floor]
        times = [one.pts_s for one in past]
        for length_s in _DISSOLVE_LENGTHS_S:
            i = bisect_left(times, frame.pts_s - length_s - 1e-6)
            if frame.pts_s - times[0] < length_s - 1e-6 or len(past) - i < 3:
                continue
            found = _Dissolve.of(past[i:])
            if found and (best is None or found.strength > 1.02 * best.strength):
                self._dissolve = best = found

    def _add_dissolve(self, found: "_Dissolve") -> None:
        self._dissolve = None
        self._add(_Boundary(found.middle.index, found.middle.pts_s, "dissolve", found.start.pts_s, found.end.pts_s))


@dataclass(frozen=True)
class _Dissolve:
    """A dissolve from one frame to another; of several that overlap, the strongest counts."""

    start: FrameSignature
    middle: FrameSignature
    end: FrameSignature
    strength: float

    @classmethod
    def of(cls, frames: list[FrameSignature]) -> "_Dissolve | None":
        """Return the dissolve that these frames form, or None.

        The inner frames must be mixtures of the first and the last, in which the share of the last grows step by step.
        """
        start, end = frames[0], frames[-1]
        same = float(start.coarse.dot(end.coarse)) / max(start.coarse_norm * end.coarse_norm, 1e-9)
        if same > MIN_SIMILARITY:
            return None
        middle = frames[len(frames) // 2].coarse
        if np.linalg.norm(start.coarse + end.coarse - 2 * middle) > 1.2 * np.linalg.norm(middle):  # far from a mixture
            return None
        inner = [frames[round(k * (len(frames) - 1) / 4)] for k in (1, 2, 3)] if len(frames) > 4 else frames[1:-1]
        basis = np.stack([start.coarse, end.coarse], 1)
        seen = np.stack([one.coarse for one in inner], 1)
        share = np.linalg.solve(basis.T @ basis + 1e-6 * np.eye(2), basis.T @ seen)
        residual = np.linalg.norm(seen - basis @ share, axis=0) / np.linalg.norm(seen, axis=0)
        gained = share[1] / np.maximum(share.sum(0), 1e-6)
        middle = gained[len(inner) // 2]
        fits = (residual < 0.2).all() and (np.abs(share.sum(0) - 1) < 0.3).all() and 0.2 < middle < 0.8
        if not fits or (np.diff(gained) < 0.05).any() or gained.min() < 0 or gained.max() > 1:
            return None
        change = (start.coarse - end.coarse).reshape(3, -1)
        change = np.abs(change - np.median(change, 1, keepdims=True))
        if np.median(change) < 0.35 * change.mean():  # only a part changes: people move in front of a static background
            return None
        if is_similar(start, end, SLOW_PAN):
            return None
        strength = (1 - same) * (1 - float(residual.mean()))
        return cls(start, inner[int(np.abs(gained - 0.5).argmin())], end, strength)


def _representatives(frames: list[FrameSignature]) -> list[FrameSignature]:
    """Choose at most four frames: the two nearest (light and dark of a strobe), the farthest, and one in between."""
    unique = list({one.index: one for one in frames}.values())
    last = len(unique) - 1
    return [unique[i] for i in sorted({0, min(1, last), (last + 1) // 2, last})]


def _cut_or_fade(old: list[FrameSignature], new: list[FrameSignature]) -> _Boundary:
    """Distinguish a fade from a cut: the contrast of a fade falls towards the boundary, or rises after it, or both."""
    falls = _ramp([one for one in reversed(old) if old[-1].pts_s - one.pts_s < 2.0])
    rises = _ramp(new)
    kind = "fade" if falls or rises else "cut"
    return _Boundary(new[0].index, new[0].pts_s, kind, (falls or old[-1]).pts_s, (rises or new[0]).pts_s)


def _ramp(frames: list[FrameSignature]) -> FrameSignature | None:
    """Return the frame, counted away from a boundary, at which the contrast is full; None if there is no ramp."""
    full = frames[0]
    for one in frames[1:]:
        if one.contrast < 1.02 * full.contrast:
            break
        full = one
    return full if frames[0].contrast < 0.6 * full.contrast else None
