"""Read one table of ratings of a video, and aggregate it per rater and second."""

import difflib
import math
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from fervid.errors import ConfigError, DataError
from fervid.labels import EMOTIONS, emotion
from fervid.studies.csv_columns import Columns, find_columns
from fervid.studies.csv_table import CsvTable, read_csv_table

__all__ = ["RatingOptions", "Ratings", "read_ratings", "read_scale"]

#: A second counts as rated if intervals cover at least this share of it.
_MIN_COVERED = 0.5
#: Intervals may overlap by this many seconds, because clocks are rounded.
_OVERLAP_TOLERANCE_S = 0.0015
#: Name of the rater of a table that names none.
_UNNAMED = "rater"


@dataclass(frozen=True)
class RatingOptions:
    """How to read a table of ratings."""

    scale: tuple[float, float] | None = None
    """Lowest and highest possible score; None guesses them from the scores."""
    ignore_unknown: bool = False
    """Whether to skip ratings with an unknown label."""
    person: int | None = None
    """Which rows to read, if the table has a column person."""
    track: int | None = None
    """Which rows to read, if the table has a column track."""
    gaps: str | None = None
    """Label of the time between a rater's intervals; None leaves it unrated."""


@dataclass(frozen=True)
class Ratings:
    """Ratings of R raters, n seconds and K emotions."""

    path: Path
    raters: tuple[str, ...]
    emotions: tuple[str, ...]
    second: np.ndarray
    """(n,) int64, every second that at least one rater rated."""
    score: np.ndarray
    """(R, n, K) float64 in 0..1, NaN where not rated. For labels, the share of the second with the label."""
    label: np.ndarray
    """(R, n) int64, index into `emotions`, or -1."""
    labelled: bool
    """Whether the table has labels; otherwise a label is the emotion with the highest score, if there is one."""
    scored: bool
    """Whether the table has scores."""
    facts: dict = field(default_factory=dict)
    """Counts for the report."""


@dataclass(frozen=True)
class _Rating:
    """One row of one rater. `end_s` is None for a rating of a moment."""

    row: int
    start_s: float
    end_s: float | None
    label: str | None
    scores: dict[str, float]


def read_ratings(path: Path, options: RatingOptions | None = None) -> Ratings:
    """Read a CSV file of ratings.

    Ratings of one rater within the same second are averaged, and their most frequent label is kept. An interval counts
    for every second of which it covers at least half.

    Parameters
    ----------
    path : Path
        The file.
    options : RatingOptions, optional
        How to read it.

    Returns
    -------
    Ratings
        Per rater and second.

    Raises
    ------
    DataError
        If the file is not a table of ratings; the message names the row and what was expected.
    """
    options = options or RatingOptions()
    table = read_csv_table(path)
    columns = find_columns(path, table.header)
    ignored: Counter[str] = Counter()
    ratings = _parse(table, columns, options, ignored)
    if not any(ratings.values()):
        raise DataError(f"{path}: no rating in its {len(table.rows)} rows: every label and score is empty")
    for rater, own in ratings.items():
        _check_order(path, rater, own, columns)
    facts = {
        "raters": list(ratings),
        "ratings": sum(map(len, ratings.values())),
        "kind": "intervals" if columns.start is not None else "moments",
        "columns_not_used": columns.unused,
        "labels_ignored": dict(ignored),
    }
    return _aggregate(path, ratings, columns, options, facts)


def read_scale(scale: str | tuple[float, float] | None) -> tuple[float, float] | None:
    """Parse the two ends of a scale.

    Parameters
    ----------
    scale : str, tuple of float or None
        Such as "1:7" or (1, 7).

    Returns
    -------
    tuple of float or None
        Lower and upper end; None for None.

    Raises
    ------
    ConfigError
        If these are not two increasing numbers.
    """
    if scale is None:
        return None
    try:
        low, high = (float(end) for end in (scale.split(":") if isinstance(scale, str) else scale))
    except ValueError:
        raise ConfigError(f"scale = {scale!r}: expected the two ends of the scores' scale, such as 1:7") from None
    if not low < high:
        raise ConfigError(f"scale = {scale!r}: expected the lower end first")
    return low, high


# -- rows -> ratings ------------------------------------------------------------------------------------------


