"""Link faces across looks -> TrackBatch: motion in real time, optimal assignment, never across a cut.

Tracking by detection: a Kalman filter and optimal assignment as in SORT (Bewley et al. 2016, arXiv 1602.00763), weak
faces in a second round as in ByteTrack (Zhang et al. 2022, arXiv 2110.06864). Steps of time come from the timestamps,
distances are counted in face sizes: one set of numbers serves 1 to 60 looks a second and faces near and far.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace

import numpy as np

from fervid.runtime.profiling import stage
from fervid.tracks.assignment import pair
from fervid.types import ShotBatch, TrackBatch

__all__ = ["Tracker", "link"]

#: Speed, in face sizes (for size itself, in e-folds) a second: how it varies among people, and how long it holds.
_SPEED = np.array([1.6, 1.6, 0.5])
_HOLD_S = 0.6
#: What the detector's boxes are off by, in the same units.
_NOISE = np.array([0.08, 0.08, 0.08])
#: The largest squared distance, in standard deviations, of a face from where its track is expected: of a strong face,
#: and of a weak one. And in face sizes, whatever the deviation.
_GATE, _GATE_WEAK, _FARTHEST = 16.0, 9.0, 2.5
#: A first sighting waits for a second one for so long; looks farther apart than _DENSE_S may show a face only once.
_CONFIRM_S, _DENSE_S = 0.45, 0.1
#: A weak face continues a track that was seen so lately.
_FRESH_S = 0.5
_NONE = np.int32(-1)


def link(shots: Iterable[ShotBatch], tracker: "Tracker") -> Iterator[TrackBatch]:
    """Number the faces. Those that belong to no track (too weak to begin one, or seen only once) are left out.

    Batches come out as they went in, each as soon as it is known which of its tracks are real: at most half a second
    later. Numbers are dense, from 0, in the order of appearance; no track goes from one shot to the next.
    """
    waiting: deque[tuple[ShotBatch, np.ndarray]] = deque()
    numbering, shot = _Numbering(), None
    for batch in shots:
        track = np.full(len(batch), _NONE)
        for pts_s, here_shot in zip(batch.sampled_s, batch.shot):
            if shot is not None and here_shot != shot:
                tracker.reset(float(pts_s))
            shot = here_shot
            here = batch.pts_s == pts_s
            with stage("track"):
                track[here] = tracker.update(float(pts_s), batch.box_px[here], batch.score[here])
        waiting.append((batch, track))
        while waiting and not np.isin(tracker.pending, waiting[0][1]).any():
            yield numbering.apply(*waiting.popleft(), tracker.refused)
        inside = [track for _, track in waiting]
        numbering.forget(np.concatenate([tracker.alive, *inside]), tracker.refused)
    tracker.reset()
    while waiting:
        yield numbering.apply(*waiting.popleft(), tracker.refused)


class _Numbering:
    """Dense numbers for the tracks that turned out to be real, in the order of appearance."""

    def __init__(self) -> None:
        self._number: dict[int, int] = {}
        self._next = 0

    def apply(self, batch: ShotBatch, track: np.ndarray, refused: set[int]) -> TrackBatch:
        """Number the faces of a batch, and leave out those of refused tracks and of none."""
        final = np.full(len(track), _NONE)
        for i, name in enumerate(track.tolist()):
            if name in self._number:
                final[i] = self._number[name]
            elif name >= 0 and name not in refused:
                final[i] = self._number[name] = self._next
                self._next += 1
        columns = {f.name: getattr(batch, f.name) for f in fields(batch)}
        return TrackBatch(**columns, track=final).take(final != _NONE)

    def forget(self, needed: np.ndarray, refused: set[int]) -> None:
        """Let go of all names but those that may come again."""
        kept = set(needed.tolist())
        self._number = {name: k for name, k in self._number.items() if name in kept}
        refused &= kept


@dataclass(frozen=True)
class _States:
    """t tracks: numbers, times, and a Gaussian over place and speed on each of three axes: x, y, log size.

    place (t, 3) in pixels, pixels, nats; speed (t, 3) a second; pp, pv, vv (t, 3) the covariance, in face sizes.
    """

    track: np.ndarray
    born_s: np.ndarray
    seen_s: np.ndarray
    hits: np.ndarray
    missed: np.ndarray  # looks since it was seen
    place: np.ndarray
    speed: np.ndarray
    pp: np.ndarray
    pv: np.ndarray
    vv: np.ndarray

    @classmethod
    def begin(cls, track: np.ndarray, pts_s: float, place: np.ndarray) -> "_States":
        n = len(track)
        now, noughts, variance = np.full(n, pts_s), np.zeros((n, 3)), np.tile(_NOISE**2, (n, 1))
        return cls(
            track,
            now,
            now,
            np.ones(n, int),
            np.zeros(n, int),
            place,
            noughts,
            variance,
            noughts,
            np.tile(_SPEED**2, (n, 1)),
        )

    def __len__(self) -> int:
        return len(self.track)

    def map(self, change: "np.ndarray | slice") -> "_States":
        """Keep some, by mask or index."""
        return _States(*(getattr(self, f.name)[change] for f in fields(self)))

    def join(self, other: "_States") -> "_States":
        return _States(*(np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)))

    def ahead(self, step_s: float) -> "_States":
        """Expect them step_s later: speed fades towards 0 as in an Ornstein-Uhlenbeck process (Särkkä 2019, ch. 6)."""
        fade = np.exp(-step_s / _HOLD_S)
        reach = _HOLD_S * (1 - fade)
        drift = 2 * _SPEED**2 / _HOLD_S  # of the white noise that keeps the speeds as various as they are
        grown = drift * _HOLD_S**2 * (step_s - 2 * reach + _HOLD_S * (1 - fade**2) / 2)
        return replace(
            self,
            place=self.place + reach * self.speed * self._units,
            speed=fade * self.speed,
            pp=self.pp + 2 * reach * self.pv + reach**2 * self.vv + grown,
            pv=fade * (self.pv + reach * self.vv) + drift * reach**2 / 2,
            vv=fade**2 * self.vv + _SPEED**2 * (1 - fade**2),
        )

    def corrected(self, rows: np.ndarray, pts_s: float, place: np.ndarray) -> "_States":
        """Take what was seen of some of them; the others were missed."""
        total = self.pp[rows] + _NOISE**2
        gain, gain_speed = self.pp[rows] / total, self.pv[rows] / total
        units = self._units[rows]
        off = (place - self.place[rows]) / units
        new = {f.name: getattr(self, f.name).copy() for f in fields(self)}
        new["missed"] += 1
        new["place"][rows] += gain * off * units
        new["speed"][rows] += gain_speed * off
        new["vv"][rows] -= gain_speed * self.pv[rows]
        new["pv"][rows] *= 1 - gain
        new["pp"][rows] *= 1 - gain
        new["seen_s"][rows], new["missed"][rows] = pts_s, 0
        new["hits"][rows] += 1
        return _States(**new)

    @property
    def _units(self) -> np.ndarray:
        """Face sizes in pixels for x and y; 1 for log size."""
        size = np.exp(self.place[:, 2:])
        return np.concatenate([size, size, np.ones_like(size)], 1)

    def distance(self, place: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """To places (m, 3) -> squared, in standard deviations; in face sizes; the price of width (all (t, m))."""
        size = np.exp((self.place[:, None, 2] + place[None, :, 2]) / 2)
        off = self.place[:, None] - place[None]
        off[..., :2] /= size[..., None]
        total = self.pp + 2 * _NOISE**2
        return (off**2 / total[:, None]).sum(2), np.hypot(off[..., 0], off[..., 1]), np.log(total).sum(1)[:, None]


_NOBODY = _States.begin(np.zeros(0, np.int32), 0.0, np.zeros((0, 3)))


class Tracker:
    """Follows faces by position, size and velocity, one look at a time.

    A track lives through max_gap_s seconds without its face; only a face of at least birth_score begins one. It counts
    as real when its face has been seen twice: until then it is `pending`, and `refused` if that fails within 0.45 s.
    Where looks are sparser than that, or a shot ends, once may be enough. Call `reset()` at a cut.
    """

    def __init__(self, *, max_gap_s: float = 1.0, birth_score: float = 0.9) -> None:
        self.max_gap_s, self.birth_score = max_gap_s, birth_score
        self.refused: set[int] = set()
        self._next, self._now_s, self._step_s = 0, -np.inf, np.inf
        self._states = _NOBODY

    @property
    def pending(self) -> np.ndarray:
        """The names of the tracks of which nobody knows yet whether they are real."""
        return self._states.track[self._states.hits == 1]

    @property
    def alive(self) -> np.ndarray:
        """The names of the tracks that may go on."""
        return self._states.track

    def reset(self, pts_s: float | None = None) -> None:
        """End every track, at a cut before pts_s or at the end; its name is not used again.

        What was seen once, and could not be seen twice, counts, unless looks are dense.
        """
        if pts_s is not None:
            self._step_s = pts_s - self._now_s
        once = self._states.hits == 1
        self._refuse(once & ((self._states.missed > 0) | (self._step_s <= _DENSE_S)))
        self._states = _NOBODY

    def update(self, pts_s: float, box_px: np.ndarray, score: np.ndarray) -> np.ndarray:
        """Assign the faces of one look, boxes (m, 4) and scores (m,), to tracks: names (m,) int32, -1 for none.

        Time that runs backwards, as in joined files, ends every track.
        """
        if pts_s < self._now_s:
            self.reset()
            self._now_s = -np.inf
        place, strong = _place(box_px), score >= self.birth_score
        self._step_s, self._now_s = pts_s - self._now_s, pts_s
        self._end(pts_s)
        rows, columns = self._match(pts_s, place, strong)
        track = np.full(len(place), _NONE)
        track[columns] = self._states.track[rows]
        self._states = self._states.corrected(rows, pts_s, place[columns])
        new = np.flatnonzero((track == _NONE) & strong)
        track[new] = self._next + np.arange(len(new), dtype=np.int32)
        self._next += len(new)
        if len(new):
            self._states = self._states.join(_States.begin(track[new], pts_s, place[new]))
        return track

    def _end(self, pts_s: float) -> None:
        """Move all on to now; end those that were away for too long, and those that were seen once by mistake."""
        states = self._states
        late = (pts_s - states.born_s > _CONFIRM_S) & (states.hits == 1)
        self._refuse(late & (states.missed > 0))
        kept = (pts_s - states.seen_s <= self.max_gap_s + 1e-6) & ~(late & (states.missed > 0))
        states = replace(states, hits=np.where(late, 2, states.hits))
        states = states if kept.all() else states.map(kept)
        self._states = states.ahead(self._step_s) if len(states) else states

    def _refuse(self, which: np.ndarray) -> None:
        self.refused |= set(self._states.track[which].tolist())

    def _match(self, pts_s: float, place: np.ndarray, strong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pair tracks with strong faces, then those left that were seen lately with weak ones, at the least cost."""
        squared, sizes, width = self._states.distance(place)
        fresh = (pts_s - self._states.seen_s <= _FRESH_S + self._step_s * (self._step_s < np.inf))[:, None]
        near = sizes < _FARTHEST
        price = squared + width
        first = near & strong[None] & (squared < _GATE)
        rows, columns = _pair(price, first)
        if strong.all():
            return rows, columns
        second = near & ~strong[None] & (squared < _GATE_WEAK) & fresh
        second[rows] = False
        more_rows, more_columns = _pair(price, second)
        return np.append(rows, more_rows), np.append(columns, more_columns)


def _pair(price: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pairs that are allowed, as many as there can be, at the least price in all."""
    rows, columns = np.flatnonzero(allowed.any(1)), np.flatnonzero(allowed.any(0))
    part = np.ix_(rows, columns)
    first, second = pair(np.where(allowed[part], price[part] - 1e3, 0.0))
    kept = allowed[part][first, second]
    return rows[first[kept]], columns[second[kept]]


def _place(box_px: np.ndarray) -> np.ndarray:
    x0, y0, x1, y1 = box_px.astype(np.float64).T
    size = np.sqrt(np.maximum((x1 - x0) * (y1 - y0), 1))
    return np.stack([(x0 + x1) / 2, (y0 + y1) / 2, np.log(size)], 1)
