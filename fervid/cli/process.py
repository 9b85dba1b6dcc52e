"""Commands for one video and the timeline made of it: process, probe, info."""

from pathlib import Path
from typing import Annotated, Unpack

from fervid.cli.app import command
from fervid.cli.options import Json, PipelineOptions, Quiet, ShardedOptions, VideoFile, argument, flag, option, output

__all__ = ["info", "probe", "process"]


@command("Analyse", "fervid process movie.mp4 --out timeline.parquet --fps 5")
def process(
    video: VideoFile,
    out: Annotated[Path, output("The timeline to write (Parquet).")],
    faces: Annotated[Path | None, option(panel="Output", help="Also write every face reading (Parquet).")] = None,
    shots: Annotated[Path | None, option(panel="Output", help="Also write the shots (Parquet).")] = None,
    profile: Annotated[
        bool, flag("--profile", panel="Output", help="Also report the time that each stage took.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
    **options: Unpack[ShardedOptions],
) -> int:
    """Turn one video into a per-second emotion timeline."""
    import fervid
    from fervid.runtime.profiling import Profiler
    from fervid.views import terminal

    with Profiler() as profiler, terminal.progress_bar(video.name, quiet=quiet or as_json) as on_progress:
        result = fervid.process(video, out, faces=faces, shots=shots, on_progress=on_progress, **options)
    if as_json:
        terminal.print_json(terminal.summary(result) | ({"profile": terminal.profile(profiler)} if profile else {}))
    elif not quiet:
        terminal.print_result(result, profiler.wall_s)
    if profile and not as_json:
        terminal.print_profile(profiler)
    return 1 if result.status == "degraded" else 0


@command("Analyse", "fervid probe movie.mp4")
def probe(video: VideoFile, as_json: Json = False, **options: Unpack[PipelineOptions]) -> None:
    """Show what a video file contains, and what fervid would do with it under the same options."""
    import fervid
    from fervid.views import terminal

    terminal.show(fervid.probe(video, **options), as_json=as_json)


@command("Look", "fervid info timeline.parquet")
def info(
    timeline: Annotated[Path, argument("TIMELINE", "A timeline, a file of faces or shots, or weights.")],
    as_json: Json = False,
) -> None:
    """Show how a timeline was made, and a summary of its content; or what weights are, and their terms."""
    import fervid
    from fervid.views import terminal

    facts = fervid.info(timeline)
    if as_json or "heads" in facts:
        terminal.show(facts, as_json=as_json)
    else:
        terminal.print_info(timeline, facts)
