"""A track ends where it would go on as another person: tiles of a video call that change places, split screens."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fervid
from fervid.faces.appearance import likeness, places
from fervid.tracks.tracker import Tracker, link
from fervid.types import concatenate
from tests.helpers.clips import add_video, encode
from tests.helpers.fakes import Face, Seen, shot_batch, split
from tests.helpers.hypothesis_settings import steady

SAMPLES = Path(__file__).parents[2] / "sample_videos"
LEFT, RIGHT = (10, 10, 50, 60), (110, 10, 150, 60)


def tracks(persons: list[tuple[int | None, ...]], cuts: list[int] = [], fps: float = 5) -> list[list[int]]:  # noqa: B006
    """The track of each face of each sample, whose faces stay where they are."""
    samples = [
        Seen(i / fps, tuple(Face(box, person=one) for box, one in zip((LEFT, RIGHT), here) if one != -1))
        for i, here in enumerate(persons)
    ]
    linked = concatenate(list(link(map(shot_batch, split(samples, cuts)), Tracker())))
    return [linked.track[linked.pts_s == sample.pts_s].tolist() for sample in samples]


@pytest.mark.parametrize("fps", [1, 5, 25])
def test_tiles_that_change_places_are_new_tracks(fps):
    assert tracks([(1, 2)] * 8 + [(2, 1)] * 8, fps=fps) == [[0, 1]] * 8 + [[2, 3]] * 8


def test_one_tile_changes_and_the_other_stays():
    assert tracks([(1, 2)] * 6 + [(1, 3)] * 6) == [[0, 1]] * 6 + [[0, 2]] * 6


def test_a_change_after_one_sample():
    assert tracks([(1,)] + [(2,)] * 6) == [[0]] + [[1]] * 6


def test_a_change_across_a_sample_without_the_face():
    assert tracks([(1,)] * 6 + [(-1,)] + [(2,)] * 6) == [[0]] * 6 + [[]] + [[1]] * 6


@pytest.mark.parametrize("odd", [7, None])
def test_one_odd_sample_ends_no_track(odd):
    """A hand before the face, a flash."""
    assert tracks([(1,)] * 6 + [(odd,)] + [(1,)] * 6) == [[0]] * 13


def test_a_face_that_looks_different_in_every_sample_stays_one_track():
    assert tracks([(i,) for i in range(12)]) == [[0]] * 12


def test_a_face_that_looks_like_nothing_stays_one_track():
    assert tracks([(None,)] * 12) == [[0]] * 12


def _tracks_of(appearances: list[np.ndarray]) -> list[int]:
    batch = shot_batch([Seen(i / 5, (Face(LEFT),)) for i in range(len(appearances))])
    return concatenate(list(link([replace(batch, appearance=np.stack(appearances))], Tracker()))).track.tolist()


def _picture(person: int, background: int) -> np.ndarray:
    """A face that fills the middle of its surroundings."""
    image, face = (np.random.default_rng(one).integers(0, 255, (12, 12, 3), np.uint8) for one in (background, person))
    image[3:9, 3:9] = face[3:9, 3:9]
    return image


def test_a_new_background_behind_the_same_face_ends_no_track():
    assert _tracks_of([_picture(1, 10)] * 5 + [_picture(1, 11)] * 5) == [0] * 10


def test_two_persons_before_much_the_same_wall_are_two_tracks():
    """They correlate by 0.55, as two tiles of a call did at one sample per second."""
    one, other = (np.random.default_rng(seed).normal(0, 1, (12, 12, 3)) for seed in (1, 2))
    looks = [np.clip(128 + 30 * image, 0, 255).astype(np.uint8) for image in (one, 0.55 * one + 0.835 * other)]
    assert 0.5 < likeness(*looks) < 0.6
    assert _tracks_of([looks[0]] * 5 + [looks[1]] * 5) == [0] * 5 + [1] * 5


@steady
@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=2, max_size=30),
    st.lists(st.integers(0, 30), max_size=8),
)
def test_batches_do_not_matter(persons, cuts):
    assert tracks(persons, cuts) == tracks(persons)


def test_likeness():
    one, other = np.random.default_rng(0).integers(0, 255, (2, 12, 12, 3), np.uint8)
    assert likeness(one, one) == pytest.approx(1)
    assert likeness(one, one // 2 + 60) == pytest.approx(1, abs=0.01), "brightness and contrast do not matter"
    assert abs(likeness(one, other)) < 0.3
    assert likeness(one, np.full_like(one, 9)) == 0
    assert places(np.array([[10, 20, 30, 60]], np.float32)).shape == (1, 2, 3)


@pytest.mark.slow
def test_a_gallery_that_is_laid_out_anew(tmp_path):
    """A smiling woman and a man who does not smile change places after three seconds."""
    with av.open(SAMPLES / "cut_to_nobody.mp4") as film:
        frames = [frame.to_ndarray(format="rgb24")[20:340, 200:440] for frame in film.decode(video=0)]
    path = tmp_path / "gallery.mp4"
    with av.open(path, "w") as out:
        images = []
        for i in range(180):
            tiles = frames[i % 60], frames[120 + i % 60]
            image = np.zeros((360, 640, 3), np.uint8)
            image[20:340, 60:300], image[20:340, 340:580] = tiles if i < 90 else tiles[::-1]
            images.append(image)
        out.mux(list(encode(add_video(out, rate=30, size=(640, 360)), images, range(180), Fraction(1, 30))))
    rows = fervid.process(path, device="cpu").to_pandas()
    happy = rows.groupby("track")["happiness"]
    assert (happy.max() - happy.min()).max() < 0.3, "no track is the woman before and the man after"
    before, after = (set(rows[rows["second"].isin(part)]["track"]) for part in ((0, 1, 2), (3, 4, 5)))
    assert not before & after
