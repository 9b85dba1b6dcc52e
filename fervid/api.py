"""The functions of `import fervid`: one for each command, with the names of the command line."""

import os
from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fervid.runtime.profiling import stage

if TYPE_CHECKING:
    import pandas as pd

    from fervid.jobs.batch import Event, Summary
    from fervid.pipeline import Models, Result
    from fervid.studies.agreement import Agreement
    from fervid.studies.disfa_study import DisfaResult
    from fervid.types import Progress

Name = str | PathLike[str]
__all__ = [
    "agree",
    "batch",
    "disfa",
    "export",
    "forget",
    "load_models",
    "load_timeline",
    "load_timelines",
    "overlay",
    "plot",
    "probe",
    "process",
    "report",
]


def process(
    path: Name,
    out: Name | None = None,
    *,
    faces: Name | None = None,
    shots: Name | None = None,
    pipeline: Name | None = None,
    models: "Models | None" = None,
    shards: int | str | None = None,
    on_progress: "Callable[[Progress], None] | None" = None,
    **options: Any,
) -> "Result":
    """Turn one video into a per-second emotion timeline.

    With `out` the timeline is written there (Parquet); without, it is in the Result only. `faces` keeps every face
    reading in a second file, `shots` the shots in a third. `pipeline` names a preset or a TOML file; `options`
    are the fields of fervid.config.Config, such as fps=5 or fps="native", start_s, end_s, min_face_px, device, reader,
    weights, persons, smooth_s, baseline. `models` from `load_models` are used again rather than loaded. `shards`
    spreads the video over so many worker processes, or with "auto" over all cores if it lasts ten minutes or more; the
    result is the same, to the byte, and `Result.whole` tells why a video was read by one worker all the same.

    Raises VideoError if the video cannot be read, UsageError if the request is wrong, RunError if the disk is full.
    """
    with stage("start-up"):
        from fervid.config import load_config
        from fervid.files import check_paths
        from fervid.models import load_models as load
        from fervid.pipeline import process_video
        from fervid.video.open import read_video

        config = load_config(pipeline, **options)
        video = Path(path)
        timeline, readings, cuts = (Path(file) if file is not None else None for file in (out, faces, shots))
        check_paths(video, timeline, readings, cuts)
        if models is None:  # opening takes a hundredth of loading them: what is no video is told first
            read_video(video, config, lambda reader: None)
            models = load(config)
        sharding = None
        if shards is not None:
            from fervid.jobs.engine import default_workers
            from fervid.jobs.shards import choose_shards

            sharding = choose_shards(shards, default_workers(), on_progress)
    return process_video(
        video, timeline, config, models, faces_out=readings, shots_out=cuts, on_progress=on_progress, sharding=sharding
    )


def batch(
    inputs: Name | Iterable[Name],
    out: Name,
    *,
    listed: Iterable[str] = (),
    pipeline: Name | None = None,
    workers: int | None = None,
    timeout_s: float | None = None,
    stall_s: float | None = 600.0,
    memory_gb: float | None = None,
    retry_failed: bool = False,
    fresh: bool = False,
    shards: int | str | None = None,
    engine: str = "local",
    address: str | None = None,
    gpus_per_worker: float | None = None,
    on_event: "Callable[[Event], None] | None" = None,
    **options: Any,
) -> "Summary":
    """Turn every video in files, folders and globs into a timeline below `out`, and account for each in its manifest.

    Run again, it skips what is finished. `workers` processes (one a core; beside a GPU four at most) do the work; a
    video that takes longer than `timeout_s`, makes no progress for `stall_s` or needs more than `memory_gb` fails
    alone. `listed` are names that may have vanished. `pipeline` and `options` are as for `process`.

    shards="auto" spreads each video of ten minutes and more over all workers, one after another, when all others are
    done; a number spreads each longer one over so many workers.

    engine="ray" runs on a Ray cluster: `address` is "auto" (default), "local" or HOST:PORT; inputs and `out` must lie
    at the same paths on every node. There `workers` are as many as fit, and each may have `gpus_per_worker`, a fraction
    too. The results are the same bytes.

    Raises UsageError if the request is wrong, RunError if the run had to stop; a video that fails is a row.
    """
    from fervid.config import load_config
    from fervid.jobs.batch import Request, run_batch
    from fervid.jobs.open_engine import EngineOptions, open_engine

    crew = EngineOptions(workers, timeout_s, stall_s, memory_gb, shards, address, gpus_per_worker)
    config = load_config(pipeline, **options)
    given = (inputs,) if isinstance(inputs, (str, PathLike)) else tuple(inputs)
    request = Request(tuple(os.fspath(item) for item in given), Path(out), tuple(listed), retry_failed, fresh)
    return run_batch(request, config, open_engine(engine, config, crew, Path(out)), on_event)


def forget(video: Name, out: Name) -> list[str]:
    """Erase every trace of one video from a folder of results; give the names that are gone."""
    from fervid.jobs.batch import forget as erase

    return erase(video, Path(out))


