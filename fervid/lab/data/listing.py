"""The listing of a data set: what its layout says about its images, before any image is read."""

import contextlib
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fervid.errors import DataError
from fervid.lab.data.images import read_image, side_px, square_crop
from fervid.labels import EMOTIONS, emotion

__all__ = [
    "OWN_PX",
    "SPLITS",
    "Listing",
    "choose_split",
    "label_rows",
    "name_labels",
    "own_side",
    "read_images",
    "split_named",
]

#: Names of splits.
SPLITS = ("train", "val", "public", "private", "test")
_SPLIT_WORDS = {
    "train": "train", "training": "train", "trainset": "train", "trainingset": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "public": "public", "publictest": "public", "private": "private", "privatetest": "private",
    "test": "test", "testing": "test", "testset": "test",
}  # fmt: skip
_FER2013_PX = 48
#: Largest side at which images keep their own resolution: a face of 112 pixels with room around it.
OWN_PX = 128


@dataclass(frozen=True)
class Listing:
    """The images of a data set with their labels and splits; all sequences have one entry per image.

    Parameters
    ----------
    path : Path
        Where the data set lies.
    image : Sequence of Path, bytes or str
        A file, an encoded image, or FER2013's pixels as text.
    raw_label : Sequence of str
        The label as written in the layout, "" for none.
    split : Sequence of str
        One of SPLITS, "" outside of any.
    source : Sequence of str
        Name of the image in messages.
    numbers : Mapping of str to str
        Class names of the numbers that the data set uses, if it does.
    counts : np.ndarray, optional
        (n, 10) votes of FER+'s taggers, in the order of fer2013.TAGS.
    """

    path: Path
    image: Sequence[Path | bytes | str]
    raw_label: Sequence[str]
    split: Sequence[str]
    source: Sequence[str]
    numbers: Mapping[str, str] = field(default_factory=dict)
    counts: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.image)

    def take(self, rows: np.ndarray) -> "Listing":
        """Select entries.

        Parameters
        ----------
        rows : np.ndarray
            Their indices.

        Returns
        -------
        Listing
        """
        image, raw_label, split, source = (
            [column[i] for i in rows] for column in (self.image, self.raw_label, self.split, self.source)
        )
        counts = None if self.counts is None else self.counts[rows]
        return Listing(self.path, image, raw_label, split, source, self.numbers, counts)


def split_named(text: str) -> str:
    """Interpret the name of a folder or a Usage as a split.

    Parameters
    ----------
    text : str
        Such as "PublicTest" or "Train_Aligned_Faces".

    Returns
    -------
    str
        One of SPLITS, or "".
    """
    words = re.findall("[a-z]+", text.lower())
    whole = "".join(words)
    return _SPLIT_WORDS.get(whole, _SPLIT_WORDS.get(words[0], "") if words else "")


def choose_split(listing: Listing, split: str | None) -> tuple[Listing, str]:
    """Select one split.

    Parameters
    ----------
    listing : Listing
    split : str, optional
        A name of SPLITS, or "all". Not needed where there is only one split; a data set without splits counts as
        training faces.

    Returns
    -------
    listing : Listing
    name : str
        Of the split; "" where the layout has no more than one.

    Raises
    ------
    DataError
        If the split is absent, or if none is given where there are several.
    """
    if split == "all":
        return listing, ""
    path, present = listing.path, [name for name in SPLITS if name in set(listing.split)]
    if not present:
        if split in (None, "train"):
            return listing, ""
        raise DataError(f"{path}: has no splits; leave out --split for all faces, or use --split holdout")
    if split is None and len(present) > 1:
        raise DataError(f"{path}: choose one of its splits: {', '.join(present)}, or all")
    wanted = present[0] if split is None else split_named(split) or split
    if wanted not in present:
        raise DataError(f"{path}: no split {split!r}; it has {', '.join(present)}; choose it with --split {present[0]}")
    if "" in listing.split:
        stray = listing.source[list(listing.split).index("")]
        raise DataError(f"{path}: {stray} is outside its splits {', '.join(present)}; move it into one of them")
    rows = np.flatnonzero(np.array(listing.split) == wanted)
    return listing.take(rows), wanted if len(present) > 1 else ""


