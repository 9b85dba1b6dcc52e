"""Commands for many videos: batch and forget."""

import sys
from pathlib import Path
from typing import Annotated, Unpack

import typer

from fervid.cli.app import RESUMES_UNLESS_FRESH, command
from fervid.cli.options import Json, Quiet, ShardedOptions, argument, flag, option, output, time_option

__all__ = ["batch", "forget"]


@command("Analyse", "fervid batch videos/ --out results --workers 4", rerun=RESUMES_UNLESS_FRESH)
def batch(
    *,
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="INPUT", help="Files, folders, patterns.", show_default=False)
    ] = None,
    out: Annotated[Path, output("The folder for the results.")],
    from_file: Annotated[
        Path | None, option(panel="Run", help="Also process the files in this list, one per line; - reads stdin.")
    ] = None,
    workers: Annotated[
        int | None, option(panel="Run", help="Worker processes (default one per core, four beside a GPU).", metavar="N")
    ] = None,
    retry_failed: Annotated[
        bool, flag("--retry-failed", panel="Run", help="Retry videos that failed in an earlier run.")
    ] = False,
    fresh: Annotated[bool, flag("--fresh", panel="Run", help="Process everything again.")] = False,
    timeout_s: Annotated[
        float | None, time_option("--timeout", panel="Run", help="Time limit for one video (none).")
    ] = None,
    stall_s: Annotated[
        float,
        time_option(
            "--stall", panel="Run", help="Time limit without progress in one video (default 10:00).", show_default=False
        ),
    ] = 600.0,
    memory_gb: Annotated[
        float | None,
        option("--memory", panel="Run", help="Memory limit of each worker (default its share).", metavar="GB"),
    ] = None,
    engine: Annotated[
        str, option(panel="Run", choices=("local", "ray"), help="This machine, or the machines of a Ray cluster.")
    ] = "local",
    address: Annotated[
        str | None,
        option(panel="Run", help="The Ray cluster: auto (default), local or HOST:PORT.", metavar="ADDRESS"),
    ] = None,
    gpus_per_worker: Annotated[
        float | None, option(panel="Run", help="GPUs for each Ray worker, such as 0.5.", metavar="N")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
    **options: Unpack[ShardedOptions],
) -> int:
    """Turn every video in files and folders into a timeline. Rerun to resume.

    The result of each video is at the same place below --out, as NAME.parquet; manifest.parquet has one row per input.
    """
    import fervid
    from fervid.jobs.inputs import read_list
    from fervid.views import batch_progress, terminal

    stdin = from_file is not None and str(from_file) == "-"
    with batch_progress.watch_batch(quiet=quiet) as on_event:
        summary = fervid.batch(
            inputs or (),
            out,
            listed=read_list(None, sys.stdin.buffer.read()) if stdin else read_list(from_file),
            on_event=on_event,
            workers=workers,
            retry_failed=retry_failed,
            fresh=fresh,
            timeout_s=timeout_s,
            stall_s=stall_s,
            memory_gb=memory_gb,
            engine=engine,
            address=address,
            gpus_per_worker=gpus_per_worker,
            **options,
        )
    if as_json:
        terminal.print_json(summary.to_dict())
    elif not quiet:
        batch_progress.print_summary(summary)
    return summary.exit_code


@command("Analyse", "fervid forget videos/private.mp4 --out results")
def forget(
    video: Annotated[Path, argument("VIDEO", "The file, or its `path` in the manifest.")],
    out: Annotated[Path, output("The folder of results.")],
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Erase one video from a folder of results: the timelines and manifest rows of the video and of its copies.

    The video itself stays, and so do reports, figures, exports and --faces tables written elsewhere.
    """
    import fervid
    from fervid.views import batch_progress, terminal

    names = fervid.forget(video, out)
    if as_json:
        terminal.print_json({"forgotten": names})
    elif not quiet:
        batch_progress.print_forgotten(names, out)