def agree(
    timeline: Name,
    ratings: Name | Iterable[Name],
    *,
    track: int | None = None,
    person: int | None = None,
    scale: str | tuple[float, float] | None = None,
    gaps: str | None = None,
    ignore_unknown: bool = False,
    max_lag_s: int = 5,
    block_s: int = 10,
) -> "Agreement":
    """Tell how far a timeline agrees with human coders, whose CSV files may have any usual columns.

    The result has `facts` (plain values: CCC, correlations, kappa, alpha, ICC, the best lag, coverage, the human
    spread) and `to_pandas()`, both sides by the second. `track` or `person` compares one face rather than everybody;
    `scale` is the ends of the scores' scale, (1, 7) or "1:7"; `gaps` labels what lies between intervals.

    Raises UsageError if a file is not what it should be, or if the two have no second or emotion in common.
    """
    from fervid.studies.agreement import compare
    from fervid.studies.ratings import RatingOptions, read_scale

    tables = [ratings] if isinstance(ratings, (str, PathLike)) else ratings
    reading = RatingOptions(read_scale(scale), ignore_unknown, person, track, gaps)
    return compare(Path(timeline), [Path(table) for table in tables], reading, max_lag_s=max_lag_s, block_s=block_s)


def disfa(
    root: Name,
    out: Name,
    *,
    camera: str = "left",
    workers: int | None = None,
    pipeline: Name | None = "disfa",
    on_event: "Callable[[Event], None] | None" = None,
    **options: Any,
) -> "DisfaResult":
    """Compare every frame of DISFA, as it is distributed, with its coded action units.

    The readings of each video are kept below `out` and used again; `workers` processes make those that are missing.
    `pipeline` and `options` are as for `process`. The result has `facts` (plain values), with a sentence in `troubles`
    for whatever is missing or damaged.

    Raises UsageError if the folder holds nothing to compare, RunError if the run had to stop.
    """
    from fervid.config import load_config
    from fervid.jobs.open_engine import EngineOptions, open_engine
    from fervid.studies.disfa_study import run_disfa

    config = load_config(pipeline, **options)
    engine = open_engine("local", config, EngineOptions(workers), Path(out))
    return run_disfa(Path(root), Path(out), config, engine, camera=camera, on_event=on_event)


def load_models(pipeline: Name | None = None, **options: Any) -> "Models":
    """Load the networks once, to hand them to several calls of `process` with the same options."""
    from fervid.config import load_config
    from fervid.models import load_models as load

    return load(load_config(pipeline, **options))


def load_timeline(path: Name, by: str = "track", *, time_index: bool = False) -> "pd.DataFrame":
    """Read a timeline, or a folder of them, into pandas; see fervid.timeline.read.load_timeline."""
    from fervid.timeline.read import load_timeline as load

    return load(Path(path), by, time_index=time_index)


def load_timelines(folder: Name, by: str = "track", *, time_index: bool = False) -> "pd.DataFrame":
    """Read all timelines of a results folder as one frame; see fervid.timeline.read.load_timeline."""
    from fervid.errors import DataError

    if not Path(folder).is_dir():
        raise DataError(f"{folder}: not a folder; for one file there is load_timeline")
    return load_timeline(folder, by, time_index=time_index)


def probe(path: Name, *, pipeline: Name | None = None, **options: Any) -> dict[str, Any]:
    """Tell what is in a video file, and what `process` would do with it under the same options."""
    from fervid.config import load_config
    from fervid.video.probe import describe_video

    return describe_video(Path(path), load_config(pipeline, **options))


def plot(
    timeline: Name, out: Name, *, tracks: Iterable[int] | None = None, each: bool = False, **style: Any
) -> dict[str, Any]:
    """Draw a timeline's probabilities over time into a .png or .svg; tell the caption and where it is.

    One panel for the whole screen, or a row for each of `tracks` (`each`: of all). `style` are the fields of
    fervid.views.figures.timeline.Style: kind="area" or "lines", title, width_in, height_in, dpi.
    """
    from fervid.views.figures.timeline import Style, save_timeline

    return save_timeline(Path(timeline), Path(out), tracks=tuple(tracks or ()), each=each, style=Style(**style))


def overlay(
    video: Name,
    timeline: Name,
    out: Name,
    *,
    faces: Name | None = None,
    on_progress: "Callable[[Progress], None] | None" = None,
    **options: Any,
) -> dict[str, Any]:
    """Write a copy of a video (.mp4) with its timeline drawn on it: boxes, track numbers, bars; with its sound.

    `faces`, the file of every face reading, gives exact boxes, and `blur_faces=True` needs it. `options` are the fields
    of fervid.views.overlay.overlay.Options: blur_faces, mute, force. A video other than the timeline's is a DataError.
    """
    from fervid.views.overlay.overlay import Options, overlay

    readings = Path(faces) if faces is not None else None
    return overlay(Path(video), Path(timeline), Path(out), readings, Options(**options), on_progress=on_progress)


def export(timeline: Name, out: Name, to: str | None = None) -> dict[str, Any]:
    """Write a timeline for other programs: csv, elan (.eaf), srt or boris (.xlsx, .csv, .tsv)."""
    from fervid.views.export.export import export

    return export(Path(timeline), Path(out), to)


def report(
    timeline: Name,
    out: Name,
    *,
    video: Name | None = None,
    faces: Name | None = None,
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
    from fervid.views.report.index import write_index
    from fervid.views.report.page import ReportOptions, write_report

    film, readings = (Path(file) if file is not None else None for file in (video, faces))
    options = ReportOptions(film, readings, transcode, force, embed_mb)
    return (write_index if Path(timeline).is_dir() else write_report)(Path(timeline), Path(out), options)
