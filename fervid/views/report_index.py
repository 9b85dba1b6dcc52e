"""A folder of timelines as web pages: an index with a row a video, and the report of each beside it."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fervid.errors import ConfigError, DataError, FervidError, OutputError, RunError
from fervid.manifest import MANIFEST, Row, read_manifest
from fervid.store import overview, spelled, write_atomically
from fervid.views import report_summary as summary
from fervid.views.report import ReportOptions, fill_page, write_report
from fervid.views.report_data import Timeline, read_timeline
from fervid.views.terminal import clock

__all__ = ["write_index"]


@dataclass(frozen=True)
class _Video:
    """One row of the index: its timeline where there is one, and what the manifest or the reading of it says."""

    name: str
    status: str
    reason: str = ""
    message: str = ""
    timeline: Path | None = None
    shown: Timeline | None = None


def write_index(folder: Path, out: Path, options: ReportOptions = ReportOptions()) -> dict[str, Any]:
    """Write out/index.html and out/<same place>.html for every timeline below `folder`.

    With a manifest of `fervid batch` its rows are the videos, those that failed too. A timeline that cannot be read is
    a row that says so, and counts as `unreadable`. DataError if there is no timeline.
    """
    if options != ReportOptions():
        raise ConfigError(f"{folder}: --video, --faces and the like belong to one timeline; this is a folder of them")
    if out.suffix.lower() in (".html", ".htm") or (out.exists() and not out.is_dir()):
        raise OutputError(f"{out}: the reports of a folder are many pages; name a folder, such as {out.with_suffix('')}")
    videos = list(_videos(folder, out))
    if not videos:
        raise DataError(f"{folder}: no timeline in this folder; expected what `fervid process` or `fervid batch` wrote")
    out.mkdir(parents=True, exist_ok=True)
    for video in videos:
        if video.shown is not None and video.timeline is not None:
            page = _page(folder, video.timeline, out)
            page.parent.mkdir(parents=True, exist_ok=True)
            write_report(video.timeline, page)
    with write_atomically(out / "index.html") as part:
        part.write_text(_index(folder, out, videos), "utf-8")
    reports = sum(video.shown is not None for video in videos)
    unreadable = sum(video.status == "unreadable" for video in videos)
    return {"index": str(out / "index.html"), "videos": len(videos), "reports": reports, "unreadable": unreadable}


def _videos(folder: Path, out: Path) -> Iterator[_Video]:
    """The rows of the manifest, else the timelines that lie there; pages already written are none."""
    if (folder / MANIFEST).is_file():
        for row in sorted(read_manifest(folder), key=lambda row: row.path):
            yield _read(row.path, folder / row.timeline if row.timeline else None, row)
        return
    inside = sorted(p for p in folder.rglob("*.parquet") if not p.name.startswith("."))
    for path in inside:
        found = _read(str(path.relative_to(folder)), path, None)
        if found.message != _OTHER_TABLE:
            yield found


_OTHER_TABLE = "other"


def _read(name: str, path: Path | None, row: Row | None) -> _Video:
    said = (row.status, row.reason, row.message) if row else ("ok", "", "")
    if path is None:
        return _Video(spelled(name), *said)
    try:
        shown = read_timeline(path)
    except RunError:
        raise
    except FervidError as e:
        other = row is None and "face readings" in str(e)
        return _Video(spelled(name), "unreadable", "", _OTHER_TABLE if other else str(e))
    facts = shown.provenance
    if row is None:
        said = (str(facts.get("status", "ok")), ", ".join(map(str, facts.get("reasons", []))), "")
    return _Video(spelled(name), *said, path, shown)
