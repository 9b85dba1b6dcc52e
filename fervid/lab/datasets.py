"""Labelled faces as they lie on people's disks -> FaceSet. Classes are matched by name, never by index."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fervid.errors import DataError
from fervid.faces import Framing
from fervid.labels import EMOTIONS

__all__ = ["FER2013", "FER2013_FRAMING", "FaceSet", "load_faces"]

#: FER2013's numbers 0..6 by name (Goodfellow et al. 2013, arXiv 1307.0414).
FER2013 = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
#: Where MTCNN's landmarks and box lie in a picture of FER2013: medians over training pictures, enlarged four times
#: (`python -m tests.benchmarks.framing`, which also tells how accuracy depends on the zoom).
FER2013_FRAMING = Framing(
    landmarks=((0.320, 0.391), (0.694, 0.388), (0.504, 0.606), (0.355, 0.790), (0.663, 0.786)), box=0.921, zoom=1.0
)
_SIZE = 48
_KAGGLE_SPLITS = {"train": "Training", "public": "PublicTest", "private": "PrivateTest"}


@dataclass(frozen=True)
class FaceSet:
    """n grey faces with one label each, and the taggers' votes where the set has them.

    image (n, 48, 48) uint8; label (n,) int64 into `labels`; votes (n, len(labels)) float32, each row summing to 1, or
    None. A row on which no tagger chose one of `labels` falls back to its label.
    """

    name: str
    labels: tuple[str, ...]
    image: np.ndarray
    label: np.ndarray
    votes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.label)

    def split(self, part: int = 10) -> tuple["FaceSet", "FaceSet"]:
        """Set every `part`-th face aside -> (the others, those), named after this set."""
        aside = np.arange(len(self)) % part == 0
        return self._take(~aside, self.name), self._take(aside, f"{self.name}, every {part}th face")

    def _take(self, kept: np.ndarray, name: str) -> "FaceSet":
        votes = None if self.votes is None else self.votes[kept]
        return FaceSet(name, self.labels, self.image[kept], self.label[kept], votes)

    def targets(self, vote_weight: float) -> np.ndarray:
        """Mix one-hot labels with the votes -> (n, len(labels)) float32; weight 0 ignores the votes."""
        hard = np.eye(len(self.labels), dtype=np.float32)[self.label]
        if self.votes is None or vote_weight == 0:
            return hard
        return (1 - vote_weight) * hard + vote_weight * self.votes


def load_faces(path: str | Path, split: str | None = None) -> FaceSet:
    """Read a data set: a Parquet file with `image` and `emotion`, or Kaggle's fer2013.csv with a `split`.

    DataError names the file, what was expected and what was found.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such data set; expected a .parquet or .csv file")
    if path.suffix == ".parquet":
        return _read_parquet(path)
    if path.suffix == ".csv":
        return _read_kaggle_csv(path, split)
    raise DataError(f"{path}: expected a .parquet or a .csv file, found {path.suffix or 'no suffix'}")


def _read_parquet(path: Path) -> FaceSet:
    import pyarrow.parquet as pq
    from PIL import Image

    table = pq.read_table(path)
    if missing := {"image", "emotion"} - set(table.column_names):
        raise DataError(f"{path}: no column {', '.join(sorted(missing))}; found {', '.join(table.column_names)}")
    images = [np.asarray(Image.open(io.BytesIO(b)).convert("L")) for b in table["image"].to_pylist()]
    label = _check_labels(table["emotion"].to_numpy(), path)
    votes = None
    if all(f"ferplus_{name}" in table.column_names for name in FER2013):
        counts = np.stack([table[f"ferplus_{name}"].to_numpy() for name in FER2013], 1).astype(np.float32)
        total = counts.sum(1, keepdims=True)
        votes = np.where(total > 0, counts / np.maximum(total, 1), np.eye(7, dtype=np.float32)[label])
    return FaceSet(path.stem, FER2013, np.stack(images), label, votes)


def _read_kaggle_csv(path: Path, split: str | None) -> FaceSet:
    import pandas as pd

    if split not in _KAGGLE_SPLITS:
        raise DataError(f"{path}: name a split of fer2013.csv: {', '.join(_KAGGLE_SPLITS)} (found {split!r})")
    table = pd.read_csv(path)
    if missing := {"emotion", "pixels", "Usage"} - set(table.columns):
        raise DataError(f"{path}: no column {', '.join(sorted(missing))}; found {', '.join(table.columns)}")
    table = table[table["Usage"] == _KAGGLE_SPLITS[split]]
    pixels = [np.array(text.split(), np.uint8) for text in table["pixels"]]
    wrong = [i for i, p in zip(table.index, pixels) if len(p) != _SIZE**2]
    if wrong:
        raise DataError(f"{path}: row {wrong[0]} has not {_SIZE}x{_SIZE} pixels")
    image = np.stack(pixels).reshape(-1, _SIZE, _SIZE)
    return FaceSet(f"{path.stem}/{split}", FER2013, image, _check_labels(table["emotion"].to_numpy(), path))


def _check_labels(label: np.ndarray, path: Path) -> np.ndarray:
    bad = np.flatnonzero((label < 0) | (label >= len(FER2013)))
    if len(bad):
        raise DataError(f"{path}: row {bad[0]} has emotion {label[bad[0]]}; expected 0..6")
    return label.astype(np.int64)


assert set(FER2013) <= set(EMOTIONS)
