"""One timeline as every view needs it: its rows, how it was made, and clear words for what is no timeline."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fervid.errors import DataError, OutputError, VideoError
from fervid.labels import EMOTIONS
from fervid.store import load_timeline, read_provenance
from fervid.video import check_file

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Interval", "Timeline", "check_out", "merge_seconds", "open_timeline"]


@dataclass(frozen=True)
class Timeline:
    """A timeline in memory: `frame` as load_timeline gives it by track, `provenance` from the file."""

    path: Path
    frame: "pd.DataFrame" = field(repr=False)
    provenance: dict[str, Any] = field(repr=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """The emotions that it has columns for, in the order of EMOTIONS."""
        return tuple(name for name in EMOTIONS if name in self.frame)

    @property
    def video(self) -> str:
        """The name of the video's file, without its folder."""
        return str(self.provenance["source"]["name"])

    @property
    def first_s(self) -> float:
        """Where the first second begins."""
        return float(self.frame["second"].iloc[0])

    @property
    def end_s(self) -> float:
        """Where the last second ends: with the video, if that is before the second is full."""
        last = float(self.frame["second"].iloc[-1])
        ends = (self.provenance["source"].get("duration_s"), self.provenance["config"].get("end_s"), last + 1)
        return min(end for end in ends if end is not None and end > last)

    @cached_property
    def faces(self) -> "pd.DataFrame":
        """The rows with a face."""
        return self.frame[self.frame["status"] == "ok"]

    @property
    def tracks(self) -> list[int]:
        """The numbers of all tracks, in order."""
        return sorted(int(track) for track in self.faces["track"].unique())

    def check_tracks(self, wanted: tuple[int, ...]) -> None:
        """Refuse track numbers that are not in this timeline."""
        known = self.tracks
        for track in wanted:
            if track not in known:
                found = f"0 to {known[-1]}" if known == list(range(len(known))) and known else str(known or "none")
                raise DataError(f"{self.path}: no track {track} in it; found {found}")


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


def open_timeline(path: Path) -> Timeline:
    """Read one timeline; DataError says what is wrong with a folder, a faces file, an empty or a foreign file."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name one timeline in it, such as {_example(path)}")
    try:
        check_file(path)
    except VideoError as e:
        raise DataError(f"{e}; expected a timeline written by fervid process") from None
    provenance = read_provenance(path)
    try:
        frame = load_timeline(path)
    except (OSError, pa.ArrowException) as e:
        why = " ".join(str(e).split())
        raise DataError(f"{path}: a damaged timeline ({why}); run fervid process on the video again") from None
    if frame.empty:
        raise DataError(f"{path}: a timeline without a single second; run fervid process on the video again")
    return Timeline(path, frame, provenance)


def _example(folder: Path) -> Path:
    inside = sorted(p for p in folder.rglob("*.parquet") if p.name not in ("manifest.parquet",))
    return inside[0] if inside else folder / "NAME.parquet"


def check_out(out: Path, suffixes: tuple[str, ...], *inputs: Path | None) -> str:
    """Give the suffix of an output; OutputError if it is none of these, or if the output is one of the inputs."""
    suffix = out.suffix.lower()
    if suffix not in suffixes:
        raise OutputError(f"{out}: expected a name that ends with {' or '.join(suffixes)}")
    for given in inputs:
        if given is not None and out.exists() and given.exists() and out.samefile(given):
            raise OutputError(f"{out}: is the input {given} itself; name another file with --out")
    return suffix


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
