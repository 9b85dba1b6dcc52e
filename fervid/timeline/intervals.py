"""Intervals of one dominant emotion, or of one status without a face, as annotation programs use them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fervid.timeline.aggregate import OK, weighted_mean
from fervid.timeline.read import Timeline

__all__ = ["Interval", "merge_seconds"]


@dataclass(frozen=True)
class Interval:
    """One state that lasts from start_s to end_s.

    Parameters
    ----------
    track : int or None
        The track; None for a status without a face.
    label : str
        The dominant emotion, or the status.
    start_s, end_s : float
        Seconds since the first frame.
    prob : float
        Mean probability of the emotion, weighted by visible time; 1 for a status.
    """

    track: int | None
    label: str
    start_s: float
    end_s: float
    prob: float


def merge_seconds(timeline: Timeline) -> list[Interval]:
    """Merge consecutive seconds of one track and one dominant emotion, or of one status without a face.

    Parameters
    ----------
    timeline : Timeline

    Returns
    -------
    list of Interval
        Sorted by track, then time; intervals without a track come last. Intervals of one track do not overlap. A
        second in which a face was visible only partly counts whole, because a timeline does not record which part.
    """
    frame = timeline.frame.assign(track=timeline.frame["track"].astype("float64").fillna(np.inf))
    frame = frame.sort_values(["track", "second"], kind="stable", ignore_index=True)
    track, second = frame["track"].to_numpy(), frame["second"].to_numpy()
    ok = (frame["status"] == OK).to_numpy()
    label = np.where(ok, frame["dominant"].astype(object), frame["status"].astype(object))
    starts = np.flatnonzero(
        np.r_[True, (track[1:] != track[:-1]) | (second[1:] != second[:-1] + 1) | (label[1:] != label[:-1])]
    )
    ends = np.r_[starts[1:], len(frame)]
    prob = frame[list(timeline.labels)].max(axis=1).fillna(1).to_frame("prob")
    weight = frame["face_seconds"].clip(lower=1e-6).where(ok, 1.0)
    run = pd.Series(np.repeat(np.arange(len(starts)), ends - starts))
    mean = weighted_mean(prob.astype(float), weight.astype(float), [run])["prob"]
    return [
        Interval(
            track=int(track[i]) if ok[i] else None,
            label=str(label[i]),
            start_s=max(float(second[i]), timeline.start_s),
            end_s=min(float(second[j - 1]) + 1, timeline.end_s),
            prob=float(p),
        )
        for i, j, p in zip(starts, ends, mean)
    ]
