"""Read timelines: provenance, rows as pandas, means over tracks or whole videos, a summary in numbers."""

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from fervid.clock import processed_part
from fervid.errors import DataError, VideoError
from fervid.files import check_file
from fervid.labels import EMOTIONS
from fervid.networks.weights import Unreliable, find_terms, find_unreliable
from fervid.timeline.aggregate import NO_DATA, OK, entropy, weighted_mean
from fervid.timeline.schema import ID_COLUMNS, METADATA_KEY, table_kind
from fervid.video.file_types import looks_like_video

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Timeline",
    "average_by",
    "describe_timeline",
    "find_timelines",
    "load_timeline",
    "open_timeline",
    "read_provenance",
    "timeline_notes",
    "timeline_summary",
    "unreliable_emotions",
]

#: Share of the face time from which an emotion that the model recognises unreliably is worth a note.
LEAST_SHARE = 0.01


def read_provenance(path: str | Path) -> dict[str, Any]:
    """Read how a file of fervid was made.

    Parameters
    ----------
    path : str or Path
        A timeline, a file of face readings or a file of shots.

    Returns
    -------
    dict
        The JSON document in the file's metadata.

    Raises
    ------
    DataError
        If the file does not exist or was not written by fervid.
    """
    try:
        return json.loads((pq.read_metadata(path).metadata or {})[METADATA_KEY])
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the name") from None
    except KeyError:
        found = "the manifest of a batch" if Path(path).name == "manifest.parquet" else "but not one that fervid wrote"
        raise DataError(f"{path}: a Parquet file, {found}; expected a timeline") from None
    except (OSError, pa.ArrowException, ValueError) as e:
        if Path(path).is_dir():
            raise _folder_error(Path(path)) from None
        if looks_like_video(Path(path)):
            raise DataError(f"{path}: is a video, not a timeline; fervid probe describes it") from None
        why = "not a Parquet file" if "magic bytes" in str(e) else " ".join(str(e).split())
        raise DataError(f"{path}: not a timeline ({why}); expected a file written by fervid process") from None


def find_timelines(folder: Path) -> list[Path]:
    """List the timelines below a folder.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    list of Path
        Sorted. Hidden files, face readings, shots and manifests are left out; a damaged file is kept, so that reading
        it raises the error.
    """
    return [path for path in sorted(folder.rglob("*.parquet")) if not path.name.startswith(".") and _is_timeline(path)]


def _is_timeline(path: Path) -> bool:
    try:
        return table_kind(pq.read_schema(path).names) == "timeline"
    except (OSError, pa.ArrowException):
        return True


def describe_timeline(path: Path) -> dict[str, Any]:
    """Return the provenance of a file of fervid with a summary of its rows.

    Parameters
    ----------
    path : Path
        A timeline, a file of face readings or a file of shots.

    Returns
    -------
    dict
        The provenance. Its first key, `summary`, is the `timeline_summary`, or the number of face readings or shots. A
        timeline has `notes` too, as `timeline_notes` returns them. `terms` are those of a bundled model.

    Raises
    ------
    DataError
        If the file was not written by fervid.
    """
    provenance = read_provenance(path)
    terms = find_terms(provenance.get("model", {}).get("sha256"))
    found = {"terms": terms} if terms else {}
    kind = table_kind(pq.read_schema(path).names)
    if kind == "timeline":
        summary = timeline_summary(load_timeline(path), provenance)
        return {"summary": summary, "notes": timeline_notes(summary, provenance)} | found | provenance
    return {"summary": {kind: pq.read_metadata(path).num_rows}} | found | provenance


def timeline_summary(frame: "pd.DataFrame", provenance: dict[str, Any]) -> dict[str, Any]:
    """Summarize a timeline in a few numbers.

    Parameters
    ----------
    frame : pandas.DataFrame
        The rows, as `load_timeline` returns them by track.
    provenance : dict
        The provenance of the timeline.

    Returns
    -------
    dict
        Counts of seconds, tracks, persons and shots (the last two None if they were not computed), `face_seconds`;
        `dominant`: the share of the visible time of faces in which each expression was the most probable one;
        `clear`: the share of it in which the probability of one expression reached 0.5.
    """
    faces = frame[frame["status"] == OK]
    total = float(faces["face_seconds"].sum())
    time = faces.groupby("dominant", observed=True)["face_seconds"].sum().sort_values(ascending=False)
    clear = faces["face_seconds"][faces[[name for name in EMOTIONS if name in faces]].max(axis=1) >= 0.5].sum()
    cuts = provenance.get("config", {}).get("cuts", True)
    return {
        "seconds": int(frame["second"].nunique()),
        "seconds_with_face": int(faces["second"].nunique()),
        "seconds_without_data": int((frame["status"] == NO_DATA).sum()),
        "tracks": int(faces["track"].nunique()),
        "persons": int(faces["person"].nunique()) if "person" in faces else None,
        "shots": provenance.get("counters", {}).get("shots") if cuts else None,
        "face_seconds": round(total, 1),
        "clear": round(float(clear) / max(total, 1e-9), 3),
        "dominant": {k: round(float(v) / max(total, 1e-9), 3) for k, v in time.items() if v > 0},
    }


