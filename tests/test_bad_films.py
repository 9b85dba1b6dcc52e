"""Degenerate videos through the whole pipeline, from file to table: no crash, bounded memory, sensible rows.

The same for shots, tracks and timeline alone, without files, is in test_bad_input.py.
"""

import tracemalloc
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from fervid.config import load_config
from fervid.faces.detector import Detections
from fervid.models import Models
from fervid.pipeline import Result, process_video
from tests.helpers.clips import add_video, encode, joined
from tests.helpers.fakes import FakeClassifier, FakeDetector

SIZE = (640, 480)
FACE = np.s_[200:240, 300:340]
RANDOM = np.random.default_rng(5)


class Counting(FakeDetector):
    """Counts the frames that it searched."""

    def __init__(self) -> None:
        self.searched = 0

    def detect(self, image: np.ndarray, min_face_px: float) -> Detections:
        self.searched += len(image)
        return super().detect(image, min_face_px)


def write(path: Path, images: Iterable[np.ndarray], size: tuple[int, int] = SIZE, rate: int = 25) -> Path:
    """Write grey images as a clip; dark ones stay below 100, from which FakeDetector finds faces."""
    with av.open(path, "w") as out:
        stream = add_video(out, size=size, rate=rate, options={"crf": "10", "preset": "ultrafast"})
        out.mux(list(encode(stream, images, range(10**6), stream.codec_context.time_base)))
    return path


def run(path: Path, detector: FakeDetector | None = None, **options: object) -> tuple[Result, pd.DataFrame]:
    """Run the pipeline with fake networks -> the result, and its table."""
    models = Models(detector or FakeDetector(), FakeClassifier(), "cpu")
    result = process_video(path, None, load_config(**options), models)
    return result, result.to_pandas()


def scene(seed: int, face: bool = True) -> np.ndarray:
    """A dim background of large patches, different for each seed, with one face."""
    ground = np.random.default_rng(seed).integers(16, 80, (6, 8), np.uint8).repeat(80, 0).repeat(80, 1)
    if face:
        ground[FACE] = 250
    return ground


def test_zero_faces(tmp_path):
    result, rows = run(write(tmp_path / "empty.mp4", [scene(0, face=False)] * 75))
    assert result.status == "ok" and rows["status"].tolist() == ["no_face"] * 3
    assert rows["second"].tolist() == [0, 1, 2] and rows["track"].isna().all() and set(rows["n_sampled"]) == {5}


@pytest.mark.parametrize("fps", [5, "native"])
def test_two_hundred_faces(tmp_path, fps):
    image = np.full(SIZE[::-1], 20, np.uint8)
    for k in range(200):
        y, x = 10 + 46 * (k // 20), 4 + 32 * (k % 20)
        image[y : y + 26, x : x + 22] = 250
    _, rows = run(write(tmp_path / "crowd.mp4", [image] * 25), fps=fps)
    assert len(rows) == 200 and sorted(rows["track"]) == list(range(200))
    assert set(rows["n_faces"]) == {5 if fps == 5 else 25} and np.allclose(rows["face_seconds"], 1)


def test_a_face_that_fills_the_frame(tmp_path):
    _, rows = run(write(tmp_path / "close.mp4", [np.full(SIZE[::-1], 240, np.uint8)] * 50))
    assert rows["track"].tolist() == [0, 0] and rows["face_px"].tolist() == [480, 480]
    assert np.allclose(rows[["x", "y", "w", "h"]], [0, 0, 1, 1], atol=0.01)


@pytest.mark.parametrize("fps", [5, "native"])
def test_one_frame_shots(tmp_path, fps):
    """Two seconds, each frame another place: shots are a matter of opinion, but no track is in two, no second lost."""
    result, rows = run(write(tmp_path / "cuts.mp4", map(scene, range(50))), fps=fps)
    assert result.status == "ok" and sorted(set(rows["second"])) == [0, 1]
    assert set(rows["n_sampled"]) == {5 if fps == 5 else 25}
    assert rows.dropna(subset="track").groupby("track")["shot"].nunique().max() in (1, np.nan)


@pytest.mark.parametrize("half", [1, 2, 4])
def test_strobing_is_one_shot_and_one_track(tmp_path, half):
    light, dark = scene(1), scene(1) // 8
    dark[FACE] = 235
    lit = [light if i // half % 2 else dark for i in range(75)]
    _, rows = run(write(tmp_path / "strobe.mp4", lit), fps="native")
    assert rows["shot"].tolist() == [0] * 3 and rows["track"].tolist() == [0] * 3
    assert rows["n_faces"].tolist() == [25] * 3


def test_a_strobe_that_hides_the_face_adds_none(tmp_path):
    lit = [scene(1) if i // 3 % 2 else np.full(SIZE[::-1], 16, np.uint8) for i in range(75)]
    _, rows = run(write(tmp_path / "dark.mp4", lit), fps="native")
    assert rows["shot"].tolist() == [0] * 3 and rows["track"].tolist() == [0] * 3
    assert rows["n_faces"].sum() == 36


@pytest.mark.slow
def test_a_static_video_of_an_hour(tmp_path):
    """3,600 frames, in memory that does not grow with them: all of them would take 40 MB."""
    small = scene(2)[170:270, 260:380]
    clip = write(tmp_path / "hour.mp4", (small for _ in range(3600)), size=(120, 100), rate=1)
    detector = Counting()
    tracemalloc.start()
    try:
        result, rows = run(clip, detector, fps=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(rows) == 3600 and set(rows["track"]) == {0} and set(rows["shot"]) == {0}
    assert result.status == "ok" and set(rows["n_sampled"]) == {1} and detector.searched <= 901
    assert peak < 20e6


def test_a_still_image_of_an_hour(tmp_path):
    """Two frames, an hour apart, as slides are stored."""
    clip = tmp_path / "slide.mkv"
    with av.open(clip, "w") as out:
        stream = add_video(out, size=SIZE, rate=1)
        out.mux(list(encode(stream, [scene(3), scene(3), scene(3)], [0, 3600, 3601], stream.codec_context.time_base)))
    detector = Counting()
    _, rows = run(clip, detector)
    assert len(rows) >= 3600 and detector.searched < 10 and set(rows["status"]) <= {"ok", "no_data"}


def test_backward_time_after_a_concatenation(tmp_path):
    """Two recordings joined as `cat` does: timestamps jump back, the timeline continues, no track spans both."""

    def part(seed: int) -> Callable[[Path], Path]:
        return partial(write, images=[scene(seed)] * 50)

    clip = joined(part(5), part(6))(tmp_path / "joined.ts")
    result, rows = run(clip)
    assert result.status == "degraded" and "time_jumps" in result.reasons
    assert sorted(set(rows["second"])) == [0, 1, 2, 3] and set(rows["status"]) == {"ok"}
    assert rows["track"].tolist() == [0, 0, 1, 1] and rows["shot"].tolist() == [0, 0, 1, 1]
