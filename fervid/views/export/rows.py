"""Export the rows of a timeline as CSV."""

from pathlib import Path

from fervid.timeline.intervals import Interval
from fervid.timeline.read import Timeline

__all__ = ["write_csv"]


def write_csv(timeline: Timeline, _: list[Interval], part: Path) -> int:
    """Write one line per row in UTF-8, without an index.

    An empty field is null. Floats have the digits that identify a float32.

    Parameters
    ----------
    timeline : Timeline
    part : Path
        The temporary file of `fervid.files.write_atomically`.

    Returns
    -------
    int
        Number of rows.
    """
    timeline.frame.to_csv(part, index=False, encoding="utf-8", lineterminator="\n")
    return len(timeline.frame)
