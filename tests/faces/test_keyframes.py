"""Adaptive detection: the faces of every sample, at the cost of a few, whatever the batches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fervid.faces import keyframes
from fervid.faces.detect import detect_all
from fervid.faces.detector import Detections
from fervid.faces.keyframes import FAST_INTERVAL, detect_keyframes
from fervid.faces.mtcnn import MTCNN
from fervid.types import FrameBatch
from fervid.video.sampling import KEYFRAME_GRID_S
from tests.benchmarks.adaptive import joined, read
from tests.benchmarks.detection import match
from tests.helpers.fakes import Box, FakeDetector, counted, draw_faces, split
from tests.helpers.hypothesis_settings import steady

SAMPLES = Path(__file__).parents[2] / "sample_videos"


class Counting(FakeDetector):
    """Counts the samples searched in full and the boxes to confirm."""

    def __init__(self) -> None:
        self.searched = self.confirmed = 0

    def detect(self, images: np.ndarray, min_face_px: float) -> Detections:
        self.searched += len(images)
        return super().detect(images, min_face_px)

    def confirm(self, images, frame, box_px):
        self.confirmed += len(frame)
        return super().confirm(images, frame, box_px)


def to_batches(images: list[np.ndarray], cuts: list[int], fps: float = 5) -> list[FrameBatch]:
    """Make samples of the images, at this rate, in batches that are separated at the cuts."""
    batches = []
    for part in split(list(enumerate(images)), cuts):
        times = np.array([i / fps for i, _ in part])
        grey = np.stack([image for _, image in part])
        batches.append(FrameBatch(times, np.full(len(part), 1 / fps), np.repeat(grey[..., None], 3, 3), tuple(grey)))
    return batches


def drift(n: int, start: Box, step: float) -> list[Box]:
    """A box that moves right by `step` per sample."""
    x0, y0, x1, y1 = start
    return [(x0 + i * step, y0, x1 + i * step, y1) for i in range(n)]


def found(images: list[np.ndarray], cuts: list[int], detector: FakeDetector, fps: float = 5) -> list[list]:
    """The boxes of each sample."""
    out = list(detect_keyframes(to_batches(images, cuts, fps), detector, 0.05))
    together = joined(out)
    times = np.concatenate([batch.pts_s for batch, _ in out])
    assert times.tolist() == [i / fps for i in range(len(images))]
    return [together.box_px[together.frame == i].tolist() for i in range(len(images))]


def test_a_drifting_face_is_found_in_every_sample_and_searched_in_few():
    path = drift(21, (2, 10, 14, 24), 2)
    detector = Counting()
    boxes = found([draw_faces(box) for box in path], [], detector)
    assert boxes == [[list(map(float, box))] for box in path]
    assert (detector.searched, detector.confirmed) == (5, 16)


def test_without_faces_only_keyframes_are_searched():
    detector = Counting()
    assert found([draw_faces()] * 41, [8, 16, 24, 32, 40], detector) == [[]] * 41
    assert (detector.searched, detector.confirmed) == (9, 0)


def test_an_interval_in_which_a_face_appears_is_halved():
    path = [()] * 6 + [((30, 10, 44, 24),)] * 15
    detector = Counting()
    assert [len(boxes) for boxes in found([draw_faces(*boxes) for boxes in path], [], detector)] == [0] * 6 + [1] * 15
    assert detector.searched <= 8


def test_a_face_missing_in_one_sample_is_not_invented():
    boxes = [((4, 10, 16, 24), (40, 10, 52, 24))] * 9
    boxes[2] = boxes[2][:1]
    detector = Counting()
    assert [len(b) for b in found([draw_faces(*b) for b in boxes], [], detector)] == [2, 2, 1] + [2] * 6
    assert detector.searched == 4  # three keyframes, and the sample in which a face was not confirmed


def test_both_sides_of_a_cut_are_keyframes():
    bright, dark = np.full((48, 64), 90, np.uint8), draw_faces()
    images = [dark.copy() for _ in range(9)]
    for i in (5, 6):  # a shot of two samples, between samples without faces
        images[i] = bright.copy()
        images[i][10:24, 30:44] = 250
    assert [len(b) for b in found(images, [], Counting())] == [0] * 5 + [1, 1] + [0] * 2


def test_keyframes_are_spaced_by_time():
    for fps, searched in ((1, 11), (2, 6), (5, 3), (10, 3), (25, 2), (50, 2)):
        detector = Counting()
        found([draw_faces((10, 10, 30, 30))] * 11, [], detector, fps)
        assert detector.searched == searched, fps


def test_the_fast_interval_searches_every_two_seconds_and_finds_the_same():
    path = drift(41, (2, 10, 14, 24), 1)
    batches = to_batches([draw_faces(box) for box in path], [])
    detector = Counting()
    boxes = joined(detect_keyframes(batches, detector, 0.05, interval=FAST_INTERVAL)).box_px
    assert boxes.tolist() == [list(map(float, box)) for box in path]
    assert (detector.searched, detector.confirmed) == (5, 36)


def test_large_frames_do_not_accumulate(monkeypatch):
    monkeypatch.setattr(keyframes, "_BYTES", 8 * 4 * 48 * 64)
    taken = 0

    def endless():
        nonlocal taken
        for batch in to_batches([draw_faces((10, 10, 30, 30))] * 100, list(range(100)), fps=1000):
            taken += 1
            yield batch

    next(detect_keyframes(endless(), FakeDetector(), 0.05))
    assert taken <= 10


def test_a_repeated_frame_is_searched_once():
    image = draw_faces((10, 10, 30, 30))
    images = np.repeat(image[None, ..., None], 3, 3)
    batches = [FrameBatch(np.array([float(i)]), np.ones(1), images, (image,)) for i in range(100)]
    detector, taken = Counting(), []
    out = detect_keyframes(counted(batches, taken), detector, 0.05)
    first = next(out)
    assert [len(found) for _, found in [first, *out]] == [1] * 100
    assert (detector.searched, detector.confirmed) == (1, 0)


@steady
@given(st.integers(0, 999), st.lists(st.integers(0, 99), max_size=8), st.sampled_from([3, 5, 25]))
def test_faces_do_not_depend_on_batches(seed, cuts, fps):
    random = np.random.default_rng(seed)
    images = []
    for _ in range(4):  # scenes
        n = random.integers(1, 10)
        paths = [
            drift(n, (x, y, x + 10, y + 12), random.uniform(-3, 3))
            for x, y in random.integers(0, 36, (random.integers(0, 3), 2))
        ]
        images += [draw_faces(*(path[i] for path in paths)) for i in range(n)]
    assert found(images, cuts, FakeDetector(), fps) == found(images, [], FakeDetector(), fps)


class Halving(FakeDetector):
    """Gives half the score to faces that were confirmed, not searched."""

    def confirm(self, images, frame, box_px):
        found, confirmed = super().confirm(images, frame, box_px)
        return replace(found, score=found.score / 2), confirmed


@steady
@given(st.integers(0, 999), st.integers(1, 50), st.integers(1, 50), st.sampled_from([2, 5, 12.5]))
def test_a_segment_has_the_faces_of_the_whole_video(seed, first, more, fps):
    """From the first sample of a cell of KEYFRAME_GRID_S to the first of a later one, as in shards.sample_around."""
    random = np.random.default_rng(seed)
    images = []
    while len(images) < 70:  # scenes; a brighter background makes a cut
        n, ground = random.integers(1, 40), np.uint8(random.integers(0, 2) * 60)
        paths = [
            drift(n, (x, y, x + 10, y + 12), random.uniform(-1, 1))
            for x, y in random.integers(0, 36, (random.integers(0, 3), 2))
        ]
        images += [np.maximum(draw_faces(*(path[i] for path in paths)), ground) for i in range(n)]
    cell = [i / fps // KEYFRAME_GRID_S for i in range(len(images))]
    stop = min(first + more, len(images) - 1)
    begin = cell.index(cell[first])
    end = next((i for i in range(stop, len(images)) if cell[i] > cell[i - 1]), len(images) - 1)

    def scores(low: int, high: int) -> list[list[float]]:
        batch = to_batches(images, [], fps)[0]
        part = FrameBatch(
            batch.pts_s[low:high], batch.duration_s[low:high], batch.image[low:high], batch.luma[low:high]
        )
        found = joined(list(detect_keyframes([part], Halving(), 0.05)))
        return [found.score[found.frame == i].tolist() for i in range(high - low)]

    whole, segment = scores(0, len(images)), scores(begin, end + 1)
    assert segment[first - begin : stop - begin] == whole[first:stop]


@pytest.mark.slow
@pytest.mark.parametrize("name, fps", [("one_face", 5), ("two_faces", 15), ("cut_to_nobody", 5)])
def test_real_faces_are_found_as_by_a_full_search(name, fps):
    frames, min_face = read(SAMPLES / f"{name}.mp4", fps, 6)
    detector = MTCNN()
    every, some = (joined(strategy(frames, detector, min_face)) for strategy in (detect_all, detect_keyframes))
    pairs, overlap = match(every, some)
    assert len(every) == len(some) == (overlap > 0.7).sum()
    i, j = pairs.T
    side = np.sqrt((every.box_px[i, 2:] - every.box_px[i, :2]).prod(1))
    apart = np.abs(every.landmarks_px[i] - some.landmarks_px[j]).mean((1, 2)) / side
    assert np.median(apart) < 0.02


def test_mtcnn_confirms_the_faces_that_it_finds_and_nothing_else():
    frames, min_face = read(SAMPLES / "two_faces.mp4", 1, 2)
    detector = MTCNN()
    (batch, every), *_ = detect_all(frames, detector, min_face)
    again, confirmed = detector.confirm(list(batch.image), every.frame, every.box_px)
    assert confirmed.all() and np.abs(again.landmarks_px - every.landmarks_px).max() < 3
    elsewhere = every.box_px + np.float32(150)
    assert not detector.confirm(list(batch.image), every.frame, elsewhere)[1].any()
    alone, _ = detector.confirm(list(batch.image), every.frame[:1], every.box_px[:1])
    assert np.array_equal(alone.box_px[0], again.box_px[0])
    outside = detector.confirm(list(batch.image), np.zeros(1, np.int64), np.full((1, 4), -90, np.float32))
    assert not outside[1].any()
