"""A folder of timelines as web pages: an index with a row a video, and the report of each beside it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from fervid.errors import ConfigError, DataError, OutputError
from fervid.files import make_folder, to_utf8, write_atomically
from fervid.jobs.manifest import MANIFEST, read_manifest
from fervid.timeline.read import timeline_summary
from fervid.views.batch_progress import sentence
from fervid.views.report import summary
from fervid.views.report.data import Timeline, read_timeline
from fervid.views.report.page import PLAIN, ReportOptions, fill_page, write_page
from fervid.views.terminal import clock

__all__ = ["write_index"]


@dataclass(frozen=True)
class _Entry:
    """One video of the folder: where its timeline lies, if it has one, and what the manifest says."""

    name: str
    timeline: Path | None
    status: str = ""
    reason: str = ""
    message: str = ""


def write_index(folder: Path, out: Path, options: ReportOptions = PLAIN) -> dict[str, Any]:
    """Write out/index.html and out/<same place>.html for every timeline below `folder`.

    With the manifest of a `fervid batch` its rows are the videos, those that failed too. A timeline that cannot be read
    is a row that says so, and counts as `unreadable`. DataError if there is no timeline.
    """
    if options != PLAIN:
        raise ConfigError(f"{folder}: --video, --faces and the like belong to one timeline; this is a folder of them")
    if out.suffix.lower() in (".html", ".htm") or (out.exists() and not out.is_dir()):
        raise OutputError(f"{out}: the report of a folder is many pages; name a folder, such as {out.with_suffix('')}")
    entries = list(_entries(folder))
    if not entries:
        raise DataError(f"{folder}: no timeline in this folder; expected what `fervid process` or `fervid batch` wrote")
    rows, tally = [], Counter[str]()
    with write_atomically(_made(out / "index.html")) as part:
        for entry in entries:
            row, status = _row(folder, out, entry)
            rows.append(row)
            tally[status] += 1
        part.write_text(_index(folder, rows, tally), "utf-8")
    reports = len(entries) - tally["failed"] - tally["unreadable"]
    return {"index": str(out / "index.html"), "videos": len(entries), "reports": reports} | (
        {"unreadable": tally["unreadable"]} if tally["unreadable"] else {}
    )


def _entries(folder: Path) -> Iterator[_Entry]:
    """The rows of the manifest, else every timeline that lies there."""
    if (folder / MANIFEST).is_file():
        for row in sorted(read_manifest(folder), key=lambda row: row.path):
            timeline = folder / row.timeline if row.timeline else None
            yield _Entry(to_utf8(row.path), timeline, row.status, row.reason, row.message)
        return
    for path in sorted(folder.rglob("*.parquet")):
        if not path.name.startswith(".") and _may_be_timeline(path):
            yield _Entry(to_utf8(str(path.relative_to(folder))), path)


def _may_be_timeline(path: Path) -> bool:
    """Face readings and other tables are left out; what is no Parquet at all is told when it is read."""
    try:
        return "second" in pq.read_schema(path).names
    except (OSError, pa.ArrowException):
        return True


def _row(folder: Path, out: Path, entry: _Entry) -> tuple[str, str]:
    """Write the report of one video -> its row in the index, its status."""
    if entry.timeline is None:
        return _blank_row(entry.name, entry.status, entry.reason, sentence(entry.name, entry.message)), entry.status
    try:
        read = read_timeline(entry.timeline)
    except DataError as e:
        return _blank_row(entry.name, "unreadable", "", str(e)), "unreadable"
    place = _place(entry.timeline.relative_to(folder))
    write_page(read, _made(out / place), index=f"./{'../' * (len(place.parts) - 1)}index.html")
    status = entry.status or str(read.provenance.get("status", "ok"))
    reason = entry.reason or ", ".join(map(str, read.provenance.get("reasons", [])))
    return _full_row(read, entry.name, place, status, reason), status


def _place(timeline: Path) -> Path:
    """Where the page of a timeline lies; the name index.html is taken."""
    page = timeline.with_suffix(".html")
    return page.with_name("index.timeline.html") if str(page) == "index.html" else page


def _made(path: Path) -> Path:
    make_folder(path.parent)
    return path


def _full_row(timeline: Timeline, name: str, place: Path, status: str, reason: str) -> str:
    says = timeline_summary(timeline.frame, timeline.provenance)
    seconds, seen = says["seconds"], says["seconds_with_face"]
    share = seen / seconds if seconds else 0.0
    parts = summary.shares(timeline)
    top = max(parts, key=lambda key: parts[key]) if timeline.lanes else ""
    most = f'<span class="note">{top} {parts[top]:.0%}</span>' if top else '<span class="note">no face</span>'
    return (
        f'<tr><th scope="row"><a href="./{escape(quote(str(place)))}">{escape(name)}</a></th>'
        f'<td data-by="{seconds}">{clock(seconds)}</td>'
        f'<td data-by="{share:.4f}">{clock(seen)} <span class="note">{share:.0%}</span></td>'
        f'<td data-by="{says["tracks"]}" data-unit="track{"" if says["tracks"] == 1 else "s"}">{says["tracks"]}</td>'
        f'<td class="wide" data-by="{top}">{summary.bar(parts)}{most}</td>{_status_cell(status, reason)}</tr>'
    )


def _blank_row(name: str, status: str, reason: str, message: str) -> str:
    return (
        f'<tr><th scope="row">{escape(name)}</th><td data-by="-1"></td><td data-by="-1"></td><td data-by="-1"></td>'
        f'<td class="wide note" data-by="">{escape(message)}</td>{_status_cell(status, reason)}</tr>'
    )


def _status_cell(status: str, reason: str) -> str:
    kind = "good" if status == "ok" else "bad"
    why = f' <span class="note">{escape(reason)}</span>' if reason else ""
    return f'<td data-by="{escape(status)}"><span class="pill {kind}">{escape(status)}</span>{why}</td>'


def _index(folder: Path, rows: list[str], tally: Counter[str]) -> str:
    counts = ", ".join(f"{n} {status}" for status, n in sorted(tally.items(), key=lambda item: item[0] != "ok"))
    name = to_utf8(folder.resolve().name)
    return fill_page(
        "index.html",
        scripts=("index.js",),
        title=escape(name),
        rows="".join(rows),
        subtitle=escape(f"{len(rows)} {'video' if len(rows) == 1 else 'videos'}: {counts}"),
    )
