"""Timelines on disk: one Arrow schema, provenance in the file, atomic writes, and reading back into pandas."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fervid.arrays import number_array, word_array
from fervid.batches import EmotionBatch, VideoInfo
from fervid.errors import DataError
from fervid.labels import EMOTIONS
from fervid.parts import refusal, write_atomically
from fervid.shots import Shot
from fervid.timeline import Rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "NUMBERS",
    "SCHEMA_VERSION",
    "FacesWriter",
    "describe_timeline",
    "load_timeline",
    "overview",
    "pool",
    "read_provenance",
    "rename_timeline",
    "shots_table",
    "spelled",
    "to_table",
    "write_table",
]

SCHEMA_VERSION = 2
_KEY = b"fervid"
_WORD = pa.dictionary(pa.int32(), pa.string())
_ROW_GROUP = 50_000
#: Numbers of something, -1 (null in the file) where there is none.
NUMBERS = ("shot", "track", "person")
_LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


def timeline_schema(labels: tuple[str, ...], extra: tuple[str, ...] = ()) -> pa.Schema:
    """The columns of a timeline, in order; `labels` are the emotions that the classifier knows, `extra` on request."""
    real = pa.float32()
    return pa.schema(
        [("video", _WORD), ("second", pa.int32()), ("shot", pa.int32()), ("track", pa.int32()), ("status", _WORD),
         ("n_sampled", pa.int32()), ("n_faces", pa.int32()), ("face_seconds", real)]
        + [(name, real) for name in EMOTIONS if name in labels]
        + [("dominant", _WORD)]
        + [(name, real) for name in ("entropy", "spread", "score", "face_px", "x", "y", "w", "h")]
        + [(name, pa.int32() if name == "person" else real) for name in extra]
    )  # fmt: skip


def spelled(name: str) -> str:
    """A file name as text that every format takes: bytes that are no UTF-8 are written as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def to_table(
    rows: Rows, labels: tuple[str, ...], video: str, provenance: dict[str, Any], extra: Rows | None = None
) -> pa.Table:
    """Rows of timeline.fill_gaps -> the Arrow table that is written, with the provenance in its metadata.

    `extra` columns, those on request, come after those of every timeline.
    """
    rows = rows | (extra or {})
    schema = timeline_schema(labels, tuple(extra or ())).with_metadata({_KEY: json.dumps(provenance, sort_keys=True)})
    n = len(rows["second"])
    columns = []
    for field in schema:
        values = np.full(n, spelled(video), object) if field.name == "video" else rows[field.name]
        null = values == -1 if field.name in NUMBERS else values == "" if field.name == "dominant" else None
        if pa.types.is_floating(field.type):
            null = np.isnan(values)
        word = field.type == _WORD
        columns.append(word_array(values, null) if word else number_array(values, field.type, null))
    return pa.Table.from_arrays(columns, schema=schema)


def shots_table(shots: list[Shot], video: str, provenance: dict[str, Any]) -> pa.Table:
    """One row a shot: its number, start_s, end_s, the kind of change that begins it, and from when to when that is."""
    times = [(name, pa.float64()) for name in ("start_s", "end_s", "from_s", "to_s")]
    schema = pa.schema([("video", _WORD), ("shot", pa.int32()), ("kind", _WORD), *times])
    columns = {name: [getattr(shot, name) for shot in shots] for name in ("shot", "kind", *dict(times))}
    columns["video"] = [spelled(video)] * len(shots)
    arrays = [
        word_array(columns[f.name]) if f.type == _WORD else number_array(np.array(columns[f.name]), f.type)
        for f in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema.with_metadata({_KEY: json.dumps(provenance, sort_keys=True)}))


@contextmanager
def _blaming(folder: Path) -> Iterator[None]:
    """Errors while Arrow writes are about the result, and not about the video that is read meanwhile."""
    try:
        yield
    except OSError as e:
        raise refusal(folder, e) from e


