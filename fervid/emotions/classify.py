"""Classify face crops in full batches: TrackBatch to EmotionBatch."""

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

from fervid.faces.crop import FaceAlignment
from fervid.runtime.profiling import stage
from fervid.types import EmotionBatch, TrackBatch, concatenate

__all__ = ["Classifier", "classify"]

#: Fields that pass through unchanged.
_CARRIED = ("sampled_s", "duration_s", "shot", "pts_s", "box_px", "score", "landmarks_px", "quality", "track")
#: Largest number of batches to wait for, where faces are rare.
_MAX_WAITING = 32


class Classifier(Protocol):
    """Maps grey face crops to calibrated emotion probabilities.

    Attributes
    ----------
    name : str
    labels : tuple of str
        The K emotions, in the order of the probabilities.
    crop_px : int
        Side of the crops.
    alignment : FaceAlignment
        How faces must lie in the crops: as in the training images.
    batch_size : int
        Number of crops per forward pass.
    """

    name: str
    labels: tuple[str, ...]
    crop_px: int
    alignment: FaceAlignment
    batch_size: int

    def predict(self, crop: np.ndarray) -> np.ndarray:
        """Classify crops; the result for a crop does not depend on the others.

        Parameters
        ----------
        crop : np.ndarray
            (m, crop_px, crop_px) uint8.

        Returns
        -------
        np.ndarray
            (m, K) float32; rows sum to 1.
        """


def classify(tracks: Iterable[TrackBatch], classifier: Classifier) -> Iterator[EmotionBatch]:
    """Classify crops in full batches, collected across frames and tracks.

    Parameters
    ----------
    tracks : Iterable[TrackBatch]
    classifier : Classifier

    Yields
    ------
    EmotionBatch
        The same rows in the same order.
    """
    waiting: list[TrackBatch] = []
    for batch in tracks:
        waiting.append(batch)
        if sum(map(len, waiting)) >= 8 * classifier.batch_size or len(waiting) == _MAX_WAITING:
            yield _predict(concatenate(waiting), classifier)
            waiting = []
    if waiting:
        yield _predict(concatenate(waiting), classifier)


def _predict(batch: TrackBatch, classifier: Classifier) -> EmotionBatch:
    carried = {name: getattr(batch, name) for name in _CARRIED}
    with stage("classify"):
        distinct, inverse = _distinct(batch.crop)
        return EmotionBatch(**carried, prob=classifier.predict(distinct)[inverse])


def _distinct(crop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the distinct crops, and the index (m,) of each crop among them: a still image is classified once."""
    first: dict[bytes, int] = {}
    inverse = np.array([first.setdefault(one.tobytes(), len(first)) for one in crop], np.int64)
    return crop[np.unique(inverse, return_index=True)[1]], inverse
