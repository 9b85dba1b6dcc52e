"""Readings and the times that were looked at -> one row per (second, track). Every second is present."""

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from fervid.runtime.profiling import stage
from fervid.types import EmotionBatch, Rows, VideoInfo

__all__ = ["NO_DATA", "NO_FACE", "OK", "fill_gaps", "summarise"]

OK, NO_FACE, NO_DATA = "ok", "no_face", "no_data"


def summarise(
    emotions: Iterable[EmotionBatch],
    labels: tuple[str, ...],
    video: VideoInfo,
    end_s: Callable[[], float | None] = lambda: None,
) -> Iterator[Rows]:
    """Sum readings up second by second, holding no more than the seconds that are not over yet.

    Yields the rows of each second that was looked at, in order. `face_seconds` comes from real timestamps: a look
    stands for the time until the next one, as far as its duration_s reaches.
    """
    second: int | None = None
    looks: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    faces: list[EmotionBatch] = []
    for batch in emotions:
        for now in np.unique(np.floor(batch.sampled_s)).astype(int):
            if second is not None and now > second:
                with stage("summarise"):
                    rows = _one_second(second, looks, faces, labels, video)
                yield rows
                looks, faces = [], []
            second = int(now)
            here = np.floor(batch.sampled_s) == now
            looks.append((batch.sampled_s[here], batch.duration_s[here], batch.shot[here]))
            faces.append(batch.take(np.floor(batch.pts_s) == now))
    if second is not None:  # the last second may end before it is full
        end = end_s()
        yield _one_second(second, looks, faces, labels, video, 1.0 if end is None else min(end - second, 1.0))


def _one_second(
    second: int, looks: list, faces: list[EmotionBatch], labels: tuple[str, ...], video: VideoInfo, end: float = 1.0
) -> Rows:
    sampled_s, duration_s, shot = (np.concatenate(part) for part in zip(*looks))
    owned = _owned(sampled_s - second, duration_s, end)
    pts_s, track, prob, score, box, quality = (
        np.concatenate([getattr(f, name) for f in faces])
        for name in ("pts_s", "track", "prob", "score", "box_px", "quality")
    )
    numbers, first, which = np.unique(track, return_index=True, return_inverse=True)
    if len(numbers) == 0:
        return _faceless(np.array([second]), len(sampled_s), labels, NO_FACE) | {"shot": shot[:1]}
    look = np.searchsorted(sampled_s, pts_s)
    count = np.bincount(which)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(which, values) / count

    p = np.stack([mean(prob[:, k]) for k in range(len(labels))], 1)
    p /= p.sum(1, keepdims=True)
    best = p.argmax(1)
    dominant_prob = prob[np.arange(len(prob)), best[which]].astype(np.float64)
    spread = np.sqrt(np.maximum(mean((dominant_prob - mean(dominant_prob)[which]) ** 2), 0))
    x0, y0, x1, y1 = (mean(box[:, i]) for i in range(4))
    n = len(numbers)
    return {
        "second": np.full(n, second), "shot": shot[look[first]], "track": numbers, "status": np.full(n, OK, object),
        "n_sampled": np.full(n, len(sampled_s)), "n_faces": count,
        "face_seconds": np.bincount(which, owned[look]),
        **{name: p[:, k] for k, name in enumerate(labels)},
        "dominant": np.array(labels, object)[best],
        "entropy": -(p * np.log(np.maximum(p, 1e-12))).sum(1), "spread": spread,
        "score": mean(score), "face_px": y1 - y0,
        "x": x0 / video.width_px, "y": y0 / video.height_px,
        "w": (x1 - x0) / video.width_px, "h": (y1 - y0) / video.height_px, "quality": mean(quality),
    }  # fmt: skip


def _owned(sampled_s: np.ndarray, duration_s: np.ndarray, end: float) -> np.ndarray:
    """Divide one second, 0..end, among the looks in it: each owns the time until the next, as far as it can stand for.

    The first look also owns the time before it back to the second's start, within the same reach.
    """
    until = np.append(sampled_s[1:], max(end, sampled_s[-1]))
    owned = np.minimum(until - sampled_s, duration_s)
    owned[0] += min(sampled_s[0], duration_s[0])
    return owned


def fill_gaps(rows: Iterable[Rows], labels: tuple[str, ...], first: int, end_s: Callable[[], float]) -> Rows:
    """Join the rows of all seconds, with a `no_data` row for each second from `first` to the end that has none.

    The end of a video is known for sure only once its last frame is read: end_s is asked after the last row.
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
    n = len(seconds)
    empty = np.full(n, np.nan)
    return {
        "second": seconds, "shot": np.full(n, -1), "track": np.full(n, -1), "status": np.full(n, status, object),
        "n_sampled": np.full(n, n_sampled), "n_faces": np.zeros(n, int), "face_seconds": np.zeros(n),
        **dict.fromkeys(labels, empty), "dominant": np.full(n, "", object),
        **dict.fromkeys(("entropy", "spread", "score", "face_px", "x", "y", "w", "h", "quality"), empty),
    }  # fmt: skip
