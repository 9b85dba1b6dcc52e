"""Find faces that a training set and a held-out set share: scores on those measure memorisation."""

from dataclasses import dataclass

import numpy as np

from fervid.lab.data.datasets import FaceSet
from fervid.lab.data.images import luma

__all__ = ["Duplicates", "find_duplicates"]

#: Coefficients of the cosine transform kept in each direction: all that a 24x24 image can show.
_KEPT = 24
_HASH_SIDE = 8
#: Thresholds on correlation and hash distance, chosen by eye on FER2013, Training against PublicTest: all 39 pairs near
#: them (0.92 to 0.95, 9 to 12 bits) show one photograph, cropped or marked differently; below 0.92 or beyond 12 bits,
#: different photographs appear.
_SAME = 0.92
_BITS = 12


@dataclass(frozen=True)
class Duplicates:
    """Pairs of near-identical faces, most similar first.

    Parameters
    ----------
    train, held : FaceSet
        The sets that were compared.
    pairs : np.ndarray
        (k, 2) int64: index of a training face, index of a held-out face.
    correlation : np.ndarray
        (k,) float32, of their pixels.
    mirrored : np.ndarray
        (k,) bool: they match only when one is mirrored.
    disagree : np.ndarray
        (k,) bool: their labels differ.
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
        """Describe in one line how far the two sets overlap."""
        ours, theirs = (len(np.unique(self.pairs[:, i])) for i in (0, 1))
        if not len(self):
            return f"{self.train.name} and {self.held.name}: no near-duplicates"
        share = theirs / len(self.held)
        return (
            f"{self.held.name}: {theirs} of {len(self.held)} faces ({share:.1%}) have near-duplicates among "
            f"{ours} faces of {self.train.name}; the labels differ in {self.disagree.sum()} of {len(self)} pairs"
        )

    def drop(self, train: FaceSet) -> FaceSet:
        """Remove the faces that the held-out set shares.

        Parameters
        ----------
        train : FaceSet
            The training set, or a set in the same order.

        Returns
        -------
        FaceSet

        Raises
        ------
        ValueError
            If the set has another number of faces.
        """
        if len(train) != len(self.train):
            raise ValueError(f"these duplicates are of {len(self.train)} faces, found a set of {len(train)}")
        kept = np.ones(len(train), bool)
        kept[self.pairs[:, 0]] = False
        return train.take(kept)


def find_duplicates(train: FaceSet, held: FaceSet, *, same: float = _SAME, max_bits: int = _BITS) -> Duplicates:
    """Find pairs that show one photograph, also if mirrored, cropped slightly differently or marked.

    A perceptual hash selects candidates (Zauner 2010: the signs of the lowest cosine coefficients, 64 bits); the
    correlation of the pixels at 24x24 decides. A face of uniform grey matches nothing. Comparing 28,558 with 3,579
    faces takes five seconds and 350 MB on one core.

    Parameters
    ----------
    train, held : FaceSet
    same : float
        Least correlation of a pair.
    max_bits : int
        Most bits in which their hashes may differ.

    Returns
    -------
    Duplicates
    """
    ours, theirs = _cosines(train.image), _cosines(held.image)
    turned = theirs * (-1.0) ** np.arange(_KEPT, dtype=np.float32)  # the effect of mirroring on a cosine transform
    found = [np.zeros((0, 4))]
    for mirrored, other in enumerate((theirs, turned)):
        pairs, correlation = _compare(ours, other, same, max_bits)
        found.append(np.column_stack([pairs, correlation, np.full(len(pairs), mirrored)]))
    table = np.concatenate(found)
    table = table[np.lexsort((table[:, 1], table[:, 0], -table[:, 2]))]
    _, first = np.unique(
        table[:, :2], axis=0, return_index=True
    )  # a symmetric face is found twice: keep the better one
    table = table[np.sort(first)]
    pairs = table[:, :2].astype(np.int64)
    our_names, their_names = np.array(train.labels)[train.label], np.array(held.labels)[held.label]
    disagree = our_names[pairs[:, 0]] != their_names[pairs[:, 1]]
    return Duplicates(train, held, pairs, table[:, 2].astype(np.float32), table[:, 3] == 1, disagree)


def _cosines(image: np.ndarray) -> np.ndarray:
    """Compute the lowest cosine coefficients (n, 24, 24) float32, without the mean, of length 1 or all 0.

    They represent the downscaled image. By Parseval's theorem their inner product is the correlation, whatever the size
    in pixels.
    """
    from scipy.fft import dctn

    kept = np.zeros((len(image), _KEPT, _KEPT), np.float32)
    for start in range(0, len(image), 1024):
        grey = image[start : start + 1024] if image.ndim == 3 else luma(image[start : start + 1024])
        block = dctn(grey.astype(np.float32), axes=(1, 2), norm="ortho")[:, :_KEPT, :_KEPT]
        kept[start : start + 1024, : block.shape[1], : block.shape[2]] = block
    kept[:, 0, 0] = 0
    length = np.linalg.norm(kept, axis=(1, 2), keepdims=True)
    return np.where(length > 1, kept, 0) / np.maximum(length, 1)


def _compare(ours: np.ndarray, theirs: np.ndarray, same: float, max_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the matching pairs (k, 2) of coefficients (n, 24, 24) and (m, 24, 24), and their correlation (k,)."""
    bits, other_bits = _signs(ours), _signs(theirs)
    pairs, correlations = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.float32)]
    step = max(1, (1 << 23) // max(1, len(theirs)))
    for start in range(0, len(ours), step):
        # equal minus different bits as one matrix product: exact, and faster than counting
        close = bits[start : start + step] @ other_bits.T >= _HASH_SIDE**2 - 2 * max_bits
        candidates = np.argwhere(close) + np.array([start, 0])
        for some in np.split(candidates, range(1 << 14, len(candidates), 1 << 14)):
            correlation = np.einsum("iab,iab->i", ours[some[:, 0]], theirs[some[:, 1]])
            pairs.append(some[correlation >= same])
            correlations.append(correlation[correlation >= same])
    return np.concatenate(pairs), np.concatenate(correlations)


def _signs(cosines: np.ndarray) -> np.ndarray:
    """Compute the perceptual hash as (n, 64) float32 of +1 and -1; all 0 for a uniform image."""
    low = cosines[:, :_HASH_SIDE, :_HASH_SIDE].reshape(-1, _HASH_SIDE**2)
    flat = np.linalg.norm(cosines, axis=(1, 2)) == 0
    return np.where(flat[:, None], 0, np.where(low > 0, 1, -1)).astype(np.float32)
