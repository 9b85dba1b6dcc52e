"""Adaptive detection: search keyframes in full and follow the faces between them, at a fraction of the cost.

    sampled frames -> intervals between keyframes -> detect at both ends -> interpolate each box -> confirm

A face that is found at both ends of an interval is expected in between, on a straight line in time. The detector
confirms it there and corrects the box. If a face moves far, its interval is first halved, and the face is searched for
near the middle of its path. If the two ends do not hold the same faces, the interval is halved at a sample that is
searched in full; a sample in which a face is not confirmed, or not found nearby, is searched in full as well. So every
sample has its own boxes, landmarks and scores, and only a face that comes and goes within one interval is missed
(tests/benchmarks/adaptive.py measures how many are). tests/tracks/test_identities.py holds the tolerance: 97% of the
faces of a full search are found, with an overlap of at least 0.5 (median 0.9), under the same track numbers.

Keyframes are chosen by time, and wherever shots/detect.py might begin a shot (both use similarity.is_similar): the
first sample of a new shot is a keyframe. They never depend on how the samples are batched.
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

__all__ = ["FAST_INTERVAL", "INTERVAL", "KeyframeInterval", "detect_keyframes"]


@dataclass(frozen=True)
class KeyframeInterval:
    """How far keyframes are apart: at least `samples` samples and `min_s`, unless that takes longer than `max_s`.

    Parameters
    ----------
    samples : int
    min_s, max_s : float
        In seconds.
    """

    samples: int
    min_s: float
    max_s: float


INTERVAL, FAST_INTERVAL = KeyframeInterval(5, 0.4, 1.0), KeyframeInterval(10, 0.8, 2.0)
#: Samples wait until this many keyframes can be searched together, or this many bytes of pixels are held.
_KEYFRAMES, _BYTES = 6, 3 * 2**24
#: Movement between keyframes, in face sizes and growth (see _distance). Beyond _INTERPOLATE a face is not interpolated
#: but searched for nearby, if there are at most _FEW of them; beyond _LOST it is another face.
_INTERPOLATE, _LOST, _FEW = 2.0, 6.0, 4
#: Two confirmed boxes that share more than this part of the smaller one are the same face.
_OVERLAP = 0.5


@dataclass
class _Sample:
    """One sampled frame that waits for its faces: `found` holds them, with frame 0, as soon as they are known.

    Samples that show the same frame are one, from pts_s to last_s.
    """

    pts_s: float
    image: np.ndarray
    luma: np.ndarray
    signature: FrameSignature
    last_s: float
    keyframe: bool = False
    found: Detections | None = None

    @property
    def bytes(self) -> int:
        """Memory that its pixels take."""
        return self.luma.size + self.image.size


def detect_keyframes(
    frames: Iterable[FrameBatch],
    detector: FaceDetector,
    min_face: float,
    *,
    interval: KeyframeInterval = INTERVAL,
) -> Generator[tuple[FrameBatch, Detections]]:
    """Search keyframes in full and follow the faces between them: the strategy "adaptive".

    Parameters
    ----------
    frames : Iterable[FrameBatch]
    detector : FaceDetector
    min_face : float
        Size of the smallest face, relative to the width of the image.
    interval : KeyframeInterval

    Yields
    ------
    FrameBatch
        The batches, in order.
    Detections
        The faces of the batch.
    """
    batches: deque[tuple[FrameBatch, list[_Sample]]] = deque()
    waiting: list[_Sample] = []  # from the last keyframe that has its faces
    for batch in frames:
        with stage("shots"):
            columns = zip(batch.pts_s, batch.image, batch.luma, signatures(batch.pts_s, batch.thumb), batch.pts_s)
            batches.append((batch, [_append(waiting, _Sample(*column), interval) for column in columns]))
        held = sum(sample.bytes for _, samples in batches for sample in samples)
        if sum(sample.keyframe for sample in waiting) > _KEYFRAMES or held > _BYTES:
            last = max(i for i, sample in enumerate(waiting) if sample.keyframe)
            _detect(waiting[: last + 1], detector, min_face)
            waiting = waiting[last:]
            yield from _complete(batches)
    if waiting:
        waiting[-1].keyframe = True
        _detect(waiting, detector, min_face)
        yield from _complete(batches)


def _append(waiting: list[_Sample], sample: _Sample, interval: KeyframeInterval) -> _Sample:
    """Append a sample, or extend the last one if it shows the same frame: it becomes a keyframe, as faces rest."""
    if waiting and waiting[-1].luma is sample.luma:
        waiting[-1].keyframe, waiting[-1].last_s, waiting[-1].signature = True, sample.pts_s, sample.signature
        return waiting[-1]
    _choose_keyframe(waiting, sample, interval)
    waiting.append(sample)
    return sample


def _choose_keyframe(before: list[_Sample], sample: _Sample, interval: KeyframeInterval) -> None:
    """Mark a sample as a keyframe if it is the first, if the last one is long ago, or if a shot may begin there.

    If the sample is not similar to the one before, the last sample of the old shot becomes a keyframe too, so that no
    interval crosses a cut. In a dissolve each sample is similar to the one before, but finally not to the last
    keyframe.
    """
    if not before:
        sample.keyframe = True
        return
    if not is_similar(before[-1].signature, sample.signature, FAST_PAN):
        before[-1].keyframe = sample.keyframe = True
        return
    start = next(i for i in range(len(before) - 1, -1, -1) if before[i].keyframe)
    most = max(1, int(0.75 * _BYTES) // sample.bytes)
    since_s, n = sample.pts_s - before[start].last_s + 1e-6, len(before) - start
    # a segment of the video can begin or end here (jobs/shards.py)
    on_grid = sample.pts_s // KEYFRAME_GRID_S > before[-1].last_s // KEYFRAME_GRID_S
    far = since_s >= interval.max_s or (since_s >= interval.min_s and n >= interval.samples)
    sample.keyframe = on_grid or far or n >= most
    sample.keyframe = sample.keyframe or not is_similar(before[start].signature, sample.signature, SLOW_PAN)


def _complete(batches: deque[tuple[FrameBatch, list[_Sample]]]) -> Iterator[tuple[FrameBatch, Detections]]:
    """Remove and yield the first batches, as long as all their samples have their faces."""
    while batches and all(sample.found is not None for sample in batches[0][1]):
        batch, samples = batches.popleft()
        yield batch, _concatenate([sample.found for sample in samples if sample.found is not None])


def _detect(samples: list[_Sample], detector: FaceDetector, min_face: float) -> None:
    """Find the faces of all samples, of which the first and the last are keyframes."""
    keyframes = [i for i, sample in enumerate(samples) if sample.keyframe]
    _search([samples[i] for i in keyframes], detector, min_face)
    intervals = [(a, b) for a, b in pairwise(keyframes) if b - a > 1]
    while intervals:
        interpolated: list[tuple[_Sample, np.ndarray]] = []
        guessed: list[tuple[_Sample, np.ndarray]] = []
        halved: list[tuple[int, int]] = []
        for first, last in intervals:
            with stage("detect: interpolate"):
                paths = _match(samples[first], samples[last])
            if paths and paths.short:
                interpolated += [(sample, paths.boxes_at(sample.pts_s)) for sample in samples[first + 1 : last]]
                continue
            middle = (first + last) // 2
            samples[middle].keyframe = True
            halved += [(first, middle), (middle, last)]
            if paths:
                guessed.append((samples[middle], paths.boxes_at(samples[middle].pts_s)))
        _confirm(interpolated, detector)
        _search_near(guessed, detector)
        _search([sample for sample, _ in interpolated] + [samples[b] for _, b in halved], detector, min_face)
        intervals = [(a, b) for a, b in halved if b - a > 1]


def _search(samples: list[_Sample], detector: FaceDetector, min_face: float) -> None:
    """Search in full the samples that have no faces yet."""
    samples = [sample for sample in samples if sample.found is None]
    if not samples:
        return
    images = np.stack([sample.image for sample in samples])
    with stage("detect"):
        found = detector.detect(images, min_face * images.shape[2])
    for i, sample in enumerate(samples):
        sample.found = _select(found, found.frame == i)


@dataclass(frozen=True)
class _Paths:
    """Paths of k faces between two samples, from start (k, 4) to end (k, 4); short if none moves far."""

    start: np.ndarray
    end: np.ndarray
    time_s: tuple[float, float]
    short: bool

    def boxes_at(self, pts_s: float) -> np.ndarray:
        """Interpolate the boxes (k, 4) linearly in time."""
        begin_s, end_s = self.time_s
        share = np.float32((pts_s - begin_s) / (end_s - begin_s))
        return self.start * (1 - share) + self.end * share


def _match(first: _Sample, last: _Sample) -> _Paths | None:
    """Match the faces of two samples; None unless both have equally many, in pairs that are nearest to each other."""
    assert first.found is not None and last.found is not None
    start, end, time_s = first.found.box_px, last.found.box_px, (first.last_s, last.pts_s)
    if len(start) != len(end):
        return None
    if not len(start):
        return _Paths(start, end, time_s, True)
    distance = _distance(start, end)
    partner = distance.argmin(1)
    if len(np.unique(partner)) < len(partner) or (distance.argmin(0)[partner] != np.arange(len(partner))).any():
        return None
    farthest = distance[np.arange(len(partner)), partner].max()
    return _Paths(start, end[partner], time_s, bool(farthest <= _INTERPOLATE)) if farthest <= _LOST else None


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Distance (m, k) between boxes (m, 4) and (k, 4): in sides of the smaller one, plus three times the log growth."""
    centre, far = ((box[:, :2] + box[:, 2:]) / 2 for box in (one, other))
    side, wide = (np.sqrt(np.maximum((box[:, 2:] - box[:, :2]).prod(1), 1)) for box in (one, other))
    steps = np.linalg.norm(centre[:, None] - far[None], axis=2) / np.minimum(side[:, None], wide[None])
    return steps + 3 * np.abs(np.log(side[:, None] / wide[None]))


