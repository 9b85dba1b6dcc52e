"""Link faces across sampled frames into tracks: ShotBatch to TrackBatch. No track crosses a cut.

Tracking by detection: a Kalman filter and optimal assignment as in SORT (Bewley et al. 2016, arXiv 1602.00763), with
weak detections in a second round as in ByteTrack (Zhang et al. 2022, arXiv 2110.06864). Time steps come from the
timestamps and distances are measured in face sizes, so that one set of parameters serves 1 to 60 samples per second and
faces of any size.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace

import numpy as np

from fervid.faces.appearance import face_in, likeness
from fervid.runtime.profiling import stage
from fervid.tracks.assignment import pair
from fervid.types import ShotBatch, TrackBatch

__all__ = ["Tracker", "link"]

#: Standard deviation of the velocity of x and y, in face sizes per second, and of log size, in nats per second.
_SPEED = np.array([1.6, 1.6, 0.5])
#: Time constant with which a velocity decays towards zero.
_DECAY_S = 0.6
#: Standard deviation of the detector's boxes, in the same units.
_NOISE = np.array([0.08, 0.08, 0.08])
#: Gates: the largest squared Mahalanobis distance of a strong and of a weak detection from the predicted position of
#: its track, and the largest distance in face sizes for either.
_GATE, _GATE_WEAK, _MAX_DISTANCE = 16.0, 9.0, 2.5
#: Time within which a new track must be detected a second time; where samples are farther apart than _DENSE_S, one
#: detection may be enough.
_CONFIRM_S, _DENSE_S = 0.45, 0.1
#: A weak detection continues a track only if it was last detected within this time.
_FRESH_S = 0.5
#: A track would continue as another person where two faces correlate by more than _SIMILAR with each other, and by less
#: than _DIFFERENT with each of the last three before them, and without their surroundings by less than _OTHER_FACE
#: (faces/appearance.py). Measured: an ordinary face 0.7 or more, and 0.88 or more without its surroundings at 5 samples
#: per second; tiles of a call that changed places at most 0.55, and 0.74.
_SIMILAR, _DIFFERENT, _OTHER_FACE, _COMPARED = 0.5, 0.6, 0.8, 4
_NO_TRACK = np.int32(-1)


def link(shots: Iterable[ShotBatch], tracker: "Tracker") -> Iterator[TrackBatch]:
    """Assign track numbers to faces; faces of no track (too weak to start one, or detected once) are dropped.

    Faces are followed in the window of a player, so that a track outlasts a change of the resolution. Batches are not
    regrouped. Each is yielded after the next one has been read, with which its last faces are compared, as soon as all
    of its tracks are confirmed or rejected, at most half a second of video later. Track numbers count from 0 in the
    order of appearance; a track ends with its shot.

    Parameters
    ----------
    shots : Iterable[ShotBatch]
    tracker : Tracker

    Yields
    ------
    TrackBatch
    """
    waiting: deque[tuple[ShotBatch, np.ndarray]] = deque()
    numbering, current_shot = _Numbering(), None
    window_px: np.ndarray | None = None
    seen = _Appearances(tracker)
    for batch in shots:
        if window_px is None and len(batch):
            window_px = batch.frame_px[0]
        box_px = _in_window(batch.box_px, batch.frame_px, window_px)
        track = np.full(len(batch), _NO_TRACK)
        for pts_s, lasts_s, shot in zip(batch.sampled_s, batch.duration_s, batch.shot):
            if current_shot is not None and shot != current_shot:
                tracker.reset(float(pts_s))
            current_shot = shot
            here = batch.pts_s == pts_s
            with stage("track"):
                track[here] = tracker.update(float(pts_s), box_px[here], batch.score[here], float(lasts_s))
                seen.compare(batch.appearance, track, np.flatnonzero(here))
        waiting.append((batch, track))
        while len(waiting) > 1 and not np.isin(tracker.pending, waiting[0][1]).any():
            yield numbering.apply(*waiting.popleft(), tracker.rejected)
        in_use = [track for _, track in waiting]
        numbering.forget(np.concatenate([tracker.alive, *in_use]), tracker.rejected)
    tracker.reset()
    while waiting:
        yield numbering.apply(*waiting.popleft(), tracker.rejected)


@dataclass(frozen=True)
class _Seen:
    """How the face of a track looked in one sample, and where the number of its track is written: track[row]."""

    sample: int
    appearance: np.ndarray
    track: np.ndarray
    row: int


class _Appearances:
    """Ends tracks that would continue as another person, as where the tiles of a video call change places.

    A face is another person if it and the next one are similar, but neither to any of the last three of their track.
    That takes two samples: a hand before the face, or a quick turn of the head, ends no track. Nor does a new
    background behind the same face.
    """

    def __init__(self, tracker: "Tracker") -> None:
        self._tracker, self._sample = tracker, 0
        self._of: dict[int, list[_Seen]] = {}

    def compare(self, appearance: np.ndarray, track: np.ndarray, rows: np.ndarray) -> None:
        """Compare the faces of one sample, in `rows`, with those before; write new numbers into `track`."""
        self._sample += 1
        alive = set(self._tracker.alive.tolist())
        self._of = {identifier: seen for identifier, seen in self._of.items() if identifier in alive}
        for row in rows.tolist():
            if (identifier := int(track[row])) < 0:
                continue
            seen = [*self._of.get(identifier, [])[-_COMPARED:], _Seen(self._sample, appearance[row], track, row)]
            if self._is_another(seen):
                del self._of[identifier]
                identifier, seen = self._tracker.split(identifier), seen[-2:]
                for one in seen:
                    one.track[one.row] = identifier
            self._of[identifier] = seen

    def _is_another(self, seen: list[_Seen]) -> bool:
        if len(seen) < 3 or seen[-2].sample != seen[-1].sample - 1:
            return False
        *before, last, now = seen
        if likeness(last.appearance, now.appearance) <= _SIMILAR:
            return False
        pairs = ((old.appearance, new.appearance) for old in before for new in (last, now))
        return all(
            likeness(old, new) < _DIFFERENT and likeness(face_in(old), face_in(new)) < _OTHER_FACE for old, new in pairs
        )


def _in_window(box_px: np.ndarray, size_px: np.ndarray, window_px: np.ndarray | None) -> np.ndarray:
    """Move boxes (m, 4) to where a player shows them, which fits frames of each size (m, 2) into one window."""
    if window_px is None or (size_px == window_px).all():
        return box_px
    scale = (window_px / size_px).min(1, keepdims=True)
    margin = (window_px - size_px * scale) / 2
    return (box_px * scale + np.tile(margin, 2)).astype(np.float32)


class _Numbering:
    """Consecutive numbers for the confirmed tracks, in the order of appearance."""

    def __init__(self) -> None:
        self._number: dict[int, int] = {}
        self._next = 0

    def apply(self, batch: ShotBatch, track: np.ndarray, rejected: set[int]) -> TrackBatch:
        """Number the faces of a batch; drop those of rejected tracks and of none."""
        final = np.full(len(track), _NO_TRACK)
        for i, identifier in enumerate(track.tolist()):
            if identifier in self._number:
                final[i] = self._number[identifier]
            elif identifier >= 0 and identifier not in rejected:
                final[i] = self._number[identifier] = self._next
                self._next += 1
        columns = {f.name: getattr(batch, f.name) for f in fields(batch)}
        return TrackBatch(**columns, track=final).take(final != _NO_TRACK)

    def forget(self, needed: np.ndarray, rejected: set[int]) -> None:
        """Forget all identifiers except those that may occur again."""
        kept = set(needed.tolist())
        self._number = {identifier: k for identifier, k in self._number.items() if identifier in kept}
        rejected &= kept


@dataclass(frozen=True)
class _States:
    """The states of t tracks: a Gaussian over position and velocity on each of three axes (x, y, log size).

    position (t, 3) is in pixels, pixels, nats; velocity (t, 3) in face sizes, face sizes, nats per second; pp, pv and
    vv (t, 3) are the entries of the covariance in the units of velocity.
    """

    track: np.ndarray
    born_s: np.ndarray
    seen_s: np.ndarray
    hits: np.ndarray
    missed: np.ndarray  # samples since the last detection
    position: np.ndarray
    velocity: np.ndarray
    pp: np.ndarray
    pv: np.ndarray
    vv: np.ndarray

    @classmethod
    def start(cls, track: np.ndarray, pts_s: float, position: np.ndarray) -> "_States":
        n = len(track)
        now, zeros, variance = np.full(n, pts_s), np.zeros((n, 3)), np.tile(_NOISE**2, (n, 1))
        return cls(
            track,
            now,
            now,
            np.ones(n, int),
            np.zeros(n, int),
            position,
            zeros,
            variance,
            zeros,
            np.tile(_SPEED**2, (n, 1)),
        )

    def __len__(self) -> int:
        return len(self.track)

    def select(self, kept: np.ndarray) -> "_States":
        """Keep the tracks of a mask or of indices."""
        return _States(*(getattr(self, f.name)[kept] for f in fields(self)))

    def append(self, other: "_States") -> "_States":
        return _States(*(np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)))

    def predict(self, step_s: float) -> "_States":
        """Predict the states step_s later; velocities follow an Ornstein-Uhlenbeck process (Särkkä 2019, ch. 6)."""
        decay = np.exp(-step_s / _DECAY_S)
        reach = _DECAY_S * (1 - decay)
        density = 2 * _SPEED**2 / _DECAY_S  # spectral density of the noise that keeps the variance of velocities
        growth = density * _DECAY_S**2 * (step_s - 2 * reach + _DECAY_S * (1 - decay**2) / 2)
        return replace(
            self,
            position=self.position + reach * self.velocity * self._units,
            velocity=decay * self.velocity,
            pp=self.pp + 2 * reach * self.pv + reach**2 * self.vv + growth,
            pv=decay * (self.pv + reach * self.vv) + density * reach**2 / 2,
            vv=decay**2 * self.vv + _SPEED**2 * (1 - decay**2),
        )

    def update(self, rows: np.ndarray, pts_s: float, position: np.ndarray) -> "_States":
        """Update the tracks `rows` with their detected positions; the others count as missed."""
        total = self.pp[rows] + _NOISE**2
        gain, velocity_gain = self.pp[rows] / total, self.pv[rows] / total
        units = self._units[rows]
        innovation = (position - self.position[rows]) / units
        new = {f.name: getattr(self, f.name).copy() for f in fields(self)}
        new["missed"] += 1
        new["position"][rows] += gain * innovation * units
        new["velocity"][rows] += velocity_gain * innovation
        new["vv"][rows] -= velocity_gain * self.pv[rows]
        new["pv"][rows] *= 1 - gain
        new["pp"][rows] *= 1 - gain
        new["seen_s"][rows], new["missed"][rows] = pts_s, 0
        new["hits"][rows] += 1
        return _States(**new)

    @property
    def _units(self) -> np.ndarray:
        """One face size in pixels for x and y; 1 for log size."""
        size = np.exp(self.position[:, 2:])
        return np.concatenate([size, size, np.ones_like(size)], 1)

    def distance(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Measure the distance to positions (m, 3).

        Returns the squared Mahalanobis distance (t, m), the distance in face sizes (t, m), and the log determinant of
        each track's covariance (t, 1), which makes uncertain tracks more expensive.
        """
        size = np.exp((self.position[:, None, 2] + position[None, :, 2]) / 2)
        offset = self.position[:, None] - position[None]
        offset[..., :2] /= size[..., None]
        total = self.pp + 2 * _NOISE**2
        squared = (offset**2 / total[:, None]).sum(2)
        return squared, np.hypot(offset[..., 0], offset[..., 1]), np.log(total).sum(1)[:, None]


