"""One timeline as every view needs it: its rows, how it was made, and clear words for what is no timeline."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fervid.timeline.read import Timeline

if TYPE_CHECKING:
    pass

__all__ = ["Interval", "merge_seconds"]


@dataclass(frozen=True)
class Interval:
    """One state that lasts from start_s to end_s: a track's dominant emotion, or, without a track, a status.

    `prob` is the mean probability of that emotion in the interval, weighted by visible time; 1 for a status.
    """

    track: int | None
    label: str
    start_s: float
    end_s: float
    prob: float


def merge_seconds(timeline: Timeline) -> list[Interval]:
    """Join neighbouring seconds of one track and one dominant emotion, and of one status without a face.

    In the order of tracks, then time; the faceless intervals come last, with track None. No two intervals of one track
    overlap. A second in which a face was visible only partly counts whole: the timeline does not tell which part.
    """
    frame = timeline.frame.assign(track=timeline.frame["track"].astype("float64").fillna(np.inf))
    frame = frame.sort_values(["track", "second"], kind="stable")
    track, second = frame["track"].to_numpy(), frame["second"].to_numpy()
    ok = (frame["status"] == "ok").to_numpy()
    label = np.where(ok, frame["dominant"].astype(object), frame["status"].astype(object))
    prob = frame[list(timeline.labels)].max(axis=1).fillna(1).to_numpy(float)
    weight = np.where(ok, np.maximum(frame["face_seconds"].to_numpy(float), 1e-6), 1.0)
    starts = np.flatnonzero(
        np.r_[True, (track[1:] != track[:-1]) | (second[1:] != second[:-1] + 1) | (label[1:] != label[:-1])]
    )
    ends = np.r_[starts[1:], len(frame)]
    mean = np.add.reduceat(prob * weight, starts) / np.add.reduceat(weight, starts)
    return [
        Interval(
            int(track[i]) if ok[i] else None, str(label[i]), float(second[i]),
            min(float(second[j - 1]) + 1, timeline.end_s), float(p),
        )
        for i, j, p in zip(starts, ends, mean)
    ]  # fmt: skip
