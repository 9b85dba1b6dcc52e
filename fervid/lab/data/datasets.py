"""Load labelled face images from any known layout as a FaceSet. Classes are matched by name, never by index."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fervid.errors import DataError
from fervid.lab.data.fer2013 import FER2013, FERPLUS, majority
from fervid.lab.data.layouts import read_layout
from fervid.lab.data.listing import Listing, choose_split, label_rows, name_labels, read_images
from fervid.labels import EMOTIONS

__all__ = ["FER2013", "FERPLUS", "FaceSet", "compare_classes", "load_faces", "load_validation"]

_LABELS = ("auto", "hard", "ferplus")


@dataclass(frozen=True)
class FaceSet:
    """n grey faces with one label each, and the taggers' votes where the data set has them.

    Parameters
    ----------
    name : str
        Name of the data set and split, for messages.
    labels : tuple of str
        Class names, in the order of the data set.
    image : np.ndarray
        (n, S, S) uint8.
    label : np.ndarray
        (n,) int64, indices into `labels`.
    votes : np.ndarray, optional
        (n, len(vote_labels)) float32. Rows sum to 1, or to 0 without any vote for these classes.
    vote_labels : tuple of str
        Class names of the votes.
    source : np.ndarray, optional
        (n,) str, where each image comes from: a path, or "fer2013.csv row 17".

    Raises
    ------
    DataError
        If shapes, types or class names do not fit.
    """

    name: str
    labels: tuple[str, ...]
    image: np.ndarray
    label: np.ndarray
    votes: np.ndarray | None = None
    vote_labels: tuple[str, ...] = ()
    source: np.ndarray | None = None

    def __post_init__(self) -> None:
        n, k = len(self.label), len(self.labels)
        if unknown := [name for name in (*self.labels, *self.vote_labels) if name not in EMOTIONS]:
            raise DataError(f"{self.name}: unknown class {unknown[0]!r}; expected names of {', '.join(EMOTIONS)}")
        if self.image.ndim != 3 or self.image.dtype != np.uint8 or len(self.image) != n:
            raise DataError(
                f"{self.name}: expected image ({n}, S, S) uint8, found {self.image.shape} {self.image.dtype}"
            )
        if n and not 0 <= self.label.min() <= self.label.max() < k:
            raise DataError(f"{self.name}: expected labels 0..{k - 1}, found {self.label.min()}..{self.label.max()}")
        if self.votes is not None and self.votes.shape != (n, len(self.vote_labels)):
            raise DataError(f"{self.name}: expected votes {n, len(self.vote_labels)}, found {self.votes.shape}")

    def __len__(self) -> int:
        return len(self.label)

    def split(self, part: int = 10) -> tuple["FaceSet", "FaceSet"]:
        """Split off every `part`-th face.

        Parameters
        ----------
        part : int

        Returns
        -------
        rest, held_out : FaceSet
        """
        held_out = np.arange(len(self)) % part == 0
        return self.take(~held_out), self.take(held_out, f"{self.name}, every {part}th face")

    def take(self, kept: np.ndarray, name: str | None = None) -> "FaceSet":
        """Select faces.

        Parameters
        ----------
        kept : np.ndarray
            A mask (n,), or indices.
        name : str, optional
            Name of the result; by default that of this set.

        Returns
        -------
        FaceSet
        """
        votes = None if self.votes is None else self.votes[kept]
        source = None if self.source is None else self.source[kept]
        return FaceSet(
            name or self.name, self.labels, self.image[kept], self.label[kept], votes, self.vote_labels, source
        )

    def targets(self, vote_weight: float) -> np.ndarray:
        """Mix one-hot labels with the distribution of votes.

        Votes for classes that `labels` lacks (such as contempt) are dropped, and the rest is renormalised. A face
        without any remaining vote keeps its label.

        Parameters
        ----------
        vote_weight : float
            Weight of the votes, 0 to 1.

        Returns
        -------
        np.ndarray
            (n, len(labels)) float32; rows sum to 1.
        """
        hard = np.eye(len(self.labels), dtype=np.float32)[self.label]
        if self.votes is None or vote_weight == 0:
            return hard
        mapping = np.array([[vote == name for name in self.labels] for vote in self.vote_labels], np.float32)
        votes = self.votes @ mapping
        total = votes.sum(1, keepdims=True)
        soft = np.where(total > 0, votes / np.where(total > 0, total, 1), hard)
        return (1 - vote_weight) * hard + vote_weight * soft


def load_faces(path: str | Path, split: str | None = None, *, labels: str = "auto", size_px: int = 48) -> FaceSet:
    """Load a data set as grey squares. `layouts.read_layout` recognises its layout.

    Parameters
    ----------
    path : str or Path
        A folder, or a .parquet, .csv or .txt file.
    split : str, optional
        "train", "val", "public", "private", "test" or "all". Not needed where there is only one; a data set without
        splits counts as training faces.
    labels : str
        "hard" for the data set's own labels; "ferplus" for the majority of FER+'s taggers over eight classes
        (`fer2013.majority`), without the faces that have none; "auto" for its own labels where it has them, with the
        votes.
    size_px : int
        Side of the images.

    Returns
    -------
    FaceSet

    Raises
    ------
    DataError
        Naming the file and row, what was expected and what was found.
    """
    return _face_set(read_layout(Path(path)), split, labels, size_px)


def load_validation(path: str | Path, *, labels: str = "auto", size_px: int = 48) -> FaceSet:
    """Load the faces to validate on during training: the split val, else public, or all of a data set without splits.

    Faces of a split called test or private are never used: a model that was chosen on them has no test set left.

    Parameters
    ----------
    path, labels, size_px
        As for `load_faces`.

    Returns
    -------
    FaceSet

    Raises
    ------
    DataError
        As for `load_faces`, and if there are splits but neither val nor public.
    """
    whole = read_layout(Path(path))
    present = set(whole.split) - {""}
    split = next((name for name in ("val", "public") if name in present), None)
    if present and split is None:
        raise DataError(
            f"{path}: no split val or public to validate on; found {', '.join(sorted(present))}. Leave out "
            "--validation to validate on every 10th training face"
        )
    return _face_set(whole, split, labels, size_px)


def _face_set(whole: Listing, split: str | None, labels: str, size_px: int) -> FaceSet:
    if labels not in _LABELS:
        raise DataError(f"labels: expected one of {', '.join(_LABELS)}, found {labels!r}")
    chosen, part = choose_split(whole, split)
    if not len(chosen):
        raise DataError(f"{whole.path}: no faces found")
    stem = whole.path.resolve().name if whole.path.is_dir() else whole.path.stem
    name = f"{stem}/{part}" if part else stem
    if labels == "ferplus" or (labels == "auto" and chosen.counts is not None and not any(chosen.raw_label)):
        return _label_by_votes(chosen, name, size_px)
    names = name_labels(whole)
    label = label_rows(chosen, names)
    image, source = read_images(chosen, size_px), np.array(chosen.source, str)
    if labels == "hard" or chosen.counts is None:
        return FaceSet(name, names, image, label, source=source)
    return FaceSet(name, names, image, label, _shares(chosen.counts), FERPLUS, source)


def _label_by_votes(listing: Listing, name: str, size_px: int) -> FaceSet:
    if listing.counts is None:
        raise DataError(f"{listing.path}: no FER+ votes; expected fer2013new.csv beside it, or columns ferplus_*")
    label, kept = majority(listing.counts)
    rows = np.flatnonzero(label >= 0)
    clear = listing.take(rows)
    source = np.array(clear.source, str)
    return FaceSet(name, FERPLUS, read_images(clear, size_px), label[rows], _shares(kept[rows]), FERPLUS, source)


def _shares(counts: np.ndarray) -> np.ndarray:
    """Normalise votes (n, 10) to the shares (n, 8) float32 of the emotions; rows without a vote for one are 0."""
    votes = counts[:, : len(FERPLUS)].astype(np.float32)
    return votes / np.maximum(votes.sum(1, keepdims=True), 1)


def compare_classes(model: tuple[str, ...], data: tuple[str, ...]) -> tuple[str, ...]:
    """List the classes that a model and a data set share.

    Parameters
    ----------
    model, data : tuple of str
        Their class names.

    Returns
    -------
    tuple of str
        In the order of the data set.

    Raises
    ------
    DataError
        If they share fewer than two.
    """
    shared = tuple(name for name in data if name in model)
    if len(shared) < 2:
        raise DataError(
            f"fewer than two classes to compare: the model knows {', '.join(model)}, the data {', '.join(data)}"
        )
    return shared
