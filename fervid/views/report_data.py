"""A timeline as the report page takes it: columns of rounded integers in base64, one lane a person or track."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fervid.errors import DataError
from fervid.labels import EMOTIONS
from fervid.store import load_timeline, read_provenance
from fervid.timeline import NO_DATA, NO_FACE, OK

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Lane", "Timeline", "pack_boxes", "pack_timeline", "read_timeline"]

#: Probabilities, face_seconds, entropy and places in the picture travel as whole ten-thousandths in 16 bits.
_SCALE = 10_000
_STATUS = {OK: 0, NO_FACE: 1, NO_DATA: 2}
#: Readings of a track farther apart than this many looks are no neighbours: no box is drawn between them.
_NEIGHBOURS = 1.6


@dataclass(frozen=True)
class Lane:
    """One person (where the timeline tells them apart) or one track, with its rows, ascending and one a second.

    `face_seconds` is its time on screen; `shares` are the parts of it in which each emotion was the most probable.
    """

    name: str
    tracks: tuple[int, ...]
    rows: "pd.DataFrame"
    face_seconds: float
    shares: dict[str, float]


@dataclass(frozen=True)
class Timeline:
    """A timeline with its provenance, its emotions and its lanes, the longest on screen first."""

    path: Path
    frame: "pd.DataFrame"
    provenance: dict[str, Any]
    labels: tuple[str, ...]
    lanes: tuple[Lane, ...]

    @property
    def name(self) -> str:
        """The video's file name."""
        return str(self.provenance.get("source", {}).get("name") or self.path.name)


def read_timeline(path: Path) -> Timeline:
    """Read one timeline, with or without shots and persons; DataError if the file is none of fervid's."""
    frame = load_timeline(path)
    labels = tuple(name for name in EMOTIONS if name in frame)
    if not labels:
        raise DataError(f"{path}: found no column of an emotion; expected a timeline written by `fervid process`")
    return Timeline(path, frame, read_provenance(path), labels, _lanes(frame, labels))


def _lanes(frame: "pd.DataFrame", labels: tuple[str, ...]) -> tuple[Lane, ...]:
    """Split the rows with a face by person, and those of nobody in particular by track."""
    seen = frame[frame["track"].notna()]
    known = seen["person"].notna() if "person" in seen else seen["track"].isna()
    number = seen["person"].where(known, seen["track"]) if "person" in seen else seen["track"]
    seen = seen.assign(_known=known.to_numpy(bool), _number=number.to_numpy(np.int64))
    lanes = []
    for (is_person, n), rows in seen.groupby(["_known", "_number"], sort=True):
        tracks = tuple(sorted({int(t) for t in rows["track"]}))
        rows = _one_a_second(rows, labels)
        total = float(rows["face_seconds"].sum())
        time = rows.groupby("dominant", observed=True)["face_seconds"].sum()
        shares = {name: float(time.get(name, 0.0)) / max(total, 1e-9) for name in labels}
        lanes.append(Lane(f"{'Person' if is_person else 'Track'} {n}", tracks, rows, total, shares))
    return tuple(sorted(lanes, key=lambda lane: -lane.face_seconds))


def _one_a_second(rows: "pd.DataFrame", labels: tuple[str, ...]) -> "pd.DataFrame":
    """Average a person's tracks that meet in one second, each weighted by the time for which it was visible."""
    rows = rows.sort_values("second", kind="stable")
    if not rows["second"].duplicated().any():
        return rows
    means = [*labels, "entropy", "face_px"]
    weight = rows["face_seconds"].clip(lower=1e-6)
    sums = rows[means].mul(weight, axis=0).assign(_weight=weight).groupby(rows["second"]).sum()
    pooled = rows.drop_duplicates("second").set_index("second")
    pooled[means] = sums[means].div(sums["_weight"], axis=0).astype(np.float32)
    pooled["face_seconds"] = rows.groupby("second")["face_seconds"].sum().clip(upper=1)
    pooled["dominant"] = pooled[list(labels)].idxmax(axis=1)
    return pooled.reset_index()


