"""Write timelines, shots and face readings as Parquet."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fervid.files import to_utf8, write_atomically, write_error
from fervid.timeline.read import read_provenance
from fervid.timeline.schema import CATEGORICAL, categorical_array, file_metadata, number_array
from fervid.types import EmotionBatch

__all__ = ["FacesWriter", "rename_timeline", "write_table"]

#: Rows per row group of a file of face readings.
_ROW_GROUP = 50_000
_LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


@contextmanager
def _as_write_errors(folder: Path) -> Iterator[None]:
    """Attribute errors while Arrow writes to the output, not to the video that is read at the same time."""
    try:
        yield
    except OSError as e:
        raise write_error(folder, e) from e


class FacesWriter:
    """Writes face readings batch by batch, so that memory does not grow with the video.

    Parameters
    ----------
    part : Path
        The temporary file of `fervid.files.write_atomically`.
    labels : tuple of str
        The emotions of the classifier.
    name : str
        The value of the column `video`.
    """

    def __init__(self, part: Path, labels: tuple[str, ...], name: str) -> None:
        self._name, self._waiting = to_utf8(name), 0
        self._batches: list[pa.Table] = []
        landmarks = [f"{mark}_{axis}" for mark in _LANDMARKS for axis in "xy"]
        real = [(column, pa.float32()) for column in ("score", "x", "y", "w", "h", *landmarks, *labels)]
        self._schema = pa.schema([("video", CATEGORICAL), ("pts_s", pa.float64()), ("track", pa.int32()), *real])
        self._folder, self._writer = part.parent, pq.ParquetWriter(part, self._schema, compression="zstd")

    def write(self, batch: EmotionBatch) -> None:
        """Append the readings of a batch, with boxes and landmarks normalised to 0..1 of their displayed frame.

        Parameters
        ----------
        batch : EmotionBatch

        Raises
        ------
        OutputError, RunError
            If the file cannot be written, or the disk is full.
        """
        size = batch.frame_px.astype(np.float64)
        corner, end = batch.box_px[:, :2] / size, batch.box_px[:, 2:] / size
        marks = (batch.landmarks_px / size[:, None]).reshape(len(batch), 2 * len(_LANDMARKS))
        real = np.column_stack([batch.score, corner, end - corner, marks, batch.prob]).astype(np.float32)
        kinds = self._schema.types[1:]
        numbers = [number_array(column, kind) for column, kind in zip((batch.pts_s, batch.track, *real.T), kinds)]
        video = categorical_array([self._name] * len(batch))
        self._batches.append(pa.Table.from_arrays([video, *numbers], schema=self._schema))
        self._waiting += len(batch)
        while self._waiting >= _ROW_GROUP:
            self._flush(_ROW_GROUP)

    def _flush(self, rows: int) -> None:
        """Write one row group, so that the bytes do not depend on how the readings were batched."""
        table = pa.concat_tables(self._batches, promote_options="none").unify_dictionaries().combine_chunks()
        with _as_write_errors(self._folder):
            self._writer.write_table(table.slice(0, rows), row_group_size=rows)
        rest = table.slice(rows)
        self._batches, self._waiting = [rest] if len(rest) else [], len(rest)

    def close(self, provenance: dict[str, Any]) -> None:
        """Finish the file.

        Parameters
        ----------
        provenance : dict
            The provenance of the timeline of the same run.

        Raises
        ------
        OutputError, RunError
            If the file cannot be written, or the disk is full.
        """
        if self._waiting:
            self._flush(self._waiting)
        self._writer.add_key_value_metadata(file_metadata(provenance))
        with _as_write_errors(self._folder):
            self._writer.close()

    def abandon(self) -> None:
        """Close the unfinished file now; later, the garbage collector would write a footer into a reused descriptor."""
        with suppress(OSError):
            self._writer.close()


def write_table(table: pa.Table, part: Path) -> None:
    """Write a table as Parquet.

    Parameters
    ----------
    table : pa.Table
    part : Path
        The temporary file of `fervid.files.write_atomically`.

    Raises
    ------
    OutputError, RunError
        If the file cannot be written, or the disk is full.
    """
    with _as_write_errors(part.parent):
        pq.write_table(table, part, compression="zstd")


def rename_timeline(old: Path, new: Path, name: str) -> None:
    """Copy a timeline for the same video under another name; the bytes are those that processing it would give.

    Parameters
    ----------
    old, new : Path
        The existing timeline, and the file to write.
    name : str
        The new value of the column `video`.

    Raises
    ------
    DataError
        If `old` is not a timeline.
    OutputError, RunError
        If `new` cannot be written, or the disk is full.
    """
    provenance = read_provenance(old)
    provenance["source"]["name"] = name.rpartition("/")[2]
    table = pq.read_table(old).unify_dictionaries().combine_chunks()
    column = categorical_array([name] * len(table))
    table = table.set_column(0, table.schema.field(0), column)
    with write_atomically(new) as part:
        write_table(table.replace_schema_metadata(file_metadata(provenance)), part)
