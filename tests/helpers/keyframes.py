"""Find which samples of a film are keyframes, with a detector that needs no network."""

import numpy as np

from fervid.faces.detector import Detections
from fervid.faces.keyframes import detect_keyframes
from fervid.types import FrameBatch
from tests.benchmarks.adaptive import joined
from tests.helpers.fakes import FakeDetector
from tests.helpers.films import Film

__all__ = ["keyframes_of", "to_batch"]

_BOX = np.float32([[4, 4, 20, 20]])


class _ScoreByMethod(FakeDetector):
    """Finds one face in every sample, with the score 1 if it was searched and 0.5 if it was confirmed."""

    def detect(self, images, min_face_px):
        n = len(images)
        return Detections(np.arange(n), _BOX.repeat(n, 0), np.ones(n, np.float32), np.zeros((n, 5, 2), np.float32))

    def confirm(self, images, frame, box_px):
        n = len(frame)
        half = np.full(n, 0.5, np.float32)
        return Detections(frame, box_px, half, np.zeros((n, 5, 2), np.float32)), np.ones(n, bool)


def to_batch(film: Film, fps: int, first: int = 0, stop: int | None = None) -> FrameBatch:
    """Make one batch of the images of a film, or of some of them."""
    images = film.sampled(fps).frames[first:stop]
    times = np.arange(first, first + len(images)) / fps
    return FrameBatch(times, np.full(len(images), 1 / fps), images, tuple(images[..., 1]))


def keyframes_of(batches: list[FrameBatch]) -> np.ndarray:
    """Return which samples (n,) are keyframes."""
    return joined(detect_keyframes(batches, _ScoreByMethod(), 0.05)).score == 1
