"""Classify face crops in full batches: TrackBatch to EmotionBatch; in a shard, before tracking."""

from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from typing import Protocol, TypeVar

import numpy as np

from fervid.faces.crop import FaceAlignment
from fervid.runtime.profiling import stage
from fervid.types import EmotionBatch, FaceBatch, TrackBatch, concatenate

__all__ = ["Classifier", "classify", "classify_faces"]

F = TypeVar("F", FaceBatch, TrackBatch)
#: Fields that pass through unchanged.
_CARRIED = tuple(f.name for f in fields(EmotionBatch) if f.name != "prob")
#: Largest number of batches to wait for, where faces are rare.
_MAX_WAITING = 32


class Classifier(Protocol):
    """Maps face crops to calibrated emotion probabilities.

    Attributes
    ----------
    name : str
    labels : tuple of str
        The K emotions, in the order of the probabilities.
    crop_px : int
        Side of the crops.
    channels : int
        Of the crops: 1, grey, or 3, RGB.
    alignment : FaceAlignment
        How faces must lie in the crops: as in the training images.
    batch_size : int
        Number of crops per forward pass.
    """

    name: str
    labels: tuple[str, ...]
    crop_px: int
    channels: int
    alignment: FaceAlignment
    batch_size: int

    def predict(self, crop: np.ndarray) -> np.ndarray:
        """Classify crops; the result for a crop does not depend on the others.

        Parameters
        ----------
        crop : np.ndarray
            (m, crop_px, crop_px, channels) uint8.

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
        Faces that are classified already (see `classify_faces`) keep their probabilities.
    classifier : Classifier

    Yields
    ------
    EmotionBatch
        The same rows in the same order.
    """
    for waiting in _groups(tracks, 8 * classifier.batch_size):
        batch = concatenate(waiting)
        prob = batch.prob if batch.prob.shape[1] else _predict(batch.crop, classifier)
        yield EmotionBatch(**{name: getattr(batch, name) for name in _CARRIED}, prob=prob)


def classify_faces(faces: Iterable[FaceBatch], classifier: Classifier) -> Iterator[FaceBatch]:
    """Classify faces before they are linked to tracks, and drop their crops: in a worker that sees part of a video.

    Parameters
    ----------
    faces : Iterable[FaceBatch]
    classifier : Classifier

    Yields
    ------
    FaceBatch
        The same batches, with probabilities and without crops.
    """
    for waiting in _groups(faces, 4 * classifier.batch_size):
        prob = _predict(np.concatenate([batch.crop for batch in waiting]), classifier)
        ends = np.cumsum([len(batch) for batch in waiting])
        for batch, part in zip(waiting, np.split(prob, ends[:-1])):
            yield replace(batch, prob=part, crop=np.zeros((len(batch), 0, 0, 0), np.uint8))


def _groups(batches: Iterable[F], faces: int) -> Iterator[list[F]]:
    """Collect batches until they have so many faces, or are too many."""
    waiting: list[F] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= faces or len(waiting) == _MAX_WAITING:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _predict(crop: np.ndarray, classifier: Classifier) -> np.ndarray:
    with stage("classify"):
        distinct, inverse = _distinct(crop)
        return np.ascontiguousarray(classifier.predict(distinct)[inverse], np.float32)


def _distinct(crop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the distinct crops, and the index (m,) of each crop among them: a still image is classified once."""
    first: dict[bytes, int] = {}
    inverse = np.array([first.setdefault(one.tobytes(), len(first)) for one in crop], np.int64)
    return crop[np.unique(inverse, return_index=True)[1]], inverse
