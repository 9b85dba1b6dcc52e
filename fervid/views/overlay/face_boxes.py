"""Where each track's face is at any moment: between two looks on the way from one place to the next."""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fervid.errors import ConfigError, DataError
from fervid.timeline.read import Timeline, read_provenance

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FaceBoxes", "faces_places", "hidden_places", "seconds_places"]

_BOX = ["x", "y", "w", "h"]
#: Looks further apart than this do not follow a face closely enough to hide it.
_SLOWEST_LOOKS_S = 0.35
#: For so long before a face is found first, and after it is lost, it is hidden where it was.
_HIDDEN_BESIDE_S = 0.5


@dataclass(frozen=True)
class FaceBoxes:
    """The boxes of all tracks over time. Build it with the functions below.

    pieces: for each stretch without a gap its track, the times of its looks (n,) in seconds, boxes (n, 4) x0 y0 x1 y1
    as parts of the displayed frame. spans: from when to when each is shown, a little over its first and last look.
    """

    pieces: tuple[tuple[int, np.ndarray, np.ndarray], ...]
    spans: tuple[tuple[float, float], ...]
    _by_second: dict[int, list[int]]

    def at(self, pts_s: float) -> list[tuple[int, np.ndarray]]:
        """The tracks that are visible at a time, each with its box (4,), straight between two looks."""
        return [(track, box[0] + share * (box[1] - box[0])) for track, box, share in self._around(pts_s)]

    def swept(self, pts_s: float) -> list[np.ndarray]:
        """A box (4,) for each track that is visible at a time: all between the look before and the look after."""
        return [np.r_[box[:, :2].min(0), box[:, 2:].max(0)] for _, box, _ in self._around(pts_s)]

    def _around(self, pts_s: float) -> Iterator[tuple[int, np.ndarray, float]]:
        for k in self._by_second.get(math.floor(pts_s), ()):
            track, times, boxes = self.pieces[k]
            if not self.spans[k][0] <= pts_s <= self.spans[k][1]:
                continue
            i = int(np.clip(np.searchsorted(times, pts_s, "right") - 1, 0, len(times) - 1))
            j = min(i + 1, len(times) - 1)
            length = times[j] - times[i]
            share = float(np.clip((pts_s - times[i]) / length, 0, 1)) if length > 0 else 0.0
            yield track, boxes[[i, j]], share


def seconds_places(timeline: Timeline) -> FaceBoxes:
    """From a timeline alone: the mean box of each second stands in the middle of that second."""
    frame = timeline.faces.sort_values(["track", "second"], kind="stable")
    return _places(frame, frame["second"].to_numpy(float) + 0.5, 1.25, 0.5)


def faces_places(path: Path, timeline: Timeline) -> FaceBoxes:
    """From the file of every reading: exact at each look, straight between two, and nothing over a look without it."""
    frame, step_s = _read_faces(path, timeline)
    return _places(frame, frame["pts_s"].to_numpy(float), 1.6 * step_s, 0.5 * step_s, _shots(timeline))


def hidden_places(path: Path, timeline: Timeline) -> FaceBoxes:
    """As faces_places, for hiding: a track goes on over looks that missed it, and begins earlier and ends later."""
    frame, step_s = _read_faces(path, timeline)
    config = timeline.provenance["config"]
    if step_s > _SLOWEST_LOOKS_S:
        raise ConfigError(
            f"{path}: looks {step_s:.2g} s apart do not follow faces closely enough to hide them; "
            "process the video again with --fps 5 or more"
        )
    if config.get("start_s") or config.get("end_s") is not None:
        raise ConfigError(
            f"{path}: covers only a part of the video, and the rest would stay visible; process all of it"
        )
    gap_s = max(float(config.get("max_gap_s") or 1.0), 1.6 * step_s) + 0.1
    return _places(frame, frame["pts_s"].to_numpy(float), gap_s, max(_HIDDEN_BESIDE_S, 2 * step_s))


def _read_faces(path: Path, timeline: Timeline) -> "tuple[pd.DataFrame, float]":
    """The readings by track and time, and the seconds from look to look; DataError if they are not this timeline's."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name the file that fervid process --faces wrote")
    source = read_provenance(path)["source"]
    try:
        columns = pq.read_schema(path).names
        if "pts_s" not in columns:
            raise DataError(f"{path}: not a file of face readings; fervid process --faces {path.name} writes one")
        if source["sha256"] != timeline.provenance["source"]["sha256"]:
            raise DataError(
                f"{path}: readings of another video ({source['name']}) than the timeline's "
                f"({timeline.video}); name the file of the same run"
            )
        keys = [name for name in ("track", "shot", "pts_s") if name in columns]
        frame = pq.read_table(path, columns=[*keys, *_BOX]).to_pandas()
    except pa.ArrowException as e:
        raise DataError(f"{path}: cannot be read ({e}); run fervid process --faces again") from None
    frame = frame.sort_values(keys, kind="stable")
    between = np.diff(np.unique(frame["pts_s"].to_numpy(float)))
    step_s = float(np.median(between)) if len(between) else 0.0
    if fps := timeline.provenance["config"].get("fps"):
        step_s = max(step_s, 1 / float(fps)) if step_s < 2 / float(fps) else 1 / float(fps)
    return frame, step_s or 0.04


def _shots(timeline: Timeline) -> dict[int, set[int]]:
    """The shots that are seen in each second; empty where the timeline does not know them."""
    shots: dict[int, set[int]] = defaultdict(set)
    if "shot" in timeline.frame:
        known = timeline.frame[["second", "shot"]].dropna().drop_duplicates()
        for second, shot in known.astype(int).itertuples(index=False):
            shots[second].add(shot)
    return dict(shots)


def _places(
    frame: "pd.DataFrame", pts_s: np.ndarray, gap_s: float, hold_s: float, shots: dict[int, set[int]] | None = None
) -> FaceBoxes:
    """Cut rows sorted by track and time into pieces: at another track, another shot, or a longer gap.

    Each stands for hold_s before its first look and after its last, unless a shot may end in between.
    """
    track = frame["track"].to_numpy(int)
    new = (np.diff(track) != 0) | (np.diff(pts_s) > gap_s)
    if "shot" in frame:
        new |= np.diff(frame["shot"].fillna(-1).to_numpy(int)) != 0
    corner = frame[_BOX].to_numpy(float)
    box = np.column_stack([corner[:, :2], corner[:, :2] + corner[:, 2:]])
    cuts = [0, *(np.flatnonzero(new) + 1), len(track)] if len(track) else [0]
    pieces = tuple((int(track[a]), pts_s[a:b], box[a:b]) for a, b in pairwise(cuts))

    def reach(sampled_s: float, end_s: float) -> float:
        around = {math.floor(sampled_s), math.floor(end_s)}
        seen = set().union(*((shots or {}).get(second, set()) for second in around))
        return sampled_s if len(seen) > 1 else end_s

    spans = tuple((reach(t[0], t[0] - hold_s), reach(t[-1], t[-1] + hold_s)) for _, t, _ in pieces)
    by_second: dict[int, list[int]] = defaultdict(list)
    for k, (first, last) in enumerate(spans):
        for second in range(math.floor(first), math.floor(last) + 1):
            by_second[second].append(k)
    return FaceBoxes(pieces, spans, dict(by_second))
