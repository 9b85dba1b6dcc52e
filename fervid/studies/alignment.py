"""The machine's side of a comparison, and both sides on the same seconds."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fervid.errors import DataError
from fervid.labels import EMOTIONS
from fervid.studies.ratings import RatingOptions, Ratings
from fervid.timeline.read import load_timeline, read_provenance

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AlignedSeries", "TimelineSeries", "align", "read_timeline_series"]


@dataclass(frozen=True)
class TimelineSeries:
    """A timeline as one series. second and status (n,); prob (n, K), NaN where there is no face."""

    path: Path
    emotions: tuple[str, ...]
    second: np.ndarray
    status: np.ndarray
    prob: np.ndarray
    who: str
    model: str


@dataclass(frozen=True)
class AlignedSeries:
    """n seconds of a timeline, K emotions that both sides know, R raters.

    second, status (n,); prob (n, K); score (R, n, K), NaN where there is none; label (R, n) and machine (n,): a place
    in `categories` or -1; consensus (n,): the label of most raters, -1 where two are level.
    """

    raters: tuple[str, ...]
    emotions: tuple[str, ...]
    categories: tuple[str, ...]
    second: np.ndarray
    status: np.ndarray
    prob: np.ndarray
    score: np.ndarray
    label: np.ndarray
    machine: np.ndarray
    facts: dict[str, Any]

    @property
    def mean(self) -> np.ndarray:
        """The mean score (n, K) of those who rated; NaN where nobody did."""
        there = np.isfinite(self.score)
        count = there.sum(0)
        return np.divide(
            np.where(there, self.score, 0).sum(0), count, out=np.full(count.shape, np.nan), where=count > 0
        )

    @property
    def consensus(self) -> np.ndarray:
        """The label of most raters (n,); -1 where there is none, or two are level."""
        votes = np.stack([(self.label == c).sum(0) for c in range(len(self.categories))], -1)
        ordered = np.sort(np.pad(votes, ((0, 0), (1, 0))), 1)
        return np.where(ordered[:, -1] > ordered[:, -2], votes.argmax(1), -1)


def read_timeline_series(path: Path, reading: RatingOptions) -> TimelineSeries:
    """Read a timeline as one series: everybody on screen, weighted by face_seconds, or one track or person alone."""
    if path.is_dir():
        raise DataError(f"{path}: a folder; name one timeline, such as {path / 'film.mp4.parquet'}")
    facts = read_provenance(path)
    frame = load_timeline(path)
    who, mine = _choose(path, frame, reading)
    labels = [name for name in EMOTIONS if name in frame]
    second = np.unique(frame["second"].to_numpy())
    at = np.searchsorted(second, frame["second"].to_numpy())
    weight = np.where(mine, np.nan_to_num(frame["face_seconds"].to_numpy(float)), 0.0)
    total = np.bincount(at, weight, len(second))
    summed = np.stack(
        [np.bincount(at, weight * np.nan_to_num(frame[name].to_numpy(float)), len(second)) for name in labels], -1
    )
    seen = total > 0
    status = np.array(frame["status"].astype(str))[np.searchsorted(frame["second"].to_numpy(), second)]
    status[~seen & (status == "ok")] = "no_face"  # others are there, the one chosen is not
    if not seen.any():
        counts = ", ".join(f"{(status == word).sum()} {word}" for word in ("no_face", "no_data"))
        raise DataError(f"{path}: no second with a face to compare ({counts})")
    prob = np.divide(summed, np.where(seen, total, np.nan)[:, None])
    model = facts.get("model", {}).get("name", "unknown")
    return TimelineSeries(path, tuple(labels), second, status, prob, who, model)


def _choose(path: Path, frame: "pd.DataFrame", reading: RatingOptions) -> tuple[str, np.ndarray]:
    """In words who is compared, and their rows (n,)."""
    for column, number in (("track", reading.track), ("person", reading.person)):
        if number is None:
            continue
        if column not in frame:
            raise DataError(f"{path}: has no column {column}; choose by --track, or take everybody (no option)")
        mine = (frame[column] == number).fillna(False).to_numpy(bool)
        if not mine.any():
            known = sorted(frame[column].dropna().unique().tolist())
            raise DataError(f"{path}: no {column} {number}; it has {_ranges(known)}")
        return f"{column} {number}", mine
    return "everybody on screen, weighted by face_seconds", np.ones(len(frame), bool)


def _ranges(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:20]))
    return f"{shown} and {len(numbers) - 20} more" if len(numbers) > 20 else shown or "none"


def align(machine: TimelineSeries, ratings: Ratings, reading: RatingOptions) -> AlignedSeries:
    """Put both sides on the timeline's seconds; DataError if they share no second or no emotion."""
    shared = tuple(name for name in ratings.emotions if name in machine.emotions)
    only = {
        "only_in_ratings": [n for n in ratings.emotions if n not in shared],
        "only_in_machine": [n for n in machine.emotions if n not in shared],
    }
    if not shared:
        raise DataError(
            f"{ratings.path}: rates {', '.join(ratings.emotions)}, of which {machine.path} has none "
            f"({', '.join(machine.emotions)})"
        )
    n, inside = len(machine.second), np.isin(ratings.second, machine.second)
    if not inside.any():
        raise DataError(
            f"{ratings.path}: rates seconds {ratings.second[0]} to {ratings.second[-1]}, {machine.path} covers "
            f"{machine.second[0]} to {machine.second[-1]}: none in common; times count from the video's first frame"
        )
    at = np.searchsorted(machine.second, ratings.second[inside])
    score = np.full((len(ratings.raters), n, len(shared)), np.nan)
    score[:, at] = ratings.score[:, inside][:, :, [ratings.emotions.index(name) for name in shared]]
    categories = machine.emotions if ratings.labelled else shared
    places = np.array([categories.index(name) if name in categories else -1 for name in ratings.emotions] + [-1])
    label = np.full((len(ratings.raters), n), -1)
    label[:, at] = places[ratings.label[:, inside]]
    seen = np.isfinite(machine.prob).all(1)
    column = [machine.emotions.index(name) for name in categories]
    called = np.where(seen, np.nan_to_num(machine.prob[:, column]).argmax(1), -1)
    if len(categories) < 2:
        called = np.full(n, -1)
    both = AlignedSeries(
        ratings.raters,
        shared,
        categories,
        machine.second,
        machine.status,
        machine.prob[:, [machine.emotions.index(name) for name in shared]],
        score,
        label,
        called,
        only,
    )
    both = _fill_gaps(both, reading.gaps, ratings) if reading.gaps else both
    return replace(both, facts=only | {"coverage": _coverage(both, (~inside).sum())})