_NO_STATES = _States.start(np.zeros(0, np.int32), 0.0, np.zeros((0, 3)))


class Tracker:
    """Follows faces by position, size and velocity, one sampled frame at a time.

    A track is confirmed once its face has been detected twice. Until then it is `pending`, and `rejected` if that does
    not happen within 0.45 s. Where samples are sparser than that, or a shot ends, one detection may be enough.

    Parameters
    ----------
    max_lost_s : float
        Seconds for which a track survives without a detection; a frame that stays on display is no loss.
    start_score : float
        Least detection score that starts a track; weaker faces only continue one.

    Attributes
    ----------
    rejected : set of int
        Identifiers of the tracks that were never confirmed.
    """

    def __init__(self, *, max_lost_s: float = 1.0, start_score: float = 0.9) -> None:
        self.max_lost_s, self.start_score = max_lost_s, start_score
        self.rejected: set[int] = set()
        self._next, self._now_s, self._step_s = 0, -np.inf, np.inf
        self._shown_until_s = -np.inf
        self._states = _NO_STATES

    @property
    def pending(self) -> np.ndarray:
        """Identifiers of the tracks that are not confirmed yet."""
        return self._states.track[self._states.hits == 1]

    @property
    def alive(self) -> np.ndarray:
        """Identifiers of the tracks that may continue."""
        return self._states.track

    def reset(self, pts_s: float | None = None) -> None:
        """End every track: at a cut, or at the end of the video. Identifiers are not used again.

        A pending track is confirmed if it had no chance of a second detection, unless samples are dense.

        Parameters
        ----------
        pts_s : float, optional
            Time in seconds of the first sample after the cut.
        """
        if pts_s is not None:
            self._step_s = pts_s - self._now_s
        once = self._states.hits == 1
        self._reject(once & ((self._states.missed > 0) | (self._step_s <= _DENSE_S)))
        self._states = _NO_STATES

    def split(self, identifier: int) -> int:
        """End a track; another one continues where it was.

        Parameters
        ----------
        identifier : int
            Of a track that is alive.

        Returns
        -------
        int
            The identifier of the other track.
        """
        new = self._next
        self._next += 1
        track = np.where(self._states.track == identifier, np.int32(new), self._states.track)
        self._states = replace(self._states, track=track)
        return new

    def update(self, pts_s: float, box_px: np.ndarray, score: np.ndarray, lasts_s: float = 0.0) -> np.ndarray:
        """Assign the faces of one sampled frame to tracks. Time that runs backwards ends every track.

        Parameters
        ----------
        pts_s : float
            Time of the frame in seconds.
        box_px : np.ndarray
            Boxes (m, 4), xyxy.
        score : np.ndarray
            Detection scores (m,).
        lasts_s : float
            For how long the sample stands, in seconds: until the next one, unless frames are missing between them.

        Returns
        -------
        np.ndarray
            Track identifiers (m,) int32, -1 for faces of no track.
        """
        if pts_s < self._now_s:
            self.reset()
            self._now_s = self._shown_until_s = -np.inf
        position, strong = _position(box_px), score >= self.start_score
        self._step_s, self._now_s = pts_s - self._now_s, pts_s
        self._predict(pts_s)
        rows, columns = self._match(pts_s, position, strong)
        track = np.full(len(position), _NO_TRACK)
        track[columns] = self._states.track[rows]
        self._shown_until_s = pts_s + lasts_s
        self._states = self._states.update(rows, pts_s, position[columns])
        new = np.flatnonzero((track == _NO_TRACK) & strong)
        track[new] = self._next + np.arange(len(new), dtype=np.int32)
        self._next += len(new)
        if len(new):
            self._states = self._states.append(_States.start(track[new], pts_s, position[new]))
        return track

    def _predict(self, pts_s: float) -> None:
        """Predict all tracks at pts_s; end those lost for too long, and reject those detected once by mistake."""
        states = self._states
        late = (pts_s - states.born_s > _CONFIRM_S) & (states.hits == 1)
        self._reject(late & (states.missed > 0))
        on_display = (states.missed == 0) & (pts_s <= self._shown_until_s + 1e-6)
        kept = ((pts_s - states.seen_s <= self.max_lost_s + 1e-6) | on_display) & ~(late & (states.missed > 0))
        states = replace(states, hits=np.where(late, 2, states.hits))
        states = states if kept.all() else states.select(kept)
        self._states = states.predict(self._step_s) if len(states) else states

    def _reject(self, mask: np.ndarray) -> None:
        self.rejected |= set(self._states.track[mask].tolist())

    def _match(self, pts_s: float, position: np.ndarray, strong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pair tracks with strong faces, then the remaining fresh tracks with weak faces, at the least cost."""
        squared, distance, log_det = self._states.distance(position)
        fresh = (pts_s - self._states.seen_s <= _FRESH_S + self._step_s * (self._step_s < np.inf))[:, None]
        near = distance < _MAX_DISTANCE
        cost = squared + log_det
        first = near & strong[None] & (squared < _GATE)
        rows, columns = _pair(cost, first)
        if strong.all():
            return rows, columns
        second = near & ~strong[None] & (squared < _GATE_WEAK) & fresh
        second[rows] = False
        more_rows, more_columns = _pair(cost, second)
        return np.append(rows, more_rows), np.append(columns, more_columns)


def _pair(cost: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair rows and columns where allowed: as many pairs as possible, at the least total cost."""
    rows, columns = np.flatnonzero(allowed.any(1)), np.flatnonzero(allowed.any(0))
    part = np.ix_(rows, columns)
    first, second = pair(np.where(allowed[part], cost[part] - 1e3, 0.0))
    kept = allowed[part][first, second]
    return rows[first[kept]], columns[second[kept]]


def _position(box_px: np.ndarray) -> np.ndarray:
    """Give centre x, centre y and log size (m, 3) of boxes (m, 4)."""
    x0, y0, x1, y1 = box_px.astype(np.float64).T
    size = np.sqrt(np.maximum((x1 - x0) * (y1 - y0), 1))
    return np.stack([(x0 + x1) / 2, (y0 + y1) / 2, np.log(size)], 1)
