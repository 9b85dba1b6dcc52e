"""Size, pixel shape and orientation may change at any frame: everything follows the frame of its moment."""

from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fervid
from fervid.config import Config
from fervid.models import Models
from fervid.pipeline import process_video
from fervid.video.geometry import Place, fit
from fervid.video.open import open_video
from fervid.video.readers.pyav_frame import planes_of
from fervid.video.sampling import batch_frames, sample_frames, skip_static
from tests.helpers.changing_clips import Part, write_parts
from tests.helpers.clips import draw, read_number
from tests.helpers.fakes import FakeClassifier, FakeDetector, FakeFrame, draw_faces
from tests.helpers.hypothesis_settings import steady

MODELS = Models(FakeDetector(), FakeClassifier(), "cpu")
SHAPES = [Fraction(1), Fraction(4, 3), Fraction(1, 2)]
FEW = settings(steady, max_examples=6)
PARTS = st.builds(
    Part,
    n=st.integers(3, 40),
    size=st.sampled_from([(128, 96), (96, 128), (64, 48), (256, 192), (130, 98), (2, 2)]),
    pixel_shape=st.sampled_from(SHAPES),
)
#: The face of every frame, in parts of the displayed frame: x0, y0, x1, y1.
FACE = np.array([0.25, 0.25, 0.5, 0.75])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("changing")


@FEW
@given(st.lists(PARTS, min_size=2, max_size=4), st.sampled_from(["mkv", "ts", "mp4"]))
def test_every_frame_has_its_own_geometry(folder, parts, suffix):
    path = write_parts(folder / f"frames.{suffix}", parts, draw)
    expected = [part for part in parts for _ in range(part.n)]
    with open_video(path) as video:
        assert (video.info.width_px, video.info.height_px) == parts[0].displayed
        frames = list(video.frames())
    assert [frame.size_px for frame in frames] == [part.displayed for part in expected]
    assert [frame.luma().shape[::-1] for frame in frames] == [part.size for part in expected]
    for i in {0, *accumulate(part.n for part in parts[:-1])}:
        if expected[i].size != (2, 2):
            assert read_number(frames[i].rgb(64, 48)) == i


@FEW
@given(
    st.lists(PARTS, min_size=2, max_size=4),
    st.sampled_from(["adaptive", "every"]),
    st.sampled_from([2.0, 5.0, None]),
)
def test_faces_are_where_they_are_in_the_frame_of_their_moment(folder, parts, detection, fps):
    path, faces = write_parts(folder / "faces.mkv", parts, _with_face), folder / "faces.parquet"
    config = Config(fps=fps, detection=detection, detection_size_px=120, track_start_score=0.5)
    result = process_video(path, None, config, MODELS, faces_out=faces)
    assert result.status == "ok"
    starts = [0, *accumulate(part.n for part in parts)]
    for row in pq.read_table(faces).to_pylist():
        number = round(row["pts_s"] * 25)
        part = next(part for part, start in zip(parts[::-1], starts[-2::-1]) if number >= start)
        box = np.array([row["x"], row["y"], row["x"] + row["w"], row["y"] + row["h"]])
        pixels = min(part.size), 120 * min(part.displayed) / max(part.displayed)
        assert np.abs(box - FACE).max() <= 1.5 / min(pixels), (number, part)
    found = {round(at * 25) for at in pq.read_table(faces)["pts_s"].to_pylist()}
    for part, start in zip(parts, starts):
        width, height = (side * min(1, 120 / max(part.displayed)) for side in part.displayed)
        large = min(width / 4, height / 2) > 22 and part.n >= 25 and fps != 2  # a track needs two faces
        assert not large or any(start <= number < start + part.n for number in found)


def _with_face(number: int, width: int, height: int) -> np.ndarray:
    size = np.array([width, height, width, height])
    return draw_faces(tuple(np.round(FACE * size)), size=(width, height))


def test_face_px_is_that_of_the_frame_of_its_moment(folder):
    parts = [Part(75, (128, 96)), Part(75, (512, 384))]
    path = write_parts(folder / "grows.mkv", parts, _with_face)
    table = process_video(path, None, Config(), MODELS).table.to_pandas()
    assert table["face_px"].tolist() == pytest.approx([48] * 3 + [192] * 3, abs=2)
    assert table["x"].tolist() == pytest.approx([0.25] * 6, abs=0.01)
    assert table["h"].tolist() == pytest.approx([0.5] * 6, abs=0.02)
    assert table["track"].tolist() == [0] * 6, "a change of the resolution is no cut"


