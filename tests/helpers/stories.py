"""Clips, and the timelines and face readings that the line with fake models makes of them; and timelines by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fervid.config import load_config
from fervid.faces.detector import Detections
from fervid.pipeline import Models, process_video
from fervid.timeline.write import write_table
from tests.helpers.clips import add_video, encode
from tests.helpers.fakes import FakeClassifier, FakeDetector

SIZE = (256, 192)
FACE = 48


class Blind(FakeDetector):
    """Finds no face in anything."""

    def detect(self, picture: np.ndarray, min_face_px: float) -> Detections:
        """Nothing."""
        return super().detect(np.zeros_like(picture), min_face_px)


SEEING = Models(FakeDetector(), FakeClassifier(), "cpu")
BLIND = Models(Blind(), FakeClassifier(), "cpu")


def tell(clip: Path, models: Models = SEEING, **options: Any) -> tuple[Path, Path]:
    """Process a clip -> its timeline, its face readings, beside it."""
    out, faces = clip.with_suffix(".parquet"), clip.with_suffix(".faces.parquet")
    process_video(clip, out, load_config(**options), models, faces_out=faces)
    return out, faces


def face_at(x: int, y: int = 60) -> np.ndarray:
    """A dark picture with one bright, finely chequered face: all its detail is at the scale of 4 pixels."""
    picture = np.full(SIZE[::-1], 20, np.uint8)
    checks = np.indices((FACE, FACE)).sum(0) // 4 % 2
    picture[y : y + FACE, x : x + FACE] = np.where(checks, 140, 255)
    return picture


def write_pictures(path: Path, pictures: Sequence[np.ndarray], pts: Sequence[int] | None = None) -> Path:
    """Pictures of SIZE as a clip at 25 a second; pts in 1/25 s."""
    with av.open(path, "w") as out:
        stream = add_video(out, size=SIZE, options={"crf": "12"})
        out.mux(list(encode(stream, pictures, pts or range(len(pictures)))))
    return path


def rewrite(path: Path, out: Path, change: Any) -> Path:
    """Write a timeline again with its rows changed by `change(frame)`, and the same provenance."""
    table = pq.read_table(path)
    frame = change(table.to_pandas())
    kinds = [table.schema.field(n) if n in table.schema.names else pa.field(n, pa.int32()) for n in frame.columns]
    changed = pa.Table.from_pandas(frame, pa.schema(kinds), preserve_index=False)
    write_table(changed.replace_schema_metadata({b"fervid": pq.read_metadata(path).metadata[b"fervid"]}), out)
    return out


def by_hand(template: Path, out: Path, rows: Sequence[tuple[int, int | None, str]]) -> Path:
    """A timeline of these (second, track, emotion or status); the emotion has 0.8, another 0.2, faces last a second."""

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
