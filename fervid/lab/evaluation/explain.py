"""Show where a classifier looks: heat maps over the faces of images, or of the tracks through a video."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from fervid.config import Config, load_config
from fervid.emotions.torch_classifier import TorchClassifier
from fervid.errors import ConfigError, DataError
from fervid.faces.detector import FaceDetector
from fervid.faces.mtcnn import MTCNN
from fervid.lab.data.images import SUFFIXES, find_images, is_crop, main_faces, try_read_image, whole
from fervid.lab.evaluation import attribution
from fervid.lab.evaluation.attribution import METHODS
from fervid.labels import emotion
from fervid.pipeline import Models, find_faces, track_faces
from fervid.runtime.threads import one_thread
from fervid.shots.detect import ShotDetector
from fervid.types import FrameBatch, TrackBatch, VideoInfo
from fervid.video.open import read_video
from fervid.video.reader import Reader
from fervid.video.sampling import sample_frames

__all__ = ["METHODS", "ExplainConfig", "Explained", "Explainer", "LeftOut", "Look", "explain"]

T = TypeVar("T")


@dataclass(frozen=True)
class Explained:
    """One face: crop (S, S) uint8; heat (k, S, S) float32 in 0..1, one map or one for each of the k stages.

    `emotion` is the one that the heat is evidence for, with its probability; `called` is the most probable one.
    """

    name: str
    crop: np.ndarray
    heat: np.ndarray
    stages: tuple[str, ...]
    emotion: str
    prob: float
    called: str


@dataclass(frozen=True)
class Look:
    """An image (h, w, 3) RGB, the faces in it, and the tilted squares (m, 4) of faces.Framing that they were cut from.

    pts_s is None where the image is no frame of a video.
    """

    picture: np.ndarray
    faces: tuple[Explained, ...]
    square_px: np.ndarray
    pts_s: float | None = None


@dataclass(frozen=True)
class LeftOut:
    """An image that is not shown, and why: it cannot be read, or it shows no face."""

    path: Path
    reason: str
    readable: bool


@dataclass(frozen=True)
class ExplainConfig:
    """What to explain, how, and in which faces. `emotion` None: whatever each face is called."""

    method: str = "gradcam"
    emotion: str | None = None
    detect: bool = True
    track: int | None = None
    fps: str | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"unknown method {self.method!r}: expected one of {', '.join(METHODS)}")


def explain(
    source: Path,
    draw: Callable[[Iterable[Look]], T],
    question: ExplainConfig,
    weights: str = "seresnet",
    device: str = "auto",
    *,
    on_left_out: Callable[[LeftOut], None] = lambda one: None,
) -> T:
    """Explain an image, a folder of images or a video, and hand the looks to `draw` as they come.

    `draw` may be called anew from the start: a damaged video has to be read twice. Images that cannot be read or show
    no face go to `on_left_out`; DataError if none is left.
    """
    explainer = Explainer(TorchClassifier(weights, device), question.method, question.emotion)
    detector = MTCNN(device=explainer.classifier.device)
    if source.is_dir() or source.suffix.lower() in SUFFIXES:
        return draw(_pictures(find_images(source), explainer, detector if question.detect else None, on_left_out))
    config = load_config(fps=question.fps, weights=weights, device=device)
    result, _ = read_video(source, config, lambda reader: draw(_video(reader, explainer, detector, config, question)))
    return result


class Explainer:
    """Asks a classifier for its evidence, by one method; `emotion` None asks for the most probable one."""

    def __init__(self, classifier: TorchClassifier, method: str = "gradcam", asked: str | None = None) -> None:
        self.classifier, self.method = classifier, method
        self.asked = None if asked is None else emotion(asked)
        if self.asked is not None and self.asked not in classifier.labels:
            raise ConfigError(f"{classifier.name} does not know {asked!r}; expected {', '.join(classifier.labels)}")

    def explain(self, crop: np.ndarray, names: list[str]) -> list[Explained]:
        """Explain crops (m, S, S) uint8, each under its name."""
        if not len(crop):
            return []
        prob, labels = self.classifier.predict(crop), self.classifier.labels
        called = prob.argmax(1)
        chosen = called if self.asked is None else np.full(len(crop), labels.index(self.asked))
        heat, stages = self._heat(crop, chosen)
        return [
            Explained(names[i], crop[i], heat[i], stages, labels[k], float(prob[i, k]), labels[called[i]])
            for i, k in enumerate(chosen)
        ]

    @one_thread
    def _heat(self, crop: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        net, x = self.classifier.net, self.classifier.prepare(crop[:, None])
        if self.method == "activations":
            names = tuple(f"{stage.name} {stage.cells}x{stage.cells}" for stage in attribution.stages(net, x[:1]))
            return attribution.activations(net, x).cpu().numpy(), names
        target = torch.from_numpy(chosen + self.classifier.head.first).to(x.device)
        heat = getattr(attribution, self.method)(net, x, target)
        return heat.float().cpu().numpy()[:, None], (self.method,)


def _pictures(
    paths: list[Path], explainer: Explainer, detector: FaceDetector | None, on_left_out: Callable[[LeftOut], None]
) -> Iterator[Look]:
    """Explain the main face of each image, and tell of those that have none to show."""
    left_out = []
    for path in paths:
        picture, reason = try_read_image(path)
        found = None if picture is None else _main_crop(picture, explainer.classifier, detector)
        if picture is None or found is None:
            left_out.append(LeftOut(path, reason or "no face found", picture is not None))
            on_left_out(left_out[-1])
            continue
        crop, square = found
        yield Look(picture, tuple(explainer.explain(crop[None], [path.name])), square)
    if len(left_out) == len(paths):
        raise _none_left(left_out)


def _main_crop(
    picture: np.ndarray, classifier: TorchClassifier, detector: FaceDetector | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """The main face of an image and its square (1, 4); a small one, or any without a detector, is a face already."""
    if detector is None or is_crop(picture):
        return whole(picture, classifier.crop_px), np.zeros((0, 4))
    (face,) = main_faces([picture], detector)
    if face is None:
        return None
    square = classifier.framing.squares(face.box_px[None], face.landmarks_px[None])
    return face.crop(picture, classifier.framing, classifier.crop_px), square


def _none_left(left_out: list[LeftOut]) -> DataError:
    faceless = [one for one in left_out if one.readable]
    unreadable = len(left_out) - len(faceless)
    if not faceless:
        others = f" (none of {unreadable} images can be read)" if unreadable > 1 else ""
        return DataError(f"{left_out[0].path}: {left_out[0].reason}{others}")
    others = f", and {unreadable} cannot be read" if unreadable else ""
    found = f"no face found in {len(faceless)} image(s){others}"
    return DataError(f"{faceless[0].path}: {found}; for face crops use --no-detect")


def _video(
    reader: Reader, explainer: Explainer, detector: FaceDetector, config: Config, question: ExplainConfig
) -> Iterator[Look]:
    """Explain the faces of one track, or of all, at every look that the line would take; look by look."""
    shown = 0
    for frames, tracked in _tracked(reader, explainer, detector, config):
        if question.track is not None:
            tracked = tracked.take(tracked.track == question.track)
        shown += len(tracked)
        yield from _looks(frames, tracked, explainer, reader.info)
    if not shown:
        who = "a face" if question.track is None else f"track {question.track}"
        raise DataError(f"{reader.info.path}: {who} was not seen; `fervid process` with the same --fps lists them")


def _tracked(
    reader: Reader, explainer: Explainer, detector: FaceDetector, config: Config
) -> Iterator[tuple[FrameBatch, TrackBatch]]:
    """Run the line as far as the tracks, and keep each batch of frames until its faces are known."""
    waiting, models = deque[FrameBatch](), Models(detector, explainer.classifier, explainer.classifier.device)
    every = replace(config, detection="every")
    frames = sample_frames(reader.frames(), config.fps)
    faces = find_faces(frames, reader.info, every, models, on_frames=waiting.append)
    for tracked in track_faces(faces, ShotDetector(), config):
        yield waiting.popleft(), tracked


def _looks(frames: FrameBatch, tracked: TrackBatch, explainer: Explainer, video: VideoInfo) -> Iterator[Look]:
    names = [f"track {k}, {s:.1f} s" for k, s in zip(tracked.track, tracked.pts_s)]
    explained = explainer.explain(tracked.crop, names)
    square = explainer.classifier.framing.squares(tracked.box_px, tracked.landmarks_px)
    square[:, :3] *= frames.picture.shape[2] / video.width_px
    for i, pts_s in enumerate(frames.pts_s):
        here = np.flatnonzero(tracked.pts_s == pts_s)
        yield Look(frames.picture[i], tuple(explained[k] for k in here), square[here], float(pts_s))
