"""Every shot begins with a keyframe: no face of a new shot is interpolated from the old one."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fervid.faces.detector import Detections
from fervid.faces.keyframes import detect_keyframes
from fervid.shots.detect import ShotDetector
from fervid.types import FrameBatch
from fervid.video.sampling import KEYFRAME_GRID_S
from tests.benchmarks.adaptive import joined, read
from tests.helpers.edited_films import splice
from tests.helpers.fakes import FakeDetector, split
from tests.helpers.films import RATE, Film, film
from tests.helpers.hypothesis_settings import steady

SAMPLES = Path(__file__).parents[2] / "sample_videos"
cached_film = cache(film)  # for tests that use one film at several rates and do not modify it
ONE = np.float32([[4, 4, 20, 20]])


class Certain(FakeDetector):
    """Finds one face in every sample, with the score 1 if it was searched and 0.5 if it was confirmed."""

    def detect(self, images: np.ndarray, min_face_px: float) -> Detections:
        n = len(images)
        return Detections(np.arange(n), ONE.repeat(n, 0), np.ones(n, np.float32), np.zeros((n, 5, 2), np.float32))

    def confirm(self, images, frame, box_px):
        n = len(frame)
        half = np.full(n, 0.5, np.float32)
        return Detections(frame, box_px, half, np.zeros((n, 5, 2), np.float32)), np.ones(n, bool)


def to_batch(shown: Film, fps: int, first: int = 0, stop: int | None = None) -> FrameBatch:
    """Make one batch of the images of a film, or of some of them."""
    images = shown.sampled(fps).frames[first:stop]
    times = np.arange(first, first + len(images)) / fps
    return FrameBatch(times, np.full(len(images), 1 / fps), images, tuple(images[..., 1]))


def keyframes_of(batches: list[FrameBatch]) -> np.ndarray:
    """Which samples (n,) were keyframes."""
    return joined(detect_keyframes(batches, Certain(), 0.05)).score == 1


def check(batches: list[FrameBatch]) -> list[str]:
    """Assert that every shot found in these samples begins with a keyframe -> the kinds of the boundaries."""
    shots, pts_s, key = ShotDetector(), np.concatenate([batch.pts_s for batch in batches]), keyframes_of(batches)
    for batch in batches:
        shots.push(batch.pts_s, batch.thumb)
    shots.finish()
    for edge in shots.boundaries:
        if edge.kind == "dissolve":  # it has no first sample: one within it
            assert key[(pts_s >= edge.from_s) & (pts_s <= edge.to_s)].any(), edge
        else:
            assert key[edge.index - 1] and key[edge.index], edge
    return [edge.kind for edge in shots.boundaries]


@pytest.mark.parametrize("fps", [RATE, 5])
@pytest.mark.parametrize("seed, disturb", [(7, ""), (8, "flicker"), (9, "pan"), (10, "crossing")])
def test_a_new_shot_begins_with_a_keyframe(fps, seed, disturb):
    shown = cached_film(seed, ("cut", "cut", "fade", "dissolve"), disturb=disturb, shots=4)
    assert check([to_batch(shown, fps)])


@pytest.mark.parametrize("fps", [None, 5])
def test_the_same_in_a_video(fps):
    batches, _ = read(SAMPLES / "cut_to_nobody.mp4", fps, 6)
    assert check(batches) == ["cut", "cut"]
    assert keyframes_of(batches).mean() < 0.35


@pytest.mark.parametrize("fps", [None, 5])
@pytest.mark.parametrize("names", [("two_faces", "one_face"), ("one_face", "two_faces")])
def test_a_cut_from_face_to_face_in_a_video(tmp_path, names, fps):
    one, other = (SAMPLES / f"{name}.mp4" for name in names)
    splice(tmp_path / "film.mp4", [(one, 1, 3), (other, 2.5, 4.5)])
    batches, _ = read(tmp_path / "film.mp4", fps, 4)
    assert check(batches) == ["cut"]


def test_a_shot_after_black_begins_with_a_keyframe():
    shown = film(11, ("cut",), shots=2)
    ((at, *_),) = shown.changes
    shown.frames[at - 5 : at] = 0
    assert check([to_batch(shown, RATE)]) == ["cut"]


def six_shots() -> Film:
    return cached_film(12, ("cut", "fade", "dissolve"), disturb="pan", shots=6)


@cache
def keyframes_of_six_shots(fps: int) -> np.ndarray:
    return keyframes_of([to_batch(six_shots(), fps)])


@steady
@given(st.lists(st.integers(0, 999), max_size=6), st.sampled_from([5, RATE]))
def test_keyframes_do_not_depend_on_batches(cuts, fps):
    whole = keyframes_of_six_shots(fps)
    parts = [to_batch(six_shots(), fps, part[0], part[-1] + 1) for part in split(range(len(whole)), cuts)]
    assert np.array_equal(whole, keyframes_of(parts))


@pytest.mark.parametrize("fps", [5, RATE])
@pytest.mark.parametrize("cells", [(0, 1), (1, 2), (1, 3), (2, 3)])
def test_a_segment_of_a_film_has_the_keyframes_of_the_whole(cells, fps):
    """A segment begins and ends at the first samples of cells of KEYFRAME_GRID_S, as in shards.sample_around."""
    first, last = (round(cell * KEYFRAME_GRID_S * fps) for cell in cells)
    whole, segment = keyframes_of_six_shots(fps), keyframes_of([to_batch(six_shots(), fps, first, last + 1)])
    assert len(whole) > last and np.array_equal(whole[first : last + 1], segment)