def _parse(table: CsvTable, columns: Columns, options: RatingOptions, ignored: Counter) -> dict[str, list[_Rating]]:
    """Return the ratings of each rater in the order of the file, without empty rows."""
    chosen = [row for row in table.rows if _is_chosen(table, columns, options, row)]
    if not chosen:
        subject = f"person {options.person}" if options.person is not None else f"track {options.track}"
        raise DataError(f"{table.path}: no row is about {subject}")
    wide = list(dict.fromkeys([rater for rater, _ in columns.labels] + [rater for rater, *_ in columns.scores]))
    ratings: dict[str, list[_Rating]] = {} if columns.rater is not None else {name or _UNNAMED: [] for name in wide}
    for row, cells in chosen:
        start_s, end_s = _read_interval(table, columns, row, cells)
        for rater in wide:
            name = rater or _UNNAMED
            if columns.rater is not None:
                name = cells[columns.rater].strip() if columns.rater < len(cells) else ""
                if not name:
                    raise DataError(f"{table.where(row, columns.rater)}: empty; expected the name of the rater")
                ratings.setdefault(name, [])
            label = _read_label(table, columns, rater, row, cells, options, ignored)
            scores = {scored: table.value(row, cells, i) for other, scored, i in columns.scores if other == rater}
            if label is not None or any(map(math.isfinite, scores.values())):
                ratings[name].append(_Rating(row, start_s, end_s, label, scores))
    return {name: own for name, own in ratings.items() if own}


def _is_chosen(table: CsvTable, columns: Columns, options: RatingOptions, row: tuple[int, list[str]]) -> bool:
    for column, wanted, option in ((columns.person, options.person, "person"), (columns.track, options.track, "track")):
        if column is None:
            continue
        text = table.text(row[1], column)
        if wanted is None:
            found = sorted({table.text(cells, column) or "" for _, cells in table.rows} - {""})
            if len(found) > 1:
                raise DataError(
                    f"{table.path}: rates more than one {option} ({', '.join(found)}); choose by --{option}"
                )
        elif text is None or not text.isdigit() or int(text) != wanted:
            return False
    return True


def _read_interval(table: CsvTable, columns: Columns, row: int, cells: list[str]) -> tuple[float, float | None]:
    def time(column: int) -> float:
        return table.time(row, cells, column, columns.unit_s.get(column, 1.0))

    if columns.start is None:
        assert columns.time is not None
        return time(columns.time), None
    start_s = time(columns.start)
    if columns.end is not None:
        end_s = time(columns.end)
    else:
        assert columns.duration is not None
        end_s = start_s + time(columns.duration)
    if end_s <= start_s:
        raise DataError(f"{table.path}: row {row} ends at {end_s:g} s, but starts at {start_s:g} s")
    return start_s, end_s


def _read_label(
    table: CsvTable,
    columns: Columns,
    rater: str,
    row: int,
    cells: list[str],
    options: RatingOptions,
    ignored: Counter,
) -> str | None:
    column = next((i for other, i in columns.labels if other == rater), None)
    text = table.text(cells, column)
    if text is None or column is None:
        return None
    try:
        return emotion(text)
    except DataError:
        if options.ignore_unknown:
            ignored[text] += 1
            return None
        near = difflib.get_close_matches(text.lower(), EMOTIONS, 1, 0.4)
        hint = f"; the nearest known is {near[0]!r}" if near else ""
        raise DataError(
            f"{table.where(row, column)}: unknown label {text!r}{hint} (known: {', '.join(EMOTIONS)} and common "
            "aliases); correct it, or skip such ratings with --ignore-unknown"
        ) from None


def _check_order(path: Path, rater: str, own: list[_Rating], columns: Columns) -> None:
    """Check that moments increase, and that intervals, in any order, do not overlap."""
    if columns.start is None:
        for before, rating in pairwise(own):
            if rating.start_s <= before.start_s:
                what = "is rated twice" if rating.start_s == before.start_s else "comes after a later time"
                raise DataError(
                    f"{path}: row {rating.row}: {rating.start_s:g} s {what} (row {before.row}, {before.start_s:g} s, "
                    f"by {rater}); the times of each rater must increase"
                )
        return
    own.sort(key=lambda rating: rating.start_s)
    for before, rating in pairwise(own):
        if before.end_s is not None and rating.start_s < before.end_s - _OVERLAP_TOLERANCE_S:
            raise DataError(
                f"{path}: rows {before.row} and {rating.row} of {rater} overlap: {before.start_s:g} to "
                f"{before.end_s:g} s, and from {rating.start_s:g} s; the intervals of each rater must not overlap"
            )


