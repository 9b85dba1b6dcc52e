"""Detections with known identities: people who walk, cross, hide, come and go in front of a shaking camera, with cuts.

Boxes and scores only, with a detector's noise, misses and false alarms. And the metrics of a tracker.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment


@dataclass(frozen=True)
class Scene:
    """The parameters of a scene."""

    people: int = 4
    seconds: float = 20.0
    fps: float = 25.0
    speed: float = 1.0  # faces per second
    shake: float = 0.0  # faces
    misses: float = 0.06
    alarms: float = 0.03  # false alarms per frame
    dropped: float = 0.0  # share of the frames
    cuts_s: float = 0.0  # mean length of a shot; 0: one shot
    size: tuple[int, int] = (1280, 720)


@dataclass(frozen=True)
class Sightings:
    """One frame: boxes (m, 4) float32, scores (m,) float32, persons (m,) int, -1 for a false alarm; and its shot."""

    pts_s: float
    shot: int
    box: np.ndarray
    score: np.ndarray
    person: np.ndarray
    truth: np.ndarray  # boxes (k, 4) of the visible persons
    present: np.ndarray  # these persons (k,)


def sightings(scene: Scene, seed: int) -> list[Sightings]:
    """Simulate all frames of a scene; each shot has its own persons, since no track may continue across a cut."""
    random = np.random.default_rng(seed)
    frames, shot, left = [], 0, 0
    next_person = 0
    for i in range(int(scene.seconds * scene.fps)):
        if i == 0 or (scene.cuts_s and left <= 0):
            shot += i > 0
            left = max(1, int(random.gamma(4, scene.cuts_s / 4) * scene.fps)) if scene.cuts_s else 0
            cast = _Cast(random, scene, next_person)
            next_person += scene.people
        left -= 1
        cast.step(1 / scene.fps)
        if random.random() >= scene.dropped:
            frames.append(cast.detect(i / scene.fps, shot))
    return frames


class _Cast:
    """The people of one shot, in motion: smooth walks of changing pace, at different distances from the camera."""

    def __init__(self, random: np.random.Generator, scene: Scene, first: int) -> None:
        n = scene.people
        self.random, self.scene, self.first = random, scene, first
        crowded = 90 if n <= 4 else 60 if n <= 12 else 40
        self.size = crowded * np.exp(random.normal(0, 0.25, n))
        self.place = random.uniform(0.08, 0.92, (n, 2)) * scene.size
        self.place[:, 1] = scene.size[1] * (0.5 + 0.3 * random.standard_normal(n).clip(-1.2, 1.2))
        self.heading = random.choice([-1.0, 1.0], (n, 1)) * [1, 0.15] * random.uniform(0.3, 1.6, (n, 1)) * scene.speed
        self.wander = np.zeros((n, 2))
        self.growth = random.normal(0, 0.05, n)
        self.away = np.zeros(n)  # seconds for which a person remains hidden or turned away
        self.camera = np.zeros(2)

    def step(self, dt: float) -> None:
        random, scene = self.random, self.scene
        self.wander += -self.wander * dt / 0.8 + random.normal(0, 0.9 * scene.speed * np.sqrt(dt), self.wander.shape)
        self.place += (self.heading + self.wander) * self.size[:, None] * dt
        self.size *= np.exp(self.growth * dt)
        turn = random.random(len(self.size)) < 0.08 * dt
        self.heading[turn] *= -1
        self.camera += -self.camera * dt / 0.3 + random.normal(0, scene.shake * np.sqrt(dt / 0.3), 2)
        self.away = np.where(self.away > 0, self.away - dt, 0)
        gone = (random.random(len(self.size)) < 0.08 * dt) & (self.away <= 0)
        self.away[gone] = random.uniform(0.2, 1.2, gone.sum())

    def detect(self, pts_s: float, shot: int) -> Sightings:
        random, scene = self.random, self.scene
        centre = self.place + self.camera * self.size.mean()
        box = np.concatenate([centre - self.size[:, None] / [2.4, 1.9], centre + self.size[:, None] / [2.4, 1.9]], 1)
        inside = ((centre > 0) & (centre < scene.size)).all(1) & (self.away <= 0)
        covered = _covered(box, self.size, inside)
        seen = inside & (covered < 0.75)
        score = np.clip(0.995 - 0.02 * random.exponential(1, len(box)) - 0.45 * covered**2, 0.5, 1)
        weak = random.random(len(box)) < 0.08
        score[weak] -= random.uniform(0, 0.35, weak.sum())
        found = seen & (random.random(len(box)) > scene.misses + 0.5 * (covered > 0.4)) & (score > 0.55)
        noise = random.normal(0, 0.025, (len(box), 4)) * self.size[:, None] * (1 + 2 * weak[:, None])
        alarms = random.poisson(scene.alarms)
        wrong = random.uniform(0, 1, (alarms, 2)) * scene.size
        false = np.concatenate([wrong, wrong + random.uniform(25, 90, (alarms, 1))], 1)
        order = random.permutation(int(found.sum()) + alarms)
        person = np.append(self.first + np.flatnonzero(found), np.full(alarms, -1))
        return Sightings(
            pts_s,
            shot,
            np.concatenate([(box + noise)[found], false])[order].astype(np.float32),
            np.append(score[found], random.uniform(0.6, 0.97, alarms))[order].astype(np.float32),
            person[order],
            box[seen].astype(np.float32),
            self.first + np.flatnonzero(seen),
        )


def _covered(box: np.ndarray, size: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Compute how much of each face is hidden by those in front of it (the larger ones)."""
    low = np.maximum(box[:, None, :2], box[None, :, :2])
    high = np.minimum(box[:, None, 2:], box[None, :, 2:])
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    hidden = np.prod(np.maximum(high - low, 0), 2) / area[:, None]
    hidden *= (size[None, :] > size[:, None]) & inside[None, :]
    return hidden.max(1, initial=0)


def iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Boxes (a, 4) and (b, 4) -> intersection over union (a, b)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = np.prod(np.maximum(high - low, 0), 2)
    area = [np.prod(box[:, 2:] - box[:, :2], 1) for box in (one, other)]
    return common / np.maximum(area[0][:, None] + area[1][None] - common, 1e-9)


@dataclass(frozen=True)
class Scores:
    """IDF1 (Ristani 2016) and MOTA (Bernardin 2008), with the counts behind MOTA."""

    idf1: float
    mota: float
    switches: int
    false: int
    missed: int
    boxes: int


def evaluate(truth: list[tuple[np.ndarray, np.ndarray]], found: list[tuple[np.ndarray, np.ndarray]]) -> Scores:
    """Compare (boxes, numbers) of each frame, at an IoU of at least 0.5."""
    together: dict[tuple[int, int], int] = {}
    current: dict[int, int] = {}
    switches = false = missed = n_truth = n_found = 0
    for (box, person), (other, track) in zip(truth, found):
        overlap = iou(box, other)
        for i, j in np.argwhere(overlap >= 0.5):
            pair = int(person[i]), int(track[j])
            together[pair] = together.get(pair, 0) + 1
        keeps = np.array([[current.get(int(p)) == t for t in track] for p in person], float).reshape(overlap.shape)
        cost = np.where(overlap >= 0.5, 1 - overlap - 100 * keeps, 1e6)  # a person keeps its track
        rows, columns = linear_sum_assignment(cost)
        kept = cost[rows, columns] < 1e5
        for i, j in zip(rows[kept], columns[kept]):
            switches += int(person[i]) in current and current[int(person[i])] != track[j]
            current[int(person[i])] = int(track[j])
        false, missed = false + len(track) - kept.sum(), missed + len(person) - kept.sum()
        n_truth, n_found = n_truth + len(person), n_found + len(track)
    return Scores(
        2 * _best_pairs(together) / max(n_truth + n_found, 1),
        1 - (switches + false + missed) / max(n_truth, 1),
        int(switches),
        int(false),
        int(missed),
        n_truth,
    )


def _best_pairs(together: dict[tuple[int, int], int]) -> int:
    """Count the most frames that a one-to-one matching of persons and tracks can explain."""
    if not together:
        return 0
    people, tracks = (sorted({pair[k] for pair in together}) for k in (0, 1))
    table = np.zeros((len(people), len(tracks)))
    for (person, track), n in together.items():
        table[people.index(person), tracks.index(track)] = n
    rows, columns = linear_sum_assignment(-table)
    return int(table[rows, columns].sum())
