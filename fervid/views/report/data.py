"""A timeline as the report page takes it: columns of rounded integers in base64, one lane a person or track."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fervid.errors import DataError
from fervid.labels import EMOTIONS
from fervid.timeline.aggregate import NO_DATA, NO_FACE, OK
from fervid.timeline.read import load_timeline, read_provenance

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
    """One person (where the timeline tells them apart) or one track: how many rows it has, one a second.

    `face_seconds` is its time on screen; `shares` are the parts of it in which each emotion was the most probable.
    """

    name: str
    tracks: tuple[int, ...]
    rows: int
    face_seconds: float
    shares: dict[str, float]


@dataclass(frozen=True)
class Timeline:
    """A timeline with its provenance and emotions; `seen` are its rows with a face, lane after lane, each ascending.

    Lanes are in the order of their time on screen, the longest first.
    """

    path: Path
    frame: "pd.DataFrame"
    provenance: dict[str, Any]
    labels: tuple[str, ...]
    lanes: tuple[Lane, ...]
    seen: "pd.DataFrame"

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
    owned = _by_lane(frame)
    seen = _one_a_second(owned, labels)
    lanes = tuple(_lanes(seen, labels, owned.groupby("lane")["track"].unique()))
    return Timeline(path, frame, read_provenance(path), labels, lanes, seen)


def _by_lane(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The rows with a face and, in `lane`, whose they are: a person's, or a track's that is nobody in particular.

    The lane with the most time on screen comes first.
    """
    seen = frame[frame["track"].notna()]
    person = seen["person"] if "person" in seen else seen["track"].where(seen["track"].isna())
    seen = seen.assign(is_person=person.notna().to_numpy(bool), number=person.fillna(seen["track"]).to_numpy(np.int64))
    owner = ["is_person", "number"]
    on_screen = seen.groupby(owner)["face_seconds"].sum().sort_values(ascending=False, kind="stable")
    place = dict(zip(on_screen.index, range(len(on_screen))))
    seen = seen.assign(lane=[place[key] for key in zip(seen["is_person"], seen["number"])])
    return seen.sort_values(["lane", "second"], kind="stable")


def _one_a_second(seen: "pd.DataFrame", labels: tuple[str, ...]) -> "pd.DataFrame":
    """Average a person's tracks that meet in one second, each weighted by the time for which it was visible."""
    keys = ["lane", "second"]
    if not seen.duplicated(keys).any():
        return seen
    means = [*labels, "entropy", "face_px"]
    weight = seen["face_seconds"].clip(lower=1e-6)
    sums = seen[means].mul(weight, axis=0).assign(weight=weight, lane=seen["lane"], second=seen["second"])
    sums = sums.groupby(keys).sum()
    pooled = seen.drop_duplicates(keys).set_index(keys)
    pooled[means] = sums[means].div(sums["weight"], axis=0).astype(np.float32)
    pooled["face_seconds"] = seen.groupby(keys)["face_seconds"].sum().clip(upper=1)
    return pooled.reset_index()


def _lanes(seen: "pd.DataFrame", labels: tuple[str, ...], tracks: "pd.Series") -> Iterator[Lane]:
    """Sum up each lane; `tracks` are those that it is made of."""
    if not len(seen):
        return
    lane = seen["lane"].to_numpy()
    weight = seen["face_seconds"].to_numpy(np.float64)
    best = seen[list(labels)].to_numpy().argmax(1)
    n, k = int(lane[-1]) + 1, len(labels)
    rows, total = np.bincount(lane, minlength=n), np.bincount(lane, weight, minlength=n)
    time = np.bincount(lane * k + best, weight, minlength=n * k).reshape(n, k)
    first = seen.drop_duplicates("lane")
    for i, (is_person, number) in enumerate(zip(first["is_person"], first["number"])):
        shares = dict(zip(labels, (time[i] / max(total[i], 1e-9)).tolist()))
        mine = tuple(sorted(int(track) for track in tracks[i]))
        yield Lane(f"{'Person' if is_person else 'Track'} {number}", mine, int(rows[i]), float(total[i]), shares)


def pack_timeline(timeline: Timeline) -> dict[str, Any]:
    """The page's data: seconds with their status, lanes, shots, and the rows of one lane after another.

    Columns are little-endian and in base64: `second` u32; `prob` u16, emotion after emotion; `weight`, `entropy` and
    `face_px` u16.
    """
    frame, lanes = timeline.frame, timeline.lanes
    first = int(frame["second"].min()) if len(frame) else 0
    status = np.full(int(frame["second"].max()) + 1 - first if len(frame) else 0, _STATUS[NO_DATA], np.uint8)
    status[frame["second"].to_numpy() - first] = frame["status"].astype(str).map(_STATUS).fillna(_STATUS[NO_DATA])
    rows = {
        name: timeline.seen[name].to_numpy(np.float64)
        for name in ("second", *timeline.labels, "face_seconds", "entropy", "face_px")
    }
    prob = np.stack([rows[name] for name in timeline.labels])
    return {
        "emotions": list(timeline.labels),
        "first": first,
        "status": _base64(status),
        "lanes": [
            {"name": one.name, "tracks": list(one.tracks), "rows": one.rows, "time": round(one.face_seconds, 1)}
            for one in lanes
        ],
        "second": _base64(rows["second"].astype("<u4")),
        "prob": _base64(_whole(prob)),
        "weight": _base64(_whole(rows["face_seconds"])),
        "entropy": _base64(_whole(rows["entropy"])),
        "face_px": _base64(_whole(rows["face_px"], 1)),
        "shots": _shots(frame),
    }  # fmt: skip


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
