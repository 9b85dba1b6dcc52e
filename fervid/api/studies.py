"""Compare timelines with human coders."""

from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

if TYPE_CHECKING:
    from fervid.config import ConfigOptions
    from fervid.jobs.batch import Event
    from fervid.studies.agreement import Agreement
    from fervid.studies.disfa_study import DisfaResult

from fervid.files import Name

__all__ = [
    "agree",
    "disfa",
]


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
    subject: str | None = None,
) -> "Agreement":
    """Measure how far a timeline agrees with human raters.

    Parameters
    ----------
    timeline : path
    ratings : path or iterable of paths
        Files of raters: CSV with any usual columns, .xlsx, events of BORIS, .eaf and tab-delimited text of ELAN,
        subtitles. Their times are those that a player shows.
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
    subject : str, optional
        Compare the ratings of this subject (of BORIS), participant or tier (of ELAN).

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
    options = RatingOptions(read_scale(scale), ignore_unknown, person, track, gaps, subject)
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
