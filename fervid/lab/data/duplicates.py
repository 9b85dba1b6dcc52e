"""Find faces that a training set and a held-out set share: scores on those tell what was learnt by heart."""

from dataclasses import dataclass

import numpy as np

from fervid.lab.data.datasets import FaceSet

__all__ = ["Duplicates", "find_duplicates"]

#: Cosines kept in each direction: all that a 24x24 picture can show.
_KEPT = 24
_HASH_SIDE = 8
#: Chosen by eye on FER2013, Training against PublicTest: all 39 pairs at the edge (0.92 to 0.95, 9 to 12 bits) are one
#: photograph cut or marked differently, while below 0.92 or beyond 12 bits strangers come in.
_SAME = 0.92
_BITS = 12


@dataclass(frozen=True)
class Duplicates:
    """Pairs of near-identical faces, surest first.

    pairs (k, 2) int64: a face of the training set, a face of the held-out set, by number; correlation (k,) float32 of
    their pixels; mirrored (k,) bool: alike only left to right; disagree (k,) bool: the two carry different labels.
    """

    train: FaceSet
    held: FaceSet
    pairs: np.ndarray
    correlation: np.ndarray
    mirrored: np.ndarray
    disagree: np.ndarray

    def __len__(self) -> int:
        return len(self.pairs)

    def summary(self) -> str:
        """Say in one line how far the two sets overlap."""
        ours, theirs = (len(np.unique(self.pairs[:, i])) for i in (0, 1))
        if not len(self):
            return f"{self.train.name} and {self.held.name}: no near-duplicates"
        share = theirs / len(self.held)
        return (
            f"{self.held.name}: {theirs} of {len(self.held)} faces ({share:.1%}) have near-duplicates among "
            f"{ours} faces of {self.train.name}; the labels differ in {self.disagree.sum()} of {len(self)} pairs"
        )

    def drop(self, train: FaceSet) -> FaceSet:
        """Give the training set, or a set in its order, without the faces that the held-out set has too."""
        if len(train) != len(self.train):
            raise ValueError(f"these duplicates are of {len(self.train)} faces, found a set of {len(train)}")
        kept = np.ones(len(train), bool)
        kept[self.pairs[:, 0]] = False
        return train.take(kept)


def find_duplicates(train: FaceSet, held: FaceSet, *, same: float = _SAME, max_bits: int = _BITS) -> Duplicates:
    """Find the pairs that are one photograph, also mirrored, cut a little differently or marked.

    Two faces are compared where their 64-bit perceptual hashes (Zauner 2010: signs of the lowest cosines) differ in
    max_bits at the most, and are the same where the correlation of their pixels, at 24x24, is at least `same`. Faces
    of one flat grey are like nothing. 28,558 x 3,579 faces take five seconds and 350 MB on one core.
    """
    ours, theirs = _cosines(train.image), _cosines(held.image)
    turned = theirs * (-1.0) ** np.arange(_KEPT, dtype=np.float32)  # what mirroring does to a cosine transform
    found = [np.zeros((0, 4))]
    for mirrored, other in enumerate((theirs, turned)):
        pairs, correlation = _compare(ours, other, same, max_bits)
        found.append(np.column_stack([pairs, correlation, np.full(len(pairs), mirrored)]))
    table = np.concatenate(found)
    table = table[np.lexsort((table[:, 1], table[:, 0], -table[:, 2]))]
    _, first = np.unique(table[:, :2], axis=0, return_index=True)  # a symmetric face is found twice: keep the better
    table = table[np.sort(first)]
    pairs = table[:, :2].astype(np.int64)
    our_names, their_names = np.array(train.labels)[train.label], np.array(held.labels)[held.label]
    disagree = our_names[pairs[:, 0]] != their_names[pairs[:, 1]]
    return Duplicates(train, held, pairs, table[:, 2].astype(np.float32), table[:, 3] == 1, disagree)


def _cosines(image: np.ndarray) -> np.ndarray:
    """Lowest coefficients of the cosine transform (n, 24, 24) float32, without the mean, of length 1 or all 0.

    They are the picture made small; by Parseval their product is the correlation, whatever the size in pixels.
    """
    from scipy.fft import dctn

    kept = np.zeros((len(image), _KEPT, _KEPT), np.float32)
    for start in range(0, len(image), 1024):
        block = dctn(image[start : start + 1024].astype(np.float32), axes=(1, 2), norm="ortho")[:, :_KEPT, :_KEPT]
        kept[start : start + 1024, : block.shape[1], : block.shape[2]] = block
    kept[:, 0, 0] = 0
    length = np.linalg.norm(kept, axis=(1, 2), keepdims=True)
    return np.where(length > 1, kept, 0) / np.maximum(length, 1)


def _compare(ours: np.ndarray, theirs: np.ndarray, same: float, max_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines (n, 24, 24) and (m, 24, 24) -> the pairs that are the same (k, 2), and their correlation (k,)."""
    bits, other_bits = _signs(ours), _signs(theirs)
    pairs, correlations = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.float32)]
    step = max(1, (1 << 23) // max(1, len(theirs)))
    for start in range(0, len(ours), step):
        # equal minus different bits, as one matrix product: exact, and faster than counting
        close = bits[start : start + step] @ other_bits.T >= _HASH_SIDE**2 - 2 * max_bits
        candidates = np.argwhere(close) + np.array([start, 0])
        for some in np.split(candidates, range(1 << 14, len(candidates), 1 << 14)):
            correlation = np.einsum("iab,iab->i", ours[some[:, 0]], theirs[some[:, 1]])
            pairs.append(some[correlation >= same])
            correlations.append(correlation[correlation >= same])
    return np.concatenate(pairs), np.concatenate(correlations)


def _signs(cosines: np.ndarray) -> np.ndarray:
    """The perceptual hash as (n, 64) float32 of +1 and -1; all 0 for a flat picture."""
    low = cosines[:, :_HASH_SIDE, :_HASH_SIDE].reshape(-1, _HASH_SIDE**2)
    flat = np.linalg.norm(cosines, axis=(1, 2)) == 0
    return np.where(flat[:, None], 0, np.where(low > 0, 1, -1)).astype(np.float32)
