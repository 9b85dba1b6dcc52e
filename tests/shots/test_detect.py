"""Shots end at cuts, fades and dissolves, and not at flashes, pans, flicker or within a still image."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fervid.shots.detect import ShotDetector, assign_shots
from fervid.shots.similarity import FAST_PAN, is_similar, signatures
from fervid.types import thumbnails
from tests.helpers.fakes import Seen, counted, face_batch, split
from tests.helpers.films import RATE, Film, film, score, shot
from tests.helpers.hypothesis_settings import steady
from tests.helpers.walking_people import dialogue


def detect(film: Film, fps: float = RATE) -> ShotDetector:
    detector = ShotDetector()
    thumb = thumbnails(film.frames)
    detector.push(np.arange(len(thumb)) / fps, thumb)
    detector.finish()
    return detector


def transitions(detector: ShotDetector) -> list[tuple[float, float]]:
    return [(one.from_s, one.to_s) for one in detector.shots()[1:]]


def photographs(*lengths: int, names: tuple[str, ...] = ("coffee", "astronaut", "rocket", "chelsea")) -> Film:
    """Shots of these lengths in frames, joined by hard cuts."""
    random = np.random.default_rng(5)
    parts = [shot(random, names[i % len(names)], n) for i, n in enumerate(lengths)]
    return Film(np.concatenate(parts).astype(np.uint8), [(int(n), 0, "cut") for n in np.cumsum(lengths)[:-1]])


@pytest.fixture(scope="module")
def edited() -> Film:
    return film(4, ("cut", "fade", "dissolve"), shots=4)


@pytest.mark.parametrize("fps", [25, 5])
def test_hard_cuts_are_between_two_frames(fps):
    whole = photographs(40, 35, 50)
    step = RATE // fps
    expected = [-(-frame // step) for frame, *_ in whole.changes]
    detector = detect(whole.sampled(fps), fps)
    assert [one.index for one in detector.boundaries] == expected
    assert [one.kind for one in detector.shots()] == ["start", "cut", "cut"]
    assert [round((one.to_s - one.from_s) * fps, 6) for one in detector.shots()[1:]] == [1, 1]


@pytest.mark.parametrize("fps", [25, 5])
def test_an_edited_film(edited, fps):
    detector = detect(edited.sampled(fps), fps)
    assert score(edited, transitions(detector), 0.1) == (3, 0, 0)
    assert {one.kind for one in detector.shots()} == {"start", "cut", "fade", "dissolve"}


@pytest.mark.parametrize("fps", [25, 5])
def test_one_portrait_before_a_smooth_wall_is_not_similar_to_the_next(fps):
    """The same two heads alternate: one shot differs from the next only by a wall's colour and a shift."""
    film = dialogue(6)
    assert score(film, transitions(detect(film.sampled(fps), fps)), 0.1) == (7, 0, 0)


def test_a_camera_that_turns_in_changing_light_is_one_shot():
    images = shot(np.random.default_rng(2), "coffee", 60, speed=0.8) * np.linspace(1, 0.6, 60)[:, None, None, None]
    assert detect(Film(images.astype(np.uint8))).boundaries == []


@pytest.mark.parametrize("disturb", ["flash", "flicker", "pan"])
def test_flashes_flicker_and_pans_are_not_cuts(disturb):
    one = film(3, ("cut",), disturb=disturb, shots=1)
    assert detect(one).boundaries == [] and detect(one.sampled(5), 5).boundaries == []


def test_shots_follow_each_other_without_gaps(edited):
    shots = detect(edited).shots(60.0)
    assert [one.shot for one in shots] == list(range(len(shots)))
    assert [one.start_s for one in shots[1:]] == [one.end_s for one in shots[:-1]] and shots[-1].end_s == 60
    assert all(one.from_s <= one.start_s <= one.to_s for one in shots)


def test_dissimilar_neighbours_mark_where_a_shot_may_begin():
    shown = signatures(np.arange(80) / RATE, thumbnails(photographs(30, 20, 30).frames), first=7)
    assert [now.index for before, now in pairwise(shown) if not is_similar(before, now, FAST_PAN)] == [37, 57]


def test_blank_frames_are_similar_to_each_other_only():
    black, white, coffee = signatures(np.zeros(3), np.stack([np.zeros_like(THUMBS[0]), THUMBS[0] | 255, THUMBS[0]]))
    assert (
        is_similar(black, white, FAST_PAN)
        and not is_similar(black, coffee, FAST_PAN)
        and not is_similar(coffee, white, FAST_PAN)
    )


THUMBS = thumbnails(photographs(30, 20, 30).frames)


@steady
@given(st.lists(st.integers(0, 200), max_size=8))
def test_shots_do_not_depend_on_batches(cuts):
    thumb = THUMBS
    indices = list(range(len(thumb)))

    def numbers(parts: list) -> list[int]:
        batches = [face_batch([Seen(i / RATE) for i in part], thumb[list(part)]) for part in parts]
        return [int(k) for batch in assign_shots(batches, ShotDetector()) for k in batch.shot]

    assert numbers([indices]) == numbers(split(indices, cuts)) == [0] * 30 + [1] * 20 + [2] * 30


def test_a_still_image_is_one_shot_in_little_memory():
    detector, thumb = ShotDetector(), thumbnails(photographs(2).frames)[0]
    for i in range(3_000):  # ten minutes
        detector.push(np.array([i / 5]), thumb[None])
        assert len(detector._seen) < 50 and i + 1 - detector.settled < 20
    detector.finish()
    assert [(one.start_s, one.kind) for one in detector.shots()] == [(0.0, "start")]


def test_batches_are_passed_on_while_the_film_runs():
    taken: list = []
    grey = [face_batch([Seen((8 * k + i) / 5) for i in range(8)]) for k in range(30)]
    for n, _ in enumerate(assign_shots(counted(grey, taken), ShotDetector()), 1):
        assert len(taken) - n <= 3


def test_black_frames_are_not_a_shot():
    film = photographs(40, 40)
    film.frames[36:44] = 0
    assert [(one.index, one.kind) for one in detect(film).boundaries] == [(44, "cut")]


def test_a_shot_continues_after_black():
    film = photographs(80)
    film.frames[36:44] = 0
    assert detect(film).boundaries == []


def test_strobing_is_one_shot():
    film = photographs(30, 30)
    film.frames[1:30:2] = film.frames[31:60:2]
    film.frames[30:] = film.frames[:30]
    assert detect(film).boundaries == []


def test_no_frames_and_one_frame():
    assert detect(Film(np.zeros((0, 90, 160, 3), np.uint8))).shots() == []
    assert [one.kind for one in detect(photographs(1)).shots()] == ["start"]


def test_time_that_runs_backwards_does_no_harm():
    detector = ShotDetector()
    detector.push(np.arange(60) % 25 / 25, thumbnails(photographs(30, 30).frames))
    detector.finish()
    assert detector.settled == 60


@pytest.mark.parametrize("size", [(90, 160), (360, 640), (37, 53), (1, 1), (640, 360)])
def test_thumbnail_is_the_image_resized(size):
    images = np.zeros((2, *size, 3), np.uint8)
    images[1] = 200
    thumb = thumbnails(images)
    assert thumb.shape == (2, 18, 32, 3) and (thumb[0] == 0).all() and (thumb[1] == 200).all()
