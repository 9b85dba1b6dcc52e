"""Load labelled face images from any known layout as a FaceSet. Classes are matched by name, never by index."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fervid.errors import DataError
from fervid.lab.data.fer2013 import FER2013, FERPLUS, has_fer2013_labels, majority
from fervid.lab.data.holdout import HOLDOUT, held_out_name, holdout
from fervid.lab.data.layouts import read_layout
from fervid.lab.data.listing import Listing, choose_split, label_rows, name_labels, read_images
from fervid.labels import EMOTIONS

__all__ = ["FER2013", "FERPLUS", "FaceSet", "compare_classes", "load_faces", "load_training", "load_validation"]

_LABELS = ("auto", "hard", "ferplus")
#: Up to this difference from the identity, in parts of the side, the median face lies as in the network's input.
_IDENTITY = 0.05


@dataclass(frozen=True)
class FaceSet:
    """n faces with one label each, and the taggers' votes where the data set has them.

    Parameters
    ----------
    name : str
        Name of the data set and split, for messages.
    labels : tuple of str
        Class names, in the order of the data set.
    image : np.ndarray
        (n, S, S) grey or (n, S, S, 3) RGB, uint8.
    label : np.ndarray
        (n,) int64, indices into `labels`.
    votes : np.ndarray, optional
        (n, len(vote_labels)) float32. Rows sum to 1, or to 0 without any vote for these classes.
    vote_labels : tuple of str
        Class names of the votes.
    source : np.ndarray, optional
        (n,) str, where each image comes from: a path, or "fer2013.csv row 17".
    placement : np.ndarray, optional
        (n, 2, 3) float32, affine maps from the unit square of the network's input to that of the image: where a face
        lies in it. None: the image is the input.
    labelling : str
        Whose labels these are: "fer2013" for FER2013's numbers, "ferplus" for the majority of FER+'s taggers, "" for
        any others.
    original : np.ndarray, optional
        (n,) object, the images as they lie on disk: a path, or the content of a file. For a detector, which needs more
        than the squares.

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
    placement: np.ndarray | None = None
    labelling: str = ""
    original: np.ndarray | None = None

    def __post_init__(self) -> None:
        n, k = len(self.label), len(self.labels)
        if unknown := [name for name in (*self.labels, *self.vote_labels) if name not in EMOTIONS]:
            raise DataError(f"{self.name}: unknown class {unknown[0]!r}; expected names of {', '.join(EMOTIONS)}")
        if self.image.shape[3:] not in ((), (3,)) or self.image.ndim < 3 or self.image.dtype != np.uint8:
            raise DataError(
                f"{self.name}: expected image (n, S, S) or (n, S, S, 3) uint8, found {self.image.shape} "
                f"{self.image.dtype}"
            )
        if len(self.image) != n:
            raise DataError(f"{self.name}: expected {n} images, one per label, found {len(self.image)}")
        if self.placement is not None and self.placement.shape != (n, 2, 3):
            raise DataError(f"{self.name}: expected placement {n, 2, 3}, found {self.placement.shape}")
        if n and not 0 <= self.label.min() <= self.label.max() < k:
            raise DataError(f"{self.name}: expected labels 0..{k - 1}, found {self.label.min()}..{self.label.max()}")
        if self.votes is not None and self.votes.shape != (n, len(self.vote_labels)):
            raise DataError(f"{self.name}: expected votes {n, len(self.vote_labels)}, found {self.votes.shape}")

    def __len__(self) -> int:
        return len(self.label)

    @property
    def colour(self) -> bool:
        """Whether the images are RGB."""
        return self.image.ndim == 4

    @property
    def size_px(self) -> int:
        """Side of the images."""
        return self.image.shape[1]

    @property
    def present(self) -> frozenset[str]:
        """The classes that occur, as labels or in votes."""
        found = {self.labels[k] for k in np.unique(self.label)}
        if self.votes is not None:
            found |= {name for name, share in zip(self.vote_labels, self.votes.T) if share.any()}
        return frozenset(found)

    @cached_property
    def median_placement(self) -> np.ndarray:
        """Where the median face lies (2, 3): the identity if the images lie as the network's input does."""
        identity = np.eye(2, 3, dtype=np.float32)
        if self.placement is None or not len(self):
            return identity
        median = np.median(self.placement, 0)
        return identity if np.abs(median - identity).max() < _IDENTITY else median

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of images, labels, votes and placement."""
        digest = hashlib.sha256()
        self.update_hash(digest)
        return digest.hexdigest()

    def update_hash(self, digest: "hashlib._Hash") -> None:
        """Add classes, images, labels, votes and placement to a hash.

        Parameters
        ----------
        digest : hashlib hash
        """
        digest.update(repr((self.labels, self.vote_labels)).encode())
        for array in (self.image, self.label, self.votes, self.placement):
            if array is not None:
                digest.update(repr((array.dtype, array.shape)).encode())
                digest.update(np.ascontiguousarray(array).data)

    def relabelled(self, labels: tuple[str, ...]) -> "FaceSet":
        """Renumber the classes.

        Parameters
        ----------
        labels : tuple of str
            The new classes; all of the old ones, in any order, and others.

        Returns
        -------
        FaceSet
        """
        index = np.array([labels.index(name) for name in self.labels], np.int64)
        return replace(self, labels=labels, label=index[self.label])

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
        votes, source, placement, original = (
            None if array is None else array[kept] for array in (self.votes, self.source, self.placement, self.original)
        )
        return replace(
            self,
            name=name or self.name,
            image=self.image[kept],
            label=self.label[kept],
            votes=votes,
            source=source,
            placement=placement,
            original=original,
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


def load_faces(
    path: str | Path,
    split: str | None = None,
    *,
    labels: str = "auto",
    size_px: int | None = 48,
    colour: bool = False,
    keep_original: bool = False,
) -> FaceSet:
    """Load a data set as squares. `layouts.read_layout` recognises its layout.

    Parameters
    ----------
    path : str or Path
        A folder, or a .parquet, .csv or .txt file.
    split : str, optional
        "train", "val", "public", "private", "test" or "all". Not needed where there is only one; a data set without
        splits counts as training faces. "holdout": the tenth of the training faces that `load_training` holds out.
    labels : str
        "hard" for the data set's own labels; "ferplus" for the majority of FER+'s taggers over eight classes
        (`fer2013.majority`), without the faces that have none; "auto" for its own labels where it has them, with the
        votes.
    size_px : int, optional
        Side of the images. None: that of the largest one, at most 128.
    colour : bool
        Whether to keep colours. Images of a data set without any stay grey (n, S, S), to save memory.
    keep_original : bool
        Whether to keep the images as they lie on disk, too.

    Returns
    -------
    FaceSet

    Raises
    ------
    DataError
        Naming the file and row, what was expected and what was found.
    """
    whole = read_layout(Path(path))
    if split == HOLDOUT:
        faces = _split_faces(whole, "train", labels, (size_px, colour))[1]
    else:
        faces = _face_set(whole, split, labels, (size_px, colour))
    return faces if keep_original else replace(faces, original=None)


def load_training(
    path: str | Path,
    split: str = "train",
    *,
    labels: str = "auto",
    size_px: int | None = 48,
    colour: bool = False,
) -> tuple[FaceSet, FaceSet]:
    """Load the faces to train on where no others are given for validation, and hold out a tenth (see `holdout`).

    Which faces are held out does not depend on `labels`: by the data set's own labels a tenth of each class.

    Parameters
    ----------
    path, split, labels, size_px, colour
        As for `load_faces`.

    Returns
    -------
    faces, validation : FaceSet

    Raises
    ------
    DataError
        As for `load_faces`.
    """
    faces, held = _split_faces(read_layout(Path(path)), split, labels, (size_px, colour))
    return replace(faces, original=None), replace(held, original=None)


def load_validation(
    path: str | Path, *, labels: str = "auto", size_px: int | None = 48, colour: bool = False
) -> FaceSet:
    """Load the faces to validate on during training: the split val, else public, or all of a data set without splits.

    Faces of a split called test or private are never used: a model that was chosen on them has no test set left.

    Parameters
    ----------
    path, labels, size_px, colour
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
            "--validation to hold out a tenth of the training faces"
        )
    return replace(_face_set(whole, split, labels, (size_px, colour)), original=None)


