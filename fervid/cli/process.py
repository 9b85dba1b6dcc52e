"""Commands about one video: process, probe, info; and doctor."""

from pathlib import Path
from typing import Annotated

import typer

from fervid.cli.app import (
    Baseline,
    Debug,
    Detection,
    DetectorName,
    Json,
    LineDevice,
    LineWeights,
    LooksASecond,
    MaxPixels,
    MinFace,
    Persons,
    Precision,
    Preset,
    Quiet,
    ReaderName,
    Sampling,
    ShardsOption,
    Smooth,
    VideoFile,
    command,
    shards_asked,
)

__all__ = ["doctor", "info", "probe", "process"]


@command("fervid process movie.mp4 --out timeline.parquet --fps 5")
def process(
    video: VideoFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="The timeline to write (Parquet).", show_default=False)],
    faces: Annotated[Path | None, typer.Option(help="Also keep every face reading in this Parquet file.")] = None,
    shots: Annotated[Path | None, typer.Option(help="Also write the shots (cuts, fades) to this Parquet file.")] = None,
    pipeline: Preset = None,
    fps: LooksASecond = None,
    min_face: MinFace = None,
    persons: Persons = None,
    smooth: Smooth = None,
    baseline: Baseline = False,
    start: Annotated[float | None, typer.Option(help="Begin at this second.", metavar="S")] = None,
    end: Annotated[float | None, typer.Option(help="End before this second.", metavar="S")] = None,
    stream: Annotated[int | None, typer.Option(help="The video stream to read, as `fervid probe` numbers it.")] = None,
    reader: ReaderName = None,
    detector: DetectorName = None,
    weights: LineWeights = None,
    device: LineDevice = None,
    precision: Precision = None,
    sampling: Sampling = None,
    detection: Detection = None,
    max_pixels: MaxPixels = None,
    shards: ShardsOption = None,
    profile: Annotated[bool, typer.Option("--profile", help="Also tell which stage took how many seconds.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Turn one video into a per-second emotion timeline."""
    import fervid
    from fervid.runtime.profiling import Profiler
    from fervid.views import terminal
    from fervid.views.terminal import print_profile
    from fervid.views.terminal import profile as by_stage

    with Profiler() as watch, terminal.progress_bar(video.name, quiet=quiet or as_json) as on_progress:
        result = fervid.process(
            video,
            out,
            faces=faces,
            shots=shots,
            pipeline=pipeline,
            on_progress=on_progress,
            fps=fps,
            min_face_px=min_face,
            start_s=start,
            end_s=end,
            stream=stream,
            reader=reader,
            detector=detector,
            weights=weights,
            device=device,
            precision=precision,
            sampling=sampling,
            detection=detection,
            max_pixels=max_pixels,
            persons=persons,
            smooth_s=smooth,
            baseline=baseline or None,
            shards=shards_asked(shards),
        )
    if as_json:
        terminal.print_json(terminal.summary(result) | ({"profile": by_stage(watch)} if profile else {}))
    elif not quiet:
        terminal.print_result(result, watch.wall_s)
    if profile and not as_json:
        print_profile(watch)
    return 1 if result.status == "degraded" else 0


@command("fervid probe movie.mp4")
def probe(
    video: VideoFile,
    pipeline: Annotated[str | None, typer.Option(help="A preset or a TOML file.")] = None,
    fps: Annotated[str | None, typer.Option(help='Looks a second, or "native".')] = None,
    min_face: MinFace = None,
    stream: Annotated[int | None, typer.Option(help="The video stream to read.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Tell what is in a video file, and what fervid would do with it."""
    import fervid
    from fervid.views import terminal

    facts = fervid.probe(video, pipeline=pipeline, fps=fps, min_face_px=min_face, stream=stream)
    (terminal.print_json if as_json else terminal.print_facts)(facts)


@command("fervid info timeline.parquet")
def info(
    timeline: Annotated[Path, typer.Argument(metavar="TIMELINE", help="A timeline or faces file.", show_default=False)],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show how a timeline was made, and what it says."""
    from fervid.timeline.read import describe_timeline
    from fervid.views import terminal

    facts = describe_timeline(timeline)
    (terminal.print_json if as_json else terminal.print_facts)(facts)


@command("fervid doctor")
def doctor(as_json: Json = False, debug: Debug = False) -> None:
    """Show versions, devices, the bundled FFmpeg, and the weights with their hashes."""
    from fervid.doctor import diagnose
    from fervid.views import terminal

    facts = diagnose()
    (terminal.print_json if as_json else terminal.print_facts)(facts)
