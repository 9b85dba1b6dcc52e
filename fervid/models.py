"""The networks of the pipeline, loaded once."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from fervid.config import Config
from fervid.emotions.classify import Classifier
from fervid.faces.crop import FaceAlignment
from fervid.faces.detect import MinFace, RecognitionCrops
from fervid.faces.detector import FaceDetector
from fervid.provenance import models_fingerprint
from fervid.tracks.persons import Embedder
from fervid.types import FaceBatch, VideoInfo
from fervid.video.sampling import DetectionSize, SampledFrame

__all__ = ["Models", "OnDevice", "load_models"]


class OnDevice(Protocol):
    """The pipeline from sampled frames to faces on a GPU: what batch_frames and faces.detect do on a CPU."""

    def upload(self, samples: Iterable[SampledFrame], video: VideoInfo, size: DetectionSize) -> Generator[Any]:
        """Copy frames to the device, in batches.

        Parameters
        ----------
        samples : Iterable[SampledFrame]
        video : VideoInfo
        size : callable
            Returns the size of the image in which faces are detected, from that of the displayed frame.

        Yields
        ------
        Any
            What `detect` takes.
        """

    def detect(
        self,
        batches: Iterable[Any],
        video: VideoInfo,
        *,
        alignment: FaceAlignment,
        crop_px: int,
        channels: int = 1,
        min_face: MinFace,
        recognition: RecognitionCrops | None = None,
    ) -> Generator[FaceBatch]:
        """Find the faces of every frame.

        Parameters
        ----------
        batches : Iterable
            What `upload` yields.
        video : VideoInfo
        alignment, crop_px, channels, min_face, recognition
            As for faces.detect.detect.

        Yields
        ------
        FaceBatch
        """


@dataclass(frozen=True)
class Models:
    """The networks of the pipeline, loaded once and used for any number of videos."""

    detector: FaceDetector
    classifier: Classifier
    device: str
    """Where they run: "cpu" or "cuda:N"."""
    embedder: Embedder | None = None
    """Distinguishes persons, if requested."""
    on_device: OnDevice | None = None
    """Runs the pipeline from sampled frames to faces on a GPU, instead of `detector` alone."""
    fingerprint: str = ""
    """What provenance.models_fingerprint returns for them; "" for other models, whose results cannot be resumed."""


def load_models(config: Config) -> Models:
    """Load the networks that a configuration names.

    Parameters
    ----------
    config : Config

    Returns
    -------
    Models

    Raises
    ------
    DeviceError
        If the device is absent.
    MissingDependency, WeightsError
        If a model is not installed or cannot be read.
    ConfigError
        If the prior does not fit the weights.
    RunError
        If the bundled weights were altered.
    """
    from fervid.runtime.allocator import gc_paused

    with gc_paused():
        from fervid.emotions.torch_classifier import TorchClassifier
        from fervid.faces.detectors import load_detector

    classifier = TorchClassifier(config.weights, config.device, precision=config.precision, prior=config.prior)
    embedder = None
    if config.persons:
        from fervid.tracks.embedders import load_embedder

        embedder = load_embedder(config.persons, classifier.device)
    detector, on_device = load_detector(config.detector, classifier.device, config.precision), None
    if classifier.device != "cpu" and config.detector == "mtcnn":
        from fervid.cuda.pipeline import DevicePipeline

        on_device = DevicePipeline(classifier.device)
    return Models(detector, classifier, classifier.device, embedder, on_device, models_fingerprint(config))
