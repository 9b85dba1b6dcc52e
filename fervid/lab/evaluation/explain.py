"""Explain a classifier by heat maps on the faces of images, or on the tracks of a video."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from fervid.config import DEFAULT_WEIGHTS, Config, check_choice, load_config
from fervid.emotions.torch_classifier import TorchClassifier
from fervid.errors import ConfigError, DataError
from fervid.faces.detector import FaceDetector
from fervid.faces.mtcnn import MTCNN
from fervid.lab.data.images import SUFFIXES, find_images, is_crop, main_faces, try_read_image, whole
from fervid.lab.evaluation import attribution
from fervid.lab.evaluation.attribution import METHODS
from fervid.labels import emotion
from fervid.models import Models
from fervid.pipeline import find_faces, track_faces
from fervid.runtime.threads import one_thread
from fervid.shots.detect import ShotDetector
from fervid.types import FrameBatch, TrackBatch
from fervid.video.open import read_video
from fervid.video.reader import Reader
from fervid.video.sampling import sample_frames

__all__ = ["METHODS", "ExplainConfig", "Explained", "ExplainedImage", "Explainer", "SkippedImage", "explain"]

T = TypeVar("T")


@dataclass(frozen=True)
class Explained:
    """One explained face.

    Parameters
    ----------
    name : str
        File name, or track and time.
    crop : np.ndarray
        (S, S, C) uint8, grey or RGB.
    heat : np.ndarray
        (k, S, S) float32 in 0..1: one map, or one for each of k stages.
    stages : tuple of str
        Names of the k maps.
    emotion : str
        The emotion that the maps are evidence for.
    prob : float
        Its probability.
    predicted : str
        The most probable emotion.
    """

    name: str
    crop: np.ndarray
    heat: np.ndarray
    stages: tuple[str, ...]
    emotion: str
    prob: float
    predicted: str


@dataclass(frozen=True)
class ExplainedImage:
    """An image or a sampled frame with its explained faces.

    Parameters
    ----------
    image : np.ndarray
        RGB (h, w, 3) uint8.
    faces : tuple of Explained
    place_px : np.ndarray
        (m, 2, 3), where the crops lie in the image; see `FaceAlignment.places`.
    pts_s : float, optional
        Time of the frame; None for an image.
    """

    image: np.ndarray
    faces: tuple[Explained, ...]
    place_px: np.ndarray
    pts_s: float | None = None


@dataclass(frozen=True)
class SkippedImage:
    """An image that was skipped because it cannot be read or shows no face."""

    path: Path
    reason: str
    readable: bool


@dataclass(frozen=True)
class ExplainConfig:
    """Options of an explanation.

    Parameters
    ----------
    method : str
        One of METHODS.
    emotion : str, optional
        The emotion to explain; by default the most probable one of each face.
    detect : bool
        Whether to detect faces in images; otherwise each image is a face crop.
    track : int, optional
        The track of a video to explain; by default all.
    fps : str, optional
        Samples per second of video.
    prior : str
        The class frequencies that the probabilities assume; as for `emotions.prior.find_prior`.

    Raises
    ------
    ConfigError
        If the method is unknown.
    """

    method: str = "gradcam"
    emotion: str | None = None
    detect: bool = True
    track: int | None = None
    fps: str | None = None
    prior: str = "default"

    def __post_init__(self) -> None:
        check_choice("method", self.method, METHODS)


def explain(
    source: Path,
    draw: Callable[[Iterable[ExplainedImage]], T],
    options: ExplainConfig,
    weights: str = DEFAULT_WEIGHTS,
    device: str = "auto",
    *,
    on_skipped: Callable[[SkippedImage], None] = lambda one: None,
) -> T:
    """Explain an image, a folder of images or a video.

    Parameters
    ----------
    source : Path
    draw : Callable
        Consumes the explained images as they come. It is called a second time, from the start, if a damaged video has
        to be read twice.
    options : ExplainConfig
    weights, device : str
        As for TorchClassifier.
    on_skipped : Callable
        Called for each image that cannot be read or shows no face.

    Returns
    -------
    T
        The result of `draw`.

    Raises
    ------
    DataError
        If no image or frame is left.
    """
    explainer = Explainer(TorchClassifier(weights, device, prior=options.prior), options.method, options.emotion)
    detector = MTCNN(device=explainer.classifier.device)
    if source.is_dir() or source.suffix.lower() in SUFFIXES:
        return draw(_images(find_images(source), explainer, detector if options.detect else None, on_skipped))
    config = load_config(fps=options.fps, weights=weights, prior=options.prior, device=device)
    result, _ = read_video(source, config, lambda reader: draw(_video(reader, explainer, detector, config, options)))
    return result


class Explainer:
    """Explains the predictions of a classifier by one method.

    Parameters
    ----------
    classifier : TorchClassifier
    method : str
        One of METHODS.
    target : str, optional
        The emotion to explain; by default the most probable one of each face.

    Raises
    ------
    ConfigError
        If the classifier does not know the emotion.
    """

    def __init__(self, classifier: TorchClassifier, method: str = "gradcam", target: str | None = None) -> None:
        self.classifier, self.method = classifier, method
        self.target = None if target is None else emotion(target)
        if self.target is not None and self.target not in classifier.labels:
            raise ConfigError(f"{classifier.name} does not know {target!r}; expected {', '.join(classifier.labels)}")

    def explain(self, crop: np.ndarray, names: list[str]) -> list[Explained]:
        """Explain crops.

        Parameters
        ----------
        crop : np.ndarray
            (m, S, S, C) uint8.
        names : list of str
            Their m names.

        Returns
        -------
        list of Explained
        """
        if not len(crop):
            return []
        prob, labels = self.classifier.predict(crop), self.classifier.labels
        predicted = prob.argmax(1)
        chosen = predicted if self.target is None else np.full(len(crop), labels.index(self.target))
        heat, stages = self._heat(crop, chosen)
        return [
            Explained(names[i], crop[i], heat[i], stages, labels[k], float(prob[i, k]), labels[predicted[i]])
            for i, k in enumerate(chosen)
        ]

    @one_thread
    def _heat(self, crop: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        net, x = self.classifier.net, self.classifier.prepare(crop)
        if self.method == "activations":
            names = tuple(f"{stage.name} {stage.cells}x{stage.cells}" for stage in attribution.stages(net, x[:1]))
            return attribution.activations(net, x).cpu().numpy(), names
        target = torch.from_numpy(chosen + self.classifier.head.first).to(x.device)
        heat = getattr(attribution, self.method)(net, x, target)
        return heat.float().cpu().numpy()[:, None], (self.method,)


def _images(
    paths: list[Path], explainer: Explainer, detector: FaceDetector | None, on_skipped: Callable[[SkippedImage], None]
) -> Iterator[ExplainedImage]:
    """Explain the main face of each image, and report the images that were skipped."""
    skipped = []
    for path in paths:
        image, reason = try_read_image(path)
        found = None if image is None else _main_crop(image, explainer.classifier, detector)
        if image is None or found is None:
            skipped.append(SkippedImage(path, reason or "no face found", image is not None))
            on_skipped(skipped[-1])
            continue
        crop, place = found
        yield ExplainedImage(image, tuple(explainer.explain(crop[None], [path.name])), place)
    if len(skipped) == len(paths):
        raise _all_skipped(skipped)


def _main_crop(
    image: np.ndarray, classifier: TorchClassifier, detector: FaceDetector | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """Crop the main face of an image; a small image, or any without a detector, is a face crop itself."""
    if detector is None or is_crop(image):
        form = classifier.crop_px, classifier.channels
        return whole(image, *form, alignment=classifier.alignment, detector=detector), np.zeros((0, 2, 3))
    (face,) = main_faces([image], detector)
    if face is None:
        return None
    place = classifier.alignment.places(face.box_px[None], face.landmarks_px[None])
    return face.crop(image, classifier.alignment, classifier.crop_px, classifier.channels), place


def _all_skipped(skipped: list[SkippedImage]) -> DataError:
    faceless = [one for one in skipped if one.readable]
    unreadable = len(skipped) - len(faceless)
    if not faceless:
        others = f" (none of {unreadable} images can be read)" if unreadable > 1 else ""
        return DataError(f"{skipped[0].path}: {skipped[0].reason}{others}")
    others = f", and {unreadable} cannot be read" if unreadable else ""
    found = f"no face found in {len(faceless)} image(s){others}"
    return DataError(f"{faceless[0].path}: {found}; for face crops use --no-detect")


def _video(
    reader: Reader, explainer: Explainer, detector: FaceDetector, config: Config, options: ExplainConfig
) -> Iterator[ExplainedImage]:
    """Explain the faces of one track, or of all, in every frame that the line samples."""
    shown = 0
    for frames, tracked in _tracked(reader, explainer, detector, config):
        if options.track is not None:
            tracked = tracked.take(tracked.track == options.track)
        shown += len(tracked)
        yield from _explain_frames(frames, tracked, explainer)
    if not shown:
        what = "no face" if options.track is None else f"no track {options.track}"
        raise DataError(f"{reader.info.path}: {what} found; `fervid process` with the same --fps lists the tracks")


def _tracked(
    reader: Reader, explainer: Explainer, detector: FaceDetector, config: Config
) -> Iterator[tuple[FrameBatch, TrackBatch]]:
    """Run the line up to the tracks, and keep each batch of frames until its faces are known."""
    waiting, models = deque[FrameBatch](), Models(detector, explainer.classifier, explainer.classifier.device)
    every = replace(config, detection="every")
    frames = sample_frames(reader.frames(), config.fps)
    faces = find_faces(frames, reader.info, every, models, on_frames=waiting.append)
    for tracked in track_faces(faces, ShotDetector(), config):
        yield waiting.popleft(), tracked


def _explain_frames(frames: FrameBatch, tracked: TrackBatch, explainer: Explainer) -> Iterator[ExplainedImage]:
    names = [f"track {k}, {s:.1f} s" for k, s in zip(tracked.track, tracked.pts_s)]
    explained = explainer.explain(tracked.crop, names)
    place = explainer.classifier.alignment.places(tracked.box_px, tracked.landmarks_px)
    place *= np.array(frames.image.shape[2:0:-1])[:, None] / np.array(frames.size_px)[:, None]
    for i, pts_s in enumerate(frames.pts_s):
        here = np.flatnonzero(tracked.pts_s == pts_s)
        yield ExplainedImage(frames.image[i], tuple(explained[k] for k in here), place[here], float(pts_s))
