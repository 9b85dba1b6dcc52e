"""Timelines made of numbers, as fervid writes them: any length, any number of tracks, with or without shots."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fervid.timeline.aggregate import NO_DATA, NO_FACE, OK, fill_gaps
from fervid.timeline.schema import to_table

LABELS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")


def provenance(**source: Any) -> dict[str, Any]:
    """What stands in a timeline's metadata."""
    return {
        "version": "0.1.0", "schema": 1, "config": {"fps": 5.0, "stream": None}, "device": "cpu", "detector": "mtcnn",
        "source": {"name": "film.mp4", "bytes": 1, "sha256": "0" * 64, "codec": "h264", "width_px": 640,
                   "height_px": 360, "duration_s": None, "frame_rate": "25"} | source,
        "model": {"name": "seresnet", "sha256": "1" * 64, "labels": list(LABELS), "temperature": 1.0},
        "counters": {"looks": 0}, "status": "ok", "reasons": [],
    }  # fmt: skip


def rows(second: np.ndarray, track: np.ndarray, prob: np.ndarray) -> dict[str, np.ndarray]:
    """Rows with a face: second (n,), track (n,), prob (n, 7) that sum to one."""
    n, real = len(second), np.ones(len(second))
    return {
        "second": second, "shot": np.zeros(n, int), "track": track,
        "status": np.full(n, OK, object), "n_sampled": np.full(n, 5),
        "n_faces": np.full(n, 5), "face_seconds": real, **dict(zip(LABELS, prob.T)),
        "dominant": np.array(LABELS, object)[prob.argmax(1)] if n else np.zeros(0, object),
        "entropy": -(prob * np.log(np.maximum(prob, 1e-12))).sum(1), "spread": 0 * real, "score": real,
        "face_px": 80 * real, "x": 0.1 * real, "y": 0.1 * real, "w": 0.2 * real, "h": 0.2 * real,
        "quality": real,
    }  # fmt: skip


def write(
    path: Path,
    seen: dict[str, np.ndarray],
    seconds: int,
    *,
    lost: tuple[int, ...] = (),
    facts: dict[str, Any] | None = None,
    video: str = "film.mp4",
    **columns: np.ndarray,
) -> Path:
    """Write a timeline of so many seconds. Those without a row are no_face, those in `lost` no_data.

    `columns` are further ones (person, and shot, which is left out otherwise), as long as the table.
    """
    full = fill_gaps([seen], LABELS, 0, lambda: float(seconds))
    blank = full["status"] == NO_DATA
    full["status"] = np.where(blank & ~np.isin(full["second"], lost), NO_FACE, full["status"]).astype(object)
    full = {name: column[full["second"] < seconds] for name, column in full.items()}
    table = to_table(full, LABELS, video, facts or provenance()).drop_columns("shot")
    for name, values in columns.items():
        table = table.append_column(name, pa.array(list(values[: len(table)]), pa.int32()))
    pq.write_table(table, path)
    return path


def crowd(path: Path, *, seconds: int, tracks: int, share: float = 0.6, seed: int = 0) -> Path:
    """A long film: each track is on screen in a share of it, in stretches, expressions drift, some seconds are lost."""
    random = np.random.default_rng(seed)
    moods = random.dirichlet(np.full(len(LABELS), 0.25), (tracks, seconds // 40 + 2))
    second, track, prob = [], [], []
    for i in range(tracks):
        present = np.repeat(random.random(seconds // 60 + 1) < share, 60)[:seconds]
        present[seconds // 3 : seconds // 3 + seconds // 50] = False
        here = np.flatnonzero(present)
        at, part = here // 40, (here % 40 / 40)[:, None]
        mixed = (1 - part) * moods[i, at] + part * moods[i, at + 1] + 0.05 * random.random((len(here), len(LABELS)))
        second.append(here)
        track.append(np.full(len(here), i))
        prob.append(mixed / mixed.sum(1, keepdims=True))
    seen = rows(np.concatenate(second), np.concatenate(track), np.concatenate(prob))
    order = np.lexsort((seen["track"], seen["second"]))
    lost = tuple(range(seconds // 3, seconds // 3 + seconds // 100))
    return write(path, {name: column[order] for name, column in seen.items()}, seconds, lost=lost)
