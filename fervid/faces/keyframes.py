"""Detect at key looks, follow the faces between them: nearly the same faces at a fraction of the cost.

    looks -> spans between key looks -> detect at both ends -> draw each face's way between -> confirm

A face that is found at both ends of a span is expected in between, on a straight line in time; the detector's last
network confirms it there and corrects the box. A way that is long is halved first: the face is searched for around the
middle of it. Where the two ends do not hold the same faces, the span is halved at a look that is searched in full;
where a face is not confirmed or not around, that look is searched in full. Every look thus gets its
own boxes, landmarks and scores; only a face that comes and goes within one span is missed (tests/benchmarks/adaptive.py
tells how many are). The tolerance, held by tests/tracks/test_identities.py: of the faces of a search of every
look 97% are there, with an overlap of at least 0.5 (median 0.9), and under the same track numbers.

Spans are cut by time, and wherever shots.py might begin a shot (both ask likeness.alike): the first look of a new shot
is a key look. They are never cut by how the looks come in batches.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fervid.faces.detector import NO_FACES, Detections, FaceDetector
from fervid.runtime.profiling import stage
from fervid.shots.similarity import FAST_PAN, SLOW_PAN, FrameSignature, is_similar, signatures
from fervid.types import FrameBatch
from fervid.video.sampling import KEYFRAME_GRID_S

__all__ = ["FAST_STRIDE", "STRIDE", "Stride", "detect_keyframes"]


@dataclass(frozen=True)
class Stride:
    """From one key look to the next: at least so many looks, and rest_s, as long as they take at most longest_s."""

    looks: int
    rest_s: float
    longest_s: float


STRIDE, FAST_STRIDE = Stride(5, 0.4, 1.0), Stride(10, 0.8, 2.0)
#: Looks that wait: until so many key looks can be searched together, or so many bytes of pixels are held.
_KEYS, _BYTES = 6, 3 * 2**24
#: Along ways longer than _FARTHEST, in face sizes and growth, faces are not expected but searched for nearby, if there
#: are few; not along those longer than _LOST.
_FARTHEST, _LOST, _FEW = 2.0, 6.0, 4
_OVERLAP = 0.5


@dataclass
class _Look:
    """One look that waits for its faces: `found` has them once they are known, all with frame 0.

    Looks that show the same frame are one, from pts_s to last_s.
    """

    pts_s: float
    image: np.ndarray
    luma: np.ndarray
    sight: FrameSignature
    last_s: float
    key: bool = False
    found: Detections | None = None

    @property
    def bytes(self) -> int:
        """What it takes to hold it."""
        return self.luma.size + self.image.size


def detect_keyframes(
    frames: Iterable[FrameBatch], detector: FaceDetector, min_face: float, *, stride: Stride = STRIDE
) -> Generator[tuple[FrameBatch, Detections]]:
    """Find the faces of at least min_face parts of the picture's width in every look -> each batch, its detections."""
    batches: deque[tuple[FrameBatch, list[_Look]]] = deque()
    waiting: list[_Look] = []  # from the last key look that is settled
    for batch in frames:
        with stage("shots"):
            looks = zip(batch.pts_s, batch.image, batch.luma, signatures(batch.pts_s, batch.thumb), batch.pts_s)
            batches.append((batch, [_join(waiting, _Look(*look), stride) for look in looks]))
        held = sum(look.bytes for _, looks in batches for look in looks)
        if sum(look.key for look in waiting) > _KEYS or held > _BYTES:
            last = max(i for i, look in enumerate(waiting) if look.key)
            _settle(waiting[: last + 1], detector, min_face)
            waiting = waiting[last:]
            yield from _settled(batches)
    if waiting:
        waiting[-1].key = True
        _settle(waiting, detector, min_face)
        yield from _settled(batches)


