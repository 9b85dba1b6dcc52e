"""One video of a batch: the job, its outcome, and the function that turns one into the other."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from fervid.config import Config
from fervid.errors import FervidError, OutputError, RunError, VideoError
from fervid.files import write_error
from fervid.models import Models
from fervid.pipeline import ShardingStrategy, process_video
from fervid.types import Progress

__all__ = ["COUNTERS", "Job", "Outcome", "failed_outcome", "run_job", "timeline_path"]

#: Counters of the provenance that are also columns of the manifest.
COUNTERS = ("packets", "decode_errors", "frames_decoded", "frames_untimed", "looks", "faces")
#: Longest name in bytes. File systems allow 255; the name of a temporary file is longer than that of the result.
_MAX_NAME_BYTES = 200


@dataclass(frozen=True)
class Job:
    """One video to process."""

    path: Path
    name: str
    """Name of the input in the results, as in the manifest's column `path`."""
    out: Path
    """Where the timeline is written."""
    bytes: int = 0
    changed_ns: int = 0
    exclusive: bool = False
    """Whether the job runs alone and may use all workers of the machine."""
    faces: Path | None = None
    """Where the per-face readings are written; None discards them."""


@dataclass(frozen=True)
class Outcome:
    """The result of a job, which becomes a row of the manifest."""

    job: Job
    status: str
    """ok, degraded or failed; between a worker and its engine also deferred."""
    reason: str = ""
    """Machine-readable reason, as in the manifest's column of that name."""
    message: str = ""
    """The reason as a sentence."""
    counters: dict[str, int] = field(default_factory=dict)
    sha256: str = ""
    video_s: float = 0.0
    taken_s: float = 0.0


def run_job(
    job: Job,
    config: Config,
    models: Models,
    on_progress: Callable[[Progress], None] | None = None,
    *,
    sharding: ShardingStrategy | None = None,
) -> Outcome:
    """Process one video and report every failure that the file causes as a failed outcome.

    Parameters
    ----------
    job : Job
        The video and where its results go.
    config : Config
        Options of the pipeline.
    models : Models
        Loaded models.
    on_progress : callable, optional
        Called with the progress within the video.
    sharding : ShardingStrategy, optional
        How to split the video over several workers, see `fervid.pipeline.process_video`.

    Returns
    -------
    Outcome
        With status ok, degraded or failed.

    Raises
    ------
    RunError
        If the cause is not this file, such as a full disk or altered weights.
    """
    started = perf_counter()
    try:
        for file in filter(None, (job.out, job.faces)):
            _make_parent(file)
        result = process_video(
            job.path,
            job.out,
            config,
            models,
            faces_out=job.faces,
            on_progress=on_progress,
            name=job.name,
            sharding=sharding,
        )
    except RunError:
        raise
    except Exception as e:  # noqa: BLE001 - one file must not stop the run; fuzzing finds every kind of error
        reason, message = _describe(e)
        return failed_outcome(job, reason, message, perf_counter() - started)
    facts = result.provenance
    seconds = result.table["second"]
    return Outcome(
        job,
        result.status,
        ", ".join(result.reasons),
        f"not split: {result.whole}" if result.whole else "",
        facts["counters"],
        facts["source"]["sha256"],
        video_s=float(seconds[-1].as_py() + 1 - seconds[0].as_py()) if len(seconds) else 0.0,
        taken_s=perf_counter() - started,
    )


def _make_parent(out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise write_error(out, e) from e


def _describe(error: Exception) -> tuple[str, str]:
    """Return the reason and the message of an error, for the manifest."""
    if isinstance(error, VideoError):
        return error.reason, str(error)
    if isinstance(error, MemoryError):
        return "memory", "out of memory; try --max-pixels, fewer --workers or a larger --memory"
    if isinstance(error, OutputError):
        return "not_written", str(error)
    if isinstance(error, FervidError):
        return "unsupported", str(error)
    return "error", f"{type(error).__name__}: {error} (please report this with the file)"


def failed_outcome(job: Job, reason: str, message: str, taken_s: float = 0.0) -> Outcome:
    """Return a failed outcome.

    Parameters
    ----------
    job : Job
        The job that failed.
    reason : str
        Machine-readable reason.
    message : str
        The reason as a sentence.
    taken_s : float
        Seconds spent on the job.

    Returns
    -------
    Outcome
        With status failed.
    """
    return Outcome(job, "failed", reason, message, taken_s=taken_s)


def timeline_path(out: Path, name: str) -> Path:
    """Return where the timeline of an input is written: videos/a.mp4 -> OUT/videos/a.mp4.parquet.

    Parameters
    ----------
    out : Path
        Folder of the results.
    name : str
        Name of the input, with / between folders.

    Returns
    -------
    Path
        Names longer than 200 bytes are shortened and end with a hash of the full name.
    """
    *folders, last = (_shorten(part) for part in name.split("/"))
    return out.joinpath(*folders, f"{last}.parquet")


def _shorten(part: str) -> str:
    if len(part.encode()) <= _MAX_NAME_BYTES:
        return part
    kept = part.encode()[: _MAX_NAME_BYTES - 20].decode("utf-8", "ignore")
    return f"{kept}~{hashlib.sha256(part.encode()).hexdigest()[:12]}"
