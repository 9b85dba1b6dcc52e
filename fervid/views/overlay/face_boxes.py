"""Where the face of each track is at any time: its box, interpolated linearly between two sampled frames."""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fervid.errors import ConfigError
from fervid.timeline.read import Timeline
from fervid.timeline.sources import check_faces, read_faces

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FaceBoxes", "boxes_of_readings", "boxes_of_seconds", "boxes_to_redact"]

_BOX = ["x", "y", "w", "h"]
#: Frames sampled farther apart than this do not follow a face closely enough to redact it.
_MAX_STEP_S = 0.35
#: A face is redacted this long before it is first found and after it is last found.
_REDACT_MARGIN_S = 0.5


@dataclass(frozen=True)
class FaceBoxes:
    """The boxes of all tracks over time; the functions of this module build it.

    Parameters
    ----------
    stretches : tuple
        For each stretch without a gap: its track, the times of its readings in seconds, (n,), and their boxes, (n, 4),
        x0 y0 x1 y1 as fractions of the displayed frame.
    spans : tuple
        For each stretch, the time in seconds from which to which it is shown: a little longer than its readings.
    """

    stretches: tuple[tuple[int, np.ndarray, np.ndarray], ...]
    spans: tuple[tuple[float, float], ...]
    _by_second: dict[int, list[int]]

    def at(self, pts_s: float) -> list[tuple[int, np.ndarray]]:
        """Return the visible faces at a time.

        Parameters
        ----------
        pts_s : float
            Seconds since the first frame.

        Returns
        -------
        list of (int, np.ndarray)
            Track and box, (4,), interpolated linearly between two readings.
        """
        return [(track, box[0] + share * (box[1] - box[0])) for track, box, share in self._around(pts_s)]

    def swept(self, pts_s: float) -> list[np.ndarray]:
        """Return the area that each face may cover at a time.

        Parameters
        ----------
        pts_s : float
            Seconds since the first frame.

        Returns
        -------
        list of np.ndarray
            For each visible track a box, (4,), that encloses the reading before and the reading after.
        """
        return [np.r_[box[:, :2].min(0), box[:, 2:].max(0)] for _, box, _ in self._around(pts_s)]

    def _around(self, pts_s: float) -> Iterator[tuple[int, np.ndarray, float]]:
        for k in self._by_second.get(math.floor(pts_s), ()):
            track, times, boxes = self.stretches[k]
            if not self.spans[k][0] <= pts_s <= self.spans[k][1]:
                continue
            i = int(np.clip(np.searchsorted(times, pts_s, "right") - 1, 0, len(times) - 1))
            j = min(i + 1, len(times) - 1)
            length = times[j] - times[i]
            share = float(np.clip((pts_s - times[i]) / length, 0, 1)) if length > 0 else 0.0
            yield track, boxes[[i, j]], share


def boxes_of_seconds(timeline: Timeline) -> FaceBoxes:
    """Take the boxes from the timeline alone: the mean box of each second, at its middle.

    Parameters
    ----------
    timeline : Timeline

    Returns
    -------
    FaceBoxes
    """
    frame = timeline.faces.sort_values(["track", "second"], kind="stable")
    return _build(frame, frame["second"].to_numpy(float) + 0.5, 1.25, 0.5)


def boxes_of_readings(path: Path, timeline: Timeline) -> FaceBoxes:
    """Take the boxes from the face readings: exact in each sampled frame, none over a sampled frame without the face.

    Parameters
    ----------
    path : Path
        The face readings.
    timeline : Timeline
        The timeline of the same run.

    Returns
    -------
    FaceBoxes

    Raises
    ------
    DataError
        If `path` does not hold face readings of the timeline's video.
    """
    frame, step_s = _read(path, timeline)
    return _build(frame, frame["pts_s"].to_numpy(float), 1.6 * step_s, 0.5 * step_s, _shots(timeline))


