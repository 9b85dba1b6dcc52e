"""Cluster the tracks of one video into persons. Embeddings stay in memory, and only while the video is processed.

Each track is represented by the mean embedding of its few best crops. Average linkage (Sokal & Michener 1958) joins
tracks up to the embedder's threshold; the number of persons is not fixed. Tracks visible at the same time are different
persons.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from fervid.types import Rows, TrackBatch

__all__ = ["Embedder", "PersonClusterer", "embed_in_batches", "group"]

#: Crops kept per track, their least distance in time, and the factor by which a new crop must be better than the worst.
_CROPS_PER_TRACK, _MIN_INTERVAL_S, _MIN_GAIN = 5, 0.5, 1.1
#: Least quality of a crop that represents a track.
_MIN_QUALITY = 0.3
#: Most tracks to compare, the longest ones: the distances between 4,000 take 128 MB.
_MAX_TRACKS = 4000
#: Crops per forward pass of an embedder. It is fixed because the last bits of a result depend on it.
_BATCH = 8
#: Distance between tracks that must not be joined: no mean over two clusters can hide it.
_CANNOT_LINK = 1e9


class Embedder(Protocol):
    """Maps face crops to points that lie close together for one person. Each embedder is one module in this folder.

    Attributes
    ----------
    name : str
    sha256 : str
        Hash of the weights.
    recognition_px : int
        Side of the recognition crops.
    threshold : float
        Cosine distance up to which two tracks count as one person.
    """

    name: str
    sha256: str
    recognition_px: int
    threshold: float

    def places(self, box_px: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
        """Compute where to crop.

        Parameters
        ----------
        box_px : np.ndarray
            Boxes (m, 4), xyxy.
        landmarks_px : np.ndarray
            Landmarks (m, 5, 2).

        Returns
        -------
        np.ndarray
            (m, 2, 3), as `faces.crop.crop_face` takes them.
        """

    def embed(self, recognition_crop: np.ndarray) -> np.ndarray:
        """Embed grey crops; the result for a crop does not depend on the others.

        Parameters
        ----------
        recognition_crop : np.ndarray
            (m, recognition_px, recognition_px) uint8.

        Returns
        -------
        np.ndarray
            (m, d) float32, rows of length 1.
        """


def embed_in_batches(
    forward: Callable[[np.ndarray], np.ndarray], recognition_crop: np.ndarray, width: int
) -> np.ndarray:
    """Embed crops in padded batches of one fixed shape, so that results do not depend on how many there are.

    Parameters
    ----------
    forward : Callable
        Maps crops (8, s, s) uint8 to embeddings (8, width) float32.
    recognition_crop : np.ndarray
        (m, s, s) uint8.
    width : int
        Dimensions of an embedding.

    Returns
    -------
    np.ndarray
        (m, width) float32.
    """
    embedding = np.zeros((len(recognition_crop), width), np.float32)
    for i in range(0, len(recognition_crop), _BATCH):
        crops = recognition_crop[i : i + _BATCH]
        padded = np.zeros((_BATCH, *crops.shape[1:]), np.uint8)
        padded[: len(crops)] = crops
        embedding[i : i + _BATCH] = forward(padded)[: len(crops)]
    return embedding


@dataclass
class _TrackEmbeddings:
    """The embeddings of a track's best crops so far."""

    samples: int = 0
    quality: list[float] = field(default_factory=list)
    pts_s: list[float] = field(default_factory=list)
    embedding: list[Any] = field(default_factory=list)  # the row in the batch (int) until it is computed

    def offer(self, quality: float, pts_s: float, row: int) -> None:
        """Keep a face if it is better than a kept one; the rule does not depend on how faces were batched."""
        self.samples += 1
        near = [i for i, t in enumerate(self.pts_s) if abs(pts_s - t) < _MIN_INTERVAL_S]
        if near or len(self.quality) == _CROPS_PER_TRACK:
            worst = max(near) if near else int(np.argmin(self.quality))
            if quality <= _MIN_GAIN * self.quality[worst]:
                return
            for kept in (self.quality, self.pts_s, self.embedding):
                del kept[worst]
        self.quality.append(quality)
        self.pts_s.append(pts_s)
        self.embedding.append(row)

    @property
    def mean(self) -> np.ndarray:
        """The mean of the embeddings, weighted by the quality of their crops, scaled to length 1."""
        mean = np.average(np.stack(self.embedding), axis=0, weights=self.quality)
        return mean / max(float(np.linalg.norm(mean)), 1e-9)


