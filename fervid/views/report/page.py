"""One page that shows a timeline beside its film, whole in itself: it opens offline and asks no network."""

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
from fervid.views.figures.style import PALETTE
from fervid.views.report import summary
from fervid.views.report.data import Timeline, pack_boxes, pack_timeline, read_timeline
from fervid.views.report.video import EMBED_MB, MOST_EMBED_MB, Film, check_faces, check_same, open_film

__all__ = ["PLAIN", "ReportOptions", "fill_page", "write_page", "write_report"]

_ASSETS = Path(__file__).parent / "assets"
_CHART = ("uPlot.iife.min.js",)
_OURS = ("series.js", "chart.js", "lanes.js", "film.js", "main.js")
#: Stands where the film goes; no file name and no JSON holds it.
_FILM = "\0"
#: A multiple of three: so many bytes become base64 without padding in between.
_CHUNK = 3 << 20


@dataclass(frozen=True)
class ReportOptions:
    """What a page shows beside the timeline. `force` lets another video or other readings pass."""

    video: Path | None = None
    faces: Path | None = None
    transcode: bool = False
    force: bool = False
    embed_mb: float = EMBED_MB


#: The timeline alone.
PLAIN = ReportOptions()


def write_report(timeline: Path, out: Path, options: ReportOptions = PLAIN) -> dict[str, Any]:
    """Write the page of one timeline; gives what was written and what of the film is in it.

    DataError if the timeline, the film or the readings do not belong together; VideoError if no browser plays the film.
    """
    _check(timeline, out, options)
    return write_page(read_timeline(timeline), out, options)


def write_page(read: Timeline, out: Path, options: ReportOptions = PLAIN, *, index: str = "") -> dict[str, Any]:
    """Write the page of a timeline that is read already; as write_report. `index` is the address of the page before."""
    notes = []
    if options.video is not None:
        notes.append(check_same(read, options.video, force=options.force))
    if options.faces is not None:
        notes.append(check_faces(read, options.faces, force=options.force))
    with ExitStack() as stack:
        part = stack.enter_context(write_atomically(out))
        film = None
        if options.video is not None:
            film = stack.enter_context(
                open_film(read, options.video, out, transcode=options.transcode, embed_mb=options.embed_mb)
            )
        boxes = pack_boxes(read, options.faces) if options.faces is not None else None
        with part.open("wb") as page:
            for piece in _page(read, film, boxes, [note for note in notes if note], index):
                page.write(piece)
    inside = film.content if film else None
    told = f"inside the page ({film.bytes / 1e6:.1f} MB)" if film and inside else film.url if film else "none"
    return {"report": str(out), "bytes": out.stat().st_size, "film": told, "boxes": options.faces is not None}


def _check(timeline: Path, out: Path, options: ReportOptions) -> None:
    if not timeline.exists():
        raise DataError(f"{timeline}: no such file or folder; expected a timeline, or a folder of them")
    if out.suffix.lower() not in (".html", ".htm"):
        example = out / "report.html" if out.is_dir() else out.with_suffix(".html")
        raise OutputError(f"{out}: a report is one web page; name it, such as {example}")
    if not 0 <= options.embed_mb <= MOST_EMBED_MB:
        raise ConfigError(
            f"embed_mb = {options.embed_mb:g}: expected 0 to {MOST_EMBED_MB:g} MB, for browsers hold no more"
        )
    for wanted, name in ((options.faces, "--faces"), (options.transcode, "--transcode")):
        if wanted and options.video is None:
            raise ConfigError(f"{name} is about the film: name the film with --video")
    for read in (timeline, options.video, options.faces):
        if read is not None and out.exists() and read.exists() and out.samefile(read):
            raise OutputError(f"{out}: is an input of this report; name another file with --out")


def _page(
    timeline: Timeline, film: Film | None, boxes: dict[str, Any] | None, notes: list[str], index: str
) -> Iterator[bytes]:
    """The page in pieces; the film comes last, so that everything else is on screen before it is there."""
    data = pack_timeline(timeline) | {"film": film.facts() if film else None, "boxes": boxes, "palette": PALETTE}
    status = str(timeline.provenance.get("status", "ok"))
    parts = summary.shares(timeline)
    page = fill_page(
        "report.html",
        scripts=(*_CHART, *_OURS),
        title=escape(timeline.name),
        index=f'<a href="{escape(index)}">All videos</a>' if index else "",
        subtitle=summary.subtitle(timeline),
        status=f'<span class="pill {"good" if status == "ok" else "bad"}">{escape(status)}</span>',
        figures=summary.figures(timeline),
        bar=summary.bar(parts),
        legend=summary.legend(parts),
        warnings=summary.warnings(timeline, [*notes, *(film.notes if film else ())]),
        film="" if film is None else _asset("film.html"),
        privacy=_privacy(film),
        provenance=summary.provenance(timeline, __version__),
        data=_json(data),
        content=_FILM if film is not None and film.content is not None else "",
        media="'none'" if film is None else "blob:" if film.content else "'self' file:",
    )
    head, _, tail = page.partition(_FILM)
    yield head.encode()
    if film is not None and film.content is not None:
        with film.content.open("rb") as file:
            while piece := file.read(_CHUNK):
                yield base64.b64encode(piece)
    yield tail.encode()


def _privacy(film: Film | None) -> str:
    if film is None:
        return "This page holds numbers about faces, and no picture of any."
    if film.content is not None:
        size = f"{film.bytes / 1e6:.1f} MB"
        return f"The film is inside this page ({size}): whoever gets the page gets the faces in it."
    return f"The film is not in this page: it is played from {escape(film.url)}, and has to lie there."


def fill_page(template: str, *, scripts: tuple[str, ...], media: str = "'none'", **slots: str) -> str:
    """Fill a template in assets/ and the head of all, and lock the page: only what stands in it may run or load."""
    style = _asset("uPlot.min.css") + _asset("report.css") + _colours()
    run = [_asset(scripts[0])] if scripts[0] in _CHART else []
    run.append("(() => {\n" + "\n".join(_asset(name) for name in scripts[len(run) :]) + "\n})();")
    policy = (
        f"default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; media-src {media}; "
        f"style-src {_hash(style)}; script-src {' '.join(map(_hash, run))}"
    )
    slots |= {
        "policy": escape(policy), "style": f"<style>{style}</style>",
        "scripts": "\n".join(f"<script>{script}</script>" for script in run),
        "licence": escape(_asset("uPlot.LICENSE").replace("--", "- -")) if scripts[0] in _CHART else "",
        "version": escape(__version__),
    }  # fmt: skip
    return _fill(_asset("head.html") + _asset(template), slots)


def _fill(template: str, slots: Mapping[str, str]) -> str:
    """Put the slots in, once: what a slot holds is not looked at again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda m: slots.get(m[1], m[0]), template)


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text("utf-8")


def _hash(text: str) -> str:
    """The source expression of an inline script or style (CSP level 3, 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _colours() -> str:
    """The one palette as classes; contempt is black, and white where the page is dark."""
    rules = "".join(f".e-{name}{{--c:{colour}}}" for name, colour in PALETTE.items())
    return f"{rules}@media (prefers-color-scheme:dark){{.e-contempt{{--c:#F2F2F2}}}}"


def _json(data: Mapping[str, Any]) -> str:
    """JSON that ends no script element and begins no comment."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