def _face_set(whole: Listing, split: str | None, labels: str, form: tuple[int | None, bool]) -> FaceSet:
    """Load the faces of one split; `form` is the side of the images (or None) and whether they keep colours."""
    chosen, name = _choose(whole, split, labels)
    if _by_votes(chosen, labels):
        chosen = chosen.take(np.flatnonzero(_majority(chosen)[0] >= 0))
    answers = _answers(whole, chosen, labels)
    return FaceSet(name, image=read_images(chosen, form[0], colour=form[1]), **answers)


def _split_faces(
    whole: Listing, split: str | None, labels: str, form: tuple[int | None, bool]
) -> tuple[FaceSet, FaceSet]:
    """Load the faces of one split, and hold out a tenth of them."""
    chosen, name = _choose(whole, split, labels)
    by_votes, own = _by_votes(chosen, labels), any(chosen.raw_label)
    clear = _majority(chosen)[0] >= 0 if by_votes else np.ones(len(chosen), bool)
    strata = label_rows(chosen, name_labels(whole)) if own else _majority(chosen)[0]
    image = read_images(chosen, form[0], colour=form[1])
    held = holdout(image if form == (None, False) else read_images(chosen), strata)  # the same for every form
    names = name, held_out_name(name)
    answers = [_answers(whole, chosen.take(np.flatnonzero(rows & clear)), labels) for rows in (~held, held)]
    images = image[held & clear], _compact(image, ~held & clear)
    return FaceSet(names[0], image=images[1], **answers[0]), FaceSet(names[1], image=images[0], **answers[1])


