"""What a data set's layout says about its pictures, before any picture is read."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fervid.errors import DataError
from fervid.lab.data.pictures import read_picture, square_crop
from fervid.labels import EMOTIONS, emotion

__all__ = ["SPLITS", "Listing", "choose_split", "label_rows", "name_labels", "read_pictures", "split_named"]

#: The splits that layouts have, by fervid's names.
SPLITS = ("train", "val", "public", "private", "test")
_SPLIT_WORDS = {
    "train": "train", "training": "train", "trainset": "train", "trainingset": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "public": "public", "publictest": "public", "private": "private", "privatetest": "private",
    "test": "test", "testing": "test", "testset": "test",
}  # fmt: skip
_FER2013_PX = 48


@dataclass(frozen=True)
class Listing:
    """One entry a picture; all lists have one length.

    picture: a file, an encoded picture, or FER2013's pixels as text. said: the label in the layout's own words, "" for
    none. split: one of SPLITS, "" outside of any. source: what messages call the picture. numbers: what the set's class
    numbers mean, if it has numbers. counts: (n, 10) votes of FER+'s taggers, in the order of fer2013.TAGS.
    """

    path: Path
    picture: Sequence[Path | bytes | str]
    said: Sequence[str]
    split: Sequence[str]
    source: Sequence[str]
    numbers: Mapping[str, str] = field(default_factory=dict)
    counts: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.picture)

    def take(self, rows: np.ndarray) -> "Listing":
        """Keep the entries of these numbers."""
        picture, said, split, source = (
            [column[i] for i in rows] for column in (self.picture, self.said, self.split, self.source)
        )
        counts = None if self.counts is None else self.counts[rows]
        return Listing(self.path, picture, said, split, source, self.numbers, counts)


def split_named(text: str) -> str:
    """Give the split that a folder's name or a Usage means ("PublicTest", "Train_Aligned_Faces"), or "" for none."""
    words = re.findall("[a-z]+", text.lower())
    whole = "".join(words)
    return _SPLIT_WORDS.get(whole, _SPLIT_WORDS.get(words[0], "") if words else "")


def choose_split(listing: Listing, split: str | None) -> tuple[Listing, str]:
    """Keep one split -> (its entries, its name; "" where the layout has no more than one).

    A layout without splits counts as training faces; one with a single split needs no name; "all" are all together.
    DataError lists what is there if the split is absent, or if none is named where there are several.
    """
    if split == "all":
        return listing, ""
    path, present = listing.path, [name for name in SPLITS if name in set(listing.split)]
    if not present:
        if split in (None, "train"):
            return listing, ""
        raise DataError(f"{path}: no splits here, so none is called {split!r}; leave the split out to use every face")
    if split is None and len(present) > 1:
        raise DataError(f"{path}: name one of its splits, {', '.join(present)}, or all")
    wanted = present[0] if split is None else split_named(split) or split
    if wanted not in present:
        raise DataError(f"{path}: no split {split!r}; it has {', '.join(present)}")
    if "" in listing.split:
        stray = listing.source[list(listing.split).index("")]
        raise DataError(f"{path}: {stray} is outside of its splits {', '.join(present)}; move it into one of them")
    rows = np.flatnonzero(np.array(listing.split) == wanted)
    return listing.take(rows), wanted if len(present) > 1 else ""


def name_labels(listing: Listing) -> tuple[str, ...]:
    """Give the classes of the whole set, whatever the split: those of its numbers, then others that it has."""
    meant = {said: _meaning(said, listing.numbers) for said in set(listing.said)}
    numbered = tuple(listing.numbers.values()) if set(meant) & set(listing.numbers) else ()
    found = set(meant.values())
    return numbered + tuple(name for name in EMOTIONS if name in found and name not in numbered)


def label_rows(listing: Listing, labels: tuple[str, ...]) -> np.ndarray:
    """Give each picture's label (n,) int64 into `labels`; DataError names the first picture that has none."""
    meant = {said: _meaning(said, listing.numbers) for said in set(listing.said)}
    for said, source in zip(listing.said, listing.source):
        if not meant[said]:
            expected = f"{', '.join(f'{k} {v}' for k, v in listing.numbers.items())}, or " if listing.numbers else ""
            what = f"unknown label {said!r}" if said else "no label"
            raise DataError(f"{source}: {what}; expected {expected}a name: {', '.join(EMOTIONS)} or a usual alias")
    return np.array([labels.index(meant[said]) for said in listing.said], np.int64)


def _meaning(said: str, numbers: Mapping[str, str]) -> str:
    try:
        return numbers.get(said) or emotion(said)
    except DataError:
        return ""


def read_pictures(listing: Listing, size_px: int) -> np.ndarray:
    """Decode all pictures -> (n, size_px, size_px) uint8 grey, resized with antialiasing.

    A picture that is not square is cut to the square in its middle, so that no face is squeezed: list faces, not
    whole scenes. DataError names the first picture that cannot be read, and counts the others.
    """
    image = np.empty((len(listing), size_px, size_px), np.uint8)
    broken: list[DataError] = []
    for i, (picture, source) in enumerate(zip(listing.picture, listing.source)):
        try:
            pixels = _pixels(picture, source) if isinstance(picture, str) else read_picture(picture, source)
        except DataError as e:
            broken.append(e)
            continue
        image[i] = square_crop(pixels, size_px)
    if len(broken) > 1:
        raise DataError(f"{broken[0]} (the first of {len(broken)}, out of {len(listing)} pictures)") from broken[0]
    if broken:
        raise broken[0]
    return image


def _pixels(text: str, source: str) -> np.ndarray:
    """The picture (48, 48) uint8 that FER2013's CSV writes as numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # older NumPy only warns of what is no number
        try:
            values = np.fromstring(text, np.int64, sep=" ")
        except (ValueError, DeprecationWarning) as e:
            raise DataError(f"{source}: not a readable picture ({e}); remove or replace it") from None
    found = "" if len(values) == _FER2013_PX**2 else f"{len(values)} numbers"
    if not found and not 0 <= values.min() <= values.max() <= 255:
        found = f"numbers from {values.min()} to {values.max()}"
    if found:
        expected = f"{_FER2013_PX}x{_FER2013_PX} numbers from 0 to 255"
        raise DataError(f"{source}: not a readable picture (expected {expected}, found {found}); remove it")
    return values.astype(np.uint8).reshape(_FER2013_PX, _FER2013_PX)
