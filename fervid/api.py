"""The functions of `import fervid`: one per command of the command line, which calls them, and a few more.

Parameters have the names of the command line's options. Quantities carry their unit: `start_s` for --start,
`min_face_px` for --min-face; for the options of the pipeline, the command line's own name is accepted too
(`start=60.0`). Where the command line expects the name of a file, a str or any other path is accepted.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from fervid.runtime.profiling import stage

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from PIL import Image

    from fervid.config import ConfigOptions
    from fervid.jobs.batch import Event, Summary
    from fervid.lab.evaluation.score import Summary as ScoreSummary
    from fervid.lab.training.recipe import RecipeOptions
    from fervid.models import Models
    from fervid.pipeline import Result
    from fervid.self_test import SelfTest
    from fervid.studies.agreement import Agreement
    from fervid.studies.disfa_study import DisfaResult
    from fervid.types import Progress

Name = str | PathLike[str]
__all__ = [
    "agree",
    "batch",
    "disfa",
    "doctor",
    "evaluate",
    "explain",
    "export",
    "forget",
    "info",
    "load_models",
    "load_timeline",
    "load_timelines",
    "overlay",
    "plot",
    "predict",
    "probe",
    "process",
    "report",
    "score",
    "selftest",
    "train",
]


# -- analyse ------------------------------------------------------------------------------------------------


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
    from fervid.video.probe import describe_video

    return describe_video(Path(path), load_config(pipeline, **options))


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
        Whether to detect faces. False takes each image as a face crop; those of at most 64 pixels a side always are.
    models : Models, optional
        What `load_models` returned, to load them once for many calls.
    pipeline : str or path, optional
        As for `process`.
    **options
        Fields of `Config`, of which weights, detector, device and precision matter here.

    Returns
    -------
    pandas.DataFrame
        One row per face, the main face of an image first: `image`, the number of the image; `source`, its path, missing
        where it has none; `face`, the number of the face in the image; the box `x0`, `y0`, `x1`, `y1` in pixels;
        `score` of the detector, NaN for a face crop; one probability per emotion; `dominant`, the most probable one. An
        image without a face has no row.

    Raises
    ------
    DataError
        If an image cannot be read, or is not an image.
    UsageError
        If an option is wrong or a model is not installed.
    """
    from fervid.config import load_config
    from fervid.lab.evaluation.predict import predict_images
    from fervid.models import load_models as load

    config = load_config(pipeline, **options)
    return predict_images(images, models or load(config), detect=detect)


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

    return load(load_config(pipeline, **options))


# -- look ---------------------------------------------------------------------------------------------------


def load_timeline(path: Name, by: str = "track", *, time_index: bool = False) -> "pd.DataFrame":
    """Read a timeline, or a folder of them, into pandas.

    Parameters
    ----------
    path : path
    by : {"track", "second", "video"}
        "track": the rows as stored. "second": one row per second, tracks weighted by `face_seconds`. "video": one row
        per video.
    time_index : bool, default False
        Index the rows by `second` as a timedelta, ready to resample.

    Returns
    -------
    pandas.DataFrame
        Those of a folder begin with the column `file`.

    Raises
    ------
    DataError
        If it is not a timeline, or the folder has none.
    """
    from fervid.timeline.read import load_timeline as load

    return load(Path(path), by, time_index=time_index)


def load_timelines(folder: Name, by: str = "track", *, time_index: bool = False) -> "pd.DataFrame":
    """Read all timelines of a results folder into one DataFrame.

    Parameters
    ----------
    folder : path
    by, time_index
        As for `load_timeline`.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    DataError
        If it is not a folder, or has no timeline.
    """
    from fervid.errors import DataError

    if not Path(folder).is_dir():
        raise DataError(f"{folder}: not a folder; for one file there is load_timeline")
    return load_timeline(folder, by, time_index=time_index)


def info(timeline: Name) -> dict[str, Any]:
    """Describe how a timeline was made, with a summary of its content.

    Parameters
    ----------
    timeline : path
        A timeline, or a file of face readings or shots.

    Returns
    -------
    dict[str, Any]
        The summary in `summary`, and the metadata of the file.

    Raises
    ------
    DataError
        If fervid did not write the file.
    """
    from fervid.timeline.read import describe_timeline

    return describe_timeline(Path(timeline))


