"""The data of the report page: columns of rounded integers in base64, one lane per person or track."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fervid.timeline.aggregate import NO_DATA, NO_FACE, OK, weighted_mean
from fervid.timeline.read import Timeline, open_timeline
from fervid.timeline.sources import read_faces

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Lane", "LanedTimeline", "pack_boxes", "pack_timeline", "read_lanes"]

#: Probabilities, face_seconds, entropy and box coordinates are stored as 16-bit integers in units of 1 / _SCALE.
_SCALE = 10_000
_STATUS = {OK: 0, NO_FACE: 1, NO_DATA: 2}
#: No box is interpolated between readings of a track that are more than this many sampling steps apart.
_MAX_GAP_STEPS = 1.6


@dataclass(frozen=True)
class Lane:
    """One person, or one track of an unknown person.

    Parameters
    ----------
    name : str
        "Person N" or "Track N".
    tracks : tuple of int
        The tracks of the lane.
    rows : int
        Its number of rows, one per second.
    face_seconds : float
        Its time on screen.
    """

    name: str
    tracks: tuple[int, ...]
    rows: int
    face_seconds: float


@dataclass(frozen=True)
class LanedTimeline(Timeline):
    """A timeline with its rows sorted into lanes.

    Parameters
    ----------
    lanes : tuple of Lane
        Sorted by time on screen, the longest first.
    lane_rows : pandas.DataFrame
        The rows with a face, lane after lane, each sorted by second.
    """

    lanes: tuple[Lane, ...]
    lane_rows: "pd.DataFrame"


def read_lanes(path: Path) -> LanedTimeline:
    """Read one timeline and sort its rows into lanes.

    Parameters
    ----------
    path : Path
        A timeline, with or without shots and persons; it may be empty.

    Returns
    -------
    LanedTimeline

    Raises
    ------
    DataError
        If the file is not a timeline.
    """
    timeline = open_timeline(path, allow_empty=True)
    faces = _assign_lanes(timeline.faces)
    rows = _merge_tracks(faces, timeline.labels)
    tracks = faces.groupby("lane")["track"].unique()
    lanes = tuple(
        Lane(
            name=f"{'Person' if one['is_person'].iloc[0] else 'Track'} {one['number'].iloc[0]}",
            tracks=tuple(sorted(int(track) for track in tracks[lane])),
            rows=len(one),
            face_seconds=float(one["face_seconds"].astype(float).sum()),
        )
        for lane, one in rows.groupby("lane")
    )
    return LanedTimeline(path, timeline.frame, timeline.provenance, lanes, rows)


def _assign_lanes(faces: "pd.DataFrame") -> "pd.DataFrame":
    """Add the column `lane`: the person, or the track if its person is unknown; 0 has the most time on screen."""
    person = faces["person"] if "person" in faces else faces["track"].where(faces["track"].isna())
    number = person.fillna(faces["track"]).to_numpy(np.int64)
    faces = faces.assign(is_person=person.notna().to_numpy(bool), number=number)
    owner = ["is_person", "number"]
    on_screen = faces.groupby(owner)["face_seconds"].sum().sort_values(ascending=False, kind="stable")
    lane_of = {key: lane for lane, key in enumerate(on_screen.index)}
    faces = faces.assign(lane=[lane_of[key] for key in zip(faces["is_person"], faces["number"])])
    return faces.sort_values(["lane", "second"], kind="stable")


def _merge_tracks(faces: "pd.DataFrame", labels: tuple[str, ...]) -> "pd.DataFrame":
    """Average the tracks of one person that overlap in a second, weighted by the time for which each was visible."""
    keys = ["lane", "second"]
    if not faces.duplicated(keys).any():
        return faces
    means = [*labels, "entropy", "face_px"]
    merged = faces.drop_duplicates(keys).set_index(keys)
    weight = faces["face_seconds"].clip(lower=1e-6)
    merged[means] = weighted_mean(faces[means], weight, [faces[key] for key in keys]).astype(np.float32)
    merged["face_seconds"] = faces.groupby(keys)["face_seconds"].sum().clip(upper=1)
    return merged.reset_index()


def pack_timeline(timeline: LanedTimeline) -> dict[str, Any]:
    """Pack a timeline for the page.

    Parameters
    ----------
    timeline : LanedTimeline

    Returns
    -------
    dict
        `emotions`, `first` (second), `status` of each second, `lanes`, `shots`, and the rows of one lane after another
        as little-endian columns in base64: `second` u32; `prob` u16, emotion after emotion; `weight`, `entropy` and
        `face_px` u16.
    """
    frame, lanes = timeline.frame, timeline.lanes
    first = int(frame["second"].min()) if len(frame) else 0
    status = np.full(int(frame["second"].max()) + 1 - first if len(frame) else 0, _STATUS[NO_DATA], np.uint8)
    status[frame["second"].to_numpy() - first] = frame["status"].astype(str).map(_STATUS).fillna(_STATUS[NO_DATA])
    rows = {
        name: timeline.lane_rows[name].to_numpy(np.float64)
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
        "prob": _base64(_quantize(prob)),
        "weight": _base64(_quantize(rows["face_seconds"])),
        "entropy": _base64(_quantize(rows["entropy"])),
        "face_px": _base64(_quantize(rows["face_px"], 1)),
        "shots": _shots(frame),
    }


def _shots(frame: "pd.DataFrame") -> list[int]:
    """Return the seconds in which a new shot starts; empty if the timeline has no column `shot`."""
    if "shot" not in frame:
        return []
    first = frame[frame["shot"].notna()].groupby("shot")["second"].min()
    return sorted({int(second) for second in first})[1:]


def pack_boxes(timeline: Timeline, faces: Path) -> dict[str, Any]:
    """Pack the face readings for the page.

    Parameters
    ----------
    timeline : Timeline
    faces : Path
        The face readings of the same video.

    Returns
    -------
    dict
        `tracks` and their `counts` of readings; the readings of one track after another as columns in base64: `ms` u32,
        `box` i16 (all x, then y, w, h), `best` u8 (index of the most probable emotion), `sure` u8 (its percentage).
        `gap`: no box is shown between readings of a track that are farther apart than this, in milliseconds.

    Raises
    ------
    DataError
        If `faces` does not hold face readings.
    """
    table = read_faces(faces, timeline.labels)
    labels = [name for name in timeline.labels if name in table.column_names]
    track, pts_s = (table[name].to_numpy().astype(kind) for name, kind in (("track", np.int64), ("pts_s", float)))
    order = np.lexsort((pts_s, track))
    track, pts_s = track[order], pts_s[order]
    box = np.stack([_column(table, name)[order] for name in "xywh"]) if len(track) else np.zeros((4, 0))
    prob = np.stack([_column(table, name)[order] for name in labels]) if labels else np.zeros((1, len(track)))
    numbers, counts = np.unique(track, return_counts=True)
    best = np.array([timeline.labels.index(name) for name in labels] or [0], np.uint8)[prob.argmax(0)]
    return {
        "tracks": numbers.tolist(),
        "counts": counts.tolist(),
        "gap": round(1000 * _gap_s(timeline, track, pts_s)),
        "ms": _base64(np.rint(pts_s * 1000).clip(0).astype("<u4")),
        "box": _base64(np.rint(box * _SCALE).clip(-32_768, 32_767).astype("<i2")),
        "best": _base64(best),
        "sure": _base64(np.rint(prob.max(0, initial=0) * 100).astype(np.uint8)),
    }


def _gap_s(timeline: Timeline, track: np.ndarray, pts_s: np.ndarray) -> float:
    """Return the longest gap to interpolate over: by the configured sampling rate, else by the median step."""
    fps = timeline.provenance.get("config", {}).get("fps")
    steps = np.diff(pts_s)[np.diff(track) == 0]
    usual = 1 / fps if isinstance(fps, int | float) and fps > 0 else float(np.median(steps)) if len(steps) else 0.2
    return _MAX_GAP_STEPS * usual


def _column(table: pa.Table, name: str) -> np.ndarray:
    return np.nan_to_num(table[name].to_numpy().astype(np.float64))


def _quantize(values: np.ndarray, scale: int = _SCALE) -> np.ndarray:
    return np.rint(np.nan_to_num(values) * scale).clip(0, 65_535).astype("<u2")


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
