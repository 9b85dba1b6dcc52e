"""Process videos and images."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from fervid.runtime.profiling import stage

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from PIL import Image

    from fervid.config import ConfigOptions
    from fervid.jobs.batch import Event, Summary
    from fervid.models import Models
    from fervid.pipeline import Result
    from fervid.types import Progress

from fervid.files import Name

__all__ = [
    "batch",
    "forget",
    "load_models",
    "predict",
    "probe",
    "process",
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
    **options: "Unpack[ConfigOptions]",
) -> "Result":
    """Turn one video into a per-second emotion timeline.

    Parameters
    ----------
    path : path
        The video file.
    out : path, optional
        Where to write the timeline (Parquet). Without, it is only in the Result.
    faces : path, optional
        Where to write every face reading (Parquet).
    shots : path, optional
        Where to write the shots (Parquet).
    pipeline : str or path, optional
        Name of a preset ("movies", "recordings", "disfa"), or a TOML file.
    models : Models, optional
        What `load_models` returned for the same options, to load them once for many videos.
    shards : int or "auto", optional
        Number of worker processes that read the video together; "auto" uses all cores for ten minutes of video and
        more. The result has the same bytes. `Result.whole` gives the reason where one worker read it after all.
    on_progress : callable, optional
        Called with a `fervid.types.Progress` several times per second.
    **options
        Fields of `Config`, such as fps=5 or fps="native", start_s, end_s, min_face_px, device, weights, persons. They
        take precedence over the pipeline; None leaves one to it.

    Returns
    -------
    Result

    Raises
    ------
    VideoError
        If the video cannot be read. A damaged one gives a degraded Result.
    UsageError
        If the request is wrong, such as an unknown option or an output that cannot be written.
    RunError
        If the disk is full, or the bundled weights were altered.
    """
    with stage("start-up"):
        from fervid.config import load_config
        from fervid.files import check_paths
        from fervid.models import load_models as load
        from fervid.pipeline import process_video
        from fervid.video.open import read_video

        config = load_config(pipeline, **options)
        video = Path(path)
        timeline, readings, boundaries = (Path(file) if file is not None else None for file in (out, faces, shots))
        check_paths(video, timeline, readings, boundaries)
        if models is None:  # opening the file takes a hundredth of loading the models: fail on a non-video first
            read_video(video, config, lambda reader: None)
            with _name_the_pipeline(pipeline, options):
                models = load(config)
        sharding = None
        if shards is not None:
            from fervid.jobs.engine import default_workers
            from fervid.jobs.shards import choose_shards

            sharding = choose_shards(shards, default_workers(), on_progress)
    return process_video(
        video,
        timeline,
        config,
        models,
        faces_out=readings,
        shots_out=boundaries,
        on_progress=on_progress,
        sharding=sharding,
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
    **options: "Unpack[ConfigOptions]",
) -> "Summary":
    """Turn every video in files, folders and globs into a timeline below `out`, and record each in its manifest.

    A rerun skips what is finished: the same content under the same options, models and version of results.

    Parameters
    ----------
    inputs : path or iterable of paths
        Files, folders and globs.
    out : path
        Folder for the results. `manifest.parquet` in it has one row per input.
    listed : iterable of str
        Further files, which may have disappeared; each has a row.
    pipeline : str or path, optional
        As for `process`.
    workers : int, optional
        Worker processes; by default one per core, beside a GPU at most four.
    timeout_s : float, optional
        Longest time for one video; it then fails alone.
    stall_s : float, optional
        Longest time without progress in one video.
    memory_gb : float, optional
        Most memory of one worker; by default its share of the machine's.
    retry_failed : bool
        Retry the videos that failed before.
    fresh : bool
        Process all of them again.
    shards : int or "auto", optional
        "auto" processes each video of ten minutes and more with all workers together, after the others; a number does
        so with that many workers for each longer one.
    engine : {"local", "ray"}
        "ray" runs on a Ray cluster whose nodes see the inputs and `out` at the same paths. The results have the same
        bytes.
    address : str, optional
        Of the cluster: "auto" (default), "local" or HOST:PORT.
    gpus_per_worker : float, optional
        GPUs per Ray worker; may be a fraction.
    on_event : callable, optional
        Called with BatchStarted, JobProgress and JobFinished of fervid.jobs.
    **options
        Fields of `Config`, as for `process`.

    Returns
    -------
    Summary

    Raises
    ------
    UsageError
        If the request is wrong.
    RunError
        If the run had to stop. A video that fails is a row.
    """
    from fervid.config import load_config
    from fervid.jobs.batch import Request, run_batch
    from fervid.jobs.open_engine import EngineOptions, open_engine

    engine_options = EngineOptions(workers, timeout_s, stall_s, memory_gb, shards, address, gpus_per_worker)
    config = load_config(pipeline, **options)
    given = (inputs,) if isinstance(inputs, (str, PathLike)) else tuple(inputs)
    request = Request(tuple(os.fspath(item) for item in given), Path(out), tuple(listed), retry_failed, fresh)
    with _name_the_pipeline(pipeline, options):
        return run_batch(request, config, open_engine(engine, config, engine_options, Path(out)), on_event)


def forget(video: Name, out: Name) -> list[str]:
    """Erase a video from a folder of results: its timeline, its row in the manifest, and those of its copies.

    Parameters
    ----------
    video : path
        The file, or its `path` in the manifest.
    out : path
        The folder of results.

    Returns
    -------
    list[str]
        The `path` of each erased row.

    Raises
    ------
    DataError
        If the folder has no such video, or is none of `batch`.
    """
    from fervid.jobs.batch import forget as erase

    return erase(video, Path(out))


def probe(path: Name, *, pipeline: Name | None = None, **options: "Unpack[ConfigOptions]") -> dict[str, Any]:
    """Describe a video file, and what `process` would do with it under the same options.

    Parameters
    ----------
    path : path
    pipeline : str or path, optional
        As for `process`.
    **options
        Fields of `Config`, as for `process`.

    Returns
    -------
    dict[str, Any]
        `file`, `plan` and `notes`, plain values.

    Raises
    ------
    VideoError
        If the file cannot be read.
    ConfigError
        If an option is unknown or out of range.
    """
    from fervid.config import load_config
    from fervid.provenance import requested_prior
    from fervid.video.probe import describe_video

    config = load_config(pipeline, **options)
    if config.prior != "default":
        requested_prior(config)  # raises for a prior that does not fit
    return describe_video(Path(path), config)


def predict(
    images: "Name | np.ndarray | Image.Image | Iterable[Name | np.ndarray | Image.Image]",
    *,
    detect: bool = True,
    models: "Models | None" = None,
    pipeline: Name | None = None,
    **options: "Unpack[ConfigOptions]",
) -> "pd.DataFrame":
    """Predict the emotions of every face in images.

    Parameters
    ----------
    images : path, array or PIL image, or an iterable of these
        A path may be a folder, and stands for all images in it. An array is (h, w) grey or (h, w, 3) RGB, uint8;
        (n, h, w, 3) is n images.
    detect : bool, default True
        Whether to detect faces. False takes each image as a face crop; those of at most 64 pixels a side always are
        (the detector only places their eyes and mouth, where the model needs that).
    models : Models, optional
        What `load_models` returned, to load them once for many calls.
    pipeline : str or path, optional
        As for `process`.
    **options
        Fields of `Config`, of which weights, detector, device and precision matter here.

    Returns
    -------
    pandas.DataFrame
        One row per face; the main face of an image, which is large and central, comes first. The columns: `image`, the
        number of the image; `source`, its path, missing where it has none; `face`, the number of the face in the image;
        the box `x0`, `y0`, `x1`, `y1` in pixels; `score` of the detector, NaN for a face crop; one probability per
        emotion; `dominant`, the most probable one. An image without a face has no row.

    Raises
    ------
    DataError
        If an image that is passed is none, or cannot be read. One in a folder is skipped with a warning.
    UsageError
        If an option is wrong or a model is not installed.
    """
    from fervid.config import load_config
    from fervid.lab.evaluation.predict import predict_images
    from fervid.models import load_models as load

    config = load_config(pipeline, **options)
    if models is None:
        with _name_the_pipeline(pipeline, options):
            models = load(config)
    return predict_images(images, models, detect=detect)


def load_models(pipeline: Name | None = None, **options: "Unpack[ConfigOptions]") -> "Models":
    """Load the networks once, for several calls of `process` or `predict` with the same options.

    Parameters
    ----------
    pipeline : str or path, optional
        As for `process`.
    **options
        Fields of `Config`, as for `process`.

    Returns
    -------
    Models

    Raises
    ------
    UsageError
        If an option is wrong, a device is absent, or a model is not installed.
    RunError
        If the bundled weights were altered.
    """
    from fervid.config import load_config
    from fervid.models import load_models as load

    config = load_config(pipeline, **options)
    with _name_the_pipeline(pipeline, options):
        return load(config)


@contextmanager
def _name_the_pipeline(pipeline: Name | None, options: Mapping[str, Any]) -> Iterator[None]:
    """Name the pipeline in the error about an optional package if the pipeline, not an option, requested persons."""
    from fervid.errors import MissingDependency

    try:
        yield
    except MissingDependency as e:
        option, _, need = str(e).partition(" needs ")
        if pipeline is None or options.get("persons") is not None or not option.startswith("--persons "):
            raise
        network = option.removeprefix("--persons ")
        message = f"--pipeline {pipeline} sets persons = {network}, which needs {need}"
        raise MissingDependency(message) from None