def _fill_gaps(both: AlignedSeries, name: str, ratings: Ratings) -> AlignedSeries:
    """Label what lies between a rater's intervals, over the whole timeline."""
    if not ratings.labelled or ratings.facts["kind"] != "intervals" or name not in both.categories:
        raise DataError(f"{ratings.path}: only the gaps between intervals with labels can be called {name}")
    score, label = both.score.copy(), both.label.copy()
    empty = (label < 0) & ~np.isfinite(score).any(2)
    label[empty] = both.categories.index(name)
    score[empty] = [one == name for one in both.emotions]
    return replace(both, score=score, label=label)


def _coverage(both: AlignedSeries, outside: int) -> dict[str, Any]:
    """Of how many seconds either side says something, and why the rest is not compared."""
    seen = np.isfinite(both.prob).all(1)
    rated = np.isfinite(both.score).any((0, 2)) | (both.label >= 0).any(0)
    n_rated, compared = int(rated.sum() + outside), int((seen & rated).sum())
    lost = {word: int((rated & ~seen & (both.status == word)).sum()) for word in ("no_face", "no_data")}
    return {
        "timeline_seconds": len(both.second), "machine_seconds": int(seen.sum()), "rated_seconds": n_rated,
        "compared_seconds": compared, "of_machine": compared / max(int(seen.sum()), 1),
        "of_raters": compared / max(n_rated, 1),
        "rated_not_compared": {**lost, "outside": int(outside)}, "machine_not_rated": int((seen & ~rated).sum()),
    }  # fmt: skip
