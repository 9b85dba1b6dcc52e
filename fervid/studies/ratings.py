"""What people said about a video, second by second, from whatever table they said it in."""

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

#: A second counts as rated when intervals cover at least this much of it.
_COVERED = 0.5
#: Intervals may touch, and clocks round: so much overlap in seconds is none.
_TOUCH_S = 0.0015


@dataclass(frozen=True)
class RatingOptions:
    """How a table is read. `scale` is (low, high) of the scores; None takes what the file shows. `person` and `track`
    choose the rows of one where the file has such a column. `gaps` labels what lies between a rater's intervals.
    """

    scale: tuple[float, float] | None = None
    ignore_unknown: bool = False
    person: int | None = None
    track: int | None = None
    gaps: str | None = None


@dataclass(frozen=True)
class Ratings:
    """R raters, n seconds, K emotions.

    second (n,) int64, every second that anyone rated; score (R, n, K) float64 in 0..1, NaN where not rated; label
    (R, n) int64, a place in `emotions`, or -1. For labels the score is the share of the second that has the label.
    `labelled`: whether labels were given; else they are the highest score, where one is highest.
    """

    path: Path
    raters: tuple[str, ...]
    emotions: tuple[str, ...]
    second: np.ndarray
    score: np.ndarray
    label: np.ndarray
    labelled: bool
    scored: bool
    facts: dict = field(default_factory=dict)


@dataclass(frozen=True)
class _Entry:
    """One rating: its row, from when to when (None: at a moment), the label or the scores by emotion."""

    row: int
    start_s: float
    end_s: float | None
    label: str | None
    scores: dict[str, float]


def read_ratings(path: Path, reading: RatingOptions | None = None) -> Ratings:
    """Read a CSV file of ratings; DataError names the file, the row and what was expected.

    Several ratings within one second (by one rater) are averaged, their most frequent label is kept; an interval counts
    for every second that it covers by half or more.
    """
    reading = reading or RatingOptions()
    sheet = read_csv_table(path)
    columns = find_columns(path, sheet.header)
    unknown: Counter[str] = Counter()
    entries = _entries(sheet, columns, reading, unknown)
    if not any(entries.values()):
        raise DataError(f"{path}: no rating in its {len(sheet.rows)} rows: every label and score is empty")
    for who, own in entries.items():
        _check_order(path, who, own, columns)
    facts = {
        "raters": list(entries), "ratings": sum(map(len, entries.values())),
        "kind": "intervals" if columns.start is not None else "moments",
        "columns_not_used": columns.unused, "labels_ignored": dict(unknown),
    }  # fmt: skip
    return _per_second(path, entries, columns, reading, facts)


def read_scale(scale: str | tuple[float, float] | None) -> tuple[float, float] | None:
    """The ends of a scale, from "1:7" or two numbers; ConfigError if they are none."""
    if scale is None:
        return None
    try:
        low, high = (float(end) for end in (scale.split(":") if isinstance(scale, str) else scale))
    except ValueError:
        raise ConfigError(f"scale = {scale!r}: expected the two ends of the scores' scale, such as 1:7") from None
    if not low < high:
        raise ConfigError(f"scale = {scale!r}: expected the lower end first")
    return low, high


# -- rows -> entries ------------------------------------------------------------------------------------------


def _entries(sheet: CsvTable, columns: Columns, reading: RatingOptions, unknown: Counter) -> dict[str, list[_Entry]]:
    """The entries of each rater, in the order of the file; rows that say nothing are left out."""
    chosen = [row for row in sheet.rows if _is_chosen(sheet, columns, reading, row)]
    if not chosen:
        raise DataError(f"{sheet.path}: no row is about {_wanted(reading)}")
    wide = list(dict.fromkeys([who for who, _ in columns.labels] + [who for who, *_ in columns.scores]))
    entries: dict[str, list[_Entry]] = {} if columns.rater is not None else {who or "rater": [] for who in wide}
    for row, cells in chosen:
        start_s, end_s = _span(sheet, columns, row, cells)
        for who in wide:
            name = who or "rater"
            if columns.rater is not None:
                name = cells[columns.rater].strip() if columns.rater < len(cells) else ""
                if not name:
                    raise DataError(f"{sheet.where(row, columns.rater)}: empty; expected who rated")
                entries.setdefault(name, [])
            label = _label(sheet, columns, who, row, cells, reading, unknown)
            scores = {one: sheet.value(row, cells, i) for w, one, i in columns.scores if w == who}
            if label is not None or any(map(math.isfinite, scores.values())):
                entries[name].append(_Entry(row, start_s, end_s, label, scores))
    return {name: own for name, own in entries.items() if own}


