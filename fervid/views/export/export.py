"""Export a timeline in a format of another program."""

from pathlib import Path
from typing import Any

from fervid.files import check_output, write_atomically
from fervid.timeline.intervals import merge_seconds
from fervid.timeline.read import open_timeline
from fervid.views.export.formats import FORMATS, choose_format

__all__ = ["export"]


def export(path: Path, out: Path, to: str | None = None) -> dict[str, Any]:
    """Write a timeline in another format. Times are seconds since the first frame.

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
        count = entry.load()(timeline, merge_seconds(timeline), part)
    return {"written": str(out), "format": name, entry.unit: count}
