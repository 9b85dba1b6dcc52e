"""Export a timeline as events for BORIS (Friard and Gamba 2016, doi 10.1111/2041-210X.12584).

BORIS 9 imports events into an open observation from a spreadsheet (.xlsx) whose first row names the columns time,
subject, code, modifier and comment (boris/import_observations.py in its repository). A state is two events with the
same code, its start and its stop. The codes must be state events in the ethogram of the BORIS project, and the subjects
must be those of the project.
"""

import csv
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

from fervid.timeline.intervals import Interval
from fervid.timeline.read import Timeline

__all__ = ["COLUMNS", "events", "write_events"]

#: The header that BORIS expects.
COLUMNS = ("time", "subject", "code", "modifier", "comment")
Event = tuple[float, str, str, str, str]


def events(intervals: list[Interval]) -> list[Event]:
    """Convert intervals to events, two per interval.

    Parameters
    ----------
    intervals : list of Interval

    Returns
    -------
    list of tuple
        Values of COLUMNS, sorted by time; at equal times, stops come before starts.
    """
    found: list[tuple[float, int, int, Event]] = []
    for n, interval in enumerate(intervals):
        subject = "" if interval.track is None else f"track {interval.track}"
        for order, at, comment in ((1, interval.start_s, "start"), (0, interval.end_s, "stop")):
            found.append((at, order, n, (round(at, 3), subject, interval.label, "", comment)))
    return [event for *_, event in sorted(found, key=lambda item: item[:3])]


def write_events(_: Timeline, intervals: list[Interval], part: Path) -> int:
    """Write the events as a spreadsheet or as text.

    Parameters
    ----------
    intervals : list of Interval
        The merged seconds of the timeline.
    part : Path
        The temporary file of `fervid.files.write_atomically`. Its name, ".NAME.SUFFIX.PID.tmp", decides the format:
        .xlsx, .tsv or .csv.

    Returns
    -------
    int
        Number of intervals.
    """
    rows, suffix = events(intervals), Path(part.stem).with_suffix("").suffix.lower()
    if suffix == ".xlsx":
        _write_sheet([COLUMNS, *rows], part)
        return len(intervals)
    with part.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n")
        table.writerows([COLUMNS, *rows])
    return len(intervals)


def _write_sheet(rows: list[tuple], part: Path) -> None:
    """Write a minimal workbook (ECMA-376, part 1) with one sheet; equal rows give equal bytes."""
    cells = "".join(f'<row r="{n}">{"".join(map(_cell, row))}</row>' for n, row in enumerate(rows, 1))
    files = _PARTS | {
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{_MAIN}"><sheetData>{cells}</sheetData></worksheet>'
    }
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as book:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            book.writestr(entry, '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n' + text)


def _cell(value: float | str) -> str:
    if isinstance(value, float):
        return f"<c><v>{value!r}</v></c>"
    return f'<c t="inlineStr"><is><t>{escape(value)}</t></is></c>' if value else "<c/>"


_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_KIND = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_KIND}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_KIND}.worksheet+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_LINKS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_LINKS}">'
    '<sheets><sheet name="events" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_LINKS}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
}