def plot(
    timeline: Name,
    out: Name | None = None,
    *,
    tracks: Iterable[int] | None = None,
    each: bool = False,
    kind: str = "area",
    title: str | None = None,
    width_in: float = 7.2,
    height_in: float | None = None,
    dpi: float = 300,
) -> "Figure":
    """Draw the probabilities of a timeline over time.

    Parameters
    ----------
    timeline : path
    out : path, optional
        Where to write the figure, .png or .svg.
    tracks : iterable of int, optional
        Draw one panel for each of these tracks, rather than one for all faces.
    each : bool, default False
        Draw one panel per track.
    kind : {"area", "lines"}
    title : str, optional
        Above the figure; by default the name of the video, "" for none.
    width_in, height_in : float
        Size in inches; by default as high as the panels need.
    dpi : float
        Pixels per inch of a .png.

    Returns
    -------
    matplotlib.figure.Figure
        It is independent of pyplot; notebooks show it. `figure.caption` is a caption for print, and `figure.panels` the
        number of panels.

    Raises
    ------
    DataError
        If it is not a timeline, or has no such track.
    ConfigError, OutputError
        If an option is out of range, or the figure cannot be written.
    """
    from fervid.views.figures.timeline import Style, plot_timeline

    style = Style(kind, title, width_in, height_in, dpi)
    file = Path(out) if out is not None else None
    return plot_timeline(Path(timeline), file, tracks=tuple(tracks or ()), each=each, style=style)


def overlay(
    video: Name,
    timeline: Name,
    out: Name,
    *,
    faces: Name | None = None,
    blur_faces: bool = False,
    mute: bool = False,
    force: bool = False,
    on_progress: "Callable[[Progress], None] | None" = None,
) -> dict[str, Any]:
    """Write a copy of a video with its timeline drawn on it: boxes, track numbers and small bars.

    Parameters
    ----------
    video, timeline : path
    out : path
        The annotated video (.mp4).
    faces : path, optional
        The face readings that `process` wrote: exact boxes, rather than one per second.
    blur_faces : bool, default False
        Hide every face that was found; needs `faces`. Voices stay.
    mute : bool, default False
        Leave the sound out.
    force : bool, default False
        Accept a video other than the timeline's.
    on_progress : callable, optional
        As for `process`.

    Returns
    -------
    dict[str, Any]
        What was written, plain values.

    Raises
    ------
    DataError
        If the files do not belong together.
    VideoError, OutputError
        If the video cannot be read, or the copy cannot be written.
    """
    from fervid.views.overlay.overlay import Options, overlay

    readings = Path(faces) if faces is not None else None
    options = Options(blur_faces=blur_faces, mute=mute, force=force)
    return overlay(Path(video), Path(timeline), Path(out), readings, options, on_progress=on_progress)


def export(timeline: Name, out: Name, to: str | None = None) -> dict[str, Any]:
    """Write a timeline for other programs.

    Parameters
    ----------
    timeline : path
    out : path
    to : {"csv", "elan", "srt", "boris"}, optional
        The format; by default the suffix of `out` decides.

    Returns
    -------
    dict[str, Any]
        What was written, plain values.

    Raises
    ------
    DataError
        If it is not a timeline.
    OutputError
        If the file cannot be written, or its suffix is not one of the format.
    """
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
    """Write a web page that shows a timeline beside its video; for a folder of timelines, an index and their pages.

    Parameters
    ----------
    timeline : path
        A timeline, or a folder of them.
    out : path
        The page (.html); for a folder, a folder.
    video : path, optional
        The video, to be played beside the chart.
    faces : path, optional
        The face readings that `process` wrote, drawn over the video.
    transcode : bool, default False
        Show a copy of the video that every browser plays.
    force : bool, default False
        Accept files that do not belong together.
    embed_mb : float, default 50
        A video of at most this size is written into the page; a larger one is played from its file.

    Returns
    -------
    dict[str, Any]
        What was written, plain values.

    Raises
    ------
    DataError
        If a file is not one of fervid's, or they do not belong together.
    VideoError
        If browsers cannot play the video.
    OutputError
        If the page cannot be written.
    """
    from fervid.views.report.index import write_index
    from fervid.views.report.page import ReportOptions, write_report

    film, readings = (Path(file) if file is not None else None for file in (video, faces))
    options = ReportOptions(film, readings, transcode, force, embed_mb)
    return (write_index if Path(timeline).is_dir() else write_report)(Path(timeline), Path(out), options)


