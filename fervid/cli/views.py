"""Commands that show a timeline or convert it: plot, overlay, report, export."""

from pathlib import Path
from typing import Annotated, Any

from fervid.cli.app import command
from fervid.cli.options import Force, Json, Quiet, TimelineFile, VideoFile, argument, flag, option, output
from fervid.registry import describe
from fervid.views.export.formats import FORMATS

__all__ = ["export", "overlay", "plot", "report"]


@command("Look", "fervid plot timeline.parquet --out figure.png")
def plot(
    timeline: TimelineFile,
    out: Annotated[Path, output("The figure (.png or .svg).")],
    kind: Annotated[
        str, option(panel="Figure", choices=("area", "lines"), help="Stacked areas, or one line per emotion.")
    ] = "area",
    tracks: Annotated[
        list[int] | None, option("--track", panel="Figure", help="Draw a row for this track; repeatable.", metavar="N")
    ] = None,
    each: Annotated[bool, flag("--each-track", panel="Figure", help="Draw one row per track.")] = False,
    title: Annotated[
        str | None, option(panel="Figure", help='Title (default the name of the video); "" for none.')
    ] = None,
    width_in: Annotated[float, option("--width", panel="Figure", help="Width.", metavar="INCHES")] = 7.2,
    height_in: Annotated[
        float | None, option("--height", panel="Figure", help="Height (default what the rows need).", metavar="INCHES")
    ] = None,
    dpi: Annotated[float, option(panel="Figure", help="Pixels per inch of a .png.", metavar="N")] = 300,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Draw the probabilities over time: averaged over all visible faces, or one row per track."""
    import fervid
    from fervid.views import terminal

    figure: Any = fervid.plot(
        timeline, out, tracks=tracks, each=each, kind=kind, title=title, width_in=width_in, height_in=height_in, dpi=dpi
    )
    facts = {"written": str(out), "panels": figure.panels, "caption": figure.caption}
    terminal.show(facts, as_json=as_json, quiet=quiet)


@command("Look", "fervid overlay movie.mp4 timeline.parquet --faces faces.parquet --out annotated.mp4")
def overlay(
    video: VideoFile,
    timeline: TimelineFile,
    out: Annotated[Path, output("The annotated video (.mp4).")],
    faces: Annotated[
        Path | None,
        option(panel="Data", help="Face readings from process --faces: exact boxes instead of one box per second."),
    ] = None,
    blur_faces: Annotated[
        bool,
        flag("--blur-faces", panel="Output", help="Hide every detected face; needs --faces. Voices stay audible."),
    ] = False,
    mute: Annotated[bool, flag("--mute", panel="Output", help="Leave out the sound.")] = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Draw a timeline on its video: boxes, track numbers and small bars. Timing and sound stay as they are."""
    import fervid
    from fervid.views import terminal

    with terminal.progress_bar(video.name, quiet=quiet or as_json) as on_progress:
        facts = fervid.overlay(
            video, timeline, out, faces=faces, blur_faces=blur_faces, mute=mute, force=force, on_progress=on_progress
        )
    terminal.show(facts, as_json=as_json, quiet=quiet)


@command("Look", "fervid report timeline.parquet --video movie.mp4 --faces faces.parquet --out report.html")
def report(
    timeline: Annotated[Path, argument("TIMELINE", "A timeline, or a folder of timelines.")],
    out: Annotated[Path, output("The page (.html); for a folder of timelines, a folder.")],
    video: Annotated[Path | None, option(panel="Data", help="The video, to play beside the chart.")] = None,
    faces: Annotated[
        Path | None, option(panel="Data", help="Face readings of the video, drawn on it as boxes.")
    ] = None,
    transcode: Annotated[
        bool,
        flag("--transcode", panel="Output", help="Play a copy that every browser can decode (H.264, AAC)."),
    ] = False,
    embed_mb: Annotated[
        float,
        option(
            "--embed",
            panel="Output",
            help="Embed videos up to this size in the page; larger ones are played from where they are.",
            metavar="MB",
        ),
    ] = 50.0,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Write a web page that shows a timeline, beside its video if given; it opens offline.

    For a folder of timelines: an index page in --out with one row per video, and a page for each beside it.
    With --video, the video and the faces in it are inside the page (or played from beside it, if it is large).
    """
    import fervid
    from fervid.views import terminal

    facts = fervid.report(timeline, out, video=video, faces=faces, transcode=transcode, embed_mb=embed_mb, force=force)
    boxes = {"boxes": "drawn" if facts["boxes"] else "none"} if "boxes" in facts and not as_json else {}
    terminal.show(facts | boxes, as_json=as_json, quiet=quiet)
    return 1 if facts.get("unreadable") else 0


@command("Look", "fervid export timeline.parquet --to elan --out timeline.eaf")
def export(
    timeline: TimelineFile,
    out: Annotated[Path, output("The file to write.")],
    to: Annotated[
        str | None,
        option(panel="Output", choices=FORMATS, help=f"Format: {describe(FORMATS)} (default from the suffix)."),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a timeline for other programs: CSV, ELAN (.eaf), subtitles (.srt), BORIS (.xlsx, .csv, .tsv)."""
    import fervid
    from fervid.views import terminal

    terminal.show(fervid.export(timeline, out, to), as_json=as_json, quiet=quiet)