class PersonClusterer:
    """Collects the embeddings of passing tracks and clusters them into persons at the end.

    Memory: 10 kB per track, and 16 bytes per pair of tracks visible at the same time.

    Parameters
    ----------
    embedder : Embedder
    """

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self._embeddings: dict[int, _TrackEmbeddings] = {}
        self._together: set[tuple[int, int]] = set()

    def watch(self, tracks: Iterable[TrackBatch]) -> Iterator[TrackBatch]:
        """Keep the best crops of each track while the batches pass through unchanged.

        Parameters
        ----------
        tracks : Iterable[TrackBatch]

        Yields
        ------
        TrackBatch
        """
        for batch in tracks:
            self._collect(batch)
            yield batch

    def _collect(self, batch: TrackBatch) -> None:
        touched = {}
        for i in np.flatnonzero(batch.quality >= _MIN_QUALITY):
            track = int(batch.track[i])
            touched[track] = kept = self._embeddings.setdefault(track, _TrackEmbeddings())
            kept.offer(float(batch.quality[i]), float(batch.pts_s[i]), int(i))
        new = [(kept, at) for kept in touched.values() for at, e in enumerate(kept.embedding) if isinstance(e, int)]
        if new:
            embedding = self.embedder.embed(batch.recognition_crop[[kept.embedding[at] for kept, at in new]])
            for (kept, at), one in zip(new, embedding):
                kept.embedding[at] = one
        for pts_s in np.unique(batch.pts_s):
            here = np.unique(batch.track[batch.pts_s == pts_s]).tolist()
            self._together.update((a, b) for i, a in enumerate(here) for b in here[i + 1 :])

    def facts(self) -> dict[str, Any]:
        """Describe the embedder and the clustering, for the provenance."""
        model = self.embedder
        return {
            "name": model.name,
            "sha256": model.sha256,
            "threshold": model.threshold,
            "least_quality": _MIN_QUALITY,
            "crops_a_track": _CROPS_PER_TRACK,
        }

    def columns(self, rows: Rows) -> Rows:
        """Cluster the tracks and make the columns of a timeline.

        Parameters
        ----------
        rows : Rows
            The timeline, with a column `track`.

        Returns
        -------
        Rows
            `person`, -1 where unknown, and `person_confidence`, NaN where unknown.
        """
        longest = sorted(self._embeddings, key=lambda track: (-self._embeddings[track].samples, track))[:_MAX_TRACKS]
        tracks = sorted(longest)
        index = {track: i for i, track in enumerate(tracks)}
        cannot_link = [(index[a], index[b]) for a, b in self._together if a in index and b in index]
        embedding = np.stack([self._embeddings[t].mean for t in tracks]) if tracks else np.zeros((0, 1))
        person, confidence = group(embedding, np.array(cannot_link, int).reshape(-1, 2), self.embedder.threshold)
        at = np.array([index.get(int(t), -1) for t in rows["track"]], int)
        known = at >= 0
        columns = {"person": np.full(len(at), -1), "person_confidence": np.full(len(at), np.nan)}
        columns["person"][known], columns["person_confidence"][known] = person[at[known]], confidence[at[known]]
        return columns


def group(embedding: np.ndarray, cannot_link: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Cluster tracks into persons by average linkage.

    Parameters
    ----------
    embedding : np.ndarray
        One row per track, (n, d), of length 1.
    cannot_link : np.ndarray
        Pairs (p, 2) of tracks that are different persons.
    threshold : float
        Cosine distance up to which clusters are joined.

    Returns
    -------
    person : np.ndarray
        (n,) int, numbered in the order of the tracks.
    confidence : np.ndarray
        (n,), 0 to 1: how much nearer a track is to its own person than to the nearest other one, like a silhouette
        (Rousseeuw 1987). The only track of a person counts as `threshold` away from that person; where there is only
        one person, the nearest other one counts as 1 away.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    n = len(embedding)
    distance = np.clip(1 - embedding.astype(np.float64) @ embedding.T.astype(np.float64), 0, 2)
    np.fill_diagonal(distance, 0)
    person = np.zeros(n, int)
    if n > 1:
        first, second = cannot_link.T
        constrained = distance.copy()
        constrained[first, second] = constrained[second, first] = _CANNOT_LINK
        tree = linkage(squareform(constrained, checks=False), "average")
        _, first, person = np.unique(fcluster(tree, threshold, "distance"), return_index=True, return_inverse=True)
        person = np.argsort(np.argsort(first))[person]
    member = np.eye(person.max(initial=-1) + 1)[person]
    count = member.sum(0)
    mean = distance @ member / np.maximum(count - member, 1)  # to the other tracks of each person
    own = np.where(count[person] > 1, mean[np.arange(n), person], threshold)
    mean[np.arange(n), person] = np.inf
    other = mean.min(1, initial=1.0) if len(count) < 2 else mean.min(1)
    return person, np.clip((other - own) / np.maximum(other, 1e-9), 0, 1)