def name_labels(listing: Listing) -> tuple[str, ...]:
    """List the classes of a data set, of all its splits.

    Parameters
    ----------
    listing : Listing

    Returns
    -------
    tuple of str
        The classes of its numbers, then others that occur.
    """
    names = {raw_label: _class_name(raw_label, listing.numbers) for raw_label in set(listing.raw_label)}
    numbered = tuple(listing.numbers.values()) if set(names) & set(listing.numbers) else ()
    found = set(names.values())
    return numbered + tuple(name for name in EMOTIONS if name in found and name not in numbered)


def label_rows(listing: Listing, labels: tuple[str, ...]) -> np.ndarray:
    """Give the label of each image.

    Parameters
    ----------
    listing : Listing
    labels : tuple of str

    Returns
    -------
    np.ndarray
        (n,) int64, indices into `labels`.

    Raises
    ------
    DataError
        Naming the first image without a known label.
    """
    names = {raw_label: _class_name(raw_label, listing.numbers) for raw_label in set(listing.raw_label)}
    for raw_label, source in zip(listing.raw_label, listing.source):
        if not names[raw_label]:
            expected = f"{', '.join(f'{k} {v}' for k, v in listing.numbers.items())}, or " if listing.numbers else ""
            what = f"unknown label {raw_label!r}" if raw_label else "no label"
            raise DataError(f"{source}: {what}; expected {expected}a name: {', '.join(EMOTIONS)} or a usual alias")
    return np.array([labels.index(names[raw_label]) for raw_label in listing.raw_label], np.int64)


def _class_name(raw_label: str, numbers: Mapping[str, str]) -> str:
    try:
        return numbers.get(raw_label) or emotion(raw_label)
    except DataError:
        return ""


def read_images(listing: Listing, size_px: int | None = None, *, colour: bool = False) -> np.ndarray:
    """Decode all images, resized with antialiasing.

    An image that is not square is cropped to its central square, so that no face is distorted: list faces, not scenes.

    Parameters
    ----------
    listing : Listing
    size_px : int, optional
        Side S of the result; by default that of the largest image, at most OWN_PX.
    colour : bool
        Whether to keep colours.

    Returns
    -------
    np.ndarray
        (n, S, S) uint8, grey; in colour (n, S, S, 3) RGB if any image has colours.

    Raises
    ------
    DataError
        Naming the first image that cannot be read, and counting the others.
    """
    side = size_px or own_side(listing)
    image = np.empty((len(listing), side, side), np.uint8)
    broken: list[DataError] = []
    for i, (entry, source) in enumerate(zip(listing.image, listing.source)):
        try:
            pixels = _pixels(entry, source) if isinstance(entry, str) else read_image(entry, source)
        except DataError as e:
            broken.append(e)
            continue
        square = square_crop(pixels, side, colour=colour)
        if square.ndim > image.ndim - 1:  # the first one with colours
            image = np.repeat(image[..., None], 3, 3)
        image[i] = square if square.ndim == image.ndim - 1 else square[..., None]
    if len(broken) > 1:
        raise DataError(f"{broken[0]} (the first of {len(broken)}, out of {len(listing)} images)") from broken[0]
    if broken:
        raise broken[0]
    return image


def own_side(listing: Listing) -> int:
    """Give the side at which no image of a listing loses resolution.

    Parameters
    ----------
    listing : Listing

    Returns
    -------
    int
        Shorter side of the largest image in pixels, at most OWN_PX.
    """
    largest = 1
    for entry in listing.image:
        with contextlib.suppress(DataError):  # read_images raises it, and counts the others
            largest = max(largest, _FER2013_PX if isinstance(entry, str) else side_px(entry))
        if largest >= OWN_PX:
            return OWN_PX
    return largest


def _pixels(text: str, source: str) -> np.ndarray:
    """Parse an image of FER2013's CSV, (48, 48) uint8, from its numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # older versions of NumPy only warn about text that is not a number
        try:
            values = np.fromstring(text, np.int64, sep=" ")
        except (ValueError, DeprecationWarning) as e:
            raise DataError(f"{source}: cannot be read as an image ({e}); remove or replace it") from None
    found = "" if len(values) == _FER2013_PX**2 else f"{len(values)} numbers"
    if not found and not 0 <= values.min() <= values.max() <= 255:
        found = f"numbers from {values.min()} to {values.max()}"
    if found:
        expected = f"{_FER2013_PX}x{_FER2013_PX} numbers from 0 to 255"
        raise DataError(f"{source}: cannot be read as an image (expected {expected}, found {found}); remove it")
    return values.astype(np.uint8).reshape(_FER2013_PX, _FER2013_PX)