def _is_chosen(sheet: CsvTable, columns: Columns, reading: RatingOptions, row: tuple[int, list[str]]) -> bool:
    for column, wanted, option in ((columns.person, reading.person, "person"), (columns.track, reading.track, "track")):
        if column is None:
            continue
        text = sheet.text(row[1], column)
        if wanted is None:
            seen = sorted({sheet.text(cells, column) or "" for _, cells in sheet.rows} - {""})
            if len(seen) > 1:
                raise DataError(f"{sheet.path}: rates more than one {option} ({', '.join(seen)}); choose by --{option}")
        elif text is None or not text.isdigit() or int(text) != wanted:
            return False
    return True


def _wanted(reading: RatingOptions) -> str:
    return f"person {reading.person}" if reading.person is not None else f"track {reading.track}"


def _span(sheet: CsvTable, columns: Columns, row: int, cells: list[str]) -> tuple[float, float | None]:
    def time(column: int) -> float:
        return sheet.time(row, cells, column, columns.unit_s.get(column, 1.0))

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
        raise DataError(f"{sheet.path}: row {row} ends at {end_s:g} s, where it starts or before ({start_s:g} s)")
    return start_s, end_s


def _label(
    sheet: CsvTable, columns: Columns, who: str, row: int, cells: list[str], reading: RatingOptions, unknown: Counter
) -> str | None:
    column = next((i for other, i in columns.labels if other == who), None)
    text = sheet.text(cells, column)
    if text is None or column is None:
        return None
    try:
        return emotion(text)
    except DataError:
        if reading.ignore_unknown:
            unknown[text] += 1
            return None
        near = difflib.get_close_matches(text.lower(), EMOTIONS, 1, 0.4)
        hint = f"; the nearest known is {near[0]!r}" if near else ""
        raise DataError(
            f"{sheet.where(row, column)}: unknown label {text!r}{hint} (known: {', '.join(EMOTIONS)} and usual "
            "aliases); correct it, or leave such ratings out with --ignore-unknown"
        ) from None


def _check_order(path: Path, who: str, own: list[_Entry], columns: Columns) -> None:
    """Moments must run forward; intervals of one rater, in whatever order, must not overlap."""
    if columns.start is None:
        for before, entry in pairwise(own):
            if entry.start_s <= before.start_s:
                word = "is rated again" if entry.start_s == before.start_s else "comes after a later time"
                raise DataError(
                    f"{path}: row {entry.row}: {entry.start_s:g} s {word} (row {before.row}, {before.start_s:g} s, by "
                    f"{who}); the times of one rater must increase"
                )
        return
    own.sort(key=lambda entry: entry.start_s)
    for before, entry in pairwise(own):
        if before.end_s is not None and entry.start_s < before.end_s - _TOUCH_S:
            raise DataError(
                f"{path}: rows {before.row} and {entry.row} of {who} overlap: {before.start_s:g} to {before.end_s:g} "
                f"s, and from {entry.start_s:g} s; one rater says one thing at a time"
            )


# -- entries -> seconds -----------------------------------------------------------------------------------------


