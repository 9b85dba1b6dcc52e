"""Several tables of ratings as one panel of raters."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from fervid.errors import DataError
from fervid.labels import EMOTIONS
from fervid.studies.ratings import RatingOptions, Ratings, read_ratings

__all__ = ["read_raters"]


def read_raters(paths: Sequence[Path], reading: RatingOptions) -> Ratings:
    """Read one table or several, in whatever formats; a rater without a name has the file's."""
    if not paths:
        raise DataError("no ratings: expected at least one CSV file")
    tables = [read_ratings(path, reading) for path in paths]
    return tables[0] if len(tables) == 1 else _join(tables)


def _join(tables: list[Ratings]) -> Ratings:
    """One panel: the union of seconds and emotions. Who gave labels did not give the ones that only others used."""
    second = np.unique(np.concatenate([one.second for one in tables]))
    found = set(chain.from_iterable(one.emotions for one in tables))
    emotions = tuple(name for name in EMOTIONS if name in found)
    scores, labels = [], []
    for one in tables:
        at = np.searchsorted(second, one.second)
        score = np.full((len(one.raters), len(second), len(emotions)), np.nan)
        if not one.scored:
            score[:, at] = np.where(np.isfinite(one.score).all(2)[..., None], 0, np.nan)
        score[:, at[:, None], [emotions.index(name) for name in one.emotions]] = one.score
        label = np.full((len(one.raters), len(second)), -1)
        label[:, at] = np.array([*(emotions.index(name) for name in one.emotions), -1])[one.label]
        scores.append(score)
        labels.append(label)
    names = _names(tables)
    return Ratings(
        tables[0].path,
        names,
        emotions,
        second,
        np.concatenate(scores),
        np.concatenate(labels),
        labelled=all(one.labelled for one in tables),
        scored=any(one.scored for one in tables),
        facts=_facts(tables, names),
    )


def _names(tables: list[Ratings]) -> tuple[str, ...]:
    """A name for each rater: the table's, with the file's before it where two are the same."""
    told = [[one.path.stem] if one.raters == ("rater",) else list(one.raters) for one in tables]
    every = list(chain.from_iterable(told))
    named = [
        who if every.count(who) == 1 else f"{one.path.stem}/{who}" for one, own in zip(tables, told) for who in own
    ]
    for name in named:
        if named.count(name) > 1:
            raise DataError(f"two raters are called {name!r}; rename one of the files or its column of raters")
    return tuple(named)


def _facts(tables: list[Ratings], names: tuple[str, ...]) -> dict[str, Any]:
    ignored: dict[str, int] = {}
    for one in tables:
        for label, n in one.facts["labels_ignored"].items():
            ignored[label] = ignored.get(label, 0) + n
    kinds = {one.facts["kind"] for one in tables}
    return {
        "raters": list(names), "ratings": sum(one.facts["ratings"] for one in tables),
        "kind": kinds.pop() if len(kinds) == 1 else "moments and intervals",
        "columns_not_used": [name for one in tables for name in one.facts["columns_not_used"]],
        "labels_ignored": ignored,
        **({"scale": scales[0] if len(scales) == 1 else scales}
           if (scales := [one.facts["scale"] for one in tables if "scale" in one.facts]) else {}),
    }  # fmt: skip
