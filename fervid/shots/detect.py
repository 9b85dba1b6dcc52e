"""Find where shots end, on thumbnails of the looks as they pass -> ShotBatch. Nothing is decoded or kept twice.

A cut lies where nothing of the last 0.5 seconds looks like anything of the next 0.5, wherever the camera pointed: so a
flash, a strobe or an explosion, after which the picture comes back, is none, and a fast pan, which moves it, is none.
Nor is it a cut where half of the picture stays what it was: somebody walks before the camera.
Likeness is correlation, blind to brightness and contrast, at the best of all shifts. A dissolve is found by its
middle, which is a mixture of what was before and what comes after; a fade by the contrast that goes and comes.
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

#: Looks this far from a cut are compared across it, and it is decided when they have passed.
_REACH_S = 0.5
#: Two looks of one shot correlate more than this in the half of the picture that changed least.
_STILL = 0.93
#: The lengths of dissolve that are tried, and how long a better one is waited for.
_SPANS_S = (0.4, 0.6, 0.8, 1.0, 1.4, 2.0)
_SETTLE_S, _STEP_S = 0.3, 0.07
#: Looks behind the newest that are decided for good: the longest dissolve's half, and the wait. Never more than _HELD.
_BEHIND_S, _HELD = 1.6, 160


@dataclass(frozen=True)
class Shot:
    """A shot [start_s, end_s) and how it begins: kind "start", "cut", "fade" or "dissolve".

    from_s and to_s: the change into it, from the last look that is all of the shot before to the first that is all new.
    """

    shot: int
    start_s: float
    end_s: float
    kind: str
    from_s: float
    to_s: float


def assign_shots(faces: Iterable[FaceBatch], finder: "ShotDetector") -> Iterator[ShotBatch]:
    """Give every look the number of its shot; batches come out as they went in, up to 1.6 seconds later."""
    waiting: deque[tuple[int, FaceBatch]] = deque()
    first = 0
    for batch in faces:
        waiting.append((first, batch))
        first += len(batch.sampled_s)
        with stage("shots"):
            finder.push(batch.sampled_s, batch.thumb)
        while waiting and waiting[0][0] + len(waiting[0][1].sampled_s) <= finder.settled:
            yield _numbered(*waiting.popleft(), finder)
    finder.finish()
    while waiting:
        yield _numbered(*waiting.popleft(), finder)


def _numbered(first: int, batch: FaceBatch, finder: "ShotDetector") -> ShotBatch:
    columns = {f.name: getattr(batch, f.name) for f in fields(batch) if f.name != "thumb"}
    edges = [edge.index for edge in finder.edges]
    shot = np.searchsorted(edges, np.arange(first, first + len(batch.sampled_s)), side="right").astype(np.int32)
    return ShotBatch(**columns, shot=shot)


@dataclass(frozen=True)
class _Edge:
    index: int
    pts_s: float
    kind: str
    from_s: float
    to_s: float


class ShotDetector:
    """Finds the edges of shots in looks as they are pushed; memory does not grow with the looks of a shot."""

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled = enabled  # False: all is one shot
        self.edges: list[_Edge] = []
        self.settled = 0  # looks whose shot is known for good
        self._n = 0
        self._first_s = self._last_s = 0.0
        self._seen: deque[FrameSignature] = deque()  # that show something, of the last seconds
        self._doubt: deque[int] = deque()  # looks before which there may be a cut
        self._mixed: _Mixture | None = None
        self._tried_s = -math.inf  # when a dissolve was last looked for

    def push(self, pts_s: np.ndarray, thumb: np.ndarray) -> None:
        """Take the next looks: times (n,) and thumbnails (n, 18, 32, 3) uint8; n does not matter."""
        if self._n == 0 and len(pts_s):
            self._first_s = float(pts_s[0])
        for sight in signatures(pts_s, thumb, self._n):
            self._n, self._last_s = self._n + 1, sight.pts_s
            self._take(sight)

    def _take(self, sight: FrameSignature) -> None:
        if not self.enabled:
            self.settled = self._n
            return
        if sight.contrast >= MIN_CONTRAST:
            self._see(sight)
        behind = next((s.index for s in self._seen if sight.pts_s - s.pts_s <= _BEHIND_S), self._n)
        earliest = min([behind, *self._doubt, self._n])
        self.settled = max(self.settled, earliest, self._n - _HELD)

    def finish(self) -> None:
        """Decide what still waits for looks that will not come."""
        while self._doubt:
            self._decide(self._doubt.popleft())
        if self._mixed:
            self._dissolve(self._mixed)
        self.settled = self._n

    def shots(self, end_s: float | None = None) -> list[Shot]:
        """The shots so far; the last one ends at end_s, or with the last look."""
        if self._n == 0:
            return []
        start = _Edge(0, self._first_s, "start", self._first_s, self._first_s)
        edges, end_s = [start, *self.edges], self._last_s if end_s is None else max(end_s, self._last_s)
        ends = [*(edge.pts_s for edge in self.edges), end_s]
        return [Shot(i, e.pts_s, end, e.kind, e.from_s, e.to_s) for i, (e, end) in enumerate(zip(edges, ends))]

    def _see(self, sight: FrameSignature) -> None:
        before = self._seen[-1] if self._seen else None
        self._seen.append(sight)
        if before is not None and not is_similar(before, sight, FAST_PAN):
            self._doubt.append(sight.index)
        while self._doubt and self._passed(self._doubt[0], sight):
            self._decide(self._doubt.popleft())
        self._look_for_mixture(sight)
        while len(self._seen) > 4 and (sight.pts_s - self._seen[2].pts_s > 2.6 or len(self._seen) > 4 * _HELD):
            self._seen.popleft()

    def _passed(self, look: int, now: FrameSignature) -> bool:
        """Whether enough has been seen behind a doubtful look: half a second, and one look more at least."""
        here = next((s for s in self._seen if s.index == look), now)
        behind = sum(s.index > look for s in self._seen)
        return behind >= 1 and (now.pts_s + 1e-6 >= here.pts_s + _REACH_S or behind >= _HELD // 4)

    def _decide(self, look: int) -> None:
        """A cut, if nothing on this side of the look is like anything on the other."""
        floor = self.edges[-1].index if self.edges else 0
        old = [s for s in self._seen if floor <= s.index < look]
        new = [s for s in self._seen if s.index >= look]
        if not old or not new:
            return
        near = _spread([s for s in reversed(old) if old[-1].pts_s - s.pts_s <= _REACH_S] + old[-2:-1])
        far = _spread([s for s in new if s.pts_s - new[0].pts_s <= _REACH_S] + new[1:2])
        if any(is_similar(a, b, SLOW_PAN) for b in far for a in near):
            return
        if any(static_correlation(a, b) > _STILL for b in far for a in near):
            return
        self._add(_edge(old, new))

    def _add(self, edge: _Edge) -> None:
        if edge.index < max(self.settled, self.edges[-1].index + 1 if self.edges else 1):
            return
        self.edges.append(edge)
        self._mixed = None
        self._doubt = deque(look for look in self._doubt if look > edge.index)

    def _look_for_mixture(self, sight: FrameSignature) -> None:
        if sight.pts_s < self._tried_s + _STEP_S:
            return
        self._tried_s = sight.pts_s
        best = self._mixed
        if best and sight.pts_s > best.end.pts_s + _SETTLE_S and not self._doubt:
            self._dissolve(best)
            best = None
        floor = self.edges[-1].index if self.edges else 0
        past = [s for s in self._seen if s.index >= floor]
        times = [s.pts_s for s in past]
        for span_s in _SPANS_S:
            i = bisect_left(times, sight.pts_s - span_s - 1e-6)
            if sight.pts_s - times[0] < span_s - 1e-6 or len(past) - i < 3:
                continue
            found = _Mixture.of(past[i:])
            if found and (best is None or found.strength > 1.02 * best.strength):
                self._mixed = best = found

    def _dissolve(self, found: "_Mixture") -> None:
        self._mixed = None
        self._add(_Edge(found.middle.index, found.middle.pts_s, "dissolve", found.start.pts_s, found.end.pts_s))


@dataclass(frozen=True)
class _Mixture:
    """A dissolve from one look to another."""

    start: FrameSignature
    middle: FrameSignature
    end: FrameSignature
    strength: float

    @classmethod
    def of(cls, looks: list[FrameSignature]) -> "_Mixture | None":
        """Give the dissolve that these looks are, or None: the inner ones must be mixtures of the first and the last.

        And mixtures in which the last gains, step by step, what the first loses.
        """
        start, end = looks[0], looks[-1]
        same = float(start.coarse.dot(end.coarse)) / max(start.coarse_norm * end.coarse_norm, 1e-9)
        if same > MIN_SIMILARITY:
            return None
        middle = looks[len(looks) // 2].coarse
        if np.linalg.norm(start.coarse + end.coarse - 2 * middle) > 1.2 * np.linalg.norm(middle):  # far from a mixture
            return None
        inner = [looks[round(k * (len(looks) - 1) / 4)] for k in (1, 2, 3)] if len(looks) > 4 else looks[1:-1]
        basis = np.stack([start.coarse, end.coarse], 1)
        seen = np.stack([s.coarse for s in inner], 1)
        share = np.linalg.solve(basis.T @ basis + 1e-6 * np.eye(2), basis.T @ seen)
        rest = np.linalg.norm(seen - basis @ share, axis=0) / np.linalg.norm(seen, axis=0)
        gained = share[1] / np.maximum(share.sum(0), 1e-6)
        middle = gained[len(inner) // 2]
        fits = (rest < 0.2).all() and (np.abs(share.sum(0) - 1) < 0.3).all() and 0.2 < middle < 0.8
        if not fits or (np.diff(gained) < 0.05).any() or gained.min() < 0 or gained.max() > 1:
            return None
        change = (start.coarse - end.coarse).reshape(3, -1)
        change = np.abs(change - np.median(change, 1, keepdims=True))
        if np.median(change) < 0.35 * change.mean():  # only a part changes: people move before a still ground
            return None
        if is_similar(start, end, SLOW_PAN):
            return None
        strength = (1 - same) * (1 - float(rest.mean()))
        return cls(start, inner[int(np.abs(gained - 0.5).argmin())], end, strength)


def _spread(looks: list[FrameSignature]) -> list[FrameSignature]:
    """Four of the looks at most: the two nearest (light and dark of a strobe), the farthest, and one between."""
    unique = list({s.index: s for s in looks}.values())
    last = len(unique) - 1
    return [unique[i] for i in sorted({0, min(1, last), (last + 1) // 2, last})]


def _edge(old: list[FrameSignature], new: list[FrameSignature]) -> _Edge:
    """Tell a fade from a cut: in a fade the contrast sinks to the edge, or rises from it, or both."""
    sinks = _ramp([s for s in reversed(old) if old[-1].pts_s - s.pts_s < 2.0])
    rises = _ramp(new)
    kind = "fade" if sinks or rises else "cut"
    return _Edge(new[0].index, new[0].pts_s, kind, (sinks or old[-1]).pts_s, (rises or new[0]).pts_s)


def _ramp(looks: list[FrameSignature]) -> FrameSignature | None:
    """The look, counted away from an edge, at which contrast is full; None if it is not much less at the edge."""
    full = looks[0]
    for sight in looks[1:]:
        if sight.contrast < 1.02 * full.contrast:
            break
        full = sight
    return full if looks[0].contrast < 0.6 * full.contrast else None
