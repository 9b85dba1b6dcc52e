"""Timelines on disk: one Arrow schema, provenance in the file, atomic writes, and reading back into pandas."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fervid.errors import DataError, VideoError
from fervid.files import check_file
from fervid.labels import EMOTIONS
from fervid.timeline.schema import METADATA_KEY, NUMBERS

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Timeline",
    "describe_timeline",
    "load_timeline",
    "open_timeline",
    "read_provenance",
    "timeline_summary",
    "weighted_mean",
]


def read_provenance(path: str | Path) -> dict[str, Any]:
    """Read how a timeline was made; DataError if the file is not one of fervid's."""
    try:
        return json.loads((pq.read_metadata(path).metadata or {})[METADATA_KEY])
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except KeyError:
        known = "the manifest of a batch" if Path(path).name == "manifest.parquet" else "but not one that fervid wrote"
        raise DataError(f"{path}: a Parquet file, {known}; expected a timeline") from None
    except (OSError, pa.ArrowException, ValueError) as e:
        folder, foreign = Path(path).is_dir(), "magic bytes" in str(e)
        why = "a folder" if folder else "no Parquet file" if foreign else " ".join(str(e).split())
        raise DataError(
            f"{path}: not a timeline ({why}); expected what fervid process writes, are the arguments in their order?"
        ) from None


def describe_timeline(path: Path) -> dict[str, Any]:
    """Give the provenance of a timeline (or faces file) with a summary of what it says."""
    provenance = read_provenance(path)
    if "second" not in pq.read_schema(path).names:
        what = "shots" if "kind" in pq.read_schema(path).names else "face_readings"
        return {"says": {what: pq.read_metadata(path).num_rows}} | provenance
    return {"says": timeline_summary(load_timeline(path), provenance)} | provenance


def timeline_summary(frame: "pd.DataFrame", provenance: dict[str, Any]) -> dict[str, Any]:
    """Say in a few numbers what a timeline (as load_timeline gives it, by track) holds.

    `persons` and `shots` are None where nobody looked for them. `dominant`: for which share of the time that faces were
    visible each expression was the most probable one; `clear`: for which share of it one expression reached one half.
    """
    faces = frame[frame["status"] == "ok"]
    total = float(faces["face_seconds"].sum())
    time = faces.groupby("dominant", observed=True)["face_seconds"].sum().sort_values(ascending=False)
    clear = faces["face_seconds"][faces[[name for name in EMOTIONS if name in faces]].max(axis=1) >= 0.5].sum()
    cuts = provenance.get("config", {}).get("cuts", True)
    return {
        "seconds": int(frame["second"].nunique()),
        "seconds_with_face": int(faces["second"].nunique()),
        "seconds_without_data": int((frame["status"] == "no_data").sum()),
        "tracks": int(faces["track"].nunique()),
        "persons": int(faces["person"].nunique()) if "person" in faces else None,
        "shots": provenance.get("counters", {}).get("shots") if cuts else None,
        "face_seconds": round(total, 1),
        "clear": round(float(clear) / max(total, 1e-9), 3),
        "dominant": {k: round(float(v) / max(total, 1e-9), 3) for k, v in time.items() if v > 0},
    }


def load_timeline(path: str | Path, by: str = "track", *, time_index: bool = False) -> "pd.DataFrame":
    """Read a timeline, or a folder of them, into pandas.

    by="track": the rows as stored. by="second": one row a second, tracks weighted by face_seconds. by="video": one row
    a video, whose `status` and `reason` tell whether it is degraded, as the manifest does. With time_index the rows are
    indexed by `second` as a timedelta, ready to resample. A folder's rows begin with `file`, the timeline that they
    come from, and are indexed by that as well.
    """
    if by not in ("track", "second", "video"):
        raise DataError(f'by={by!r}: expected "track", "second" or "video"')
    path = Path(path)
    inside = (p for p in path.rglob("*.parquet") if not p.name.startswith(".") and _is_timeline(p))
    files = sorted(inside) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: no timeline in this folder")
    made = {str(file.relative_to(path)): read_provenance(file) for file in files}
    import pandas as pd

    frames = []
    for file in files:
        frame = pq.read_table(file).to_pandas()
        if "second" not in frame:
            what = "shots" if "kind" in frame else "face readings"
            raise DataError(f"{file}: {what}, not a timeline; read them with pandas.read_parquet")
        if path.is_dir():
            frame.insert(0, "file", str(file.relative_to(path)))
        frames.append(frame.astype({name: "Int32" for name in NUMBERS if name in frame}))
    frame = pd.concat(frames, ignore_index=True)
    keys = ["file", "video"] if path.is_dir() else ["video"]
    for word in (*keys, "status", "dominant"):
        frame[word] = frame[word].astype("category")
    if by != "track":
        frame = weighted_mean(frame, [*keys, "second"] if by == "second" else keys)
    if by == "video":
        own = [made[name] for name in frame.get("file", made)]
        frame.insert(len(keys), "status", [facts.get("status", "ok") for facts in own])
        frame.insert(len(keys) + 1, "reason", [", ".join(facts.get("reasons", ())) for facts in own])
    elif time_index:
        frame["second"] = pd.to_timedelta(frame["second"], unit="s")
        frame = frame.set_index(["file", "second"] if path.is_dir() else "second")
    return frame


def _is_timeline(path: Path) -> bool:
    """Face readings and other tables lie beside timelines; what is no Parquet at all is told when it is read."""
    try:
        return "second" in pq.read_schema(path).names
    except (OSError, pa.ArrowException):
        return True


def weighted_mean(frame: "pd.DataFrame", keys: list[str]) -> "pd.DataFrame":
    """Average the rows within each group of equal keys, each weighted by the time for which its track was visible."""
    import pandas as pd

    labels = [name for name in EMOTIONS if name in frame]
    weight = frame["face_seconds"].to_numpy()
    weighted = frame[labels].mul(weight, axis=0).assign(**{k: frame[k] for k in keys}, face_seconds=weight)
    groups = weighted.groupby(keys, observed=True, sort=True)
    pooled = groups[labels].sum(min_count=1).div(groups["face_seconds"].sum().replace(0, np.nan), axis=0)
    rows = frame.groupby(keys, observed=True, sort=True)
    pooled.insert(0, "n_tracks", rows["track"].nunique())
    pooled.insert(1, "face_seconds", groups["face_seconds"].sum())
    if "second" in keys:
        pooled.insert(0, "status", rows["status"].first())
        pooled.insert(1, "n_sampled", rows["n_sampled"].first())
    else:
        pooled.insert(0, "seconds", rows["second"].nunique())
        for i, (status, name) in enumerate((("ok", "seconds_with_face"), ("no_data", "seconds_without_data")), 1):
            those = frame[frame["status"] == status].groupby(keys, observed=True)["second"].nunique()
            pooled.insert(i, name, those.reindex(pooled.index, fill_value=0))
    p = pooled[labels].to_numpy(dtype=float)
    pooled["entropy"] = -(p * np.log(np.maximum(p, 1e-12))).sum(1)
    has_face = pooled[labels].notna().any(axis=1)
    pooled["dominant"] = pd.Series(pooled.index.map(lambda _: None), index=pooled.index, dtype=object)
    pooled.loc[has_face, "dominant"] = pooled.loc[has_face, labels].idxmax(axis=1)
    return pooled.reset_index()


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
