"""NumPy columns as Arrow arrays. `pa.array` would do, but it imports pandas: half a second of every start."""

import json
from typing import Any

import numpy as np
import pyarrow as pa

from fervid.files import to_utf8
from fervid.labels import EMOTIONS
from fervid.shots.detect import Shot
from fervid.types import Rows

__all__ = [
    "METADATA_KEY",
    "NUMBERS",
    "SCHEMA_VERSION",
    "WORD",
    "file_metadata",
    "number_array",
    "shots_table",
    "timeline_schema",
    "to_table",
    "word_array",
]


def number_array(values: np.ndarray, kind: pa.DataType, null: np.ndarray | None = None) -> pa.Array:
    """Numbers (n,) as an Arrow array of a numeric kind, null where the mask (n,) says so."""
    numbers = np.ascontiguousarray(values, kind.to_pandas_dtype())
    return pa.Array.from_buffers(kind, len(numbers), [_validity(null), pa.py_buffer(numbers)])


def word_array(values: np.ndarray | list[str], null: np.ndarray | None = None) -> pa.DictionaryArray:
    """Words (n,) as a dictionary in the order of first appearance, null where the mask (n,) says so."""
    known: dict[str, int] = {}
    gone = np.zeros(len(values), bool) if null is None else null
    index = [-1 if missing else known.setdefault(word, len(known)) for word, missing in zip(values, gone)]
    to_utf8 = [word.encode() for word in known]
    offsets = np.cumsum([0, *map(len, to_utf8)], dtype=np.int32)
    words = pa.StringArray.from_buffers(len(to_utf8), pa.py_buffer(offsets), pa.py_buffer(b"".join(to_utf8)))
    return pa.DictionaryArray.from_arrays(number_array(np.array(index, np.int32), pa.int32(), null), words)


def _validity(null: np.ndarray | None) -> pa.Buffer | None:
    """Arrow's bitmap: a bit a value, lowest first, 1 where there is one."""
    if null is None or not null.any():
        return None
    return pa.py_buffer(np.packbits(~null, bitorder="little").tobytes())


SCHEMA_VERSION = 2


METADATA_KEY = b"fervid"


WORD = pa.dictionary(pa.int32(), pa.string())


#: Numbers of something, -1 (null in the file) where there is none.
NUMBERS = ("shot", "track", "person")


def file_metadata(provenance: dict[str, Any]) -> dict[bytes, str]:
    """Give the key-value metadata of a Parquet file that carries a provenance."""
    return {METADATA_KEY: json.dumps(provenance, sort_keys=True)}


def timeline_schema(labels: tuple[str, ...], extra: tuple[str, ...] = ()) -> pa.Schema:
    """The columns of a timeline, in order; `labels` are the emotions that the classifier knows, `extra` on request."""
    real = pa.float32()
    return pa.schema(
        [
            ("video", WORD),
            ("second", pa.int32()),
            ("shot", pa.int32()),
            ("track", pa.int32()),
            ("status", WORD),
            ("n_sampled", pa.int32()),
            ("n_faces", pa.int32()),
            ("face_seconds", real),
        ]
        + [(name, real) for name in EMOTIONS if name in labels]
        + [("dominant", WORD)]
        + [(name, real) for name in ("entropy", "spread", "score", "face_px", "x", "y", "w", "h")]
        + [(name, pa.int32() if name == "person" else real) for name in extra]
    )


def to_table(
    rows: Rows, labels: tuple[str, ...], video: str, provenance: dict[str, Any], extra: Rows | None = None
) -> pa.Table:
    """Rows of timeline.fill_gaps -> the Arrow table that is written, with the provenance in its metadata.

    `extra` columns, those on request, come after those of every timeline.
    """
    rows = rows | (extra or {})
    schema = timeline_schema(labels, tuple(extra or ())).with_metadata(
        {METADATA_KEY: json.dumps(provenance, sort_keys=True)}
    )
    n = len(rows["second"])
    columns = []
    for field in schema:
        values = np.full(n, to_utf8(video), object) if field.name == "video" else rows[field.name]
        null = values == -1 if field.name in NUMBERS else values == "" if field.name == "dominant" else None
        if pa.types.is_floating(field.type):
            null = np.isnan(values)
        word = field.type == WORD
        columns.append(word_array(values, null) if word else number_array(values, field.type, null))
    return pa.Table.from_arrays(columns, schema=schema)


def shots_table(shots: list[Shot], video: str, provenance: dict[str, Any]) -> pa.Table:
    """One row a shot: its number, start_s, end_s, the kind of change that begins it, and from when to when that is."""
    times = [(name, pa.float64()) for name in ("start_s", "end_s", "from_s", "to_s")]
    schema = pa.schema([("video", WORD), ("shot", pa.int32()), ("kind", WORD), *times])
    columns = {name: [getattr(shot, name) for shot in shots] for name in ("shot", "kind", *dict(times))}
    columns["video"] = [to_utf8(video)] * len(shots)
    arrays = [
        word_array(columns[f.name]) if f.type == WORD else number_array(np.array(columns[f.name]), f.type)
        for f in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema.with_metadata(file_metadata(provenance)))
