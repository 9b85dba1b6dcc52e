"""Curves beside the raw ones, on request: `*_smooth`, and `*_baseline`, how far somebody is from their own median."""

import math

import numpy as np

from fervid.types import Rows

__all__ = ["baseline", "smooth"]


def smooth(rows: Rows, labels: tuple[str, ...], sigma_s: float) -> Rows:
    """Average each track's seconds with their neighbours -> columns `*_smooth`, which sum to 1 as the raw ones do.

    The weight of a second is a Gaussian of its distance (deviation sigma_s, cut off at three) times its face_seconds
    times its `quality`. Only seconds of one track that follow each other without a hole count: no track crosses a cut,
    so no curve does. The kernel shrinks at both ends of a track (Nadaraya 1964, Watson 1964).
    """
    order = np.lexsort((rows["second"], rows["track"]))
    track, second = rows["track"][order], rows["second"][order]
    with_face = track >= 0
    joined = (np.diff(track) == 0) & (np.diff(second) == 1)
    run = np.cumsum(np.append(True, ~joined)) if len(track) else track
    weight = np.where(with_face, _weight(rows)[order], 0.0)
    values = np.nan_to_num(_table(rows, labels)[order])
    total, weights = np.zeros_like(values), np.zeros(len(values))
    reach = min(math.ceil(3 * sigma_s), len(run))
    for step in range(-reach, reach + 1):
        here = slice(max(step, 0), len(run) + min(step, 0))
        there = slice(max(-step, 0), len(run) - max(step, 0))
        share = math.exp(-0.5 * (step / sigma_s) ** 2) * weight[here] * (run[here] == run[there])
        total[there] += share[:, None] * values[here]
        weights[there] += share
    curves = np.full(values.shape, np.nan)
    curves[with_face] = total[with_face] / weights[with_face, None]
    curves[order] = curves.copy()
    return {f"{name}_smooth": curves[:, k] for k, name in enumerate(labels)}


def baseline(rows: Rows, labels: tuple[str, ...]) -> Rows:
    """Compare each second with the median of the same person -> columns `*_baseline`, -1..1, 0 where it is the median.

    The median is over all of the person's seconds, each weighing as in `smooth`; where nobody said who is who (column
    `person`), of the track. Somebody seen for one second is their own median.
    """
    who = rows["track"].astype(np.int64)
    if "person" in rows:  # tracks of unknown persons stay apart
        who = np.where(rows["person"] >= 0, -2 - rows["person"].astype(np.int64), who)
    values, weight = _table(rows, labels), _weight(rows)
    off = np.full(values.shape, np.nan)
    order = np.argsort(who, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(who[order])) + 1):
        if len(group) and rows["track"][group[0]] >= 0:
            for k in range(len(labels)):
                off[group, k] = values[group, k] - _median(values[group, k], weight[group])
    return {f"{name}_baseline": off[:, k] for k, name in enumerate(labels)}


def _table(rows: Rows, labels: tuple[str, ...]) -> np.ndarray:
    return np.stack([rows[name] for name in labels], 1).astype(np.float64)


def _weight(rows: Rows) -> np.ndarray:
    return np.nan_to_num(np.maximum(rows["face_seconds"], 1e-3) * rows["quality"])


def _median(values: np.ndarray, weight: np.ndarray) -> float:
    """The value at which half of the weight lies on either side, the mean of two where it is between them."""
    order = np.argsort(values, kind="stable")
    values, reached = values[order], np.cumsum(weight[order])
    half = reached[-1] / 2
    low, high = np.searchsorted(reached, [half * (1 - 1e-9), half * (1 + 1e-9)])
    return float(values[low] + values[min(high, len(values) - 1)]) / 2