def unreliable_emotions(summary: dict[str, Any], provenance: dict[str, Any]) -> Unreliable | None:
    """Find the emotions that the model of a timeline recognises unreliably, if they matter in it.

    Parameters
    ----------
    summary : dict
        The `timeline_summary`.
    provenance : dict

    Returns
    -------
    Unreliable or None
        Those of the largest share first; None if none of them is the most probable one for 1% of the face time.
    """
    found = find_unreliable(provenance.get("model", {}).get("sha256"))
    if found is None:
        return None
    share = {name: summary["dominant"].get(name, 0.0) for name in found.emotions}
    if max(share.values(), default=0.0) < LEAST_SHARE:
        return None
    return replace(found, emotions=tuple(sorted(share, key=lambda name: -share[name])))


def timeline_notes(summary: dict[str, Any], provenance: dict[str, Any]) -> list[str]:
    """Write what a reader of the summary must know about the model, and about the orientation of the video.

    Parameters
    ----------
    summary : dict
        The `timeline_summary`.
    provenance : dict

    Returns
    -------
    list of str
        Such as "fear (15%) and disgust are unreliable outside FER2013; see fervid/weights/seresnet.md".
    """
    notes, source = [], provenance.get("source", {})
    if rotation := source.get("suggested_rotation"):
        notes.append(f"faces are upright only in turned frames; process the video again with --rotate {rotation}")
    if source.get("odd_matrix"):
        notes.append("the display matrix is neither a rotation nor a mirroring; the nearest one is used (--rotate)")
    found = unreliable_emotions(summary, provenance)
    if found is None:
        return notes
    share = summary["dominant"]
    names = [f"{name} ({share[name]:.0%})" if share.get(name, 0.0) >= LEAST_SHARE else name for name in found.emotions]
    return [*notes, f"{found.sentence(names)}; see {found.card}"]


def load_timeline(path: str | Path, by: str = "track", *, time_index: bool = False) -> "pd.DataFrame":
    """Read a timeline, or all timelines below a folder, into pandas.

    Parameters
    ----------
    path : str or Path
        A timeline or a folder. The rows of a folder start with the column `file`, the path of the timeline in it.
    by : {"track", "second", "video"}
        "track": the rows as stored. "second": one row per second, the mean over tracks weighted by `face_seconds`.
        "video": one row per video, whose `status` and `reason` are those of the manifest.
    time_index : bool
        Index the rows by `second` as a timedelta (and by `file` for a folder), ready to resample.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    DataError
        If `by` is unknown, a file is not a timeline, or the folder contains none.
    """
    if by not in ("track", "second", "video"):
        raise DataError(f'by={by!r}: expected "track", "second" or "video"')
    path = Path(path)
    files = find_timelines(path) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: no timeline in this folder")
    provenance = {str(file.relative_to(path)): read_provenance(file) for file in files}
    import pandas as pd

    frames = []
    for file in files:
        frame = pq.read_table(file).to_pandas()
        if (kind := table_kind(frame.columns)) != "timeline":
            raise DataError(f"{file}: {kind.replace('_', ' ')}, not a timeline; read them with pandas.read_parquet")
        if path.is_dir():
            frame.insert(0, "file", str(file.relative_to(path)))
        frames.append(frame.astype({name: "Int32" for name in ID_COLUMNS if name in frame}))
    frame = pd.concat(frames, ignore_index=True)
    keys = ["file", "video"] if path.is_dir() else ["video"]
    for name in (*keys, "status", "dominant"):
        frame[name] = frame[name].astype("category")
    if by != "track":
        frame = average_by(frame, [*keys, "second"] if by == "second" else keys)
    if by == "video":
        own = [provenance[name] for name in frame.get("file", provenance)]
        frame.insert(len(keys), "status", [facts.get("status", "ok") for facts in own])
        frame.insert(len(keys) + 1, "reason", [", ".join(facts.get("reasons", ())) for facts in own])
    elif time_index:
        frame["second"] = pd.to_timedelta(frame["second"], unit="s")
        frame = frame.set_index(["file", "second"] if path.is_dir() else "second")
    return frame