# -- studies ------------------------------------------------------------------------------------------------


def agree(
    timeline: Name,
    ratings: Name | Iterable[Name],
    out: Name | None = None,
    *,
    track: int | None = None,
    person: int | None = None,
    scale: str | tuple[float, float] | None = None,
    gaps: str | None = None,
    ignore_unknown: bool = False,
    max_lag_s: int = 5,
    block_s: int = 10,
) -> "Agreement":
    """Measure how far a timeline agrees with human raters.

    Parameters
    ----------
    timeline : path
    ratings : path or iterable of paths
        CSV files of raters, with any usual columns.
    out : path, optional
        Folder for the statistics (JSON, CSV), both sides per second (CSV) and a figure (PNG).
    track, person : int, optional
        Compare one face, rather than everyone on screen.
    scale : str or tuple, optional
        Ends of the scale of the scores, (1, 7) or "1:7".
    gaps : str, optional
        The label of what lies between labelled intervals.
    ignore_unknown : bool, default False
        Leave out labels that are no known emotion, and count them.
    max_lag_s : int
        Largest shift that is tried for the best lag.
    block_s : int
        Length of the blocks of the bootstrap.

    Returns
    -------
    Agreement
        `facts` has plain values: CCC, correlations, kappa, alpha, ICC, the best lag, coverage, the spread of the
        raters; `to_pandas()` gives both sides per second; `written` lists the files in `out`.

    Raises
    ------
    UsageError
        If a file is not what it should be, or the two have no second or emotion in common.
    """
    import dataclasses

    from fervid.studies.agreement import compare
    from fervid.studies.ratings import RatingOptions, read_scale

    tables = [ratings] if isinstance(ratings, (str, PathLike)) else ratings
    options = RatingOptions(read_scale(scale), ignore_unknown, person, track, gaps)
    files = [Path(table) for table in tables]
    result = compare(Path(timeline), files, options, max_lag_s=max_lag_s, block_s=block_s)
    if out is None:
        return result
    from fervid.views.figures.agreement import write_agreement

    return dataclasses.replace(result, written=tuple(write_agreement(result, Path(out))))


def disfa(
    root: Name,
    out: Name,
    *,
    camera: str = "left",
    workers: int | None = None,
    pipeline: Name | None = "disfa",
    on_event: "Callable[[Event], None] | None" = None,
    **options: "Unpack[ConfigOptions]",
) -> "DisfaResult":
    """Compare every frame of DISFA, as it is distributed, with its coded action units.

    The face readings of each video are kept below `out`; a rerun processes only those that are missing or outdated.

    Parameters
    ----------
    root : path
        The folder that DISFA lies in.
    out : path
        Folder for the results: a summary (text), tables (CSV), all statistics (JSON) and figures (PNG).
    camera : {"left", "right", "both"}
    workers : int, optional
        Worker processes; by default as for `batch`.
    pipeline : str or path, optional
        As for `process`.
    on_event : callable, optional
        As for `batch`.
    **options
        Fields of `Config`, as for `process`.

    Returns
    -------
    DisfaResult
        `facts` has plain values, with a sentence in `troubles` for whatever is missing or damaged; `written` lists the
        files with the results.

    Raises
    ------
    UsageError
        If the folder has nothing to compare.
    RunError
        If the run had to stop.
    """
    import dataclasses

    from fervid.config import load_config
    from fervid.jobs.open_engine import EngineOptions, open_engine
    from fervid.studies.disfa_study import run_disfa
    from fervid.views.figures.disfa import write_report

    config = load_config(pipeline, **options)
    engine = open_engine("local", config, EngineOptions(workers), Path(out))
    result = run_disfa(Path(root), Path(out), config, engine, camera=camera, on_event=on_event)
    return dataclasses.replace(result, written=tuple(write_report(result, Path(out))))


