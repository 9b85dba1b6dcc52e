"""Optional columns derived from the raw ones: smoothed curves, and differences from the person's own median."""

import math

import numpy as np

from fervid.types import Rows

__all__ = ["baseline", "smooth"]


def smooth(rows: Rows, labels: tuple[str, ...], sigma_s: float) -> Rows:
    """Smooth the probabilities of each track over time.

    The weight of a neighbouring second is a Gaussian of its distance, cut off at three standard deviations, times its
    `face_seconds` and its `quality`. Only consecutive seconds of one track are averaged; a track never crosses a cut,
    so neither does a curve. At both ends of a track the kernel is truncated (Nadaraya 1964, Watson 1964).

    Parameters
    ----------
    rows : Rows
        The rows of a timeline, with `quality`.
    labels : tuple of str
        The emotions of the classifier.
    sigma_s : float
        Standard deviation of the kernel, in seconds.

    Returns
    -------
    Rows
        One column `*_smooth` per emotion; they sum to 1 in each row with a face and are NaN elsewhere.
    """
    order = np.lexsort((rows["second"], rows["track"]))
    track, second = rows["track"][order], rows["second"][order]
    with_face = track >= 0
    joined = (np.diff(track) == 0) & (np.diff(second) == 1)
    run = np.cumsum(np.append(True, ~joined)) if len(track) else track
    weight = np.where(with_face, _weight(rows)[order], 0.0)
    values = np.nan_to_num(_table(rows, labels)[order])
    total, weights = np.zeros_like(values), np.zeros(len(values))
    radius = min(math.ceil(3 * sigma_s), len(run))
    for step in range(-radius, radius + 1):
        here = slice(max(step, 0), len(run) + min(step, 0))
        there = slice(max(-step, 0), len(run) - max(step, 0))
        kernel = math.exp(-0.5 * (step / sigma_s) ** 2) * weight[here] * (run[here] == run[there])
        total[there] += kernel[:, None] * values[here]
        weights[there] += kernel
    curves = np.full(values.shape, np.nan)
    curves[with_face] = total[with_face] / weights[with_face, None]
    curves[order] = curves.copy()
    return {f"{name}_smooth": curves[:, k] for k, name in enumerate(labels)}


def baseline(rows: Rows, labels: tuple[str, ...]) -> Rows:
    """Subtract from each probability the person's own median.

    The median is weighted by `face_seconds` and `quality`, over all seconds of the person; of the track if the rows
    have no column `person`, or if the person of the track is unknown.

    Parameters
    ----------
    rows : Rows
        The rows of a timeline, with `quality`.
    labels : tuple of str
        The emotions of the classifier.

    Returns
    -------
    Rows
        One column `*_baseline` per emotion, -1..1; NaN without a face.
    """
    owner = rows["track"].astype(np.int64)
    if "person" in rows:  # negative numbers are persons; tracks of unknown persons keep their own
        owner = np.where(rows["person"] >= 0, -2 - rows["person"].astype(np.int64), owner)
    values, weight = _table(rows, labels), _weight(rows)
    difference = np.full(values.shape, np.nan)
    order = np.argsort(owner, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(owner[order])) + 1):
        if len(group) and rows["track"][group[0]] >= 0:
            for k in range(len(labels)):
                difference[group, k] = values[group, k] - _weighted_median(values[group, k], weight[group])
    return {f"{name}_baseline": difference[:, k] for k, name in enumerate(labels)}


def _table(rows: Rows, labels: tuple[str, ...]) -> np.ndarray:
    return np.stack([rows[name] for name in labels], 1).astype(np.float64)


def _weight(rows: Rows) -> np.ndarray:
    return np.nan_to_num(np.maximum(rows["face_seconds"], 1e-3) * rows["quality"])


def _weighted_median(values: np.ndarray, weight: np.ndarray) -> float:
    """Return the value with half of the weight on either side; the mean of two values if it lies between them."""
    order = np.argsort(values, kind="stable")
    values, reached = values[order], np.cumsum(weight[order])
    half = reached[-1] / 2
    low, high = np.searchsorted(reached, [half * (1 - 1e-9), half * (1 + 1e-9)])
    return float(values[low] + values[min(high, len(values) - 1)]) / 2
