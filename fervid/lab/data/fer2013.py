"""FER2013 (Goodfellow et al. 2013, arXiv 1307.0414) and FER+ (Barsoum et al. 2016, arXiv 1608.01041) as tables."""

from pathlib import Path
from typing import Any

import numpy as np

from fervid.errors import DataError
from fervid.lab.data.listing import Listing, split_named

__all__ = ["FER2013", "FERPLUS", "TAGS", "has_fer2013_labels", "majority", "read_kaggle_csv", "read_parquet"]

#: The class names of FER2013's numbers 0 to 6.
FER2013 = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
#: The choices of FER+'s ten taggers: eight emotions, then "unknown" and "no face".
TAGS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "nf")
FERPLUS = TAGS[:8]
_NUMBERS = {str(i): name for i, name in enumerate(FER2013)}
#: CK+ in the format of FER2013 (Kaggle's ckextended.csv) adds one number.
_CK_NUMBERS = _NUMBERS | {"7": "contempt"}


def majority(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the class on which FER+'s taggers agree.

    As in the authors' code, a choice of a single tagger is an outlier and does not count. The majority needs more than
    half of the remaining votes, so ties have none; neither have faces whose majority is "unknown" or "no face".

    Parameters
    ----------
    counts : np.ndarray
        Votes (n, 10) in the order of TAGS.

    Returns
    -------
    label : np.ndarray
        (n,) int64, indices into FERPLUS, -1 without a majority.
    kept : np.ndarray
        The votes (n, 10) without outliers.
    """
    kept = np.where(counts > 1, counts, 0)
    winner = kept.argmax(1)
    clear = (2 * kept.max(1) > kept.sum(1)) & (winner < len(FERPLUS))
    return np.where(clear, winner, -1).astype(np.int64), kept


def has_fer2013_labels(listing: Listing) -> bool:
    """Check whether the labels are FER2013's numbers.

    Parameters
    ----------
    listing : Listing

    Returns
    -------
    bool
    """
    return listing.numbers == _NUMBERS and set(listing.raw_label) <= _NUMBERS.keys()


def read_kaggle_csv(path: Path) -> Listing:
    """List Kaggle's fer2013.csv (emotion, pixels, Usage), icml_face_data.csv, or CK+'s ckextended.csv (7: contempt).

    Parameters
    ----------
    path : Path
        The CSV. A file fer2013new.csv beside it supplies the taggers' votes, row by row, counted from 0.

    Returns
    -------
    Listing

    Raises
    ------
    DataError
        If a column is missing, a Usage unknown, or the rows of the two files do not correspond.
    """
    table = _read_csv(path)
    _expect(table, {"emotion", "pixels"}, path)
    source = [f"{path} row {i}" for i in range(len(table))]
    usage = table["Usage"].tolist() if "Usage" in table else [""] * len(table)
    votes = path.with_name("fer2013new.csv")
    counts = _read_votes(votes, path, usage) if votes.is_file() else None
    raw_label = table["emotion"].str.strip().tolist()
    numbers = _CK_NUMBERS if "7" in raw_label else _NUMBERS
    return Listing(path, table["pixels"].tolist(), raw_label, _splits(usage, source), source, numbers, counts)


def read_parquet(path: Path) -> Listing:
    """List a Parquet file of encoded images.

    Parameters
    ----------
    path : Path
        Columns: `image` (encoded bytes), `emotion` (FER2013's number, or a name), optionally `usage`. Ten columns
        ferplus_* hold the taggers' votes; with them `emotion` may be missing.

    Returns
    -------
    Listing

    Raises
    ------
    DataError
        If the file cannot be read, a column is missing or a usage is unknown.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as e:
        raise DataError(f"{path}: cannot be read as Parquet ({e})") from e
    tags = [f"ferplus_{tag}" for tag in TAGS]
    voted = bool(set(tags) & set(table.column_names))
    _expect(table.to_pandas().iloc[:0], {"image", *(tags if voted else ["emotion"])}, path)
    source = [f"{path} row {i}" for i in range(len(table))]
    image = [p["bytes"] if isinstance(p, dict) else p for p in table["image"].to_pylist()]
    raw_label = [""] * len(table)
    if "emotion" in table.column_names:
        raw_label = ["" if value is None else str(value) for value in table["emotion"].to_pylist()]
    usage = table["usage"].to_pylist() if "usage" in table.column_names else [""] * len(table)
    counts = np.stack([table[tag].to_numpy() for tag in tags], 1) if voted else None
    return Listing(path, image, raw_label, _splits(usage, source), source, _NUMBERS, counts)


def _read_csv(path: Path) -> Any:
    """Read all columns as text; icml_face_data.csv has blanks around its column names."""
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as e:  # pandas' parser errors and UnicodeDecodeError are ValueErrors
        raise DataError(f"{path}: cannot be read as CSV ({e})") from e
    return table.rename(columns=str.strip)


def _expect(table: Any, columns: set[str], path: Path) -> None:
    if missing := columns - set(table.columns):
        raise DataError(f"{path}: column {', '.join(sorted(missing))} missing; found {', '.join(table.columns)}")


def _splits(usage: list[str], source: list[str]) -> list[str]:
    names = {text: split_named(text) for text in set(usage)}
    for text, where in zip(usage, source):
        if text.strip() and not names[text]:
            raise DataError(f"{where}: unknown Usage {text!r}; expected Training, PublicTest or PrivateTest")
    return [names[text] for text in usage]


def _read_votes(path: Path, faces: Path, usage: list[str]) -> np.ndarray:
    table = _read_csv(path).rename(columns=str.lower)
    _expect(table, {"usage", *TAGS}, path)
    if len(table) != len(usage):
        raise DataError(f"{path}: {len(table)} rows, but {faces} has {len(usage)}; expected one row of votes per face")
    for i, (theirs, ours) in enumerate(zip(table["usage"], usage)):
        if ours and split_named(theirs) != split_named(ours):
            raise DataError(f"{path} row {i}: {theirs}, but {faces} has {ours} in that row; the rows must correspond")
    try:
        return table[list(TAGS)].to_numpy().astype(np.int64)
    except ValueError as e:
        raise DataError(f"{path}: a vote is not a number ({e})") from e