def pack_timeline(timeline: Timeline) -> dict[str, Any]:
    """The page's data: seconds with their status, lanes, shots, and every lane's rows one after another.

    Columns are little-endian and in base64: `second` u32; `prob` u16, emotion after emotion; `weight`, `entropy` and
    `face_px` u16.
    """
    frame, lanes = timeline.frame, timeline.lanes
    first = int(frame["second"].min()) if len(frame) else 0
    status = np.full(int(frame["second"].max()) + 1 - first if len(frame) else 0, _STATUS[NO_DATA], np.uint8)
    status[frame["second"].to_numpy() - first] = frame["status"].astype(str).map(_STATUS).fillna(_STATUS[NO_DATA])
    rows = {name: np.concatenate([_column(lane, name) for lane in lanes] or [np.zeros(0)]) for name in
            ("second", *timeline.labels, "face_seconds", "entropy", "face_px")}  # fmt: skip
    prob = np.stack([rows[name] for name in timeline.labels])
    return {
        "emotions": list(timeline.labels),
        "first": first,
        "status": _base64(status),
        "lanes": [
            {"name": one.name, "tracks": list(one.tracks), "rows": len(one.rows), "time": round(one.face_seconds, 1)}
            for one in lanes
        ],
        "second": _base64(rows["second"].astype("<u4")),
        "prob": _base64(_whole(prob)),
        "weight": _base64(_whole(rows["face_seconds"])),
        "entropy": _base64(_whole(rows["entropy"])),
        "face_px": _base64(_whole(rows["face_px"], 1)),
        "shots": _shots(frame),
    }  # fmt: skip


def _column(lane: Lane, name: str) -> np.ndarray:
    return lane.rows[name].to_numpy(np.float64)


def _shots(frame: "pd.DataFrame") -> list[int]:
    """The seconds in which a new shot begins; none where the timeline knows of no shots."""
    if "shot" not in frame:
        return []
    first = frame[frame["shot"].notna()].groupby("shot")["second"].min()
    return sorted({int(second) for second in first})[1:]


def pack_boxes(timeline: Timeline, faces: Path) -> dict[str, Any]:
    """Every face reading as track after track of `ms` u32, `box` i16 (x, y, w, h one after another) and `best` u8.

    `gap` is in milliseconds: between readings of a track that are farther apart there is no box.
    """
    table = pq.read_table(faces).combine_chunks()
    missing = {"pts_s", "track", "x", "y", "w", "h"} - set(table.column_names)
    if missing:
        raise DataError(f"{faces}: found no face readings; expected the file that `fervid process --faces` wrote")
    labels = [name for name in timeline.labels if name in table.column_names]
    track, pts_s = (table[name].to_numpy().astype(kind) for name, kind in (("track", np.int64), ("pts_s", float)))
    order = np.lexsort((pts_s, track))
    track, pts_s = track[order], pts_s[order]
    box = np.stack([_real(table, name)[order] for name in "xywh"]) if len(track) else np.zeros((4, 0))
    prob = np.stack([_real(table, name)[order] for name in labels]) if labels else np.zeros((1, len(track)))
    numbers, counts = np.unique(track, return_counts=True)
    return {
        "tracks": numbers.tolist(), "counts": counts.tolist(), "gap": round(1000 * _gap_s(timeline, track, pts_s)),
        "ms": _base64(np.rint(pts_s * 1000).clip(0).astype("<u4")),
        "box": _base64(np.rint(box * _SCALE).clip(-32_768, 32_767).astype("<i2")),
        "best": _base64(np.array([timeline.labels.index(name) for name in labels] or [0], np.uint8)[prob.argmax(0)]),
        "sure": _base64(np.rint(prob.max(0, initial=0) * 100).astype(np.uint8)),
    }  # fmt: skip


def _gap_s(timeline: Timeline, track: np.ndarray, pts_s: np.ndarray) -> float:
    """Seconds within which two readings of a track are neighbours: from the looks asked for, else from the readings."""
    fps = timeline.provenance.get("config", {}).get("fps")
    steps = np.diff(pts_s)[np.diff(track) == 0]
    usual = 1 / fps if isinstance(fps, int | float) and fps > 0 else float(np.median(steps)) if len(steps) else 0.2
    return _NEIGHBOURS * usual


def _real(table: pa.Table, name: str) -> np.ndarray:
    return np.nan_to_num(table[name].to_numpy().astype(np.float64))


def _whole(values: np.ndarray, scale: int = _SCALE) -> np.ndarray:
    return np.rint(np.nan_to_num(values) * scale).clip(0, 65_535).astype("<u2")


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
