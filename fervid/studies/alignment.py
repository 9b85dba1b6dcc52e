"""Read a timeline as one series per second, and align it with ratings."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fervid.clock import FileClock, processed_part
from fervid.errors import DataError
from fervid.labels import EMOTIONS
from fervid.studies.ratings import Film, RatingOptions, Ratings
from fervid.timeline.read import load_timeline, read_provenance

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RELIABLE_SECONDS", "AlignedSeries", "TimelineSeries", "align", "read_timeline_series"]

#: With fewer seconds there is neither a verdict nor a best lag to report.
RELIABLE_SECONDS = 30


@dataclass(frozen=True)
class TimelineSeries:
    """A timeline as one series of n seconds and K emotions."""

    path: Path
    emotions: tuple[str, ...]
    second: np.ndarray
    """(n,) int."""
    status: np.ndarray
    """(n,) str: ok, no_face or no_data."""
    prob: np.ndarray
    """(n, K) float, NaN without a face."""
    faces: str
    """Description of the faces that the series is about."""
    model: str
    """Name of the model."""
    film: Film
    """The video, and its clock."""


@dataclass(frozen=True)
class AlignedSeries:
    """A timeline and the ratings of R raters on the same n seconds and K emotions."""

    raters: tuple[str, ...]
    emotions: tuple[str, ...]
    """Emotions that both sides know."""
    categories: tuple[str, ...]
    """Categories of the labels."""
    second: np.ndarray
    """(n,) int, the seconds of the timeline."""
    status: np.ndarray
    """(n,) str: ok, no_face or no_data."""
    prob: np.ndarray
    """(n, K) float, probabilities of the model; NaN without a face."""
    score: np.ndarray
    """(R, n, K) float, scores of the raters; NaN if not rated."""
    label: np.ndarray
    """(R, n) int, labels of the raters; index into `categories`, or -1."""
    model_label: np.ndarray
    """(n,) int, label of the model; index into `categories`, or -1."""
    facts: dict[str, Any]
    """Emotions of one side only and, once aligned, the coverage."""

    @property
    def mean(self) -> np.ndarray:
        """Mean score (n, K) over the raters who rated; NaN where none did."""
        valid = np.isfinite(self.score)
        count = valid.sum(0)
        total = np.where(valid, self.score, 0).sum(0)
        return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)

    @property
    def consensus(self) -> np.ndarray:
        """Most frequent label (n,) of the raters; -1 for ties and where there is no label."""
        votes = np.stack([(self.label == c).sum(0) for c in range(len(self.categories))], -1)
        ordered = np.sort(np.pad(votes, ((0, 0), (1, 0))), 1)
        return np.where(ordered[:, -1] > ordered[:, -2], votes.argmax(1), -1)


def read_timeline_series(path: Path, options: RatingOptions) -> TimelineSeries:
    """Read a timeline as one series per second.

    Parameters
    ----------
    path : Path
        The timeline.
    options : RatingOptions
        Names the track or the person; otherwise all faces are averaged, weighted by face_seconds.

    Returns
    -------
    TimelineSeries
        One row per second.

    Raises
    ------
    DataError
        If the file is not a timeline, or the faces never appear.
    """
    if path.is_dir():
        raise DataError(f"{path}: a folder; name one timeline, such as {path / 'film.mp4.parquet'}")
    facts = read_provenance(path)
    frame = load_timeline(path)
    faces, chosen = _choose(path, frame, options)
    labels = [name for name in EMOTIONS if name in frame]
    second = np.unique(frame["second"].to_numpy())
    at = np.searchsorted(second, frame["second"].to_numpy())
    weight = np.where(chosen, np.nan_to_num(frame["face_seconds"].to_numpy(float)), 0.0)
    total = np.bincount(at, weight, len(second))
    summed = np.stack(
        [np.bincount(at, weight * np.nan_to_num(frame[name].to_numpy(float)), len(second)) for name in labels], -1
    )
    seen = total > 0
    status = np.array(frame["status"].astype(str))[np.searchsorted(frame["second"].to_numpy(), second)]
    status[~seen & (status == "ok")] = "no_face"  # only faces that were not chosen
    if not seen.any():
        counts = ", ".join(f"{(status == word).sum()} {word}" for word in ("no_face", "no_data"))
        raise DataError(f"{path}: no second with a face to compare ({counts})")
    prob = np.divide(summed, np.where(seen, total, np.nan)[:, None])
    model = facts.get("model", {}).get("name", "unknown")
    tracks = frozenset(frame["track"][chosen].dropna().astype(int)) if options.person is not None else frozenset()
    film = _film(facts, second, tracks)
    return TimelineSeries(path, tuple(labels), second, status, prob, faces, model, film)


def _film(facts: dict[str, Any], second: np.ndarray, tracks: frozenset[int]) -> Film:
    """Describe the part of the video that a timeline covers; `tracks` are those of the chosen person."""
    source, (start_s, stop_s) = facts.get("source", {}), processed_part(facts)
    last = float(second[-1])
    ends = [end for end in (source.get("duration_s"), stop_s) if end is not None and end > last]
    return Film(
        source.get("name"),
        FileClock.of(facts),
        max(float(second[0]), start_s),
        min([*ends, last + 1]),
        tracks,
    )


def _choose(path: Path, frame: "pd.DataFrame", options: RatingOptions) -> tuple[str, np.ndarray]:
    """Return a description of the chosen faces, and a mask of their rows."""
    for column, number in (("track", options.track), ("person", options.person)):
        if number is None:
            continue
        if column not in frame:
            raise DataError(f"{path}: has no column {column}; choose by --track, or compare all faces (no option)")
        chosen = (frame[column] == number).fillna(False).to_numpy(bool)
        if not chosen.any():
            known = sorted(frame[column].dropna().unique().tolist())
            raise DataError(f"{path}: no {column} {number}; it has {_listed(known)}")
        return f"{column} {number}", chosen
    return "all faces, weighted by face_seconds", np.ones(len(frame), bool)


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:20]))
    return f"{shown} and {len(numbers) - 20} more" if len(numbers) > 20 else shown or "none"


def align(timeline: TimelineSeries, ratings: Ratings, options: RatingOptions) -> AlignedSeries:
    """Align ratings with the seconds of a timeline.

    Parameters
    ----------
    timeline : TimelineSeries
        The timeline.
    ratings : Ratings
        Ratings of one or more raters.
    options : RatingOptions
        `gaps` labels the time between the intervals of each rater.

    Returns
    -------
    AlignedSeries
        On all seconds of the timeline.

    Raises
    ------
    DataError
        If both sides have no second or no emotion in common.
    """
    shared = tuple(name for name in ratings.emotions if name in timeline.emotions)
    facts = {
        "only_in_ratings": [n for n in ratings.emotions if n not in shared],
        "only_in_machine": [n for n in timeline.emotions if n not in shared],
        "origin_s": timeline.film.clock.origin_s,
    }
    if not shared:
        raise DataError(
            f"{ratings.path}: rates {', '.join(ratings.emotions)}, of which {timeline.path} has none "
            f"({', '.join(timeline.emotions)})"
        )
    n, inside = len(timeline.second), np.isin(ratings.second, timeline.second)
    if not inside.any():
        raise DataError(
            f"{ratings.path}: rates seconds {ratings.second[0]} to {ratings.second[-1]}, {timeline.path} covers "
            f"{timeline.second[0]} to {timeline.second[-1]}: none in common; times are those that a player shows"
        )
    at = np.searchsorted(timeline.second, ratings.second[inside])
    score = np.full((len(ratings.raters), n, len(shared)), np.nan)
    score[:, at] = ratings.score[:, inside][:, :, [ratings.emotions.index(name) for name in shared]]
    categories = timeline.emotions if ratings.labelled else shared
    index = np.array([categories.index(name) if name in categories else -1 for name in ratings.emotions] + [-1])
    label = np.full((len(ratings.raters), n), -1)
    label[:, at] = index[ratings.label[:, inside]]
    seen = np.isfinite(timeline.prob).all(1)
    columns = [timeline.emotions.index(name) for name in categories]
    model_label = np.where(seen, np.nan_to_num(timeline.prob[:, columns]).argmax(1), -1)
    if len(categories) < 2:
        model_label = np.full(n, -1)
    aligned = AlignedSeries(
        ratings.raters,
        shared,
        categories,
        timeline.second,
        timeline.status,
        timeline.prob[:, [timeline.emotions.index(name) for name in shared]],
        score,
        label,
        model_label,
        facts,
    )
    aligned = _fill_gaps(aligned, options.gaps, ratings) if options.gaps else aligned
    return replace(aligned, facts=facts | {"coverage": _coverage(aligned, (~inside).sum())})


def _fill_gaps(aligned: AlignedSeries, name: str, ratings: Ratings) -> AlignedSeries:
    """Label the time between the intervals of each rater, over the whole timeline."""
    if not ratings.labelled or ratings.facts["kind"] != "intervals" or name not in aligned.categories:
        raise DataError(f"{ratings.path}: only the gaps between intervals with labels can be labelled {name}")
    score, label = aligned.score.copy(), aligned.label.copy()
    empty = (label < 0) & ~np.isfinite(score).any(2)
    label[empty] = aligned.categories.index(name)
    score[empty] = [scored == name for scored in aligned.emotions]
    return replace(aligned, score=score, label=label)


def _coverage(aligned: AlignedSeries, outside: int) -> dict[str, Any]:
    """Count the seconds of either side, and why some are not compared."""
    seen = np.isfinite(aligned.prob).all(1)
    rated = np.isfinite(aligned.score).any((0, 2)) | (aligned.label >= 0).any(0)
    n_rated, compared = int(rated.sum() + outside), int((seen & rated).sum())
    lost = {word: int((rated & ~seen & (aligned.status == word)).sum()) for word in ("no_face", "no_data")}
    return {
        "timeline_seconds": len(aligned.second),
        "machine_seconds": int(seen.sum()),
        "rated_seconds": n_rated,
        "compared_seconds": compared,
        "of_machine": compared / max(int(seen.sum()), 1),
        "of_raters": compared / max(n_rated, 1),
        "too_few_seconds": compared < RELIABLE_SECONDS,
        "rated_not_compared": {**lost, "outside": int(outside)},
        "machine_not_rated": int((seen & ~rated).sum()),
    }
