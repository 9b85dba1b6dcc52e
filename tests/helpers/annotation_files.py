"""The same intervals in the files that BORIS and ELAN export."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["WRITERS", "Span", "boris_aggregated", "boris_tabular", "elan_text"]


@dataclass(frozen=True)
class Span:
    """A labelled interval, in seconds on the file's clock."""

    label: str
    start_s: float
    end_s: float
    subject: str = ""


def _table(header: Sequence[str], rows: Sequence[Sequence[object]], mark: str = ",") -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=mark, lineterminator="\n").writerows([header, *rows])
    return out.getvalue()


def boris_tabular(
    spans: Sequence[Span],
    *,
    source: str = "player #1:film.mp4",
    durations: str = "60.000",
    media: str = "film.mp4",
    offset_s: float = 0.0,
    observation: str = "obs1",
    modifiers: int = 0,
    mark: str = ",",
    points: Sequence[Span] = (),
) -> str:
    """Write "Tabular events" of BORIS 9: a START and a STOP row per state, sorted by time."""
    header = [
        "Observation id", "Observation date", "Description", "Observation duration", "Observation type", "Source",
        "Time offset (s)", "Media duration (s)", "FPS", "Subject", "Behavior", "Behavioral category",
        *(f"Modifier #{n + 1}" for n in range(modifiers)), "Behavior type", "Time", "Media file name", "Image index",
        "Image file path", "Comment",
    ]  # fmt: skip

    def row(span: Span, kind: str, at_s: float) -> list[object]:
        head = [observation, "2026-01-05 10:00:00", "", 60, "Media file(s)", source, offset_s, durations, "25.000"]
        middle = [span.subject, span.label, "emotion", *["" for _ in range(modifiers)]]
        return [*head, *middle, kind, f"{at_s + offset_s:.3f}", media, round(at_s * 25), "NA", ""]

    events = [(s.end_s, 0, row(s, "STOP", s.end_s)) for s in spans]
    events += [(s.start_s, 1, row(s, "START", s.start_s)) for s in spans]
    events += [(p.start_s, 2, row(p, "POINT", p.start_s)) for p in points]
    return _table(header, [cells for *_, cells in sorted(events, key=lambda e: e[:2])], mark)


def boris_aggregated(
    spans: Sequence[Span], *, offset_s: float = 0.0, points: Sequence[Span] = (), mark: str = ",", subject: str = ""
) -> str:
    """Write "Aggregated events" of BORIS 9: one row per event, sorted by subject and behaviour."""
    header = [
        "Observation id", "Observation date", "Description", "Observation type", "Source", "Time offset (s)",
        "Coding duration", "Media duration (s)", "FPS (frame/s)", "Subject",
        "Observation duration by subject by observation", "Behavior", "Behavioral category", "Behavior type",
        "Start (s)", "Stop (s)", "Duration (s)", "Media file name", "Image index start", "Image index stop",
        "Image file path start", "Image file path stop", "Comment start", "Comment stop",
    ]  # fmt: skip
    rows = []
    for span, kind in [*((s, "STATE") for s in spans), *((p, "POINT") for p in points)]:
        length = "NA" if kind == "POINT" else f"{span.end_s - span.start_s:.3f}"
        times = [f"{span.start_s + offset_s:.3f}", f"{span.end_s + offset_s:.3f}", length]
        rows.append([
            "obs1", "2026-01-05 10:00:00", "", "Media file", "player #1:film.mp4", offset_s, "60.000", "60.000",
            "25.000", span.subject or subject or "No focal subject", 60, span.label, "emotion", kind, *times,
            "film.mp4", *[""] * 6,
        ])  # fmt: skip
    return _table(header, sorted(rows, key=lambda cells: (cells[9], cells[11])), mark)


def elan_text(spans: Sequence[Span], *, header: bool = False, participant: bool = True, duration: bool = True) -> str:
    """Write "Tab-delimited Text" of ELAN with times as clock and as seconds; by default, it has no header."""

    def times(seconds: float) -> list[str]:
        ms = round(seconds * 1000)
        clock = f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"
        return [clock, f"{ms / 1000:g}"]

    names = ["Tier", *["Participant"] * participant]
    for what in ("Begin Time", "End Time", *["Duration"] * duration):
        names += [f"{what} - hh:mm:ss.ms", f"{what} - ss.msec"]
    rows = []
    for span in spans:
        row: list[str] = [span.subject or "emotion", *[""] * participant, *times(span.start_s), *times(span.end_s)]
        rows.append([*row, *(times(span.end_s - span.start_s) if duration else []), span.label])
    lines = ["\t".join([*names, "Annotation"])] * header + ["\t".join(row) for row in rows]
    return "\n".join(lines) + "\n"


#: Name of the file and its text, by format.
WRITERS = {
    "BORIS tabular": ("coder.csv", boris_tabular),
    "BORIS aggregated": ("coder.csv", boris_aggregated),
    "BORIS tabular, TSV": ("coder.tsv", lambda spans: boris_tabular(spans, mark="\t")),
    "BORIS with a time offset": ("coder.csv", lambda spans: boris_tabular(spans, offset_s=3600.0)),
    "ELAN text": ("coder.txt", elan_text),
    "ELAN text with a header": ("coder.txt", lambda spans: elan_text(spans, header=True)),
    "ELAN text without participant and duration": (
        "coder.txt",
        lambda spans: elan_text(spans, participant=False, duration=False),
    ),
}