class FacesWriter:
    """Writes every face reading as it passes, so that memory does not grow with the video."""

    def __init__(self, part: Path, labels: tuple[str, ...], video: VideoInfo, name: str) -> None:
        self._name, self._waiting = spelled(name), 0
        self._batches: list[pa.Table] = []
        self._size = np.array([video.width_px, video.height_px], np.float64)
        places = [f"{mark}_{axis}" for mark in _LANDMARKS for axis in "xy"]
        real = [(column, pa.float32()) for column in ("score", "x", "y", "w", "h", *places, *labels)]
        self._schema = pa.schema([("video", _WORD), ("pts_s", pa.float64()), ("track", pa.int32()), *real])
        self._folder, self._writer = part.parent, pq.ParquetWriter(part, self._schema, compression="zstd")

    def write(self, batch: EmotionBatch) -> None:
        """Append the m readings of a batch; boxes and landmarks are normalised to 0..1 of the displayed frame."""
        corner, end = batch.box_px[:, :2] / self._size, batch.box_px[:, 2:] / self._size
        marks = (batch.landmarks_px / self._size).reshape(len(batch), 2 * len(_LANDMARKS))
        real = np.column_stack([batch.score, corner, end - corner, marks, batch.prob]).astype(np.float32)
        kinds = self._schema.types[1:]
        numbers = [number_array(column, kind) for column, kind in zip((batch.pts_s, batch.track, *real.T), kinds)]
        video = word_array([self._name] * len(batch))
        self._batches.append(pa.Table.from_arrays([video, *numbers], schema=self._schema))
        self._waiting += len(batch)
        while self._waiting >= _ROW_GROUP:
            self._flush(_ROW_GROUP)

    def _flush(self, rows: int) -> None:
        """Write a row group of so many rows: the bytes do not depend on how readings were batched."""
        table = pa.concat_tables(self._batches, promote_options="none").unify_dictionaries().combine_chunks()
        with _blaming(self._folder):
            self._writer.write_table(table.slice(0, rows), row_group_size=rows)
        rest = table.slice(rows)
        self._batches, self._waiting = [rest] if len(rest) else [], len(rest)

    def close(self, provenance: dict[str, Any]) -> None:
        """Finish the file with the same provenance as its timeline."""
        if self._waiting:
            self._flush(self._waiting)
        self._writer.add_key_value_metadata({_KEY: json.dumps(provenance, sort_keys=True)})
        with _blaming(self._folder):
            self._writer.close()

    def abandon(self) -> None:
        """Let go of the file now: later the garbage collector would write a footer into what may be another file."""
        with suppress(OSError):
            self._writer.close()


def write_table(table: pa.Table, part: Path) -> None:
    """Write a table into the part file of `write_atomically`."""
    with _blaming(part.parent):
        pq.write_table(table, part, compression="zstd")


def rename_timeline(old: Path, new: Path, name: str) -> None:
    """Write a timeline again for the same video under another name: the bytes that processing it would give."""
    provenance = read_provenance(old)
    provenance["source"]["name"] = name.rpartition("/")[2]
    table = pq.read_table(old).unify_dictionaries().combine_chunks()
    column = word_array([name] * len(table))
    table = table.set_column(0, table.schema.field(0), column)
    with write_atomically(new) as part:
        write_table(table.replace_schema_metadata({_KEY: json.dumps(provenance, sort_keys=True)}), part)


def read_provenance(path: str | Path) -> dict[str, Any]:
    """Read how a timeline was made; DataError if the file is not one of fervid's."""
    try:
        return json.loads((pq.read_metadata(path).metadata or {})[_KEY])
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except KeyError:
        known = "the manifest of a batch" if Path(path).name == "manifest.parquet" else "but not one that fervid wrote"
        raise DataError(f"{path}: a Parquet file, {known}; expected a timeline") from None
    except (OSError, pa.ArrowException, ValueError) as e:
        folder, foreign = Path(path).is_dir(), "magic bytes" in str(e)
        why = "a folder" if folder else "no Parquet file" if foreign else " ".join(str(e).split())
        raise DataError(f"{path}: not a timeline ({why}); expected what fervid process writes, are the arguments in "
                        "their order?") from None  # fmt: skip


def describe_timeline(path: Path) -> dict[str, Any]:
    """Give the provenance of a timeline (or faces file) with a summary of what it says."""
    provenance = read_provenance(path)
    if "second" not in pq.read_schema(path).names:
        what = "shots" if "kind" in pq.read_schema(path).names else "face_readings"
        return {"says": {what: pq.read_metadata(path).num_rows}} | provenance
    return {"says": overview(load_timeline(path), provenance)} | provenance


def overview(frame: "pd.DataFrame", provenance: dict[str, Any]) -> dict[str, Any]:
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
        frame = pool(frame, [*keys, "second"] if by == "second" else keys)
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


def pool(frame: "pd.DataFrame", keys: list[str]) -> "pd.DataFrame":
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