def test_the_detection_image_follows_the_size_of_each_frame():
    shown = [FakeFrame(i / 5, 0.2, np.zeros((h, w), np.uint8)) for i, (w, h) in enumerate([(32, 24)] * 3 + [(96, 64)])]
    batches = list(batch_frames(sample_frames(shown, 5), lambda size: (size[0] // 2, size[1] // 2)))
    assert [batch.image.shape[:3] for batch in batches] == [(3, 12, 16), (1, 32, 48)]
    assert [batch.size_px for batch in batches] == [(32, 24), (96, 64)]


def test_a_still_displayed_in_another_shape_is_another_image():
    image = np.full((48, 64), 100, np.uint8)
    shown = [FakeFrame(0.0, 0.2, image), FakeFrame(0.2, 0.2, image.copy(), displayed_px=(128, 48))]
    kept = list(skip_static(sample_frames(shown, 5)))
    assert [frame.pts_s for frame, _, _ in kept] == [0.0, 0.2]


@given(*[st.tuples(st.integers(1, 3000), st.integers(1, 3000))] * 2)
def test_a_frame_fits_its_window(frame_px, half_window_px):
    window_px = (2 * half_window_px[0], 2 * half_window_px[1])
    place = fit(frame_px, window_px)
    assert all(value % 2 == 0 for value in place)
    assert place.x >= 0 and place.x + place.width <= window_px[0]
    assert place.y >= 0 and place.y + place.height <= window_px[1]
    assert window_px[0] - place.width <= 2 or window_px[1] - place.height <= 2, "as large as possible"
    assert abs(2 * place.x + place.width - window_px[0]) <= 2, "in the middle"
    assert abs(2 * place.y + place.height - window_px[1]) <= 2
    if min(place.width, place.height) >= 64:
        assert place.width / place.height == pytest.approx(frame_px[0] / frame_px[1], rel=0.07)


def test_a_frame_of_the_same_shape_fills_the_window():
    assert fit((320, 180), (1280, 720)) == Place(0, 0, 1280, 720)
    assert fit((131, 97), (130, 96)) == Place(0, 0, 130, 96)
    assert fit((360, 640), (640, 360)) == Place(218, 0, 202, 360)


@pytest.mark.parametrize("sizes", [[(64, 48), (256, 192)], [(256, 192), (64, 48)], [(192, 256), (256, 192)]])
def test_an_overlay_is_as_large_as_the_largest_frame(folder, sizes):
    path = write_parts(folder / "film.mkv", [Part(50, size) for size in sizes], _with_face)
    timeline, faces = folder / "film.parquet", folder / "film.faces.parquet"
    process_video(path, timeline, Config(), MODELS, faces_out=faces)
    fervid.overlay(path, timeline, folder / "over.mp4", faces=faces)
    largest = max(sizes, key=lambda size: size[0] * size[1])
    with open_video(folder / "over.mp4") as video:
        frames = list(video.frames())
        assert len(frames) == 100
        assert {frame.size_px for frame in frames} == {largest}
    for frame, size in ((frames[20], sizes[0]), (frames[80], sizes[1])):
        place, luma = fit(size, largest), frame.luma().astype(int)
        x0, y0, x1, y1 = (
            (FACE * np.tile([place.width, place.height], 2) + np.tile([place.x, place.y], 2)).round().astype(int)
        )
        assert luma[y0:y1, x0:x1].max() > 200, "the face is where the frame is"
        assert luma[:, : max(place.x - 4, 0)].max(initial=0) < 20, "black beside it"


def test_a_canvas_keeps_the_range_of_its_frame(folder):
    path = write_parts(
        folder / "portrait.mkv", [Part(2, (96, 128))], lambda number, w, h: np.full((h, w), 255, "uint8")
    )
    with open_video(path) as video:
        luma, blue, red = planes_of(next(iter(video.frames())).canvas(256, 128))
    assert (luma[:, :70] == 16).all() and (luma[:, 90:160] >= 233).all() and (luma[:, 190:] == 16).all()
    assert (blue[:, :30] == 128).all() and (red[:, :30] == 128).all()
