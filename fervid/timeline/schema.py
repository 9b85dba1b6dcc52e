"""The Arrow schemas of fervid's files, and NumPy columns as Arrow arrays.

`pa.array` would convert them too, but it imports pandas, which takes half a second.
"""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from fervid.files import to_utf8
from fervid.labels import EMOTIONS
from fervid.shots.detect import Shot
from fervid.types import Rows

__all__ = [
    "CATEGORICAL",
    "ID_COLUMNS",
    "METADATA_KEY",
    "SCHEMA_VERSION",
    "categorical_array",
    "file_metadata",
    "number_array",
    "shots_table",
    "table_kind",
    "timeline_schema",
    "to_table",
]


#: Version of the schema, written into the provenance.
SCHEMA_VERSION = 2
#: The metadata key under which a file carries its provenance, as JSON.
METADATA_KEY = b"fervid"
#: The Arrow type of columns with few distinct strings.
CATEGORICAL = pa.dictionary(pa.int32(), pa.string())
#: Columns of identifiers; a missing one is -1 in memory and null in the file.
ID_COLUMNS = ("shot", "track", "person")


def number_array(values: np.ndarray, kind: pa.DataType, null: np.ndarray | None = None) -> pa.Array:
    """Convert numbers to an Arrow array.

    Parameters
    ----------
    values : np.ndarray
        Numbers, (n,).
    kind : pa.DataType
        A numeric type.
    null : np.ndarray, optional
        Mask, (n,): True where the value is null.

    Returns
    -------
    pa.Array
    """
    numbers = np.ascontiguousarray(values, kind.to_pandas_dtype())
    return pa.Array.from_buffers(kind, len(numbers), [_validity(null), pa.py_buffer(numbers)])


def categorical_array(values: np.ndarray | list[str], null: np.ndarray | None = None) -> pa.DictionaryArray:
    """Convert strings to an Arrow dictionary array, its dictionary in the order of first appearance.

    Parameters
    ----------
    values : np.ndarray or list of str
        Strings, (n,).
    null : np.ndarray, optional
        Mask, (n,): True where the value is null.

    Returns
    -------
    pa.DictionaryArray
    """
    known: dict[str, int] = {}
    missing = np.zeros(len(values), bool) if null is None else null
    index = [-1 if gone else known.setdefault(word, len(known)) for word, gone in zip(values, missing)]
    encoded = [word.encode() for word in known]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    words = pa.StringArray.from_buffers(len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))
    return pa.DictionaryArray.from_arrays(number_array(np.array(index, np.int32), pa.int32(), null), words)


def _validity(null: np.ndarray | None) -> pa.Buffer | None:
    """Return Arrow's validity bitmap: one bit per value, least significant first, 1 for a value that is not null."""
    if null is None or not null.any():
        return None
    return pa.py_buffer(np.packbits(~null, bitorder="little").tobytes())


def file_metadata(provenance: dict[str, Any]) -> dict[bytes, str]:
    """Encode a provenance as the key-value metadata of a Parquet file.

    Parameters
    ----------
    provenance : dict
        Plain values that JSON can hold.

    Returns
    -------
    dict
        One key, METADATA_KEY; its value is JSON with sorted keys, so that equal provenance gives equal bytes.
    """
    return {METADATA_KEY: json.dumps(provenance, sort_keys=True)}


def table_kind(columns: Iterable[str]) -> str:
    """Identify a table of fervid by its columns.

    Parameters
    ----------
    columns : iterable of str
        The names of the columns.

    Returns
    -------
    str
        "timeline", "face_readings", "shots", or "rows" for any other table.
    """
    names = set(columns)
    marks = {"timeline": "second", "face_readings": "pts_s", "shots": "kind"}
    return next((kind for kind, column in marks.items() if column in names), "rows")


def timeline_schema(labels: tuple[str, ...], extra: tuple[str, ...] = ()) -> pa.Schema:
    """Return the columns of a timeline, in order.

    Parameters
    ----------
    labels : tuple of str
        The emotions of the classifier; their columns have the order of EMOTIONS.
    extra : tuple of str
        Optional columns; they follow those of every timeline.

    Returns
    -------
    pa.Schema
    """
    real = pa.float32()
    return pa.schema(
        [
            ("video", CATEGORICAL),
            ("second", pa.int32()),
            ("shot", pa.int32()),
            ("track", pa.int32()),
            ("status", CATEGORICAL),
            ("n_sampled", pa.int32()),
            ("n_faces", pa.int32()),
            ("face_seconds", real),
        ]
        + [(name, real) for name in EMOTIONS if name in labels]
        + [("dominant", CATEGORICAL)]
        + [(name, real) for name in ("entropy", "spread", "score", "face_px", "x", "y", "w", "h")]
        + [(name, pa.int32() if name == "person" else real) for name in extra]
    )


def to_table(
    rows: Rows, labels: tuple[str, ...], video: str, provenance: dict[str, Any], extra: Rows | None = None
) -> pa.Table:
    """Convert rows to the Arrow table that is written.

    Parameters
    ----------
    rows : Rows
        The rows of `fervid.timeline.aggregate.fill_gaps`.
    labels : tuple of str
        The emotions of the classifier.
    video : str
        The value of the column `video`.
    provenance : dict
        Goes into the metadata.
    extra : Rows, optional
        Optional columns.

    Returns
    -------
    pa.Table
    """
    rows = rows | (extra or {})
    schema = timeline_schema(labels, tuple(extra or ())).with_metadata(file_metadata(provenance))
    n = len(rows["second"])
    columns = []
    for field in schema:
        values = np.full(n, to_utf8(video), object) if field.name == "video" else rows[field.name]
        null = values == -1 if field.name in ID_COLUMNS else values == "" if field.name == "dominant" else None
        if pa.types.is_floating(field.type):
            null = np.isnan(values)
        categorical = field.type == CATEGORICAL
        columns.append(categorical_array(values, null) if categorical else number_array(values, field.type, null))
    return pa.Table.from_arrays(columns, schema=schema)


def shots_table(shots: list[Shot], video: str, provenance: dict[str, Any]) -> pa.Table:
    """Convert shots to an Arrow table.

    Parameters
    ----------
    shots : list of Shot
    video : str
        The value of the column `video`.
    provenance : dict
        Goes into the metadata.

    Returns
    -------
    pa.Table
        One row per shot: its number, the kind of transition that starts it, start_s and end_s of the shot, from_s and
        to_s of the transition.
    """
    times = [(name, pa.float64()) for name in ("start_s", "end_s", "from_s", "to_s")]
    schema = pa.schema([("video", CATEGORICAL), ("shot", pa.int32()), ("kind", CATEGORICAL), *times])
    columns = {name: [getattr(shot, name) for shot in shots] for name in ("shot", "kind", *dict(times))}
    columns["video"] = [to_utf8(video)] * len(shots)
    arrays = [
        categorical_array(columns[f.name]) if f.type == CATEGORICAL else number_array(np.array(columns[f.name]), f.type)
        for f in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema.with_metadata(file_metadata(provenance)))
