"""What a data set's layout says about its pictures, before any picture is read."""

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fervid.errors import DataError
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

    A layout without splits counts as training faces; one with a single split needs no name. DataError lists what is
    there if the split is absent, or if none is named where there are several.
    """
    path, present = listing.path, [name for name in SPLITS if name in set(listing.split)]
    if not present:
        if split in (None, "train"):
            return listing, ""
        raise DataError(f"{path}: no splits here, so none is called {split!r}; leave the split out to use every face")
    if split is None and len(present) > 1:
        raise DataError(f"{path}: name one of its splits: {', '.join(present)}")
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
    whole scenes. DataError names the first picture that cannot be read.
    """
    from PIL import Image

    image = np.empty((len(listing), size_px, size_px), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # odd metadata; the pixels are what counts
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for i, (picture, source) in enumerate(zip(listing.picture, listing.source)):
            try:
                image[i] = _decode(picture, size_px)
            except MemoryError:
                raise
            except Exception as e:  # decoders raise whatever comes to them on a damaged file
                raise DataError(f"{source}: not a picture that can be read ({e}); remove or replace it") from e
    return image


def _decode(picture: Path | bytes | str, size_px: int) -> np.ndarray:
    from PIL import Image, ImageOps

    if isinstance(picture, str):
        grey = Image.fromarray(_pixels(picture))
    else:
        with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as file:
            upright = ImageOps.exif_transpose(file)
            if upright.mode.startswith("I"):  # 16 bits: Pillow would clip them
                grey = Image.fromarray((np.asarray(upright).astype(np.int64) >> 8).astype(np.uint8))
            else:
                grey = upright.convert("L")
    side = min(grey.size)
    left, top = (grey.width - side) // 2, (grey.height - side) // 2
    square = grey.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size_px, size_px), Image.Resampling.BILINEAR))


def _pixels(text: str) -> np.ndarray:
    values = np.fromstring(text, np.int64, sep=" ")
    if len(values) != _FER2013_PX**2:
        raise ValueError(f"expected {_FER2013_PX}x{_FER2013_PX} numbers, found {len(values)}")
    if values.min() < 0 or values.max() > 255:
        raise ValueError(f"expected numbers from 0 to 255, found {values.min()} to {values.max()}")
    return values.astype(np.uint8).reshape(_FER2013_PX, _FER2013_PX)
