"""fervid: video files into per-second emotion timelines, offline and in bulk.

import fervid
result = fervid.process("interview.mp4", "timeline.parquet")
frame = fervid.load_timeline("timeline.parquet", by="second")
"""

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fervid.errors import FervidError, RunError, UsageError, VideoError

if TYPE_CHECKING:
    import pandas as pd

    from fervid.pipeline import Models, Progress, Result

__version__ = "0.1.0"
__all__ = [
    "FervidError",
    "RunError",
    "UsageError",
    "VideoError",
    "__version__",
    "load_models",
    "load_timeline",
    "probe",
    "process",
]


def process(
    path: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    faces: str | PathLike[str] | None = None,
    shots: str | PathLike[str] | None = None,
    pipeline: str | PathLike[str] | None = None,
    models: "Models | None" = None,
    on_progress: "Callable[[Progress], None] | None" = None,
    **options: Any,
) -> "Result":
    """Turn one video into a per-second emotion timeline.

    With `out` the timeline is written there (Parquet); without, it is in the Result only. `faces` keeps every face
    reading in a second file, `shots` the shots in a third. `pipeline` names a preset or a TOML file; `options`
    are the fields of fervid.config.Config, such as fps=5 or fps="native", start_s, end_s, min_face_px, device, reader,
    weights. `models` from `load_models` are used again rather than loaded.

    Raises VideoError if the video cannot be read, UsageError if the request is wrong, RunError if the disk is full.
    """
    from fervid.config import load_config
    from fervid.pipeline import check_paths, process_video
    from fervid.pipeline import load_models as load

    config = load_config(pipeline, **options)
    video = Path(path)
    timeline, readings, cuts = (Path(file) if file is not None else None for file in (out, faces, shots))
    check_paths(video, timeline, readings, cuts)
    models = models or load(config)
    return process_video(video, timeline, config, models, faces_out=readings, shots_out=cuts, on_progress=on_progress)


def load_models(pipeline: str | PathLike[str] | None = None, **options: Any) -> "Models":
    """Load the networks once, to hand them to several calls of `process` with the same options."""
    from fervid.config import load_config
    from fervid.pipeline import load_models as load

    return load(load_config(pipeline, **options))


def load_timeline(path: str | PathLike[str], by: str = "track", *, time_index: bool = False) -> "pd.DataFrame":
    """Read a timeline, or a folder of them, into pandas; see fervid.store.load_timeline."""
    from fervid.store import load_timeline as load

    return load(Path(path), by, time_index=time_index)


def probe(
    path: str | PathLike[str], *, pipeline: str | PathLike[str] | None = None, **options: Any
) -> dict[str, Any]:  # fmt: skip
    """Tell what is in a video file, and what `process` would do with it under the same options."""
    from fervid.config import load_config
    from fervid.pipeline import describe_video

    return describe_video(Path(path), load_config(pipeline, **options))
