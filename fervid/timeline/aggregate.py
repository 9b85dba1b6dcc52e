"""Aggregate face readings into one row per second and track; every second of the video is present."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fervid.runtime.profiling import stage
from fervid.types import EmotionBatch, Rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NO_DATA", "NO_FACE", "OK", "entropy", "fill_gaps", "summarise", "weighted_mean"]

#: The status of a second: a face was found; frames were sampled, without a face; no frame could be decoded.
OK, NO_FACE, NO_DATA = "ok", "no_face", "no_data"


def summarise(emotions: Iterable[EmotionBatch], labels: tuple[str, ...]) -> Iterator[Rows]:
    """Aggregate readings second by second, keeping only the current second in memory.

    Parameters
    ----------
    emotions : iterable of EmotionBatch
        Readings in the order of time.
    labels : tuple of str
        The emotions of the classifier, in the order of its columns.

    Yields
    ------
    Rows
        The rows of each second with a sampled frame. `face_seconds` follows the timestamps: a sampled frame stands for
        its duration_s, also beyond the end of its second. What reaches into the next second counts there for the
        tracks that are seen there again.
    """
    second: int | None = None
    samples: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    faces: list[EmotionBatch] = []
    before = _Last(-math.inf, np.zeros(0, np.int32))
    for batch in emotions:
        for now in np.unique(np.floor(batch.sampled_s)).astype(int):
            if second is not None and now > second:
                with stage("average"):
                    rows, before = _one_second(second, samples, faces, labels, before)
                yield rows
                samples, faces = [], []
            second = int(now)
            here = np.floor(batch.sampled_s) == now
            samples.append((batch.sampled_s[here], batch.duration_s[here], batch.shot[here]))
            faces.append(batch.take(np.floor(batch.pts_s) == now))
    if second is not None:
        yield _one_second(second, samples, faces, labels, before)[0]


class _Last(NamedTuple):
    """The last sample of a second: until when it stands, and the tracks that were seen in it."""

    until_s: float
    track: np.ndarray


def _one_second(
    second: int, samples: list, faces: list[EmotionBatch], labels: tuple[str, ...], before: _Last
) -> tuple[Rows, _Last]:
    """Aggregate one second -> its rows, and its last sample; `before` is that of the second before it."""
    sampled_s, duration_s, shot = (np.concatenate(part) for part in zip(*samples))
    share_s = _time_shares(sampled_s - second, duration_s)
    pts_s, track, prob, score, box, size, quality = (
        np.concatenate([getattr(f, name) for f in faces])
        for name in ("pts_s", "track", "prob", "score", "box_px", "frame_px", "quality")
    )
    numbers, first, row = np.unique(track, return_index=True, return_inverse=True)
    last = _Last(float(sampled_s[-1] + duration_s[-1]), track[pts_s == sampled_s[-1]])
    if len(numbers) == 0:
        return _faceless(np.array([second]), len(sampled_s), labels, NO_FACE) | {"shot": shot[:1]}, last
    sample = np.searchsorted(sampled_s, pts_s)
    count = np.bincount(row)
    reaching_s = max(0.0, min(before.until_s, float(sampled_s[0])) - second)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(row, values) / count

    p = np.stack([mean(prob[:, k]) for k in range(len(labels))], 1)
    p /= p.sum(1, keepdims=True)
    best = p.argmax(1)
    dominant_prob = prob[np.arange(len(prob)), best[row]].astype(np.float64)
    spread = np.sqrt(np.maximum(mean((dominant_prob - mean(dominant_prob)[row]) ** 2), 0))
    x0, y0, x1, y1 = (mean(box[:, i] / size[:, i % 2].astype(np.float64)) for i in range(4))
    n = len(numbers)
    rows = {
        "second": np.full(n, second),
        "shot": shot[sample[first]],
        "track": numbers,
        "status": np.full(n, OK, object),
        "n_sampled": np.full(n, len(sampled_s)),
        "n_faces": count,
        "face_seconds": np.bincount(row, share_s[sample]) + reaching_s * np.isin(numbers, before.track),
        **{name: p[:, k] for k, name in enumerate(labels)},
        "dominant": np.array(labels, object)[best],
        "entropy": entropy(p),
        "spread": spread,
        "score": mean(score),
        "face_px": mean(box[:, 3] - box[:, 1]),
        "x": x0,
        "y": y0,
        "w": x1 - x0,
        "h": y1 - y0,
        "quality": mean(quality),
    }
    return rows, last


def _time_shares(sampled_s: np.ndarray, duration_s: np.ndarray) -> np.ndarray:
    """Divide one second, 0..1, among its sampled frames: each has the time until the next one, up to its duration."""
    return np.minimum(np.append(sampled_s[1:], 1.0) - sampled_s, duration_s)


def entropy(prob: np.ndarray) -> np.ndarray:
    """Compute the entropy of distributions.

    Parameters
    ----------
    prob : np.ndarray
        Probabilities, (n, K); each row sums to 1.

    Returns
    -------
    np.ndarray
        Shannon entropy in nats, (n,), 0 to log K; NaN for rows of NaN.
    """
    return -(prob * np.log(np.maximum(prob, 1e-12))).sum(1)


def weighted_mean(values: "pd.DataFrame", weight: "pd.Series", by: "list[pd.Series]") -> "pd.DataFrame":
    """Average columns within groups.

    Parameters
    ----------
    values : pandas.DataFrame
        The columns to average; NaN is skipped.
    weight : pandas.Series
        The weight of each row, such as `face_seconds`.
    by : list of pandas.Series
        The keys of the groups.

    Returns
    -------
    pandas.DataFrame
        One row per group, sorted by the keys, which are the index; NaN where the weights of a group sum to 0.
    """
    total = weight.groupby(by, observed=True, sort=True).sum()
    sums = values.mul(weight, axis=0).groupby(by, observed=True, sort=True).sum(min_count=1)
    return sums.div(total.replace(0, np.nan), axis=0)


def fill_gaps(rows: Iterable[Rows], labels: tuple[str, ...], first: int, end_s: Callable[[], float]) -> Rows:
    """Join the rows of all seconds and add a `no_data` row for each missing one.

    Parameters
    ----------
    rows : iterable of Rows
        The rows of `summarise`.
    labels : tuple of str
        The emotions of the classifier.
    first : int
        The first second of the timeline.
    end_s : callable
        Returns the end of the timeline in seconds; called after the last row, because the end of a video is certain
        only after its last frame.

    Returns
    -------
    Rows
        Sorted by second and track; every second from `first` to the end is present.
    """
    parts = list(rows)
    present = np.unique(np.concatenate([part["second"] for part in parts])) if parts else np.zeros(0, int)
    last = max(math.ceil(end_s() - 1e-6), int(present.max()) + 1 if len(present) else 0)
    missing = np.setdiff1d(np.arange(first, last), present)
    parts.append(_faceless(missing, 0, labels, NO_DATA))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[-1]}
    order = np.lexsort((joined["track"], joined["second"]))
    return {name: column[order] for name, column in joined.items()}


def _faceless(seconds: np.ndarray, n_sampled: int, labels: tuple[str, ...], status: str) -> Rows:
    """Return one row per second without a face; -1, "" and NaN become null in the file."""
    n = len(seconds)
    empty = np.full(n, np.nan)
    return {
        "second": seconds,
        "shot": np.full(n, -1),
        "track": np.full(n, -1),
        "status": np.full(n, status, object),
        "n_sampled": np.full(n, n_sampled),
        "n_faces": np.zeros(n, int),
        "face_seconds": np.zeros(n),
        **dict.fromkeys(labels, empty),
        "dominant": np.full(n, "", object),
        **dict.fromkeys(("entropy", "spread", "score", "face_px", "x", "y", "w", "h", "quality"), empty),
    }
