"""Find faces that a training set and a held-out set share: scores on those measure memorisation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fervid.lab.data.datasets import FaceSet
from fervid.lab.data.holdout import held_out_name
from fervid.lab.data.matching import BITS, SAME, cosines, match

__all__ = ["Duplicates", "find_duplicates", "find_duplicates_across"]


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
            held = self.held.name
            own = held == held_out_name(self.train.name)
            return f"{self.train.name} and {'its held-out tenth' if own else held}: no near-duplicates"
        share = theirs / len(self.held)
        return (
            f"{self.held.name}: {theirs} of {len(self.held)} faces ({share:.1%}) have near-duplicates among "
            f"{ours} faces of {self.train.name}; the labels differ in {self.disagree.sum()} of {len(self)} pairs"
        )

    def merged(self, other: "Duplicates") -> "Duplicates":
        """Add the pairs of another search in the same sets.

        Parameters
        ----------
        other : Duplicates

        Returns
        -------
        Duplicates
            Of a pair in both, the larger correlation.
        """
        pairs, correlation, mirrored, disagree = (
            np.concatenate([getattr(self, name), getattr(other, name)])
            for name in ("pairs", "correlation", "mirrored", "disagree")
        )
        order = np.argsort(-correlation, kind="stable")
        order = order[np.sort(np.unique(pairs[order], axis=0, return_index=True)[1])]
        return Duplicates(self.train, self.held, pairs[order], correlation[order], mirrored[order], disagree[order])

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


def find_duplicates(train: FaceSet, held: FaceSet, *, same: float = SAME, max_bits: int = BITS) -> Duplicates:
    """Find pairs that show one photograph, also if mirrored, cropped slightly differently or marked; see `match`.

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
    return _duplicates(train, held, *match(cosines(train.image), cosines(held.image), same=same, max_bits=max_bits))


def find_duplicates_across(train: Sequence[FaceSet], held: Sequence[FaceSet]) -> list[list[Duplicates]]:
    """Compare every training set with every held-out set; see `find_duplicates`.

    Parameters
    ----------
    train, held : Sequence of FaceSet

    Returns
    -------
    list of list of Duplicates
        One list per training set, with one entry per held-out set.
    """
    theirs = [cosines(one.image) for one in held]
    found = []
    for faces in train:
        own = cosines(faces.image)
        found.append([_duplicates(faces, one, *match(own, other)) for one, other in zip(held, theirs)])
    return found


def _duplicates(
    train: FaceSet, held: FaceSet, pairs: np.ndarray, correlation: np.ndarray, mirrored: np.ndarray
) -> Duplicates:
    our_names, their_names = np.array(train.labels)[train.label], np.array(held.labels)[held.label]
    disagree = our_names[pairs[:, 0]] != their_names[pairs[:, 1]]
    return Duplicates(train, held, pairs, correlation, mirrored, disagree)
