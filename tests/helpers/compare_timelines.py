"""Measure the differences between two timelines of one video."""

import numpy as np
import pandas as pd

from fervid.labels import EMOTIONS


def differences(expected: pd.DataFrame, found: pd.DataFrame) -> dict[str, float]:
    """Measure the largest differences between two timelines of one video.

    Returns
    -------
    dict
        rows_that_differ: rows whose second, track, status, n_sampled and n_faces do not occur in both timelines. For
        the other rows, prob: the largest difference of a probability; box: of an edge of the mean box, relative to the
        image; score: of the detection score; other_dominant: rows with another dominant emotion, except where the two
        highest probabilities differ by at most 0.02.
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
        "box": _difference(one, other, ["x", "y", "w", "h"])[faces].max(initial=0),
        "score": _difference(one, other, ["score"])[faces].max(initial=0),
        "other_dominant": int((clear & (before.argmax(1) != after.argmax(1))).sum()),
    }


def _difference(one: pd.DataFrame, other: pd.DataFrame, columns: list[str]) -> np.ndarray:
    return np.abs(one[columns].to_numpy(np.float64) - other[columns].to_numpy(np.float64))