def _per_second(
    path: Path, entries: dict[str, list[_Entry]], columns: Columns, reading: RatingOptions, facts: dict
) -> Ratings:
    every = [entry for own in entries.values() for entry in own]
    labelled = any(entry.label for entry in every)
    named = {entry.label for entry in every} | set(columns.emotions) | ({reading.gaps} if reading.gaps else set())
    emotions = tuple(name for name in EMOTIONS if name in named)
    low, high = _scale(path, every, reading.scale) if columns.scores else (0.0, 1.0)
    first = min(math.floor(entry.start_s) for entry in every)
    last = max(math.ceil(entry.end_s) - 1 if entry.end_s is not None else math.floor(entry.start_s) for entry in every)
    shape = (len(entries), last - first + 1)
    score, label = np.full((*shape, len(emotions)), np.nan), np.full(shape, -1)
    for r, own in enumerate(entries.values()):
        score[r], label[r] = _one_rater(own, emotions, first, shape[1], bool(columns.scores))
    if columns.scores:
        score = (score - low) / (high - low)
        facts["scale"] = [low, high]
        if not labelled:
            label = _highest(score)
    rated = (label >= 0).any(0) | np.isfinite(score).any((0, 2))
    second = np.arange(first, last + 1)[rated]
    return Ratings(
        path, tuple(entries), emotions, second, score[:, rated], label[:, rated], labelled, bool(columns.scores), facts
    )


def _one_rater(
    own: list[_Entry], emotions: tuple[str, ...], first: int, n: int, scored: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Scores (n, K) and labels (n,) of one rater: means and majorities over each second."""
    k = len(emotions)
    covered = np.zeros(n)
    votes, total, weight = np.zeros((n, k)), np.zeros((n, k)), np.zeros((n, k))
    for entry in own:
        begin = math.floor(entry.start_s)
        end = begin + 1 if entry.end_s is None else math.ceil(entry.end_s)
        seconds = np.arange(begin, end)
        share = np.ones(1)
        if entry.end_s is not None:
            share = np.minimum(seconds + 1, entry.end_s) - np.maximum(seconds, entry.start_s)
        at = seconds - first
        covered[at] += share
        if entry.label is not None:
            votes[at, emotions.index(entry.label)] += share
        for name, value in entry.scores.items():
            if math.isfinite(value):
                j = emotions.index(name)
                total[at, j] += share * value
                weight[at, j] += share
    rated = covered >= _COVERED - 1e-9
    said = votes.sum(1)
    label = np.where(rated & (said > 0), votes.argmax(1), -1)
    above, below = (total, weight) if scored else (votes, np.repeat(said[:, None], k, 1))
    mean = np.divide(above, below, out=np.full((n, k), np.nan), where=below > 0)
    return np.where(rated[:, None], mean, np.nan), label


def _highest(score: np.ndarray) -> np.ndarray:
    """The emotion (R, n) with the highest score; -1 where it is shared, or where fewer than two were scored."""
    filled = np.where(np.isfinite(score), score, -np.inf)
    if score.shape[2] < 2:
        return np.full(score.shape[:2], -1)
    ordered = np.sort(filled, 2)
    clear = (ordered[..., -1] > ordered[..., -2]) & np.isfinite(score).all(2)
    return np.where(clear, filled.argmax(2), -1)


def _scale(path: Path, entries: list[_Entry], told: tuple[float, float] | None) -> tuple[float, float]:
    """The scale's ends: as told; else 0..1, 0..100, or what the file shows, whole numbers from 1 or 0."""
    every = [(value, entry.row) for entry in entries for value in entry.scores.values() if math.isfinite(value)]
    if not every:
        return 0.0, 1.0
    (low, low_row), (high, high_row) = min(every), max(every)
    if told is not None:
        if low < told[0] or high > told[1]:
            bad, row = (low, low_row) if low < told[0] else (high, high_row)
            raise DataError(f"{path}: row {row}: a score of {bad:g} is outside the scale {told[0]:g} to {told[1]:g}")
        return told
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    if low >= 0 and high > 10:
        return 0.0, max(100.0, high)
    if low >= 0:
        return (1.0 if low >= 1 else 0.0), max(high, 2.0)
    return low, high
