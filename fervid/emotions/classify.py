"""Classify the crops in full batches -> EmotionBatch."""

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

from fervid.faces.crop import FaceAlignment
from fervid.runtime.profiling import stage
from fervid.types import EmotionBatch, TrackBatch, concatenate

__all__ = ["Classifier", "classify"]

_CARRIED = ("sampled_s", "duration_s", "shot", "pts_s", "box_px", "score", "landmarks_px", "quality", "track")

#: Batches of looks to wait for at the most, where faces are rare.
_PATIENCE = 32


class Classifier(Protocol):
    """Gives calibrated emotion probabilities for grey crops."""

    name: str
    labels: tuple[str, ...]
    crop_px: int
    framing: FaceAlignment
    batch_size: int

    def predict(self, crop: np.ndarray) -> np.ndarray:
        """Crops (m, crop_px, crop_px) uint8 -> probabilities (m, K) float32; the same for any m."""


def classify(tracks: Iterable[TrackBatch], classifier: Classifier) -> Iterator[EmotionBatch]:
    """Wait until a few batches of crops are full, across frames and tracks, and classify them."""
    waiting: list[TrackBatch] = []
    for batch in tracks:
        waiting.append(batch)
        if sum(map(len, waiting)) >= 8 * classifier.batch_size or len(waiting) == _PATIENCE:
            yield _predict(concatenate(waiting), classifier)
            waiting = []
    if waiting:
        yield _predict(concatenate(waiting), classifier)


def _predict(batch: TrackBatch, classifier: Classifier) -> EmotionBatch:
    carried = {name: getattr(batch, name) for name in _CARRIED}
    with stage("classify"):
        distinct, which = _distinct(batch.crop)
        return EmotionBatch(**carried, prob=classifier.predict(distinct)[which])


def _distinct(crop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the crops that differ, and which of them each crop (m,) is: a still picture is classified once."""
    first: dict[bytes, int] = {}
    which = np.array([first.setdefault(one.tobytes(), len(first)) for one in crop], np.int64)
    return crop[np.unique(which, return_index=True)[1]], which