def _join(before: list[_Look], look: _Look, stride: Stride) -> _Look:
    """Put a look behind those that wait; if it shows the last one's frame it is that one, and where faces rest."""
    if before and before[-1].luma is look.luma:
        before[-1].key, before[-1].last_s, before[-1].sight = True, look.pts_s, look.sight
        return before[-1]
    _choose(before, look, stride)
    before.append(look)
    return look


def _choose(before: list[_Look], look: _Look, stride: Stride) -> None:
    """Make a look a key look if it is the first, if the last one is long ago, or if a shot may begin there.

    Where the picture is not like the one before, the last look of the old shot is a key look too: no span crosses a
    cut. In a dissolve each look is like the one before, and in the end not like the last key look.
    """
    if not before:
        look.key = True
        return
    if not is_similar(before[-1].sight, look.sight, FAST_PAN):
        before[-1].key = look.key = True
        return
    start = next(i for i in range(len(before) - 1, -1, -1) if before[i].key)
    most = max(1, int(0.75 * _BYTES) // look.bytes)
    rest_s, n = look.pts_s - before[start].last_s + 1e-6, len(before) - start
    anchor = look.pts_s // KEYFRAME_GRID_S > before[-1].last_s // KEYFRAME_GRID_S  # a video can be taken up here
    far = rest_s >= stride.longest_s or (rest_s >= stride.rest_s and n >= stride.looks)
    look.key = anchor or far or n >= most
    look.key = look.key or not is_similar(before[start].sight, look.sight, SLOW_PAN)


def _settled(batches: deque[tuple[FrameBatch, list[_Look]]]) -> Iterator[tuple[FrameBatch, Detections]]:
    """Let go of the batches at the front of which all looks have their faces."""
    while batches and all(look.found is not None for look in batches[0][1]):
        batch, looks = batches.popleft()
        yield batch, _joined([look.found for look in looks if look.found is not None])


def _settle(looks: list[_Look], detector: FaceDetector, min_face: float) -> None:
    """Give every look its faces; the first and the last are key looks."""
    keys = [i for i, look in enumerate(looks) if look.key]
    _search([looks[i] for i in keys], detector, min_face)
    spans = [(a, b) for a, b in pairwise(keys) if b - a > 1]
    while spans:
        drawn: list[tuple[_Look, np.ndarray]] = []
        guessed: list[tuple[_Look, np.ndarray]] = []
        halved: list[tuple[int, int]] = []
        for first, last in spans:
            with stage("detect: ways"):
                ways = _ways(looks[first], looks[last])
            if ways and ways.clear:
                drawn += [(look, ways.at(look.pts_s)) for look in looks[first + 1 : last]]
                continue
            middle = (first + last) // 2
            looks[middle].key = True
            halved += [(first, middle), (middle, last)]
            if ways:
                guessed.append((looks[middle], ways.at(looks[middle].pts_s)))
        _confirm(drawn, detector)
        _seek(guessed, detector)
        _search([look for look, _ in drawn] + [looks[b] for _, b in halved], detector, min_face)
        spans = [(a, b) for a, b in halved if b - a > 1]


def _search(looks: list[_Look], detector: FaceDetector, min_face: float) -> None:
    """Search those that have no faces yet in full."""
    looks = [look for look in looks if look.found is None]
    if not looks:
        return
    picture = np.stack([look.image for look in looks])
    with stage("detect"):
        found = detector.detect(picture, min_face * picture.shape[2])
    for i, look in enumerate(looks):
        look.found = _only(found, found.frame == i)


@dataclass(frozen=True)
class _Ways:
    """The ways of the faces of two looks, from start (k, 4) to end (k, 4); clear if none goes far."""

    start: np.ndarray
    end: np.ndarray
    time_s: tuple[float, float]
    clear: bool

    def at(self, pts_s: float) -> np.ndarray:
        """Expect each on a straight line in time -> boxes (k, 4)."""
        begin_s, end_s = self.time_s
        share = np.float32((pts_s - begin_s) / (end_s - begin_s))
        return self.start * (1 - share) + self.end * share


def _ways(first: _Look, last: _Look) -> _Ways | None:
    """Draw the way of each face; None unless both looks have equally many, each the nearest of another."""
    assert first.found is not None and last.found is not None
    start, end, time_s = first.found.box_px, last.found.box_px, (first.last_s, last.pts_s)
    if len(start) != len(end):
        return None
    if not len(start):
        return _Ways(start, end, time_s, True)
    distance = _distance(start, end)
    partner = distance.argmin(1)
    if len(np.unique(partner)) < len(partner) or (distance.argmin(0)[partner] != np.arange(len(partner))).any():
        return None
    farthest = distance[np.arange(len(partner)), partner].max()
    return _Ways(start, end[partner], time_s, bool(farthest <= _FARTHEST)) if farthest <= _LOST else None


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far boxes (m, 4) and (k, 4) are apart (m, k), in sides of the smaller one, and three times their growth."""
    centre, far = ((box[:, :2] + box[:, 2:]) / 2 for box in (one, other))
    side, wide = (np.sqrt(np.maximum((box[:, 2:] - box[:, :2]).prod(1), 1)) for box in (one, other))
    steps = np.linalg.norm(centre[:, None] - far[None], axis=2) / np.minimum(side[:, None], wide[None])
    return steps + 3 * np.abs(np.log(side[:, None] / wide[None]))


def _confirm(drawn: list[tuple[_Look, np.ndarray]], detector: FaceDetector) -> None:
    """Show the detector the boxes drawn in each look; a look gets its faces if every one of them is a face."""
    for look, box in drawn:
        if not len(box):
            look.found = NO_FACES
    drawn = [(look, box) for look, box in drawn if len(box)]
    if not drawn:
        return
    frame = np.repeat(np.arange(len(drawn)), [len(box) for _, box in drawn])
    with stage("detect"):
        pictures, boxes = [look.image for look, _ in drawn], np.concatenate([box for _, box in drawn])
        found, sure = detector.confirm(pictures, frame, boxes)
    for i, (look, _) in enumerate(drawn):
        here = frame == i
        if sure[here].all() and not _overlap(found.box_px[here]):
            look.found = _only(found, here)


def _seek(guessed: list[tuple[_Look, np.ndarray]], detector: FaceDetector) -> None:
    """Let the detector search around the boxes guessed in each look; a look gets its faces if none is missing."""
    near = getattr(detector, "near", None)
    guessed = [(look, box) for look, box in guessed if len(box) <= _FEW]
    if near is None or not guessed:
        return
    frame = np.repeat(np.arange(len(guessed)), [len(box) for _, box in guessed])
    with stage("detect"):
        found = near([look.image for look, _ in guessed], frame, np.concatenate([box for _, box in guessed]))
    for i, (look, box) in enumerate(guessed):
        here = found.frame == i
        if here.sum() == len(box):
            look.found = _only(found, here)


def _overlap(box: np.ndarray) -> bool:
    """Whether two of the boxes (m, 4) share more than half of the smaller one: they fell on one face."""
    low, high = np.maximum(box[:, None, :2], box[None, :, :2]), np.minimum(box[:, None, 2:], box[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    area = np.diagonal(shared)
    shared = shared - np.diag(area)
    return bool((shared > _OVERLAP * np.minimum(area[:, None], area[None])).any())


def _only(found: Detections, here: np.ndarray) -> Detections:
    """The faces of one picture, best first."""
    order = np.flatnonzero(here)
    order = order[np.argsort(-found.score[order], kind="stable")]
    alone = np.zeros(len(order), np.int64)
    return Detections(alone, found.box_px[order], found.score[order], found.landmarks_px[order])


def _joined(parts: list[Detections]) -> Detections:
    frame = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    box, score, marks = (np.concatenate([getattr(p, k) for p in parts]) for k in ("box_px", "score", "landmarks_px"))
    return Detections(frame, box, score, marks)