def _compact(image: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Move the images to keep (n,) to the front, so that a data set is in memory once; the others are overwritten."""
    rows = np.flatnonzero(kept)
    for start in range(0, len(rows), 256):
        some = rows[start : start + 256]
        image[start : start + len(some)] = image[some]
    return image[: len(rows)]


def _choose(whole: Listing, split: str | None, labels: str) -> tuple[Listing, str]:
    """Choose a split, and name it."""
    if labels not in _LABELS:
        raise DataError(f"labels: expected one of {', '.join(_LABELS)}, found {labels!r}")
    chosen, part = choose_split(whole, split)
    if not len(chosen):
        raise DataError(f"{whole.path}: no faces found")
    stem = whole.path.resolve().name if whole.path.is_dir() else whole.path.stem
    return chosen, f"{stem}/{part}" if part else stem


def _by_votes(listing: Listing, labels: str) -> bool:
    return labels == "ferplus" or (labels == "auto" and listing.counts is not None and not any(listing.raw_label))


def _majority(listing: Listing) -> tuple[np.ndarray, np.ndarray]:
    if listing.counts is None:
        raise DataError(f"{listing.path}: no FER+ votes; expected fer2013new.csv beside it, or columns ferplus_*")
    return majority(listing.counts)


def _answers(whole: Listing, listing: Listing, labels: str) -> dict[str, Any]:
    """Give the fields of a FaceSet but its images; by votes, all images of the listing have a majority."""
    original = np.empty(len(listing), object)
    original[:] = listing.image
    facts: dict[str, Any] = {"source": np.array(listing.source, str), "original": original}
    if _by_votes(listing, labels):
        label, kept = _majority(listing)
        facts |= {"labels": FERPLUS, "label": label, "labelling": "ferplus"}
        return facts | {"votes": _shares(kept), "vote_labels": FERPLUS}
    names = name_labels(whole)
    labelling = "fer2013" if has_fer2013_labels(listing) else ""
    facts |= {"labels": names, "label": label_rows(listing, names), "labelling": labelling}
    if labels == "hard" or listing.counts is None:
        return facts
    return facts | {"votes": _shares(listing.counts), "vote_labels": FERPLUS}


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
