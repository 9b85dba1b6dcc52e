"""Compare two timelines of one video."""

import numpy as np
import pandas as pd

from fervid.labels import EMOTIONS


def differences(expected: pd.DataFrame, found: pd.DataFrame) -> dict[str, float]:
    """Measure how far two timelines of one video differ.

    Parameters
    ----------
    expected, found : DataFrame

    Returns
    -------
    dict[str, float]
        rows_that_differ: number of rows whose second, track, status, samples or faces are not in both timelines. Of the
        other rows, prob: the largest difference of a probability; box: that of an edge of a mean box, in parts of the
        image; score: that of a mean score; other_dominant: rows with another dominant emotion, unless the first two
        emotions are within 0.02 of each other.
    """
    keys = ["second", "track", "status", "n_sampled", "n_faces"]
    one, other = (
        t.assign(track=t["track"].fillna(-1), status=t["status"].astype(str)).set_index(keys) for t in (expected, found)
    )
    shared = one.index.intersection(other.index)
    one, other = one.loc[shared], other.loc[shared]
    names = [name for name in EMOTIONS if name in one.columns and name in other.columns]
    before, after = (t[names].to_numpy(np.float64) for t in (one, other))
    faces = ~np.isnan(before).any(1)
    before, after = before[faces], after[faces]
    rank = np.sort(before, 1)
    clear = rank[:, -1] - rank[:, -2] > 0.02 if len(before) else np.zeros(0, bool)
    return {
        "rows_that_differ": len(expected) + len(found) - 2 * len(shared),
        "prob": np.abs(before - after).max(initial=0),
        "box": _apart(one, other, ["x", "y", "w", "h"])[faces].max(initial=0),
        "score": _apart(one, other, ["score"])[faces].max(initial=0),
        "other_dominant": int((clear & (before.argmax(1) != after.argmax(1))).sum()),
    }


def _apart(one: pd.DataFrame, other: pd.DataFrame, columns: list[str]) -> np.ndarray:
    return np.abs(one[columns].to_numpy(np.float64) - other[columns].to_numpy(np.float64))
