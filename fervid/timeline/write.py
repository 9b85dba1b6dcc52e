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
from fervid.timeline.schema import WORD, file_metadata, number_array, word_array
from fervid.types import EmotionBatch, VideoInfo

__all__ = ["FacesWriter", "rename_timeline", "write_table"]


_ROW_GROUP = 50_000


_LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


@contextmanager
def _blaming(folder: Path) -> Iterator[None]:
    """Errors while Arrow writes are about the result, and not about the video that is read meanwhile."""
    try:
        yield
    except OSError as e:
        raise write_error(folder, e) from e


class FacesWriter:
    """Writes every face reading as it passes, so that memory does not grow with the video."""

    def __init__(self, part: Path, labels: tuple[str, ...], video: VideoInfo, name: str) -> None:
        self._name, self._waiting = to_utf8(name), 0
        self._batches: list[pa.Table] = []
        self._size = np.array([video.width_px, video.height_px], np.float64)
        places = [f"{mark}_{axis}" for mark in _LANDMARKS for axis in "xy"]
        real = [(column, pa.float32()) for column in ("score", "x", "y", "w", "h", *places, *labels)]
        self._schema = pa.schema([("video", WORD), ("pts_s", pa.float64()), ("track", pa.int32()), *real])
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
        self._writer.add_key_value_metadata(file_metadata(provenance))
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
        write_table(table.replace_schema_metadata(file_metadata(provenance)), part)