def average_by(frame: "pd.DataFrame", keys: list[str]) -> "pd.DataFrame":
    """Average the rows of each group, every track weighted by the time for which it was visible.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows by track.
    keys : list of str
        The columns whose values form a group; groups that span seconds count them.

    Returns
    -------
    pandas.DataFrame
        One row per group: the keys, counts, `face_seconds`, mean probabilities, their entropy and the dominant
        emotion. Probabilities are NaN in groups without a face.
    """
    import pandas as pd

    labels = [name for name in EMOTIONS if name in frame]
    pooled = weighted_mean(frame[labels], frame["face_seconds"], [frame[key] for key in keys])
    rows = frame.groupby(keys, observed=True, sort=True)
    pooled.insert(0, "n_tracks", rows["track"].nunique())
    pooled.insert(1, "face_seconds", rows["face_seconds"].sum())
    if "second" in keys:
        pooled.insert(0, "status", rows["status"].first())
        pooled.insert(1, "n_sampled", rows["n_sampled"].first())
    else:
        pooled.insert(0, "seconds", rows["second"].nunique())
        for i, (status, name) in enumerate(((OK, "seconds_with_face"), (NO_DATA, "seconds_without_data")), 1):
            seconds = frame[frame["status"] == status].groupby(keys, observed=True)["second"].nunique()
            pooled.insert(i, name, seconds.reindex(pooled.index, fill_value=0))
    pooled["entropy"] = entropy(pooled[labels].to_numpy(dtype=float))
    has_face = pooled[labels].notna().any(axis=1)
    pooled["dominant"] = pd.Series(pooled.index.map(lambda _: None), index=pooled.index, dtype=object)
    pooled.loc[has_face, "dominant"] = pooled.loc[has_face, labels].idxmax(axis=1)
    return pooled.reset_index()


@dataclass(frozen=True)
class Timeline:
    """A timeline in memory.

    Parameters
    ----------
    path : Path
        The file that it was read from.
    frame : pandas.DataFrame
        The rows, as `load_timeline` returns them by track.
    provenance : dict
        How it was made, as `read_provenance` returns it.
    """

    path: Path
    frame: "pd.DataFrame" = field(repr=False)
    provenance: dict[str, Any] = field(repr=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """The emotions that have a column, in the order of EMOTIONS."""
        return tuple(name for name in EMOTIONS if name in self.frame)

    @property
    def source(self) -> dict[str, Any]:
        """What the provenance says about the video file."""
        return self.provenance.get("source", {})

    @property
    def video(self) -> str:
        """The name of the video file, without its folder."""
        return str(self.source.get("name") or self.path.name)

    @property
    def first_s(self) -> float:
        """Start of the first second; the timeline must not be empty."""
        return float(self.frame["second"].iloc[0])

    @property
    def start_s(self) -> float:
        """Start of the first second, or of the part that was processed if that is later; see `first_s`."""
        return max(self.first_s, processed_part(self.provenance)[0])

    @property
    def end_s(self) -> float:
        """End of the last second, or of the video if that comes first; the timeline must not be empty."""
        last = float(self.frame["second"].iloc[-1])
        ends = (self.source.get("duration_s"), processed_part(self.provenance)[1], last + 1)
        return min(end for end in ends if end is not None and end > last)

    @cached_property
    def faces(self) -> "pd.DataFrame":
        """The rows with a face."""
        return self.frame[self.frame["status"] == OK]

    @property
    def tracks(self) -> list[int]:
        """All track numbers, sorted."""
        return sorted(int(track) for track in self.faces["track"].unique())

    def check_tracks(self, wanted: tuple[int, ...]) -> None:
        """Check that tracks occur in this timeline.

        Parameters
        ----------
        wanted : tuple of int
            Track numbers.

        Raises
        ------
        DataError
            If one of them does not occur.
        """
        known = self.tracks
        for track in wanted:
            if track not in known:
                found = f"0 to {known[-1]}" if known == list(range(len(known))) and known else str(known or "none")
                raise DataError(f"{self.path}: has no track {track}; found {found}")


def open_timeline(path: Path, *, allow_empty: bool = False) -> Timeline:
    """Read one timeline.

    Parameters
    ----------
    path : Path
        A timeline.
    allow_empty : bool
        Accept a timeline without rows.

    Returns
    -------
    Timeline

    Raises
    ------
    DataError
        If `path` is a folder, a file of another kind, damaged, or empty.
    """
    if path.is_dir():
        raise _folder_error(path)
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
    timeline = Timeline(path, frame, provenance)
    if not timeline.labels:
        raise DataError(f"{path}: has no column of an emotion; expected a timeline written by fervid process")
    if frame.empty and not allow_empty:
        raise DataError(f"{path}: a timeline without a single second; run fervid process on the video again")
    return timeline


def _folder_error(folder: Path) -> DataError:
    example = next(iter(find_timelines(folder)), folder / "NAME.parquet")
    return DataError(f"{folder}: is a folder; name one timeline in it, such as {example}")
