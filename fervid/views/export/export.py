"""Export a timeline in a format of another program."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from fervid.clock import FileClock
from fervid.files import check_output, write_atomically
from fervid.timeline.intervals import Interval, merge_seconds
from fervid.timeline.read import Timeline, open_timeline
from fervid.views.export.formats import FORMATS, choose_format

__all__ = ["export", "intervals_to_show"]


def export(path: Path, out: Path, to: str | None = None) -> dict[str, Any]:
    """Write a timeline in another format.

    Intervals have the times that a player of the video file shows; the rows of CSV are those of the timeline.

    Parameters
    ----------
    path : Path
        A timeline.
    out : Path
        The file to write.
    to : str, optional
        A key of `fervid.views.export.formats.FORMATS`; by default, the suffix of `out` decides.

    Returns
    -------
    dict
        `written` (path), `format`, and how many `rows` (csv), `subtitles` (srt) or `intervals` were written.

    Raises
    ------
    DataError
        If `path` is not a timeline.
    OutputError
        If the format is unknown, or `out` has another suffix, is `path` itself or cannot be written.
    """
    name = choose_format(out, to)
    entry = FORMATS[name]
    check_output(out, entry.suffixes, path, purpose=f"--to {name}")
    timeline = open_timeline(path)
    with write_atomically(out) as part:
        count = entry.load()(timeline, intervals_to_show(timeline), part)
    return {"written": str(out), "format": name, entry.unit: count}


def intervals_to_show(timeline: Timeline) -> list[Interval]:
    """Merge the seconds of a timeline to intervals on the clock of the video file.

    Parameters
    ----------
    timeline : Timeline

    Returns
    -------
    list of Interval
        As from `merge_seconds`; without what is before 0 on that clock, which players do not show.
    """
    clock = FileClock.of(timeline.provenance)
    shown = [
        replace(i, start_s=max(0.0, clock.to_file(i.start_s)), end_s=clock.to_file(i.end_s))
        for i in merge_seconds(timeline)
    ]
    return [i for i in shown if i.end_s > i.start_s]
