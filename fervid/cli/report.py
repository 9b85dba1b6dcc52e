"""The command about a page to look at: report."""

from pathlib import Path
from typing import Annotated

import typer

from fervid.cli.shared import Debug, Json, command

__all__ = ["report"]


@command("fervid report timeline.parquet --video movie.mp4 --faces faces.parquet --out report.html")
def report(
    timeline: Annotated[
        Path, typer.Argument(metavar="TIMELINE", help="A timeline, or a folder of them.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="The page (.html); for a folder of timelines, a folder.", show_default=False),
    ],
    video: Annotated[Path | None, typer.Option(help="The film, to be played beside the chart.")] = None,
    faces: Annotated[Path | None, typer.Option(help="Face readings of the film, drawn over it as boxes.")] = None,
    transcode: Annotated[
        bool, typer.Option("--transcode", help="Show a copy of the film that every browser plays (H.264, AAC).")
    ] = False,
    embed: Annotated[
        float, typer.Option(help="Films up to this size go into the page; 0: played from where they lie.", metavar="MB")
    ] = 50.0,
    force: Annotated[
        bool, typer.Option("--force", help="Take a film or readings that do not match the timeline.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Write one web page that shows a timeline, beside its film if given; it opens offline.

    Of a folder of timelines: an index page in --out with a row a video, and a page for each beside it.
    With --video the film, and so the faces in it, are inside the page (or played from beside it, if it is large).
    """
    import fervid
    from fervid.views import terminal

    facts = fervid.report(
        timeline, out, video=video, faces=faces, transcode=transcode, embed_mb=embed, force=force
    )  # fmt: skip
    (terminal.print_json if as_json else terminal.print_facts)(facts)
    return 1 if facts.get("unreadable") else 0
