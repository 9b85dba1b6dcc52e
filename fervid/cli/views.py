"""Commands that show a timeline or hand it on: plot, overlay, export."""

from pathlib import Path
from typing import Annotated

import typer

from fervid.cli.app import Debug, Json, Quiet, VideoFile, command

__all__ = ["export", "overlay", "plot", "report"]

TimelineFile = Annotated[
    Path, typer.Argument(metavar="TIMELINE", help="A timeline written by fervid process.", show_default=False)
]


@command("fervid plot timeline.parquet --out figure.png")
def plot(
    timeline: TimelineFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="The figure: .png or .svg.", show_default=False)],
    kind: Annotated[str, typer.Option(help="area (stacked) or lines.")] = "area",
    track: Annotated[list[int] | None, typer.Option(help="A row for this track; may be repeated.")] = None,
    each_track: Annotated[bool, typer.Option("--each-track", help="A row for every track.")] = False,
    title: Annotated[str | None, typer.Option(help='Over the figure (the video\'s name); "" for none.')] = None,
    width: Annotated[float, typer.Option(help="Of the figure.", metavar="INCHES")] = 7.2,
    height: Annotated[float | None, typer.Option(help="Of the figure (what it needs).", metavar="INCHES")] = None,
    dpi: Annotated[float, typer.Option(help="Pixels an inch, for .png.")] = 300,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Draw the probabilities over time: of the whole screen, faces weighted by visible time, or a row a track."""
    import fervid
    from fervid.views import terminal

    facts = fervid.plot(
        timeline, out, tracks=track, each=each_track, kind=kind, title=title, width_in=width, height_in=height, dpi=dpi
    )
    (terminal.print_json if as_json else terminal.print_facts)(facts)


@command("fervid overlay movie.mp4 timeline.parquet --faces faces.parquet --out annotated.mp4")
def overlay(
    video: VideoFile,
    timeline: TimelineFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="The annotated video (.mp4).", show_default=False)],
    faces: Annotated[
        Path | None, typer.Option(help="The readings of process --faces: exact boxes rather than those of each second.")
    ] = None,
    blur_faces: Annotated[
        bool, typer.Option("--blur-faces", help="Hide every face that was found; needs --faces. Voices stay.")
    ] = False,
    mute: Annotated[bool, typer.Option("--mute", help="Leave the sound out.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Go on with another video than the timeline's.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Draw a timeline on its video: boxes, track numbers and small bars; timing and sound stay as they are."""
    import fervid
    from fervid.views import terminal

    with terminal.progress_bar(video.name, quiet=quiet or as_json) as on_progress:
        facts = fervid.overlay(
            video, timeline, out, faces=faces, blur_faces=blur_faces, mute=mute, force=force, on_progress=on_progress
        )
    if as_json:
        terminal.print_json(facts)
    elif not quiet:
        terminal.print_facts(facts)


@command("fervid export timeline.parquet --to elan --out timeline.eaf")
def export(
    timeline: TimelineFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.", show_default=False)],
    to: Annotated[str | None, typer.Option(help="csv, elan, srt or boris (what the suffix says).")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a timeline for other programs: CSV, ELAN (.eaf), subtitles (.srt), events for BORIS (.xlsx, .csv, .tsv)."""
    import fervid
    from fervid.views import terminal

    facts = fervid.export(timeline, out, to)
    (terminal.print_json if as_json else terminal.print_facts)(facts)


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

    facts = fervid.report(timeline, out, video=video, faces=faces, transcode=transcode, embed_mb=embed, force=force)
    (terminal.print_json if as_json else terminal.print_facts)(facts)
    return 1 if facts.get("unreadable") else 0
