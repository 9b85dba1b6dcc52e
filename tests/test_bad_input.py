"""Degenerate input through shots, tracks and timeline together: no crash, bounded memory, sensible rows."""

from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from fervid.emotions.classify import classify
from fervid.shots.detect import ShotDetector, assign_shots
from fervid.timeline.aggregate import fill_gaps, summarise
from fervid.tracks.tracker import Tracker, link
from fervid.types import FaceBatch, Rows
from tests.helpers.fakes import Face, FakeClassifier, Seen, face_batch

LABELS = FakeClassifier.labels
NOISE = np.random.default_rng(3).integers(0, 255, (64, 18, 32, 3), np.uint8)


def rows_of(batches: Iterable[FaceBatch], end_s: float) -> Rows:
    detector = ShotDetector()
    emotions = classify(link(assign_shots(batches, detector), Tracker()), FakeClassifier())
    return fill_gaps(summarise(emotions, LABELS), LABELS, 0, lambda: end_s)


def batches(samples: list[Seen], thumb: np.ndarray | None = None) -> Iterator[FaceBatch]:
    for i in range(0, len(samples), 8):
        yield face_batch(samples[i : i + 8], None if thumb is None else thumb[i : i + 8])


def face(i: int, side: float = 40) -> Face:
    x, y = 90 * (i % 20), 100 * (i // 20)
    return Face((x, y, x + side, y + side))


def test_zero_faces():
    rows = rows_of(batches([Seen(i / 5) for i in range(50)]), 10.0)
    assert rows["second"].tolist() == list(range(10)) and set(rows["status"]) == {"no_face"}
    assert set(rows["shot"]) == {0} and set(rows["track"]) == {-1}


def test_two_hundred_faces():
    faces = tuple(face(i) for i in range(200))
    rows = rows_of(batches([Seen(i / 5, faces) for i in range(15)]), 3.0)
    assert len(rows["second"]) == 600 and (rows["n_faces"] == 5).all()
    assert np.array_equal(np.unique(rows["track"]), np.arange(200))


def test_a_face_that_fills_the_frame():
    whole = Face((0, 0, 1920, 1080))
    rows = rows_of(batches([Seen(i / 5, (whole,), frame_px=(1920, 1080)) for i in range(10)]), 2.0)
    assert rows["track"].tolist() == [0, 0] and rows["face_px"].tolist() == [1080, 1080]
    assert rows["w"].tolist() == [1, 1] and rows["h"].tolist() == [1, 1]


@pytest.mark.parametrize("fps", [5, 25])
def test_one_frame_shots(fps):
    """Every sampled frame is another image: whatever the shots are, each second has rows, and no track spans two."""
    samples = [Seen(i / fps, (face(0),)) for i in range(64)]
    rows = rows_of(batches(samples, NOISE), 64 / fps)
    assert sorted(set(rows["second"].tolist())) == list(range(-(-64 // fps)))
    assert (rows["n_sampled"][rows["second"] < 64 // fps] == fps).all() and (np.diff(rows["shot"]) >= 0).all()


@pytest.mark.parametrize("period", [1, 2, 3])
def test_strobing_is_one_shot_and_one_track(period):
    dark = (np.arange(100) // period) % 2 == 0
    thumb = np.where(dark[:, None, None, None], 8, NOISE[:1]).astype(np.uint8)
    rows = rows_of(batches([Seen(i / 25, (face(0),)) for i in range(100)], thumb), 4.0)
    assert rows["track"].tolist() == [0] * 4 and rows["shot"].tolist() == [0] * 4


@pytest.mark.slow
def test_a_static_video_of_an_hour():
    waits = []

    def film() -> Iterator[FaceBatch]:
        for k in range(2250):
            waits.append(k)
            yield face_batch([Seen((8 * k + i) / 5, (face(0),)) for i in range(8)], np.repeat(NOISE[:1], 8, 0))

    detector = ShotDetector()
    for n, batch in enumerate(link(assign_shots(film(), detector), Tracker())):
        assert len(waits) - n <= 5 and set(batch.track) == {0} and set(batch.shot) == {0}
    assert [shot.kind for shot in detector.shots()] == ["start"] and len(detector._seen) < 50


def test_timestamps_that_run_backwards():
    """The reader puts joined parts one after the other; should time run backwards anyway, the parts stay separate."""
    tracker, detector = Tracker(), ShotDetector()
    joined = [Seen(i / 5, (face(0),)) for i in range(10)] + [Seen(i / 5, (face(0),)) for i in range(10)]
    linked = list(link(assign_shots(batches(joined), detector), tracker))
    assert sum(len(batch) for batch in linked) == 20
    assert sorted({int(track) for batch in linked for track in batch.track}) == [0, 1]