# -- classifiers --------------------------------------------------------------------------------------------


def train(
    data: Name,
    out: Name,
    *,
    validation: Name | None = None,
    split: str = "train",
    drop_duplicates: bool = False,
    recipe: Name | None = None,
    sweep: Name | None = None,
    device: str = "auto",
    on_message: Callable[[str], None] | None = None,
    **options: "Unpack[RecipeOptions]",
) -> dict[str, Any]:
    """Train a classifier; a rerun resumes.

    Parameters
    ----------
    data : path
        Training faces: a file or a folder.
    out : path
        Folder for the weights, the curves and the checkpoint.
    validation : path, optional
        Faces for validation and calibration; by default every tenth of `data`.
    split : str
        The split of `data` to learn, where it has several.
    drop_duplicates : bool, default False
        Leave out training faces that are also validation faces.
    recipe : path, optional
        A TOML file of options.
    sweep : path, optional
        A TOML file with lists of values; every combination of them is trained.
    device : str
        "auto", "cpu", "cuda" or "cuda:N".
    on_message : callable, optional
        Called with a line of text per epoch, and for what the data hold.
    **options
        Fields of fervid.lab.training.recipe.Recipe, such as arch, epochs or seed. They take precedence over the recipe.

    Returns
    -------
    dict[str, Any]
        `weights`, the file; for a sweep `results`, a CSV file, and `runs`, its rows, the most accurate first.

    Raises
    ------
    UsageError
        If an option is wrong, or the data cannot be read.
    RunError
        If the run had to stop.
    """
    import functools

    from fervid.files import make_folder
    from fervid.lab.training import sweep as sweeps
    from fervid.lab.training import train as training
    from fervid.lab.training.data import DataSource
    from fervid.lab.training.recipe import load_grid, load_recipe

    base = load_recipe(Path(recipe) if recipe is not None else None, **options)
    grid = load_grid(Path(sweep), base) if sweep is not None else [({}, base)]
    training.preflight((one for _, one in grid), device)
    folder, say = Path(out), on_message or (lambda message: None)
    make_folder(folder)
    source = DataSource(Path(data), Path(validation) if validation is not None else None, split, drop_duplicates)
    read = functools.partial(source.read, report=say)
    if sweep is None:
        return {"weights": str(training.train(read(base), folder, base, device=device, on_epoch=say))}
    runs = sweeps.sweep(read, grid, folder, device=device, on_epoch=say)
    return {"results": str(folder / "results.csv"), "runs": runs}


def evaluate(
    data: Name,
    *,
    weights: str | Sequence[str] = "seresnet",
    split: str | None = None,
    labels: str = "auto",
    head: str | None = None,
    tta: str = "none",
    detect: bool = False,
    detector: str = "mtcnn",
    exclude_duplicates_of: Name | None = None,
    device: str = "auto",
    out: Name | None = None,
) -> dict[str, Any]:
    """Measure the accuracy and the calibration of a classifier on labelled faces.

    Parameters
    ----------
    data : path
        Labelled faces: a file or a folder, as for `train`.
    weights : str or sequence of str
        Names of bundled models or .safetensors files; several are an ensemble.
    split : str, optional
        "train", "val", "public", "private", "test" or "all", where `data` has several.
    labels : {"auto", "hard", "ferplus"}
        "ferplus" is the label that most raters of FER+ chose.
    head : str, optional
        The head to use; by default the one that fits the data best.
    tta : {"none", "flip", "tencrop"}
        Test-time augmentation.
    detect : bool, default False
        Detect and crop the faces in raw images, as `process` does.
    detector : str
        The detector for that.
    exclude_duplicates_of : path, optional
        Training faces: images that are near-duplicates of these are left out.
    device : str
        "auto", "cpu", "cuda" or "cuda:N".
    out : path, optional
        Folder for the confusion matrix (CSV, PNG) and the reliability diagram (PNG).

    Returns
    -------
    dict[str, Any]
        Plain values.

    Raises
    ------
    UsageError
        If an option is wrong, or the data cannot be read.
    """
    from fervid.files import make_folder
    from fervid.lab.evaluation.evaluate import EvalConfig, evaluate_weights

    folder = Path(out) if out is not None else None
    if folder:
        make_folder(folder)
    known = Path(exclude_duplicates_of) if exclude_duplicates_of is not None else None
    config = EvalConfig(labels=labels, tta=tta, detect=detect, head=head, apart_from=known, detector=detector)
    names = [weights] if isinstance(weights, str) else list(weights)
    facts = evaluate_weights(Path(data), split, names, device, config)
    if folder:
        from fervid.views.figures.evaluation import write_evaluation

        write_evaluation(facts, folder)
    return facts


