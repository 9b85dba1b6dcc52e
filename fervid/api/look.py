"""Read and show timelines."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from fervid.types import Progress

from fervid.files import Name

__all__ = [
    "export",
    "info",
    "load_timeline",
    "load_timelines",
    "overlay",
    "plot",
    "report",
]


def info(timeline: Name) -> dict[str, Any]:
    """Describe how a timeline was made, with a summary of its content; or describe weights.

    Parameters
    ----------
    timeline : path
        A timeline, a file of face readings or shots, or weights: the name of a bundled model or a .safetensors file.

    Returns
    -------
    dict[str, Any]
        The summary in `summary`, the terms of a bundled model in `terms`, and the metadata of the file. Of weights:
        their terms, architecture, input, and the classes and priors of their heads.

    Raises
    ------
    DataError
        If fervid did not write the file.
    WeightsError
        If weights are unknown or their facts cannot be read.
    """
    from fervid.emotions.facts import describe_weights
    from fervid.errors import DataError
    from fervid.networks.weights import bundled, find_weights, is_weights
    from fervid.timeline.read import describe_timeline

    if is_weights(str(timeline)):
        return describe_weights(find_weights(str(timeline)))
    if not Path(timeline).suffix and not Path(timeline).exists():
        raise DataError(
            f"{timeline}: no such file or bundled model; expected a timeline, {', '.join(bundled())} or a "
            ".safetensors file"
        )
    return describe_timeline(Path(timeline))


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