# -- ratings -> seconds -----------------------------------------------------------------------------------------


def _aggregate(
    path: Path, ratings: dict[str, list[_Rating]], columns: Columns, options: RatingOptions, facts: dict
) -> Ratings:
    every = [rating for own in ratings.values() for rating in own]
    labelled = any(rating.label for rating in every)
    named = {rating.label for rating in every} | set(columns.emotions) | ({options.gaps} if options.gaps else set())
    emotions = tuple(name for name in EMOTIONS if name in named)
    low, high = _find_scale(path, every, options.scale) if columns.scores else (0.0, 1.0)
    first = min(math.floor(rating.start_s) for rating in every)
    last = max(math.ceil(r.end_s) - 1 if r.end_s is not None else math.floor(r.start_s) for r in every)
    shape = (len(ratings), last - first + 1)
    score, label = np.full((*shape, len(emotions)), np.nan), np.full(shape, -1)
    for i, own in enumerate(ratings.values()):
        score[i], label[i] = _aggregate_rater(own, emotions, first, shape[1], bool(columns.scores))
    if columns.scores:
        score = (score - low) / (high - low)
        facts |= {"scale": [low, high], "scale_guessed": options.scale is None}
        if not labelled:
            label = _highest(score)
    rated = (label >= 0).any(0) | np.isfinite(score).any((0, 2))
    second = np.arange(first, last + 1)[rated]
    return Ratings(
        path, tuple(ratings), emotions, second, score[:, rated], label[:, rated], labelled, bool(columns.scores), facts
    )


def _aggregate_rater(
    own: list[_Rating], emotions: tuple[str, ...], first: int, n: int, scored: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean scores (n, K) and the majority labels (n,) of one rater per second."""
    k = len(emotions)
    covered = np.zeros(n)
    votes, total, weight = np.zeros((n, k)), np.zeros((n, k)), np.zeros((n, k))
    for rating in own:
        begin = math.floor(rating.start_s)
        end = begin + 1 if rating.end_s is None else math.ceil(rating.end_s)
        seconds = np.arange(begin, end)
        share = np.ones(1)
        if rating.end_s is not None:
            share = np.minimum(seconds + 1, rating.end_s) - np.maximum(seconds, rating.start_s)
        at = seconds - first
        covered[at] += share
        if rating.label is not None:
            votes[at, emotions.index(rating.label)] += share
        for name, value in rating.scores.items():
            if math.isfinite(value):
                j = emotions.index(name)
                total[at, j] += share * value
                weight[at, j] += share
    rated = covered >= _MIN_COVERED - 1e-9
    n_votes = votes.sum(1)
    label = np.where(rated & (n_votes > 0), votes.argmax(1), -1)
    above, below = (total, weight) if scored else (votes, np.repeat(n_votes[:, None], k, 1))
    mean = np.divide(above, below, out=np.full((n, k), np.nan), where=below > 0)
    return np.where(rated[:, None], mean, np.nan), label


def _highest(score: np.ndarray) -> np.ndarray:
    """Return the emotion (R, n) with the highest score; -1 for ties, or if fewer than two emotions are scored."""
    filled = np.where(np.isfinite(score), score, -np.inf)
    if score.shape[2] < 2:
        return np.full(score.shape[:2], -1)
    ordered = np.sort(filled, 2)
    unique = (ordered[..., -1] > ordered[..., -2]) & np.isfinite(score).all(2)
    return np.where(unique, filled.argmax(2), -1)


def _find_scale(path: Path, ratings: list[_Rating], scale: tuple[float, float] | None) -> tuple[float, float]:
    """Return the given scale; otherwise 0 to 1, 0 to 100, or the range of the scores, from 1 or 0 if not negative."""
    every = [(value, rating.row) for rating in ratings for value in rating.scores.values() if math.isfinite(value)]
    if not every:
        return 0.0, 1.0
    (low, low_row), (high, high_row) = min(every), max(every)
    if scale is not None:
        if low < scale[0] or high > scale[1]:
            bad, row = (low, low_row) if low < scale[0] else (high, high_row)
            raise DataError(f"{path}: row {row}: a score of {bad:g} is outside the scale {scale[0]:g} to {scale[1]:g}")
        return scale
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    if low >= 0 and high > 10:
        return 0.0, max(100.0, high)
    if low >= 0:
        return (1.0 if low >= 1 else 0.0), max(high, 2.0)
    return low, high
