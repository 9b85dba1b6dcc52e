"""Combine several tables of ratings."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from fervid.errors import DataError
from fervid.labels import EMOTIONS
from fervid.studies.ratings import Film, RatingOptions, Ratings, read_ratings

__all__ = ["read_raters"]


def read_raters(paths: Sequence[Path], options: RatingOptions, film: Film | None = None) -> Ratings:
    """Read the ratings of all raters, from one or more tables of any format.

    Parameters
    ----------
    paths : sequence of Path
        Files as `read_ratings` takes them.
    options : RatingOptions
        How to read them.
    film : Film, optional
        The video that was rated, and its clock.

    Returns
    -------
    Ratings
        The union of seconds and emotions. A rater without a name is named after the file.

    Raises
    ------
    DataError
        If there is no file, one is not a table of ratings, or two raters have the same name.
    """
    if not paths:
        raise DataError("no ratings: expected at least one CSV file, .eaf, .srt or .xlsx")
    tables = [read_ratings(path, options, film) for path in paths]
    return tables[0] if len(tables) == 1 else _join(tables)


def _join(tables: list[Ratings]) -> Ratings:
    """Join tables. Where a table has labels, emotions that it never uses have a score of 0."""
    second = np.unique(np.concatenate([table.second for table in tables]))
    found = set(chain.from_iterable(table.emotions for table in tables))
    emotions = tuple(name for name in EMOTIONS if name in found)
    scores, labels = [], []
    for table in tables:
        at = np.searchsorted(second, table.second)
        score = np.full((len(table.raters), len(second), len(emotions)), np.nan)
        if not table.scored:
            score[:, at] = np.where(np.isfinite(table.score).all(2)[..., None], 0, np.nan)
        score[:, at[:, None], [emotions.index(name) for name in table.emotions]] = table.score
        label = np.full((len(table.raters), len(second)), -1)
        label[:, at] = np.array([*(emotions.index(name) for name in table.emotions), -1])[table.label]
        scores.append(score)
        labels.append(label)
    names = _unique_names(tables)
    return Ratings(
        tables[0].path,
        names,
        emotions,
        second,
        np.concatenate(scores),
        np.concatenate(labels),
        labelled=all(table.labelled for table in tables),
        scored=any(table.scored for table in tables),
        facts=_join_facts(tables, names),
    )


def _unique_names(tables: list[Ratings]) -> tuple[str, ...]:
    """Return the names of all raters; names that occur twice are prefixed with the name of the file."""
    given = [[table.path.stem] if table.raters == ("rater",) else list(table.raters) for table in tables]
    every = list(chain.from_iterable(given))
    names = [
        name if every.count(name) == 1 else f"{table.path.stem}/{name}"
        for table, own in zip(tables, given)
        for name in own
    ]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"two raters are called {name!r}; rename one of the files or its column of raters")
    return tuple(names)


def _join_facts(tables: list[Ratings], names: tuple[str, ...]) -> dict[str, Any]:
    ignored: dict[str, int] = {}
    for table in tables:
        for label, n in table.facts["labels_ignored"].items():
            ignored[label] = ignored.get(label, 0) + n
    kinds = {table.facts["kind"] for table in tables}
    scales = [table.facts["scale"] for table in tables if "scale" in table.facts]
    facts = {
        "raters": list(names),
        "ratings": sum(table.facts["ratings"] for table in tables),
        "kind": kinds.pop() if len(kinds) == 1 else "moments and intervals",
        "columns_not_used": [name for table in tables for name in table.facts["columns_not_used"]],
        "labels_ignored": ignored,
        "points_ignored": sum(table.facts["points_ignored"] for table in tables),
        "other_videos": sorted({name for table in tables for name in table.facts["other_videos"]}),
    }
    if scales:
        facts["scale"] = scales[0] if len(scales) == 1 else scales
        facts["scale_guessed"] = any(table.facts.get("scale_guessed") for table in tables)
    return facts
