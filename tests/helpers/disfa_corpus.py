"""A miniature of DISFA in its exact layout: short AVI videos at 20 frames per second with known content per frame."""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np

import fervid.jobs.local_engine
from fervid.config import Config
from fervid.faces.detector import Detections
from fervid.models import Models
from fervid.provenance import models_fingerprint
from fervid.studies.disfa_corpus import UNITS
from tests.helpers.clips import add_video, encode
from tests.helpers.fakes import FakeClassifier, FakeDetector, draw_faces
from tests.helpers.in_process_engine import InProcessEngine

RATE, SIZE, N = 20, (128, 96), 120
FOLDERS = {"left": "Videos_LeftCamera", "right": "Videos_RightCamera"}

#: Maps action unit and frame, from 0, to an intensity, 0 to 5.
Intensity = Callable[[int, int], int]


class CertainDetector(FakeDetector):
    """The fake detector with score 1 for every face, however dark."""

    def detect(self, images: np.ndarray, min_face_px: float) -> Detections:
        """Find the patches."""
        found = super().detect(images, min_face_px)
        return replace(found, score=np.ones_like(found.score))


def load_known(config: Config) -> Models:
    """Load fake models with the fingerprint of the configured ones; happiness is the brightness / 510."""
    return Models(CertainDetector(), FakeClassifier(), "cpu", fingerprint=models_fingerprint(config))


KnownLocalEngine = functools.partial(fervid.jobs.local_engine.LocalEngine, load=load_known)
KnownInProcessEngine = functools.partial(InProcessEngine, load=load_known)


def brightness(subject: int, frame: int) -> int:
    """Return the brightness of a face in a frame, from 0; it differs between neighbouring frames."""
    return 130 + (37 * frame + 11 * subject) % 120


def smiles(subject: int) -> Intensity:
    """Return intensities where AU6 and AU12 rise with the brightness of the frame, and AU4 and AU5 fall with it."""

    def intensity(unit: int, frame: int) -> int:
        level = (brightness(subject, frame) - 130) // 20  # 0 to 5
        return level if unit in (6, 12) else 5 - level if unit in (4, 5) else 0

    return intensity


def no_movement(unit: int, frame: int) -> int:
    """Return 0 for all units and frames."""
    return 0


def as_array(intensity: Intensity, n: int = N) -> np.ndarray:
    """Return the codes (n, 12)."""
    return np.array([[intensity(unit, i) for unit in UNITS] for i in range(n)], np.int8)


def write_video(path: Path, subject: int, n: int = N, codec: str = "mpeg4", blank: range = range(0)) -> Path:
    """Write a video with a face of known brightness in each frame, and none in the frames of `blank`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    faces = ([] if i in blank else [(40, 24, 88, 72)] for i in range(n))
    images = [draw_faces(*boxes, size=SIZE, bright=brightness(subject, i)) for i, boxes in enumerate(faces)]
    with av.open(path, "w") as out:
        layout = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream = add_video(out, codec, RATE, SIZE, layout, {"q": "2"} if codec == "mpeg4" else None)
        out.mux(list(encode(stream, images, range(n), stream.codec_context.time_base)))
    return path


def write_codes(folder: Path, subject: int, intensity: Intensity, n: int = N) -> None:
    """Write ActionUnit_Labels/SN001/SN001_au1.txt and so on: lines `frame,intensity`, from 1."""
    name = f"SN{subject:03d}"
    (folder / name).mkdir(parents=True, exist_ok=True)
    for unit in UNITS:
        lines = (f"{i + 1},{intensity(unit, i)}" for i in range(n))
        (folder / name / f"{name}_au{unit}.txt").write_text("\n".join(lines) + "\n")


def write_disfa(root: Path, subjects: tuple[int, ...] = (1, 2, 3), cameras: tuple[str, ...] = ("left",)) -> Path:
    """Write the whole layout."""
    for subject in subjects:
        for side in cameras:
            write_video(root / FOLDERS[side] / f"{side.title()}VideoSN{subject:03d}_comp.avi", subject)
        write_codes(root / "ActionUnit_Labels", subject, smiles(subject))
    return root