def _confirm(expected: list[tuple[_Sample, np.ndarray]], detector: FaceDetector) -> None:
    """Have the detector confirm the boxes expected in each sample, which gets its faces if all are confirmed."""
    for sample, box in expected:
        if not len(box):
            sample.found = NO_FACES
    expected = [(sample, box) for sample, box in expected if len(box)]
    if not expected:
        return
    frame = np.repeat(np.arange(len(expected)), [len(box) for _, box in expected])
    with stage("detect"):
        images, boxes = [sample.image for sample, _ in expected], np.concatenate([box for _, box in expected])
        found, confirmed = detector.confirm(images, frame, boxes)
    for i, (sample, _) in enumerate(expected):
        here = frame == i
        if confirmed[here].all() and not _any_overlap(found.box_px[here]):
            sample.found = _select(found, here)


def _search_near(guessed: list[tuple[_Sample, np.ndarray]], detector: FaceDetector) -> None:
    """Have the detector search near the boxes guessed in each sample, which gets its faces if none is missing."""
    detect_near = getattr(detector, "detect_near", None)
    guessed = [(sample, box) for sample, box in guessed if len(box) <= _FEW]
    if detect_near is None or not guessed:
        return
    frame = np.repeat(np.arange(len(guessed)), [len(box) for _, box in guessed])
    with stage("detect"):
        images, boxes = [sample.image for sample, _ in guessed], np.concatenate([box for _, box in guessed])
        found = detect_near(images, frame, boxes)
    for i, (sample, box) in enumerate(guessed):
        here = found.frame == i
        if here.sum() == len(box):
            sample.found = _select(found, here)


def _any_overlap(box: np.ndarray) -> bool:
    """Whether two of the boxes (m, 4) moved to the same face."""
    low, high = np.maximum(box[:, None, :2], box[None, :, :2]), np.minimum(box[:, None, 2:], box[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    area = np.diagonal(shared)
    shared = shared - np.diag(area)
    return bool((shared > _OVERLAP * np.minimum(area[:, None], area[None])).any())


def _select(found: Detections, here: np.ndarray) -> Detections:
    """Select the faces of one image, by falling score."""
    order = np.flatnonzero(here)
    order = order[np.argsort(-found.score[order], kind="stable")]
    frame = np.zeros(len(order), np.int64)
    return Detections(frame, found.box_px[order], found.score[order], found.landmarks_px[order])


def _concatenate(parts: list[Detections]) -> Detections:
    """Join the faces of single images to those of a batch."""
    frame = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    box, score, marks = (np.concatenate([getattr(p, k) for p in parts]) for k in ("box_px", "score", "landmarks_px"))
    return Detections(frame, box, score, marks)
