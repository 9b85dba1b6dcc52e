"""Read one table of ratings of a video, and aggregate it per rater and second."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fervid.errors import ConfigError, DataError
from fervid.labels import EMOTIONS
from fervid.studies.csv_columns import Columns, find_columns
from fervid.studies.observations import find_other_videos
from fervid.studies.rating_files import read_rating_table
from fervid.studies.rating_rows import Film, Rating, RatingOptions, parse_ratings

__all__ = ["Film", "RatingOptions", "Ratings", "read_ratings", "read_scale"]

#: A second counts as rated if intervals cover at least this share of it, or of the part that the video has of it.
_MIN_COVERED = 0.5


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


def read_ratings(path: Path, options: RatingOptions | None = None, film: Film | None = None) -> Ratings:
    """Read a file of ratings.

    Ratings of one rater within the same second are averaged, and their most frequent label is kept. An interval counts
    for every second of which it covers at least half.

    Parameters
    ----------
    path : Path
        The file: CSV, .xlsx, ELAN's .eaf or subtitles.
    options : RatingOptions, optional
        How to read it.
    film : Film, optional
        The video that was rated, and its clock; by default, one whose first frame is at 0.

    Returns
    -------
    Ratings
        Per rater and second since the first frame.

    Raises
    ------
    DataError
        If the file is not a table of ratings; the message names the row and what was expected.
    """
    options, film = options or RatingOptions(), film or Film()
    table = read_rating_table(path, film.name)
    columns = find_columns(path, table.header)
    found = parse_ratings(table, columns, options, film)
    if not found.ratings:
        points = f"; {found.points} events without duration are left out" if found.points else ""
        raise DataError(f"{path}: no rating in its {len(table.rows)} rows: every label and score is empty{points}")
    facts = {
        "raters": list(found.ratings),
        "ratings": sum(map(len, found.ratings.values())),
        "kind": "intervals" if found.intervals else "moments",
        "columns_not_used": columns.unused,
        "labels_ignored": dict(found.ignored),
        "points_ignored": found.points,
        "other_videos": find_other_videos(table, columns, film.name),
    }
    return _aggregate(path, found.ratings, columns, options, film, facts)


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


# -- ratings -> seconds -----------------------------------------------------------------------------------------


def _aggregate(
    path: Path,
    ratings: dict[str, list[Rating]],
    columns: Columns,
    options: RatingOptions,
    film: Film,
    facts: dict,
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
    seconds = np.arange(first, last + 1)
    edges = np.array([np.maximum(seconds, film.start_s), np.minimum(seconds + 1, film.end_s)])
    edges = np.where(edges[1] > edges[0], edges, [seconds, seconds + 1])  # seconds outside the video stay whole
    for i, own in enumerate(ratings.values()):
        score[i], label[i] = _aggregate_rater(own, emotions, first, edges, bool(columns.scores))
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
    own: list[Rating], emotions: tuple[str, ...], first: int, edges: np.ndarray, scored: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean scores (n, K) and the majority labels (n,) of one rater per second, which has edges (2, n)."""
    n, k = edges.shape[1], len(emotions)
    covered = np.zeros(n)
    votes, total, weight = np.zeros((n, k)), np.zeros((n, k)), np.zeros((n, k))
    for rating in own:
        begin = math.floor(rating.start_s)
        end = begin + 1 if rating.end_s is None else math.ceil(rating.end_s)
        at = np.arange(begin, end) - first
        share = edges[1, at] - edges[0, at]
        if rating.end_s is not None:
            share = np.minimum(edges[1, at], rating.end_s) - np.maximum(edges[0, at], rating.start_s)
            share = np.maximum(share, 0.0)
        covered[at] += share
        if rating.label is not None:
            votes[at, emotions.index(rating.label)] += share
        for name, value in rating.scores.items():
            if math.isfinite(value):
                j = emotions.index(name)
                total[at, j] += share * rating.weight * value
                weight[at, j] += share * rating.weight
    rated = covered >= _MIN_COVERED * (edges[1] - edges[0]) - 1e-9
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


def _find_scale(path: Path, ratings: list[Rating], scale: tuple[float, float] | None) -> tuple[float, float]:
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
