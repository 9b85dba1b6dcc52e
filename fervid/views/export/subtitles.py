"""Export a timeline as SubRip subtitles (.srt): the dominant emotion of each visible track."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fervid.timeline.intervals import Interval
from fervid.timeline.read import Timeline

__all__ = ["cues", "write_srt"]


def cues(intervals: Sequence[Interval]) -> list[tuple[float, float, list[str]]]:
    """Divide the time wherever the emotion of any track changes.

    Players treat overlapping subtitles differently; therefore each cue holds all tracks, and no two cues overlap.

    Parameters
    ----------
    intervals : sequence of Interval
        Sorted by track; those without a track are skipped.

    Returns
    -------
    list of (float, float, list of str)
        Start and end in seconds, and one line per track.
    """
    tracked = [i for i in intervals if i.track is not None]
    times = np.unique([s for i in tracked for s in (i.start_s, i.end_s)])
    lines: list[list[str]] = [[] for _ in times]
    for interval in tracked:
        first, last = np.searchsorted(times, (interval.start_s, interval.end_s))
        for k in range(first, last):
            lines[k].append(f"track {interval.track}: {interval.label} {interval.prob:.0%}")
    return [(float(a), float(b), text) for a, b, text in zip(times[:-1], times[1:], lines) if text]


def write_srt(_: Timeline, intervals: list[Interval], part: Path) -> int:
    """Write the cues as SubRip.

    Parameters
    ----------
    intervals : list of Interval
        The merged seconds of the timeline.
    part : Path
        The temporary file of `fervid.files.write_atomically`.

    Returns
    -------
    int
        Number of subtitles.
    """
    blocks = [
        f"{n}\n{_timestamp(start)} --> {_timestamp(end)}\n" + "\n".join(lines) + "\n"
        for n, (start, end, lines) in enumerate(cues(intervals), 1)
    ]
    part.write_text("\n".join(blocks), "utf-8")
    return len(blocks)


def _timestamp(seconds: float) -> str:
    """Format seconds as "hh:mm:ss,mmm"."""
    minutes, ms = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{ms // 1000:02d},{ms % 1000:03d}"
