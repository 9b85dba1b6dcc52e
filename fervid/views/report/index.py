"""A folder of timelines as web pages: an index with one row per video, and the report of each beside it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fervid.clock import clock
from fervid.errors import ConfigError, DataError, OutputError
from fervid.files import make_folder, to_utf8, write_atomically
from fervid.jobs.manifest import MANIFEST, read_manifest
from fervid.timeline.read import find_timelines, timeline_summary
from fervid.views.batch_progress import sentence
from fervid.views.report import summary
from fervid.views.report.data import LanedTimeline, read_lanes
from fervid.views.report.page import PLAIN, ReportOptions, fill_page, write_page

__all__ = ["write_index"]


@dataclass(frozen=True)
class _Entry:
    """One video of the folder: its timeline, if it has one, and what the manifest records."""

    name: str
    timeline: Path | None
    status: str = ""
    reason: str = ""
    message: str = ""


def write_index(folder: Path, out: Path, options: ReportOptions = PLAIN) -> dict[str, Any]:
    """Write out/index.html, and the page of every timeline below a folder under the same relative path.

    Parameters
    ----------
    folder : Path
        A folder with timelines. If it has the manifest of a batch, the index lists its rows, failed videos included.
    out : Path
        The folder for the pages.
    options : ReportOptions
        Must be PLAIN; the other options concern a single timeline.

    Returns
    -------
    dict
        `index` (path), the numbers of `videos` and `reports`, and of timelines that are `unreadable`, if any.

    Raises
    ------
    ConfigError
        If an option for a single timeline is set.
    DataError
        If the folder contains no timeline.
    OutputError
        If `out` is a file or cannot be written.
    """
    if options != PLAIN:
        raise ConfigError(f"{folder}: --video, --faces and similar options need one timeline; this is a folder")
    if out.suffix.lower() in (".html", ".htm") or (out.exists() and not out.is_dir()):
        raise OutputError(
            f"{out}: the report of a folder consists of many pages; name a folder, such as {out.with_suffix('')}"
        )
    entries = list(_entries(folder))
    if not entries:
        raise DataError(f"{folder}: no timeline in this folder; fervid process and fervid batch write timelines")
    rows, counts = [], Counter[str]()
    with write_atomically(_with_folder(out / "index.html")) as part:
        for entry in entries:
            row, status = _row(folder, out, entry)
            rows.append(row)
            counts[status] += 1
        part.write_text(_index(folder, rows, counts), "utf-8")
    reports = len(entries) - counts["failed"] - counts["unreadable"]
    return {"index": str(out / "index.html"), "videos": len(entries), "reports": reports} | (
        {"unreadable": counts["unreadable"]} if counts["unreadable"] else {}
    )


def _entries(folder: Path) -> Iterator[_Entry]:
    """List the rows of the manifest; without a manifest, the timelines in the folder."""
    if (folder / MANIFEST).is_file():
        for row in sorted(read_manifest(folder), key=lambda row: row.path):
            timeline = folder / row.timeline if row.timeline else None
            yield _Entry(to_utf8(row.path), timeline, row.status, row.reason, row.message)
        return
    for path in find_timelines(folder):
        yield _Entry(to_utf8(str(path.relative_to(folder))), path)


def _row(folder: Path, out: Path, entry: _Entry) -> tuple[str, str]:
    """Write the report of one video; return its row in the index and its status."""
    if entry.timeline is None:
        return _blank_row(entry.name, entry.status, entry.reason, sentence(entry.name, entry.message)), entry.status
    try:
        timeline = read_lanes(entry.timeline)
    except DataError as e:
        return _blank_row(entry.name, "unreadable", "", str(e)), "unreadable"
    page = _page_path(entry.timeline.relative_to(folder))
    write_page(timeline, _with_folder(out / page), index=f"./{'../' * (len(page.parts) - 1)}index.html")
    status = entry.status or str(timeline.provenance.get("status", "ok"))
    reason = entry.reason or ", ".join(map(str, timeline.provenance.get("reasons", [])))
    return _full_row(timeline, entry.name, page, status, reason), status


def _page_path(timeline: Path) -> Path:
    """Return the relative path of the page of a timeline; index.html is reserved for the index."""
    page = timeline.with_suffix(".html")
    return page.with_name("index.timeline.html") if str(page) == "index.html" else page


def _with_folder(path: Path) -> Path:
    """Create the folder of a file."""
    make_folder(path.parent)
    return path


def _full_row(timeline: LanedTimeline, name: str, page: Path, status: str, reason: str) -> str:
    facts = timeline_summary(timeline.frame, timeline.provenance)
    seconds, seen, tracks = facts["seconds"], facts["seconds_with_face"], facts["tracks"]
    share = seen / seconds if seconds else 0.0
    parts = summary.shares(timeline)
    top = max(parts, key=lambda key: parts[key]) if timeline.lanes else ""
    most = f'<span class="note">{top} {parts[top]:.0%}</span>' if top else '<span class="note">no face</span>'
    return (
        f'<tr><th scope="row"><a href="./{escape(quote(str(page)))}">{escape(name)}</a></th>'
        f'<td data-by="{seconds}">{clock(seconds)}</td>'
        f'<td data-by="{share:.4f}">{clock(seen)} <span class="note">{share:.0%}</span></td>'
        f'<td data-by="{tracks}" data-unit="track{"" if tracks == 1 else "s"}">{tracks}</td>'
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


def _index(folder: Path, rows: list[str], counts: Counter[str]) -> str:
    listed = ", ".join(f"{n} {status}" for status, n in sorted(counts.items(), key=lambda item: item[0] != "ok"))
    name = to_utf8(folder.resolve().name)
    return fill_page(
        "index.html",
        scripts=("index.js",),
        title=escape(name),
        rows="".join(rows),
        subtitle=escape(f"{len(rows)} {'video' if len(rows) == 1 else 'videos'}: {listed}"),
    )
