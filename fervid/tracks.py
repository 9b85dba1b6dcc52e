"""Link faces across looks -> TrackBatch: constant-velocity motion in real time, optimal assignment.

Tracking by detection as in SORT (Bewley et al. 2016, arXiv 1602.00763), with time steps taken from the timestamps.
"""

from collections.abc import Iterable, Iterator
from dataclasses import fields

import numpy as np

from fervid.batches import FaceBatch, TrackBatch
from fervid.pairing import pair
from fervid.stopwatch import span

__all__ = ["Tracker", "link"]

#: Seconds in which the velocity forgets half of the past (and more), and for which a lost track coasts.
_MEMORY_S = 0.3
_COAST_S = 0.5
#: A first step shorter than this is mostly noise, and tells less of the velocity.
_FIRST_STEP_S = 0.1
_NONE = np.int32(-1)


def link(faces: Iterable[FaceBatch], tracker: "Tracker") -> Iterator[TrackBatch]:
    """Number the faces. Those that belong to no track (too weak to begin one) are left out."""
    for batch in faces:
        track = np.full(len(batch), _NONE)
        for pts_s in batch.look_s:
            here = batch.pts_s == pts_s
            with span("track"):
                track[here] = tracker.update(float(pts_s), batch.box_px[here], batch.score[here])
        columns = {f.name: getattr(batch, f.name) for f in fields(batch)}
        yield TrackBatch(**columns, track=track).take(track != _NONE)


class Tracker:
    """Follows faces by position, size and velocity. Track numbers are dense, from 0, in the order of appearance.

    A track lives through max_gap_s seconds without its face; only a face of at least birth_score begins one.
    Call `reset()` at a cut: no track goes on across it.
    """

    def __init__(self, *, max_gap_s: float = 1.0, birth_score: float = 0.9) -> None:
        self.max_gap_s, self.birth_score = max_gap_s, birth_score
        self._next, self._looked_s = 0, -np.inf
        self.reset()

    def reset(self) -> None:
        """End every track; numbers are not used again."""
        self._track = np.zeros(0, np.int32)
        self._seen_s = np.zeros(0)
        self._place = np.zeros((0, 3))  # centre x, centre y, log size
        self._velocity = np.zeros((0, 3))
        self._moved = np.zeros(0, bool)  # whether the velocity is known yet

    def update(self, pts_s: float, box_px: np.ndarray, score: np.ndarray) -> np.ndarray:
        """Assign the faces of one look, boxes (m, 4) and scores (m,), to tracks (m,) int32; -1 for none."""
        alive = pts_s - self._seen_s <= self.max_gap_s + 1e-6
        self._keep(alive)
        place = _place(box_px)
        rows, columns = self._match(pts_s, place)
        track = np.full(len(place), _NONE)
        track[columns] = self._track[rows]
        self._looked_s = pts_s
        self._follow(rows, pts_s, place[columns])
        self._begin(track, np.flatnonzero((track == _NONE) & (score >= self.birth_score)), pts_s, place)
        return track

    def _keep(self, alive: np.ndarray) -> None:
        self._track, self._seen_s = self._track[alive], self._seen_s[alive]
        self._place, self._velocity = self._place[alive], self._velocity[alive]
        self._moved = self._moved[alive]

    def _match(self, pts_s: float, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pair tracks with faces at the least total distance, in face sizes, as far as the gate.

        A second round goes farther, for those who pass close to the camera and for sparse looks, where there is no
        choice: a track seen at the last look and a face of about its size that can only be each other.
        """
        gap = pts_s - self._seen_s
        expected = self._place + self._velocity * np.minimum(gap, _COAST_S)[:, None]
        distance, _ = _apart(expected, place)
        gate = np.minimum(0.4 + 1.5 * gap, 1.5)[:, None]
        rows, columns = pair(np.where(distance < gate, distance, 1e3))
        near = distance[rows, columns] < gate[rows, 0]
        rows, columns = rows[near], columns[near]

        reach = np.minimum([0.4 + 10 * gap, 0.25 + gap / 2], [[2.5], [0.75]])[:, :, None]
        far = np.zeros(distance.shape, bool)
        for start in (expected, self._place):  # a face that turned back is nearer to where it was
            distance, growth = _apart(start, place)
            far |= (distance < reach[0]) & (growth < reach[1])
        far &= (self._seen_s >= self._looked_s)[:, None]
        far[rows] = far[:, columns] = False
        more_rows, more_columns = np.nonzero(far & (far.sum(0) == 1) & (far.sum(1, keepdims=True) == 1))
        return np.append(rows, more_rows), np.append(columns, more_columns)

    def _follow(self, rows: np.ndarray, pts_s: float, place: np.ndarray) -> None:
        gap = np.maximum(pts_s - self._seen_s[rows], 1e-3)[:, None]
        trust = np.where(self._moved[rows, None], 1 - np.exp(-gap / _MEMORY_S), np.minimum(gap / _FIRST_STEP_S, 1))
        self._velocity[rows] += trust * ((place - self._place[rows]) / gap - self._velocity[rows])
        self._place[rows], self._seen_s[rows], self._moved[rows] = place, pts_s, True

    def _begin(self, track: np.ndarray, new: np.ndarray, pts_s: float, place: np.ndarray) -> None:
        track[new] = self._next + np.arange(len(new), dtype=np.int32)
        self._next += len(new)
        self._track = np.append(self._track, track[new])
        self._seen_s = np.append(self._seen_s, np.full(len(new), pts_s))
        self._place = np.concatenate([self._place, place[new]])
        self._velocity = np.concatenate([self._velocity, np.zeros((len(new), 3))])
        self._moved = np.append(self._moved, np.zeros(len(new), bool))


def _apart(start: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances between places (t, 3) and (m, 3): in all, in face sizes, and that of size alone (t, m)."""
    size = np.exp((start[:, None, 2] + place[None, :, 2]) / 2)
    growth = np.abs(start[:, None, 2] - place[None, :, 2])
    return np.linalg.norm(start[:, None, :2] - place[None, :, :2], axis=2) / size + growth, growth


def _place(box_px: np.ndarray) -> np.ndarray:
    x0, y0, x1, y1 = box_px.astype(np.float64).T
    size = np.sqrt(np.maximum((x1 - x0) * (y1 - y0), 1))
    return np.stack([(x0 + x1) / 2, (y0 + y1) / 2, np.log(size)], 1)
