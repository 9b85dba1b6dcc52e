"""The networks of the line, loaded once."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from fervid.config import Config
from fervid.emotions.classify import Classifier
from fervid.faces.crop import FaceAlignment
from fervid.faces.detect import RecognitionCrops
from fervid.faces.detector import FaceDetector
from fervid.provenance import models_fingerprint
from fervid.tracks.persons import Embedder
from fervid.types import FaceBatch, VideoInfo
from fervid.video.sampling import SampledFrame

__all__ = ["Models", "OnDevice", "load_models"]


class OnDevice(Protocol):
    """The line from looks to faces on a GPU: what frames.batch_frames and faces.detect do on a CPU."""

    def stage(self, looks: Iterable[SampledFrame], video: VideoInfo, size_px: tuple[int, int]) -> Generator[Any]:
        """As frames.batch_frames; what it gives is for `find` alone."""

    def find(
        self,
        batches: Iterable[Any],
        video: VideoInfo,
        *,
        alignment: FaceAlignment,
        crop_px: int,
        min_face_px: float,
        recognition: RecognitionCrops | None = None,
    ) -> Generator[FaceBatch]:
        """As faces.detect, which searches every look."""


@dataclass(frozen=True)
class Models:
    """The networks of the line, loaded once and used for any number of videos; an embedder if persons are asked for.

    With `on_device` the line from looks to faces runs there, and nothing else asks `detector` for faces.
    """

    detector: FaceDetector
    classifier: Classifier
    device: str
    embedder: Embedder | None = None
    on_device: OnDevice | None = None
    fingerprint: str = ""
    """What provenance.models_fingerprint gives for them; "" for models from elsewhere, whose results do not resume."""


def load_models(config: Config) -> Models:
    """Load the detector and the classifier that a config names; every device and weights error comes from here."""
    from fervid.runtime.allocator import gc_paused

    with gc_paused():
        from fervid.emotions.torch_classifier import TorchClassifier
        from fervid.faces.detectors import load_detector

    classifier = TorchClassifier(config.weights, config.device, precision=config.precision)
    embedder = None
    if config.persons:
        from fervid.tracks.embedders import load_embedder

        embedder = load_embedder(config.persons, classifier.device)
    detector, line = load_detector(config.detector, classifier.device, config.precision), None
    if classifier.device != "cpu" and config.detector == "mtcnn":
        from fervid.cuda.pipeline import DeviceLine

        line = DeviceLine(classifier.device)
    return Models(detector, classifier, classifier.device, embedder, line, models_fingerprint(config))
