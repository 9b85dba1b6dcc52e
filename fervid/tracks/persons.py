"""Say which tracks of one video are probably the same person. Embeddings live in memory only, for as long as a video.

Each track is known by the mean embedding of its few best crops; tracks are joined by average linkage (Sokal & Michener
1958) up to the embedder's threshold, however many people that makes. Two that were visible at once are two persons.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from fervid.types import Rows, TrackBatch

__all__ = ["Embedder", "PersonClusterer", "group"]

#: Crops of a track that are kept, how far apart in time, and how much better a new one must be than the worst of them.
_FEW, _APART_S, _BETTER = 5, 0.5, 1.1
#: Faces of less quality say nothing about who it is.
_CLEAR = 0.3
#: Tracks that are compared, the longest ones: the distances of 4,000 take 128 MB.
_MOST = 4000
#: The distance of two that must not be one person: larger than any mean over two groups could hide.
_NEVER = 1e9


class Embedder(Protocol):
    """Turns crops of faces into points that lie close for one person; another one is one file in this folder."""

    name: str
    sha256: str
    portrait_px: int
    threshold: float
    """Cosine distance up to which two tracks are taken for one person."""

    def squares(self, box_px: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
        """Boxes (m, 4) and landmarks (m, 5, 2) -> what to cut out: tilted squares (m, 4), as crop_face takes."""

    def embed(self, portrait: np.ndarray) -> np.ndarray:
        """Grey crops (m, portrait_px, portrait_px) uint8 -> (m, d) float32 of length 1; the same for any m."""


@dataclass
class _TrackEmbeddings:
    """The best crops of a track so far."""

    looks: int = 0
    quality: list[float] = field(default_factory=list)
    pts_s: list[float] = field(default_factory=list)
    embedding: list[Any] = field(default_factory=list)  # an int, the row in the batch, until it is computed

    def offer(self, quality: float, pts_s: float, row: int) -> None:
        """Take a face if it is better than what there is; the rule does not depend on batches."""
        self.looks += 1
        near = [i for i, t in enumerate(self.pts_s) if abs(pts_s - t) < _APART_S]
        if near or len(self.quality) == _FEW:
            worst = max(near) if near else int(np.argmin(self.quality))
            if quality <= _BETTER * self.quality[worst]:
                return
            for kept in (self.quality, self.pts_s, self.embedding):
                del kept[worst]
        self.quality.append(quality)
        self.pts_s.append(pts_s)
        self.embedding.append(row)

    @property
    def mean(self) -> np.ndarray:
        """The mean of the embeddings, each weighing as its crop's quality, of length 1."""
        mean = np.average(np.stack(self.embedding), axis=0, weights=self.quality)
        return mean / max(float(np.linalg.norm(mean)), 1e-9)


class PersonClusterer:
    """Watches tracks pass, and says in the end who is who. Memory: 10 kB a track, and 16 bytes a pair seen at once."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self._known: dict[int, _TrackEmbeddings] = {}
        self._together: set[tuple[int, int]] = set()

    def watch(self, tracks: Iterable[TrackBatch]) -> Iterator[TrackBatch]:
        """Remember the best crops of each track; the batches go on as they came."""
        for batch in tracks:
            self._remember(batch)
            yield batch

    def _remember(self, batch: TrackBatch) -> None:
        clear, met = batch.quality, {}
        for i in np.flatnonzero(clear >= _CLEAR):
            met[int(batch.track[i])] = known = self._known.setdefault(int(batch.track[i]), _TrackEmbeddings())
            known.offer(float(clear[i]), float(batch.pts_s[i]), int(i))
        new = [(known, at) for known in met.values() for at, e in enumerate(known.embedding) if isinstance(e, int)]
        if new:
            embedding = self.embedder.embed(batch.portrait[[k.embedding[at] for k, at in new]])
            for (known, at), one in zip(new, embedding):
                known.embedding[at] = one
        for pts_s in np.unique(batch.pts_s):
            here = np.unique(batch.track[batch.pts_s == pts_s]).tolist()
            self._together.update((a, b) for i, a in enumerate(here) for b in here[i + 1 :])

    def facts(self) -> dict[str, Any]:
        """What decided who is who, for the provenance."""
        model = self.embedder
        return {
            "name": model.name,
            "sha256": model.sha256,
            "threshold": model.threshold,
            "least_quality": _CLEAR,
            "crops_a_track": _FEW,
        }

    def columns(self, rows: Rows) -> Rows:
        """The columns `person`, -1 where nobody can tell, and `person_confidence` for the rows of a timeline."""
        longest = sorted(self._known, key=lambda track: (-self._known[track].looks, track))[:_MOST]
        tracks = sorted(longest)
        place = {track: i for i, track in enumerate(tracks)}
        apart = [(place[a], place[b]) for a, b in self._together if a in place and b in place]
        embedding = np.stack([self._known[t].mean for t in tracks]) if tracks else np.zeros((0, 1))
        person, confidence = group(embedding, np.array(apart, int).reshape(-1, 2), self.embedder.threshold)
        at = np.array([place.get(int(t), -1) for t in rows["track"]], int)
        known = at >= 0
        columns = {"person": np.full(len(at), -1), "person_confidence": np.full(len(at), np.nan)}
        columns["person"][known], columns["person_confidence"][known] = person[at[known]], confidence[at[known]]
        return columns


def group(embedding: np.ndarray, apart: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Tracks' embeddings (n, d) of length 1, and pairs (p, 2) of two persons -> persons (n,) and confidences (n,).

    Persons are numbered in the order of the tracks. Confidence, 0..1, tells how much nearer a track is to its own
    person than to the nearest other one, as a silhouette does (Rousseeuw 1987); a track that is alone counts as far
    from itself as the threshold, and where there is nobody else, nobody is 1 away.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    n = len(embedding)
    distance = np.clip(1 - embedding.astype(np.float64) @ embedding.T.astype(np.float64), 0, 2)
    np.fill_diagonal(distance, 0)
    person = np.zeros(n, int)
    if n > 1:
        barred = distance.copy()
        barred[apart[:, 0], apart[:, 1]] = barred[apart[:, 1], apart[:, 0]] = _NEVER
        tree = linkage(squareform(barred, checks=False), "average")
        _, first, person = np.unique(fcluster(tree, threshold, "distance"), return_index=True, return_inverse=True)
        person = np.argsort(np.argsort(first))[person]
    member = np.eye(person.max(initial=-1) + 1)[person]
    count = member.sum(0)
    mean = distance @ member / np.maximum(count - member, 1)  # to the others of each person
    own = np.where(count[person] > 1, mean[np.arange(n), person], threshold)
    mean[np.arange(n), person] = np.inf
    other = mean.min(1, initial=1.0) if len(count) < 2 else mean.min(1)
    return person, np.clip((other - own) / np.maximum(other, 1e-9), 0, 1)
