"""Commands about many videos: batch and forget."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fervid.cli.app import (
    GOES_ON,
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
    command,
    shards_asked,
)

__all__ = ["batch", "forget"]


@command("fervid batch videos/ --out results --workers 4", again=f"{GOES_ON} (but not with --fresh)")
def batch(
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="INPUT...", help="Files, folders, patterns.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.", show_default=False)] = ...,  # type: ignore[assignment]
    from_file: Annotated[Path | None, typer.Option(help="Also the files in this list, one a line; - is stdin.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes (one a core, four beside a GPU).")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what failed before.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do everything again.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Longest time for one video.", metavar="S")] = None,
    stall: Annotated[float, typer.Option(help="Longest time without any progress in one.", metavar="S")] = 600.0,
    memory: Annotated[float | None, typer.Option(help="Most memory of a worker (its share).", metavar="GB")] = None,
    engine: Annotated[str, typer.Option(help="local, or ray: the machines of a Ray cluster.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of the cluster: auto (default), local or HOST:PORT.", metavar="A")
    ] = None,
    gpus_per_worker: Annotated[
        float | None, typer.Option(help="GPUs for each Ray worker, such as 0.5.", metavar="N")
    ] = None,
    pipeline: Preset = None,
    fps: LooksASecond = None,
    min_face: MinFace = None,
    persons: Persons = None,
    smooth: Smooth = None,
    baseline: Baseline = False,
    reader: ReaderName = None,
    detector: DetectorName = None,
    weights: LineWeights = None,
    device: LineDevice = None,
    precision: Precision = None,
    sampling: Sampling = None,
    detection: Detection = None,
    max_pixels: MaxPixels = None,
    shards: ShardsOption = None,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Turn every video in files and folders into a timeline. Run again, it goes on where it was.

    Results lie below --out at the same place, as NAME.parquet; manifest.parquet has a row for every input.
    """
    import fervid
    from fervid.jobs.inputs import read_list
    from fervid.views import batch_progress as view
    from fervid.views import terminal

    stdin = from_file is not None and str(from_file) == "-"
    listed = read_list(None, sys.stdin.buffer.read()) if stdin else read_list(from_file)
    with view.watch_batch(quiet=quiet) as on_event:
        summary = fervid.batch(
            inputs or (),
            out,
            listed=listed,
            on_event=on_event,
            workers=workers,
            retry_failed=retry_failed,
            fresh=fresh,
            timeout_s=timeout,
            stall_s=stall,
            memory_gb=memory,
            engine=engine,
            address=address,
            gpus_per_worker=gpus_per_worker,
            pipeline=pipeline,
            fps=fps,
            min_face_px=min_face,
            reader=reader,
            weights=weights,
            device=device,
            precision=precision,
            sampling=sampling,
            detection=detection,
            detector=detector,
            max_pixels=max_pixels,
            persons=persons,
            smooth_s=smooth,
            baseline=baseline or None,
            shards=shards_asked(shards),
        )
    if as_json:
        terminal.print_json(summary.to_dict())
    elif not quiet:
        view.print_summary(summary)
    return summary.exit_code


@command("fervid forget videos/private.mp4 --out results")
def forget(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="The file, or its `path` in the manifest.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of results.", show_default=False)],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Erase one video from a folder of results: its timeline and its row in the manifest, and those of copies of it.

    The video itself stays, and so do pages, figures, exports and --faces tables that you wrote elsewhere.
    """
    import fervid
    from fervid.views import batch_progress as view
    from fervid.views import terminal

    names = fervid.forget(video, out)
    if as_json:
        terminal.print_json({"forgotten": names})
    else:
        view.print_forgotten(names, out)
