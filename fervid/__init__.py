"""fervid: video files into per-second emotion timelines, offline and in bulk.

import fervid
result = fervid.process("interview.mp4", "timeline.parquet")
frame = fervid.load_timeline("timeline.parquet", by="second")
"""

import os
from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fervid.errors import FervidError, RunError, UsageError, VideoError

if TYPE_CHECKING:
    import pandas as pd

    from fervid.bulk import Event, Summary
    from fervid.pipeline import Models, Progress, Result

__version__ = "0.1.0"
__all__ = [
    "FervidError",
    "RunError",
    "UsageError",
    "VideoError",
    "__version__",
    "batch",
    "forget",
    "load_models",
    "load_timeline",
    "load_timelines",
    "probe",
    "process",
    "report",
]


def process(
    path: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    faces: str | PathLike[str] | None = None,
    pipeline: str | PathLike[str] | None = None,
    models: "Models | None" = None,
    on_progress: "Callable[[Progress], None] | None" = None,
    **options: Any,
) -> "Result":
    """Turn one video into a per-second emotion timeline.

    With `out` the timeline is written there (Parquet); without, it is in the Result only. `faces` keeps every face
    reading in a second file. `pipeline` names a preset or a TOML file; `options` are the fields of
    fervid.config.Config, such as fps=5 or fps="native", start_s, end_s, min_face_px, device, reader, weights. `models`
    from `load_models` are used again rather than loaded.

    Raises VideoError if the video cannot be read, UsageError if the request is wrong, RunError if the disk is full.
    """
    from fervid.config import load_config
    from fervid.pipeline import check_paths, process_video
    from fervid.pipeline import load_models as load

    config = load_config(pipeline, **options)
    video = Path(path)
    timeline, readings = (Path(file) if file is not None else None for file in (out, faces))
    check_paths(video, timeline, readings)
    models = models or load(config)
    return process_video(video, timeline, config, models, faces_out=readings, on_progress=on_progress)


def batch(
    inputs: str | PathLike[str] | Iterable[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    listed: Iterable[str] = (),
    pipeline: str | PathLike[str] | None = None,
    workers: int | None = None,
    timeout_s: float | None = None,
    stall_s: float | None = 600.0,
    memory_gb: float | None = None,
    retry_failed: bool = False,
    fresh: bool = False,
    on_event: "Callable[[Event], None] | None" = None,
    **options: Any,
) -> "Summary":
    """Turn every video in files, folders and globs into a timeline below `out`, and account for each in its manifest.

    Run again, it skips what is finished. `workers` processes (one a core) do the work; a video that takes longer than
    `timeout_s`, makes no progress for `stall_s` or needs more than `memory_gb` fails alone. `listed` are names that may
    have vanished. `pipeline` and `options` are as for `process`.

    Raises UsageError if the request is wrong, RunError if the run had to stop; a video that fails is a row.
    """
    from dataclasses import replace

    from fervid.bulk import Request, run_batch
    from fervid.config import load_config
    from fervid.engine import LocalEngine, default_limits, default_workers
    from fervid.errors import ConfigError

    for name, value in {"workers": workers, "timeout": timeout_s, "stall": stall_s, "memory": memory_gb}.items():
        if value is not None and value <= 0:
            raise ConfigError(f"{name} = {value:g}: expected a number above 0")
    config = load_config(pipeline, **options)
    given = (inputs,) if isinstance(inputs, (str, PathLike)) else tuple(inputs)
    size = workers or default_workers()
    limits = replace(default_limits(size, timeout_s), stall_s=stall_s)
    limits = replace(limits, memory_bytes=int(memory_gb * 1e9)) if memory_gb else limits
    request = Request(tuple(os.fspath(item) for item in given), Path(out), tuple(listed), retry_failed, fresh)
    return run_batch(request, config, LocalEngine(config, size, limits), on_event)


def forget(video: str | PathLike[str], out: str | PathLike[str]) -> list[str]:
    """Erase every trace of one video from a folder of results; give the names that are gone."""
    from fervid.bulk import forget as erase

    return erase(video, Path(out))


def load_models(pipeline: str | PathLike[str] | None = None, **options: Any) -> "Models":
    """Load the networks once, to hand them to several calls of `process` with the same options."""
    from fervid.config import load_config
    from fervid.pipeline import load_models as load

    return load(load_config(pipeline, **options))


def load_timeline(path: str | PathLike[str], by: str = "track", *, time_index: bool = False) -> "pd.DataFrame":
    """Read a timeline, or a folder of them, into pandas; see fervid.store.load_timeline."""
    from fervid.store import load_timeline as load

    return load(Path(path), by, time_index=time_index)


def load_timelines(folder: str | PathLike[str], by: str = "track", *, time_index: bool = False) -> "pd.DataFrame":
    """Read all timelines of a results folder as one frame; see fervid.store.load_timeline."""
    from fervid.errors import DataError

    if not Path(folder).is_dir():
        raise DataError(f"{folder}: not a folder; for one file there is load_timeline")
    return load_timeline(folder, by, time_index=time_index)


def probe(
    path: str | PathLike[str], *, pipeline: str | PathLike[str] | None = None, **options: Any
) -> dict[str, Any]:  # fmt: skip
    """Tell what is in a video file, and what `process` would do with it under the same options."""
    from fervid.config import load_config
    from fervid.pipeline import describe_video

    return describe_video(Path(path), load_config(pipeline, **options))


def report(
    timeline: str | PathLike[str],
    out: str | PathLike[str],
    *,
    video: str | PathLike[str] | None = None,
    faces: str | PathLike[str] | None = None,
    transcode: bool = False,
    force: bool = False,
    embed_mb: float = 50.0,
) -> dict[str, Any]:
    """Write a web page that shows a timeline beside its film, or for a folder of timelines an index and their pages.

    A film of up to `embed_mb` goes into the page; a larger one is played from where it lies. `transcode` shows a copy
    that every browser plays; `faces` are the readings that `process` kept, drawn over the film. Gives what was written.

    Raises DataError if the files are not fervid's or do not belong together (`force` lets them pass), VideoError if no
    browser plays the film.
    """
    from fervid.views.report import ReportOptions, write_report
    from fervid.views.report_index import write_index

    film, readings = (Path(file) if file is not None else None for file in (video, faces))
    options = ReportOptions(film, readings, transcode, force, embed_mb)
    return (write_index if Path(timeline).is_dir() else write_report)(Path(timeline), Path(out), options)
