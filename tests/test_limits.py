"""The pipeline at its limits: a frame size that changes, 8K, a thousand faces, no frames. Real files."""

import threading
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest

from fervid.config import Config
from fervid.errors import VideoError
from fervid.faces.detector import Detections
from fervid.models import Models
from fervid.pipeline import Result, process_video
from tests.helpers.broken_clips import without_frames
from tests.helpers.clips import add_video, encode, two_sizes
from tests.helpers.fakes import MARKS, FakeClassifier, FakeDetector, draw_faces


class Crowd(FakeDetector):
    """Finds n faces in every image, in rows, whatever it shows."""

    def __init__(self, n: int) -> None:
        self.n = n

    def detect(self, image: np.ndarray, min_face_px: float) -> Detections:
        side = int(np.ceil(np.sqrt(self.n)))
        cell = np.array(image.shape[2:0:-1]) / side
        corner = np.stack(np.divmod(np.arange(self.n), side)[::-1], 1) * cell
        box = np.tile(np.concatenate([corner, corner + 0.7 * cell], 1), (len(image), 1)).astype(np.float32)
        return self._all(np.repeat(np.arange(len(image)), self.n), box)

    def confirm(self, images: Sequence[np.ndarray], frame: np.ndarray, box_px: np.ndarray):
        return self._all(frame, box_px), np.ones(len(box_px), bool)

    def _all(self, frame: np.ndarray, box: np.ndarray) -> Detections:
        landmarks = box[:, None, :2] + MARKS * (box[:, None, 2:] - box[:, None, :2])
        return Detections(frame, box, np.full(len(box), 0.99, np.float32), landmarks)


def film(path: Path, images: list[np.ndarray], rate: int = 5) -> Path:
    with av.open(path, "w") as out:
        stream = add_video(out, rate=rate, size=images[0].shape[1::-1])
        out.mux(list(encode(stream, images, range(len(images)), stream.codec_context.time_base)))
    return path


def run(path: Path, detector: FakeDetector) -> Result:
    """Run the pipeline with this detector, and check that its threads have ended."""
    result = process_video(path, None, Config(fps=5), Models(detector, FakeClassifier(64), "cpu"))
    assert not [thread for thread in threading.enumerate() if thread.name == "fervid-prefetch"]
    return result


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_video_that_changes_its_size_is_read_to_its_end(suffix, tmp_path):
    result = run(two_sizes(tmp_path / f"two_sizes.{suffix}", still=True), Crowd(3))
    table = result.to_pandas()
    assert result.status == "ok" and sorted(set(table["second"])) == [0, 1]
    assert (table["n_faces"] == 5).all() and len(table) == 6
    assert table[["x", "y", "w", "h"]].stack().between(0, 1).all()


def test_a_thousand_faces_per_frame_are_all_reported(tmp_path):
    path = film(tmp_path / "crowd.mp4", [draw_faces(size=(640, 360))] * 6)
    table = run(path, Crowd(1000)).to_pandas()
    assert len(table) == 2000 and set(table["track"]) == set(range(1000))
    assert (table["n_faces"] == np.where(table["second"] == 0, 5, 1)).all()


@pytest.mark.slow
def test_8k_is_read_at_its_own_size(tmp_path):
    path = film(tmp_path / "8k.mp4", [draw_faces((3000, 1200, 3600, 1800), size=(7680, 4320))] * 5)
    result = run(path, FakeDetector())
    (row,) = result.table.to_pylist()
    assert (row["n_sampled"], row["n_faces"]) == (5, 5) and row["face_px"] == pytest.approx(600, rel=0.05)
    with pytest.raises(VideoError, match="7680x4320"):
        process_video(path, None, Config(max_pixels=2**24), Models(FakeDetector(), FakeClassifier(), "cpu"))


def test_no_frames_is_one_sentence(tmp_path):
    path = without_frames(tmp_path / "header.mp4")
    with pytest.raises(VideoError, match="no frame could be decoded"):
        run(path, FakeDetector())
