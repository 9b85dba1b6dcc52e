"""A miniature of DISFA in its exact layout: short AVI videos at 20 frames a second whose every frame is known."""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np

import fervid.jobs.local_engine
from fervid.config import Config
from fervid.faces.detector import Detections
from fervid.jobs.job import Job, Outcome, run_job
from fervid.pipeline import Models
from fervid.provenance import models_fingerprint
from fervid.studies.disfa_corpus import UNITS
from tests.helpers.clips import add_video, encode
from tests.helpers.fakes import FakeClassifier, FakeDetector, draw_faces

RATE, SIZE, N = 20, (128, 96), 120
FOLDERS = {"left": "Videos_LeftCamera", "right": "Videos_RightCamera"}

#: Intensities by unit and frame, 0 to 5.
Course = Callable[[int, int], int]


class SureDetector(FakeDetector):
    """The fake detector, sure of every face however dark."""

    def detect(self, picture: np.ndarray, min_face_px: float) -> Detections:
        """Find the patches, each with score 1."""
        found = super().detect(picture, min_face_px)
        return replace(found, score=np.ones_like(found.score))


def load_known(config: Config) -> Models:
    """The fake models, which pass for those that the configuration names: happiness is the brightness / 510."""
    return Models(SureDetector(), FakeClassifier(), "cpu", fingerprint=models_fingerprint(config))


KnownEngine = functools.partial(fervid.jobs.local_engine.LocalEngine, load=load_known)


class HereEngine:
    """An Engine in this very process."""

    def __init__(self, config: Config, *_: object) -> None:
        self._config, self._models = config, load_known(config)

    def run(self, jobs: Iterable[Job], on_progress: object = None) -> Iterator[Outcome]:
        """One job after the other."""
        for job in jobs:
            yield run_job(job, self._config, self._models)


def brightness(subject: int, frame: int) -> int:
    """What the face of a subject is like in a frame, counted from 0: no two neighbours alike."""
    return 130 + (37 * frame + 11 * subject) % 120


def smiles(subject: int) -> Course:
    """AU6 and AU12 follow the brightness of the same frame exactly; AU4 and AU5 run against it; the rest is still."""

    def course(unit: int, frame: int) -> int:
        level = (brightness(subject, frame) - 130) // 20  # 0 to 5
        return level if unit in (6, 12) else 5 - level if unit in (4, 5) else 0

    return course


def write_video(path: Path, subject: int, n: int = N, codec: str = "mpeg4", blank: range = range(0)) -> Path:
    """A face of known brightness in each frame, none in those of `blank`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    faces = ([] if i in blank else [(40, 24, 88, 72)] for i in range(n))
    pictures = [draw_faces(*boxes, size=SIZE, bright=brightness(subject, i)) for i, boxes in enumerate(faces)]
    with av.open(path, "w") as out:
        layout = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream = add_video(out, codec, RATE, SIZE, layout, {"q": "2"} if codec == "mpeg4" else None)
        out.mux(list(encode(stream, pictures, range(n), stream.codec_context.time_base)))
    return path


def write_codes(folder: Path, subject: int, course: Course, n: int = N) -> None:
    """ActionUnit_Labels/SN001/SN001_au1.txt and so on: lines `frame,intensity`, from 1."""
    name = f"SN{subject:03d}"
    (folder / name).mkdir(parents=True, exist_ok=True)
    for unit in UNITS:
        lines = (f"{i + 1},{course(unit, i)}" for i in range(n))
        (folder / name / f"{name}_au{unit}.txt").write_text("\n".join(lines) + "\n")


def write_disfa(root: Path, subjects: tuple[int, ...] = (1, 2, 3), cameras: tuple[str, ...] = ("left",)) -> Path:
    """The whole layout."""
    for subject in subjects:
        for side in cameras:
            write_video(root / FOLDERS[side] / f"{side.title()}VideoSN{subject:03d}_comp.avi", subject)
        write_codes(root / "ActionUnit_Labels", subject, smiles(subject))
    return root


def still(unit: int, frame: int) -> int:
    """Nothing moves."""
    return 0


def as_array(course: Course, n: int = N) -> np.ndarray:
    """The codes (n, 12)."""
    return np.array([[course(unit, i) for unit in UNITS] for i in range(n)], np.int8)
