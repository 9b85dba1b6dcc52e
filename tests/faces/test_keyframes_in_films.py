"""Where shots.py begins a shot, adaptive.py has searched: no face of a new shot is taken over from the old one."""

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
made = cache(film)  # for tests that see one film at several rates, and change nothing in it
ONE = np.float32([[4, 4, 20, 20]])


class Certain(FakeDetector):
    """Finds one face in every look, and confirms it: a look that was searched scores 1, one that was confirmed half."""

    def detect(self, picture: np.ndarray, min_face_px: float) -> Detections:
        n = len(picture)
        return Detections(np.arange(n), ONE.repeat(n, 0), np.ones(n, np.float32), np.zeros((n, 5, 2), np.float32))

    def confirm(self, pictures, frame, box_px):
        n = len(frame)
        half = np.full(n, 0.5, np.float32)
        return Detections(frame, box_px, half, np.zeros((n, 5, 2), np.float32)), np.ones(n, bool)


def looks_of(shown: Film, fps: int, first: int = 0, stop: int | None = None) -> FrameBatch:
    """The pictures of a film as looks, or some of them."""
    pictures = shown.sampled(fps).frames[first:stop]
    times = np.arange(first, first + len(pictures)) / fps
    return FrameBatch(times, np.full(len(pictures), 1 / fps), pictures, tuple(pictures[..., 1]))


def searched(batches: list[FrameBatch]) -> np.ndarray:
    """Which looks (n,) were key looks."""
    return joined(detect_keyframes(batches, Certain(), 0.05)).score == 1


def check(batches: list[FrameBatch]) -> list[str]:
    """Hold every shot that is found in these looks to the promise -> the kinds of its changes."""
    finder, pts_s, key = ShotDetector(), np.concatenate([batch.pts_s for batch in batches]), searched(batches)
    for batch in batches:
        finder.push(batch.pts_s, batch.thumb)
    finder.finish()
    for edge in finder.boundaries:
        if edge.kind == "dissolve":  # it has no first look: one within it
            assert key[(pts_s >= edge.from_s) & (pts_s <= edge.to_s)].any(), edge
        else:
            assert key[edge.index - 1] and key[edge.index], edge
    return [edge.kind for edge in finder.boundaries]


@pytest.mark.parametrize("fps", [RATE, 5])
@pytest.mark.parametrize("seed, disturb", [(7, ""), (8, "flicker"), (9, "pan"), (10, "crossing")])
def test_a_new_shot_begins_with_a_key_look(fps, seed, disturb):
    shown = made(seed, ("cut", "cut", "fade", "dissolve"), disturb=disturb, shots=4)
    assert check([looks_of(shown, fps)])


@pytest.mark.parametrize("fps", [None, 5])
def test_in_a_video_too(fps):
    looks, _ = read(SAMPLES / "cut_to_nobody.mp4", fps, 6)
    assert check(looks) == ["cut", "cut"]
    assert searched(looks).mean() < 0.35


@pytest.mark.parametrize("fps", [None, 5])
@pytest.mark.parametrize("names", [("two_faces", "one_face"), ("one_face", "two_faces")])
def test_from_portrait_to_portrait_in_a_video(tmp_path, names, fps):
    one, other = (SAMPLES / f"{name}.mp4" for name in names)
    splice(tmp_path / "film.mp4", [(one, 1, 3), (other, 2.5, 4.5)])
    looks, _ = read(tmp_path / "film.mp4", fps, 4)
    assert check(looks) == ["cut"]


def test_a_shot_that_begins_out_of_black_begins_with_a_key_look():
    shown = film(11, ("cut",), shots=2)
    ((at, *_),) = shown.changes
    shown.frames[at - 5 : at] = 0
    assert check([looks_of(shown, RATE)]) == ["cut"]


def six_shots() -> Film:
    return made(12, ("cut", "fade", "dissolve"), disturb="pan", shots=6)


@cache
def key_looks(fps: int) -> np.ndarray:
    return searched([looks_of(six_shots(), fps)])


@steady
@given(st.lists(st.integers(0, 999), max_size=6), st.sampled_from([5, RATE]))
def test_key_looks_do_not_depend_on_batches(cuts, fps):
    whole = key_looks(fps)
    parts = [looks_of(six_shots(), fps, part[0], part[-1] + 1) for part in split(range(len(whole)), cuts)]
    assert np.array_equal(whole, searched(parts))


@pytest.mark.parametrize("fps", [5, RATE])
@pytest.mark.parametrize("cells", [(0, 1), (1, 2), (1, 3), (2, 3)])
def test_a_piece_of_a_film_has_the_key_looks_of_the_whole(cells, fps):
    """As shards.sample_around takes it up and lets it go, at the first looks of its intervals of KEYFRAME_GRID_S."""
    first, last = (round(cell * KEYFRAME_GRID_S * fps) for cell in cells)
    whole, piece = key_looks(fps), searched([looks_of(six_shots(), fps, first, last + 1)])
    assert len(whole) > last and np.array_equal(whole[first : last + 1], piece)
