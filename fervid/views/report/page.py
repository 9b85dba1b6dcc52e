"""One self-contained web page that shows a timeline beside its video; it works offline and uses no network."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from fervid._version import __version__
from fervid.errors import ConfigError, DataError, OutputError
from fervid.files import write_atomically
from fervid.timeline.sources import check_faces, check_video
from fervid.views.figures.style import PALETTE
from fervid.views.report import summary
from fervid.views.report.data import LanedTimeline, pack_boxes, pack_timeline, read_lanes
from fervid.views.report.video import EMBED_MB, MAX_EMBED_MB, PageVideo, open_page_video

__all__ = ["PLAIN", "ReportOptions", "fill_page", "write_page", "write_report"]

_ASSETS = Path(__file__).parent / "assets"
_CHART = ("uPlot.iife.min.js",)
_SCRIPTS = ("data.js", "chart.js", "lanes.js", "player.js", "main.js")
#: Placeholder for the embedded video; it occurs in no file name and in no JSON.
_CONTENT = "\0"
#: Bytes to encode at a time; a multiple of three, so that base64 needs no padding in between.
_CHUNK = 3 << 20


@dataclass(frozen=True)
class ReportOptions:
    """What a page shows beside the timeline.

    Parameters
    ----------
    video : Path, optional
        The video, to play beside the chart.
    faces : Path, optional
        The face readings, to draw as boxes over the video.
    transcode : bool
        Show a copy of the video that every browser plays.
    force : bool
        Accept a video or readings that do not belong to the timeline.
    embed_mb : float
        Largest video to embed in the page, in megabytes; larger ones are linked.
    """

    video: Path | None = None
    faces: Path | None = None
    transcode: bool = False
    force: bool = False
    embed_mb: float = EMBED_MB


#: Options for a page that shows the timeline alone.
PLAIN = ReportOptions()


def write_report(timeline: Path, out: Path, options: ReportOptions = PLAIN) -> dict[str, Any]:
    """Write the page of one timeline.

    Parameters
    ----------
    timeline : Path
        A timeline.
    out : Path
        The page, ending with .html or .htm.
    options : ReportOptions

    Returns
    -------
    dict
        `report` (path), `bytes`, `film` (where the video is) and `boxes` (whether face boxes are shown).

    Raises
    ------
    ConfigError
        If an option lacks the video that it needs, or is out of range.
    DataError
        If the timeline, the video or the readings do not belong together.
    OutputError
        If `out` is not a page, is an input or cannot be written.
    VideoError
        If the video cannot be read, or browsers cannot play it.
    """
    _check(timeline, out, options)
    return write_page(read_lanes(timeline), out, options)


def write_page(
    timeline: LanedTimeline, out: Path, options: ReportOptions = PLAIN, *, index: str = ""
) -> dict[str, Any]:
    """Write the page of a timeline in memory.

    Parameters
    ----------
    timeline : LanedTimeline
    out : Path
        The page.
    options : ReportOptions
    index : str
        URL of the index of a folder, to link to.

    Returns
    -------
    dict
        As `write_report`, which also lists the errors.
    """
    notes = []
    if options.video is not None:
        notes.append(check_video(timeline, options.video, force=options.force))
    if options.faces is not None:
        notes.append(check_faces(timeline, options.faces, force=options.force))
    with ExitStack() as stack:
        part = stack.enter_context(write_atomically(out))
        video = None
        if options.video is not None:
            video = stack.enter_context(
                open_page_video(timeline, options.video, out, transcode=options.transcode, embed_mb=options.embed_mb)
            )
        boxes = pack_boxes(timeline, options.faces) if options.faces is not None else None
        with part.open("wb") as page:
            for chunk in _page(timeline, video, boxes, [note for note in notes if note], index):
                page.write(chunk)
    where = "none" if video is None else video.url or f"embedded ({video.bytes / 1e6:.1f} MB)"
    return {"report": str(out), "bytes": out.stat().st_size, "film": where, "boxes": options.faces is not None}


def _check(timeline: Path, out: Path, options: ReportOptions) -> None:
    if not timeline.exists():
        raise DataError(f"{timeline}: no such file or folder; expected a timeline, or a folder of them")
    if out.suffix.lower() not in (".html", ".htm"):
        example = out / "report.html" if out.is_dir() else out.with_suffix(".html")
        raise OutputError(f"{out}: a report is one web page; name it, such as {example}")
    if not 0 <= options.embed_mb <= MAX_EMBED_MB:
        raise ConfigError(f"embed_mb = {options.embed_mb:g}: expected 0 to {MAX_EMBED_MB:g} MB, the limit of browsers")
    for wanted, name in ((options.faces, "--faces"), (options.transcode, "--transcode")):
        if wanted and options.video is None:
            raise ConfigError(f"{name} needs a video: add --video")
    for used in (timeline, options.video, options.faces):
        if used is not None and out.exists() and used.exists() and out.samefile(used):
            raise OutputError(f"{out}: is an input of this report; name another file with --out")


def _page(
    timeline: LanedTimeline, video: PageVideo | None, boxes: dict[str, Any] | None, notes: list[str], index: str
) -> Iterator[bytes]:
    """Yield the page in chunks; the video comes last, so that browsers show everything else first."""
    data = pack_timeline(timeline) | {"video": video.facts() if video else None, "boxes": boxes, "palette": PALETTE}
    status = str(timeline.provenance.get("status", "ok"))
    parts = summary.shares(timeline)
    page = fill_page(
        "report.html",
        scripts=(*_CHART, *_SCRIPTS),
        title=escape(timeline.video),
        index=f'<a href="{escape(index)}">All videos</a>' if index else "",
        subtitle=summary.subtitle(timeline),
        status=f'<span class="pill {"good" if status == "ok" else "bad"}">{escape(status)}</span>',
        figures=summary.figures(timeline),
        bar=summary.bar(parts),
        legend=summary.legend(parts),
        warnings=summary.warnings(timeline, [*notes, *(video.notes if video else ())]),
        player="" if video is None else _asset("player.html"),
        privacy=_privacy(video),
        provenance=summary.provenance(timeline, __version__),
        data=_json(data),
        content=_CONTENT if video is not None and video.content is not None else "",
        media="'none'" if video is None else "blob:" if video.content else "'self' file:",
    )
    head, _, tail = page.partition(_CONTENT)
    yield head.encode()
    if video is not None and video.content is not None:
        with video.content.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield base64.b64encode(chunk)
    yield tail.encode()


def _privacy(video: PageVideo | None) -> str:
    if video is None:
        return "This page contains numbers about faces, but no image of a face."
    if video.content is not None:
        size = f"{video.bytes / 1e6:.1f} MB"
        return f"The video is embedded in this page ({size}): everyone who receives the page receives the faces in it."
    return f"The video is not in this page: it is played from {escape(video.url)} and must stay there."


def fill_page(template: str, *, scripts: tuple[str, ...], media: str = "'none'", **slots: str) -> str:
    """Fill a template of assets/, with a Content-Security-Policy by which only the page's own content runs or loads.

    Parameters
    ----------
    template : str
        Name of the template.
    scripts : tuple of str
        Names of the scripts, in order.
    media : str
        Sources that the policy allows for media.
    **slots : str
        Escaped text or HTML for the slots of the template.

    Returns
    -------
    str
        The HTML document.
    """
    style = _asset("uPlot.min.css") + _asset("report.css") + _colours()
    run = [_asset(scripts[0])] if scripts[0] in _CHART else []
    run.append("(() => {\n" + "\n".join(_asset(name) for name in scripts[len(run) :]) + "\n})();")
    policy = (
        f"default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; media-src {media}; "
        f"style-src {_hash(style)}; script-src {' '.join(map(_hash, run))}"
    )
    slots |= {
        "policy": escape(policy),
        "style": f"<style>{style}</style>",
        "scripts": "\n".join(f"<script>{script}</script>" for script in run),
        "licence": escape(_asset("uPlot.LICENSE").replace("--", "- -")) if scripts[0] in _CHART else "",
        "version": escape(__version__),
    }
    return _fill(_asset("head.html") + _asset(template), slots)


def _fill(template: str, slots: Mapping[str, str]) -> str:
    """Fill the slots in one pass, so that slots within the content of a slot are not filled."""
    return re.sub(r"\{\{(\w+)\}\}", lambda m: slots.get(m[1], m[0]), template)


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text("utf-8")


def _hash(text: str) -> str:
    """Return the source expression of an inline script or style (CSP level 3, 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _colours() -> str:
    """Return the palette as CSS classes; contempt is black, or white on a dark page."""
    rules = "".join(f".e-{name}{{--c:{colour}}}" for name, colour in PALETTE.items())
    return f"{rules}@media (prefers-color-scheme:dark){{.e-contempt{{--c:#F2F2F2}}}}"


def _json(data: Mapping[str, Any]) -> str:
    """Encode JSON that can neither end a script element nor start a comment."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
