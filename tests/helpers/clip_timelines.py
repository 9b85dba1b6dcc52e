"""Clips, the timelines and face readings that the pipeline makes of them with fake models, and edited timelines."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fervid.config import load_config
from fervid.faces.detector import Detections
from fervid.models import Models
from fervid.pipeline import process_video
from fervid.timeline.write import write_table
from tests.helpers.clips import add_video, encode
from tests.helpers.fakes import FakeClassifier, FakeDetector

__all__ = [
    "BLIND",
    "FACE",
    "ROWS",
    "SEEING",
    "SIZE",
    "Row",
    "face_at",
    "process",
    "rewrite",
    "with_duration",
    "with_rows",
    "with_source",
    "write_frames",
]

#: Second, track, and the dominant emotion or the status.
Row = tuple[int, int | None, str]
#: Seconds 0 and 1 are happy, second 2 has no face, second 3 no data; in 4 and 5 there are two tracks, one changes.
ROWS: list[Row] = [
    (0, 0, "happiness"),
    (1, 0, "happiness"),
    (2, None, "no_face"),
    (3, None, "no_data"),
    (4, 1, "anger"),
    (4, 2, "neutral"),
    (5, 1, "happiness"),
    (5, 2, "neutral"),
]
#: Width and height of the clips, and the side of the face in them, in pixels.
SIZE = (256, 192)
FACE = 48


class BlindDetector(FakeDetector):
    """Finds no face in any frame."""

    def detect(self, images: np.ndarray, min_face_px: float) -> Detections:
        """Detect in a black image."""
        return super().detect(np.zeros_like(images), min_face_px)


SEEING = Models(FakeDetector(), FakeClassifier(), "cpu")
BLIND = Models(BlindDetector(), FakeClassifier(), "cpu")


def process(clip: Path, models: Models = SEEING, **options: Any) -> tuple[Path, Path]:
    """Process a clip; return its timeline and its face readings, which are written beside it."""
    out, faces = clip.with_suffix(".parquet"), clip.with_suffix(".faces.parquet")
    process_video(clip, out, load_config(**options), models, faces_out=faces)
    return out, faces


def face_at(x: int, y: int = 60) -> np.ndarray:
    """Draw a dark frame with one bright, finely chequered face: all its detail is at the scale of 4 pixels."""
    frame = np.full(SIZE[::-1], 20, np.uint8)
    checks = np.indices((FACE, FACE)).sum(0) // 4 % 2
    frame[y : y + FACE, x : x + FACE] = np.where(checks, 140, 255)
    return frame


def write_frames(path: Path, frames: Sequence[np.ndarray], pts: Sequence[int] | None = None) -> Path:
    """Encode frames of SIZE as a clip of 25 frames per second; pts are in units of 1/25 s."""
    with av.open(path, "w") as out:
        stream = add_video(out, size=SIZE, options={"crf": "12"})
        out.mux(list(encode(stream, frames, pts or range(len(frames)))))
    return path


def rewrite(path: Path, out: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    """Copy a timeline with its rows changed by `change(frame)` and the same provenance."""
    table = pq.read_table(path)
    frame = change(table.to_pandas())
    kinds = [table.schema.field(n) if n in table.schema.names else pa.field(n, pa.int32()) for n in frame.columns]
    changed = pa.Table.from_pandas(frame, pa.schema(kinds), preserve_index=False)
    write_table(changed.replace_schema_metadata({b"fervid": pq.read_metadata(path).metadata[b"fervid"]}), out)
    return out


def with_duration(path: Path, out: Path, seconds: float) -> Path:
    """Copy a timeline with another duration of the video in its provenance."""
    return with_source(path, out, duration_s=seconds)


def with_source(path: Path, out: Path, **source: Any) -> Path:
    """Copy a timeline with other facts about the video in its provenance."""
    table = pq.read_table(path)
    facts = json.loads(table.schema.metadata[b"fervid"])
    facts["source"] |= source
    pq.write_table(table.replace_schema_metadata({b"fervid": json.dumps(facts)}), out)
    return out


def with_rows(template: Path, out: Path, rows: Sequence[Row]) -> Path:
    """Copy a timeline with other rows; each emotion has 0.8, another one 0.2, and faces last a whole second."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        labels = ["anger", "happiness", "neutral"]
        made = []
        for second, track, word in rows:
            row: dict[str, Any] = {"video": "film.mp4", "second": second, "track": track, "n_faces": 5}
            row |= {"status": "ok" if track is not None else word, "n_sampled": 5 * (word != "no_data")}
            row["face_seconds"] = float(track is not None)
            if track is not None:
                other = labels[labels.index(word) - 1]
                row |= dict.fromkeys(labels, 0.0) | {word: 0.8, other: 0.2, "dominant": word}
                row |= {"score": 1.0, "face_px": 40.0, "x": 0.1, "y": 0.1, "w": 0.2, "h": 0.2}
            made.append(row)
        return pd.DataFrame(made, columns=frame.columns).astype({"track": "Int32", "dominant": "str"})

    return rewrite(template, out, change)
