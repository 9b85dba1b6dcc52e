"""A timeline for other programs: CSV for any, ELAN and BORIS for coders of behaviour, SRT beside a video."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fervid.errors import OutputError
from fervid.files import check_output, write_atomically
from fervid.timeline.intervals import Interval, merge_seconds
from fervid.timeline.read import Timeline, open_timeline
from fervid.views.export.boris import write_events
from fervid.views.export.elan import write_eaf

__all__ = ["FORMATS", "cues", "export"]

#: Each format with the suffixes that it may have.
FORMATS: dict[str, tuple[str, ...]] = {
    "csv": (".csv",), "elan": (".eaf",), "srt": (".srt",), "boris": (".xlsx", ".csv", ".tsv"),
}  # fmt: skip


def export(path: Path, out: Path, to: str | None = None) -> dict[str, Any]:
    """Write a timeline in another format; without `to` the suffix of `out` tells which (a .csv holds the rows).

    csv: the rows and columns of the timeline. elan: an EAF 3.0 file with a tier a track. srt: subtitles with the
    dominant emotion of each track. boris: start and stop of each state. Times are seconds since the first frame.
    DataError if `path` is no timeline, OutputError if `out` cannot be written or has another suffix.
    """
    if to is None:
        to = next((name for name, suffixes in FORMATS.items() if out.suffix.lower() in suffixes), None)
    if to not in FORMATS:
        known = ", ".join(FORMATS)
        raise OutputError(
            f"{out}: expected --to {known.replace(', boris', ' or boris')}"
            + (f", found {to}" * bool(to))
            + ", or a name that ends with .csv, .eaf, .srt or .xlsx"
        )
    check_output(out, FORMATS[to], path)
    timeline = open_timeline(path)
    intervals = merge_seconds(timeline)
    write: Callable[[Timeline, list[Interval], Path], None] = {
        "csv": _write_csv,
        "elan": write_eaf,
        "srt": _write_srt,
        "boris": write_events,
    }[to]
    with write_atomically(out) as part:
        write(timeline, intervals, part)
    return {"written": str(out), "format": to, "rows": len(timeline.frame), "intervals": len(intervals)}


def _write_csv(timeline: Timeline, _: list[Interval], part: Path) -> None:
    """UTF-8, one line a row, no index; an empty field is null. Floats have the digits that a float32 holds."""
    timeline.frame.to_csv(part, index=False, encoding="utf-8", lineterminator="\n")


def cues(intervals: Sequence[Interval]) -> list[tuple[float, float, list[str]]]:
    """Cut the time wherever any track's emotion changes -> (start_s, end_s, one line a track), without overlaps.

    Players differ in what they make of subtitles that overlap; so each cue holds all tracks.
    """
    seen = [i for i in intervals if i.track is not None]
    places = np.unique([s for i in seen for s in (i.start_s, i.end_s)])
    lines: list[list[str]] = [[] for _ in places]
    for interval in seen:  # in the order of tracks
        first, last = np.searchsorted(places, (interval.start_s, interval.end_s))
        for k in range(first, last):
            lines[k].append(f"track {interval.track}: {interval.label} {interval.prob:.0%}")
    return [(float(a), float(b), text) for a, b, text in zip(places[:-1], places[1:], lines) if text]


def _write_srt(_: Timeline, intervals: list[Interval], part: Path) -> None:
    blocks = [
        f"{n}\n{_srt_time(start)} --> {_srt_time(end)}\n" + "\n".join(lines) + "\n"
        for n, (start, end, lines) in enumerate(cues(intervals), 1)
    ]
    part.write_text("\n".join(blocks), "utf-8")


def _srt_time(seconds: float) -> str:
    """Seconds -> "hh:mm:ss,mmm"."""
    minutes, ms = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{ms // 1000:02d},{ms % 1000:03d}"
