"""Labelled faces as they lie on people's disks -> FaceSet. Classes are matched by name, never by index."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fervid.errors import DataError
from fervid.lab.data.fer2013 import FER2013, FERPLUS, majority
from fervid.lab.data.layouts import read_layout
from fervid.lab.data.listing import Listing, choose_split, label_rows, name_labels, read_pictures
from fervid.labels import EMOTIONS

__all__ = ["FER2013", "FERPLUS", "FaceSet", "compare_classes", "load_faces", "load_validation"]

_LABELS = ("auto", "hard", "ferplus")


@dataclass(frozen=True)
class FaceSet:
    """n grey faces with one label each, and the taggers' votes where the set has them.

    labels: fervid's names, in the data set's own order. image (n, S, S) uint8; label (n,) int64 into `labels`; votes
    (n, len(vote_labels)) float32, each row summing to 1, or to 0 where nobody voted for any of them; source (n,) str:
    where each picture comes from (a path, or "fer2013.csv row 17").
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
        """Set every `part`-th face aside -> (the others, those), named after this set."""
        aside = np.arange(len(self)) % part == 0
        return self.take(~aside), self.take(aside, f"{self.name}, every {part}th face")

    def take(self, kept: np.ndarray, name: str | None = None) -> "FaceSet":
        """Keep the faces that a mask (n,) or an array of numbers chooses, under the same name or another."""
        votes = None if self.votes is None else self.votes[kept]
        source = None if self.source is None else self.source[kept]
        return FaceSet(
            name or self.name, self.labels, self.image[kept], self.label[kept], votes, self.vote_labels, source
        )

    def targets(self, vote_weight: float) -> np.ndarray:
        """Mix one-hot labels with the votes -> (n, len(labels)) float32; weight 0 ignores the votes.

        Votes go to the label of their name; those for classes that `labels` lacks (contempt) are left out, and the rest
        shared anew. A face without any vote that counts falls back to its label.
        """
        hard = np.eye(len(self.labels), dtype=np.float32)[self.label]
        if self.votes is None or vote_weight == 0:
            return hard
        place = np.array([[vote == name for name in self.labels] for vote in self.vote_labels], np.float32)
        votes = self.votes @ place
        total = votes.sum(1, keepdims=True)
        soft = np.where(total > 0, votes / np.where(total > 0, total, 1), hard)
        return (1 - vote_weight) * hard + vote_weight * soft


def load_faces(path: str | Path, split: str | None = None, *, labels: str = "auto", size_px: int = 48) -> FaceSet:
    """Read a data set in the layout that lies at `path` (layouts.read_layout), as grey squares of size_px.

    split: train, val, public, private, test or all; it may be left out where there is only one, and a set without
    splits counts as training faces. labels: "hard", the set's own; "ferplus", the majority of FER+'s taggers over eight
    classes (fer2013.majority), faces without one left out; "auto", the set's own where it has them, with the votes.
    DataError names the file and row, what was expected and what was found.
    """
    return _face_set(read_layout(Path(path)), split, labels, size_px)


def load_validation(path: str | Path, *, labels: str = "auto", size_px: int = 48) -> FaceSet:
    """Read the faces to watch while training: the split val or else public, or all of a set without splits.

    Faces called test or private are never taken: what is chosen by them is no test any more.
    """
    whole = read_layout(Path(path))
    present = set(whole.split) - {""}
    split = next((name for name in ("val", "public") if name in present), None)
    if present and split is None:
        raise DataError(
            f"{path}: no split val or public to watch; it has {', '.join(sorted(present))}: leave --validation out, "
            "and every 10th training face is watched"
        )
    return _face_set(whole, split, labels, size_px)


def _face_set(whole: Listing, split: str | None, labels: str, size_px: int) -> FaceSet:
    if labels not in _LABELS:
        raise DataError(f"labels: expected one of {', '.join(_LABELS)}, found {labels!r}")
    chosen, part = choose_split(whole, split)
    if not len(chosen):
        raise DataError(f"{whole.path}: no faces in it")
    stem = whole.path.resolve().name if whole.path.is_dir() else whole.path.stem
    name = f"{stem}/{part}" if part else stem
    if labels == "ferplus" or (labels == "auto" and chosen.counts is not None and not any(chosen.said)):
        return _by_taggers(chosen, name, size_px)
    names = name_labels(whole)
    label = label_rows(chosen, names)
    image, source = read_pictures(chosen, size_px), np.array(chosen.source, str)
    if labels == "hard" or chosen.counts is None:
        return FaceSet(name, names, image, label, source=source)
    return FaceSet(name, names, image, label, _shares(chosen.counts), FERPLUS, source)


def _by_taggers(listing: Listing, name: str, size_px: int) -> FaceSet:
    if listing.counts is None:
        raise DataError(f"{listing.path}: no FER+ votes; expected fer2013new.csv beside it, or columns ferplus_*")
    label, kept = majority(listing.counts)
    rows = np.flatnonzero(label >= 0)
    clear = listing.take(rows)
    source = np.array(clear.source, str)
    return FaceSet(name, FERPLUS, read_pictures(clear, size_px), label[rows], _shares(kept[rows]), FERPLUS, source)


def _shares(counts: np.ndarray) -> np.ndarray:
    """Votes (n, 10) -> each emotion's share of those for an emotion (n, 8) float32; zeros where there are none."""
    votes = counts[:, : len(FERPLUS)].astype(np.float32)
    return votes / np.maximum(votes.sum(1, keepdims=True), 1)


def compare_classes(model: tuple[str, ...], data: tuple[str, ...]) -> tuple[str, ...]:
    """Give the classes that a model and a data set share, in the data's order; DataError if they are fewer than two."""
    shared = tuple(name for name in data if name in model)
    if len(shared) < 2:
        raise DataError(
            f"fewer than two classes to compare: the model knows {', '.join(model)}, the data {', '.join(data)}"
        )
    return shared