def explain(
    source: Name,
    out: Name,
    *,
    method: str = "gradcam",
    emotion: str | None = None,
    track: int | None = None,
    fps: float | str | None = None,
    detect: bool = True,
    weights: str = "seresnet",
    device: str = "auto",
) -> dict[str, Any]:
    """Show which parts of a face a classifier relies on: for the main face of each image, or the tracks of a video.

    Parameters
    ----------
    source : path
        An image, a folder of images, or a video.
    out : path
        A grid (.png), or a clip of a video (.mp4).
    method : {"gradcam", "cam", "occlusion", "activations"}
    emotion : str, optional
        The emotion to explain; by default the most probable one.
    track : int, optional
        Show only the faces of this track of a video.
    fps : float or "native", optional
        Frames to sample per second of a video.
    detect : bool, default True
        Whether to detect faces in images. False takes each image as a face crop.
    weights, device
        As for `evaluate`.

    Returns
    -------
    dict[str, Any]
        `faces`, the number of faces shown; `method`; `written`, the file; `skipped`, the reason for each image without
        a face or that cannot be read; `unreadable`, the number of the latter.

    Raises
    ------
    UsageError
        If an option is wrong, or nothing can be shown.
    VideoError
        If a video cannot be read.
    """
    from fervid.lab.evaluation import explain as explaining
    from fervid.views.figures import heatmaps

    config = explaining.ExplainConfig(method, emotion, detect, track, fps if fps is None else str(fps))
    skipped: list[explaining.SkippedImage] = []
    shown = explaining.explain(
        Path(source),
        lambda samples: heatmaps.write_explanation(samples, Path(out)),
        config,
        weights,
        device,
        on_skipped=skipped.append,
    )
    return {
        "faces": shown,
        "method": method,
        "written": str(out),
        "skipped": {str(one.path): one.reason for one in skipped},
        "unreadable": sum(not one.readable for one in skipped),
    }


def score(
    folder: Name, out: Name, *, detect: bool = True, weights: str = "seresnet", device: str = "auto"
) -> "ScoreSummary":
    """Score every image in a folder into a CSV file: one row per file, one column per class.

    `predict` does the same without a file, for every face rather than the main one.

    Parameters
    ----------
    folder : path
        A folder of images, or one image.
    out : path
        The table to write (.csv).
    detect : bool, default True
        Whether to detect faces. False takes each image as a face crop.
    weights, device
        As for `evaluate`.

    Returns
    -------
    fervid.lab.evaluation.score.Summary
        How many images were scored, have no face, or cannot be read.

    Raises
    ------
    UsageError
        If an option is wrong, no image is found, or the table cannot be written.
    """
    from fervid.lab.evaluation.score import score_folder

    return score_folder(Path(folder), Path(out), weights, device, detect=detect)


# -- installation -------------------------------------------------------------------------------------------


def doctor() -> dict[str, Any]:
    """Describe this installation: versions, devices, the bundled FFmpeg, and the weights with their hashes.

    Returns
    -------
    dict[str, Any]
        Plain values.
    """
    from fervid.diagnostics import diagnose

    return diagnose()


def selftest(device: str = "auto") -> "SelfTest":
    """Process a small sample video and compare the result with the expected one.

    Parameters
    ----------
    device : str
        "auto", "cpu", "cuda" or "cuda:N".

    Returns
    -------
    SelfTest
        `passed`, and `checks` with what was expected and found.

    Raises
    ------
    UsageError
        If the device is not available.
    """
    from fervid.self_test import run_self_test

    return run_self_test(device)
