"""One video of many: what is to be done, what came of it, and how it is recognised when it is met again."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from fervid.config import Config
from fervid.errors import FervidError, OutputError, RunError, VideoError
from fervid.files import write_error
from fervid.pipeline import Models, ShardingStrategy, process_video
from fervid.types import Progress

__all__ = ["COUNTERS", "Job", "Outcome", "fail", "place", "run_job"]

COUNTERS = ("packets", "decode_errors", "frames_decoded", "frames_untimed", "looks", "faces")
#: A name in a folder has at most 255 bytes, and a part file's name is longer than the result's.
_LONGEST = 200


@dataclass(frozen=True)
class Job:
    """One video to process. `name` is its place in the results; `out` is where its timeline goes, `faces` where every
    reading goes, if they are kept."""

    path: Path
    name: str
    out: Path
    bytes: int = 0
    changed_ns: int = 0
    alone: bool = False
    """No other job runs beside it: it may use all workers of the machine."""
    faces: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a job: status ok, degraded or failed; `reason` in words of the manifest, `message` in a sentence."""

    job: Job
    status: str
    reason: str = ""
    message: str = ""
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
    """Process one video, and turn whatever is this file's fault into a failed outcome; `sharding` as in process_video.

    RunError (disk full, weights altered) goes on up: it is the fault of no file.
    """
    started = perf_counter()
    try:
        for file in filter(None, (job.out, job.faces)):
            _make_folder(file)
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
    except Exception as e:  # noqa: BLE001 - one file must not cost the run; fuzzing finds every kind of error
        reason, message = _blame(e)
        return Outcome(job, "failed", reason, message, taken_s=perf_counter() - started)
    facts, note = result.provenance, f"one worker: {result.whole}" if result.whole else ""
    seconds = result.table["second"]
    return Outcome(
        job,
        result.status,
        ", ".join(result.reasons),
        note,
        facts["counters"],
        facts["source"]["sha256"],
        video_s=float(seconds[-1].as_py() + 1 - seconds[0].as_py()) if len(seconds) else 0.0,
        taken_s=perf_counter() - started,
    )


def _make_folder(out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise write_error(out, e) from e


def _blame(error: Exception) -> tuple[str, str]:
    """One word and one sentence for the manifest."""
    if isinstance(error, VideoError):
        return error.reason, str(error)
    if isinstance(error, MemoryError):
        return "memory", "no memory left for this video; try --max-pixels, fewer --workers or a larger --memory"
    if isinstance(error, OutputError):
        return "not_written", str(error)
    if isinstance(error, FervidError):
        return "unsupported", str(error)
    return "error", f"{type(error).__name__}: {error} (please report this with the file)"


def fail(job: Job, reason: str, message: str, taken_s: float = 0.0) -> Outcome:
    """The outcome of a job that could not tell it itself."""
    return Outcome(job, "failed", reason, message, taken_s=taken_s)


def place(out: Path, name: str) -> Path:
    """Where the timeline of an input of this name lies: videos/a.mp4 -> OUT/videos/a.mp4.parquet."""
    *folders, last = (_short(part) for part in name.split("/"))
    return out.joinpath(*folders, f"{last}.parquet")


def _short(part: str) -> str:
    if len(part.encode()) <= _LONGEST:
        return part
    kept = part.encode()[: _LONGEST - 20].decode("utf-8", "ignore")
    return f"{kept}~{hashlib.sha256(part.encode()).hexdigest()[:12]}"