def boxes_to_redact(path: Path, timeline: Timeline) -> FaceBoxes:
    """Take the boxes to redact from the face readings: they bridge missed frames, start earlier and end later.

    Parameters
    ----------
    path : Path
        The face readings.
    timeline : Timeline
        The timeline of the same run.

    Returns
    -------
    FaceBoxes

    Raises
    ------
    ConfigError
        If the readings are too sparse, or cover only a part of the video.
    DataError
        If `path` does not hold face readings of the timeline's video.
    """
    frame, step_s = _read(path, timeline)
    config = timeline.provenance["config"]
    if step_s > _MAX_STEP_S:
        raise ConfigError(
            f"{path}: frames sampled {step_s:.2g} s apart do not follow faces closely enough to redact them; "
            "process the video again with --fps 5 or more"
        )
    if config.get("start_s") or config.get("end_s") is not None:
        raise ConfigError(
            f"{path}: covers only a part of the video, and the rest would stay visible; process the whole video"
        )
    lost_s = config.get("max_lost_s", config.get("max_gap_s"))  # the second is the name in older timelines
    gap_s = max(float(lost_s or 1.0), 1.6 * step_s) + 0.1
    return _build(frame, frame["pts_s"].to_numpy(float), gap_s, max(_REDACT_MARGIN_S, 2 * step_s))


def _read(path: Path, timeline: Timeline) -> "tuple[pd.DataFrame, float]":
    """Return the readings, sorted by track and time, and the seconds from one sampled frame to the next."""
    table = read_faces(path, ["shot"])
    check_faces(timeline, path)
    keys = [name for name in ("track", "shot", "pts_s") if name in table.column_names]
    frame = table.to_pandas().sort_values(keys, kind="stable")
    between = np.diff(np.unique(frame["pts_s"].to_numpy(float)))
    step_s = float(np.median(between)) if len(between) else 0.0
    if fps := timeline.provenance["config"].get("fps"):
        step_s = max(step_s, 1 / float(fps)) if step_s < 2 / float(fps) else 1 / float(fps)
    return frame, step_s or 0.04


def _shots(timeline: Timeline) -> dict[int, set[int]]:
    """Return the shots seen in each second; empty if the timeline has no column `shot`."""
    shots: dict[int, set[int]] = defaultdict(set)
    if "shot" in timeline.frame:
        known = timeline.frame[["second", "shot"]].dropna().drop_duplicates()
        for second, shot in known.astype(int).itertuples(index=False):
            shots[second].add(shot)
    return dict(shots)


def _build(
    frame: "pd.DataFrame", pts_s: np.ndarray, gap_s: float, hold_s: float, shots: dict[int, set[int]] | None = None
) -> FaceBoxes:
    """Divide rows sorted by track and time into stretches: at another track, another shot, or a gap longer than gap_s.

    A stretch is shown hold_s before its first reading and after its last, unless a shot may end in between.
    """
    track = frame["track"].to_numpy(int)
    new = (np.diff(track) != 0) | (np.diff(pts_s) > gap_s)
    if "shot" in frame:
        new |= np.diff(frame["shot"].fillna(-1).to_numpy(int)) != 0
    corner = frame[_BOX].to_numpy(float)
    box = np.column_stack([corner[:, :2], corner[:, :2] + corner[:, 2:]])
    edges = [0, *(np.flatnonzero(new) + 1), len(track)] if len(track) else [0]
    stretches = tuple((int(track[a]), pts_s[a:b], box[a:b]) for a, b in pairwise(edges))

    def extend(sampled_s: float, end_s: float) -> float:
        around = {math.floor(sampled_s), math.floor(end_s)}
        seen = set().union(*((shots or {}).get(second, set()) for second in around))
        return sampled_s if len(seen) > 1 else end_s

    spans = tuple((extend(t[0], t[0] - hold_s), extend(t[-1], t[-1] + hold_s)) for _, t, _ in stretches)
    by_second: dict[int, list[int]] = defaultdict(list)
    for k, (first, last) in enumerate(spans):
        for second in range(math.floor(first), math.floor(last) + 1):
            by_second[second].append(k)
    return FaceBoxes(stretches, spans, dict(by_second))
