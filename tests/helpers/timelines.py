"""Synthetic timelines in the format of fervid: any length, any number of tracks, with or without shots."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fervid.files import content_hash
from fervid.timeline.aggregate import NO_DATA, NO_FACE, OK, entropy, fill_gaps
from fervid.timeline.schema import to_table

__all__ = ["HOSTILE_NAME", "LABELS", "crowd", "face_readings", "one_row", "provenance", "rows", "timeline_of", "write"]

#: The name of a video that tries to break out of a page.
HOSTILE_NAME = "</script><script>alert(1)</script>&lt;{{content}}{{data}}.mp4"
LABELS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")


def provenance(**source: Any) -> dict[str, Any]:
    """Return the provenance of a timeline, with changes to its source."""
    return {
        "version": "0.1.0", "schema": 1, "config": {"fps": 5.0, "stream": None}, "device": "cpu", "detector": "mtcnn",
        "source": {"name": "film.mp4", "bytes": 1, "sha256": "0" * 64, "codec": "h264", "width_px": 640,
                   "height_px": 360, "duration_s": None, "frame_rate": "25"} | source,
        "model": {"name": "seresnet", "sha256": "1" * 64, "labels": list(LABELS), "temperature": 1.0},
        "counters": {"looks": 0}, "status": "ok", "reasons": [],
    }  # fmt: skip


def rows(second: np.ndarray, track: np.ndarray, prob: np.ndarray) -> dict[str, np.ndarray]:
    """Return rows with a face; second and track are (n,), prob (n, 7) sums to 1 per row."""
    n, real = len(second), np.ones(len(second))
    return {
        "second": second, "shot": np.zeros(n, int), "track": track,
        "status": np.full(n, OK, object), "n_sampled": np.full(n, 5),
        "n_faces": np.full(n, 5), "face_seconds": real, **dict(zip(LABELS, prob.T)),
        "dominant": np.array(LABELS, object)[prob.argmax(1)] if n else np.zeros(0, object),
        "entropy": entropy(prob), "spread": 0 * real, "score": real,
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
    """Write a timeline; seconds without a row are no_face, those in `lost` no_data.

    `columns` are optional columns (person, and shot, which is omitted by default), as long as the table.
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


def one_row(second: int, track: int = 0) -> dict[str, np.ndarray]:
    """Return one row with a sad face."""
    return rows(np.array([second]), np.array([track]), np.array([[0.1, 0.1, 0.1, 0.5, 0.1, 0.05, 0.05]]))


def timeline_of(video: Path, path: Path, seconds: int = 2, **source: Any) -> Path:
    """Write a timeline whose provenance names this video."""
    facts = provenance(sha256=content_hash(video), bytes=video.stat().st_size, name=video.name, **source)
    return write(path, one_row(0), seconds, facts=facts)


def face_readings(timeline: Path, path: Path, table: dict[str, Any]) -> Path:
    """Write face readings with the provenance of a timeline; probabilities are uniform by default."""
    facts = pq.read_metadata(timeline).metadata[b"fervid"]
    uniform = dict.fromkeys(LABELS, np.full(len(table["pts_s"]), 1 / 7, np.float32))
    pq.write_table(pa.table(uniform | table).replace_schema_metadata({b"fervid": facts}), path)
    return path


def crowd(path: Path, *, seconds: int, tracks: int, share: float = 0.6, seed: int = 0) -> Path:
    """Write a long timeline: each track is visible for a share of it, expressions drift, some seconds lack data."""
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
