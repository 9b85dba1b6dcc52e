"""A video on its side is noticed, and --rotate suggested, from where its faces are certainly upright."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import fervid
from fervid.faces.detector import Detections
from fervid.faces.upright import find_upright, is_upright
from fervid.timeline.read import timeline_notes
from fervid.video.geometry import ORIENTATIONS
from fervid.video.open import open_video
from tests.helpers.clips import add_video, encode, stored

SAMPLES = Path(__file__).parents[2] / "sample_videos"
LEVEL = np.array([[10, 20], [30, 22], [20, 30], [12, 40], [28, 40]], np.float32)


class _Detector:
    """Finds a face in images whose upper left pixel is bright: certain, or with this score."""

    def __init__(self, score: float = 1.0) -> None:
        self.score = score

    def detect(self, images: np.ndarray, min_face_px: float) -> Detections:
        there = np.flatnonzero(images[:, 0, 0, 0] > 100)
        n = len(there)
        return Detections(
            there, np.zeros((n, 4), np.float32), np.full(n, self.score, np.float32), np.tile(LEVEL, (n, 1, 1))
        )


@pytest.mark.parametrize("turns", range(4))
def test_the_turns_that_make_faces_upright_are_found(turns):
    image = np.zeros((20, 30, 3), np.uint8)
    image[0, 0] = 255
    images = [np.ascontiguousarray(np.rot90(image, -turns))] * 4
    assert find_upright(images, _Detector(), 5.0) == turns
    assert find_upright(images[:2], _Detector(), 5.0) == 0, "too few"
    assert find_upright(images, _Detector(0.9), 5.0) == 0, "uncertain"
    assert find_upright([], _Detector(), 5.0) == 0


def test_upright_faces_are_certain_and_level():
    tilted = LEVEL[:, ::-1].copy()
    found = is_upright(np.array([1.0, 0.8, 1.0], np.float32), np.stack([LEVEL, LEVEL, tilted]))
    assert found.tolist() == [True, False, False]


def test_notes_of_the_orientation():
    source = {"suggested_rotation": "270", "odd_matrix": True}
    notes = timeline_notes({"dominant": {}}, {"source": source})
    assert "--rotate 270" in notes[0] and "neither a rotation nor a mirroring" in notes[1]
    assert timeline_notes({"dominant": {}}, {"source": {}}) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["0", "90", "180", "270"])
def test_a_film_without_its_flag(name, tmp_path):
    with open_video(SAMPLES / "one_face.mp4") as video:
        images = [stored(frame.rgb(640, 360), ORIENTATIONS[name]) for frame in video.frames()][::10]
    height, width = images[0].shape[:2]
    with av.open(tmp_path / "film.mp4", "w") as out:
        out.mux(list(encode(add_video(out, rate=3, size=(width, height)), images, range(len(images)), Fraction(1, 3))))
    result = fervid.process(tmp_path / "film.mp4", fps=3, device="cpu")
    assert result.provenance["source"]["suggested_rotation"] == (None if name == "0" else name)
    if name != "0":
        again = fervid.process(tmp_path / "film.mp4", fps=3, device="cpu", rotate=name)
        assert again.provenance["source"]["suggested_rotation"] is None
        assert (again.to_pandas()["status"] == "ok").all()
        wrong = fervid.process(tmp_path / "film.mp4", fps=3, device="cpu", rotate="0")
        assert wrong.provenance["source"]["suggested_rotation"] == name
