"""Process many videos: find them, reuse finished results, run the others, and record every outcome."""

import os
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

from fervid.config import Config
from fervid.errors import DataError, FervidError, OutputError, RunError
from fervid.files import content_hash, remove_temporaries, stat_of, to_utf8
from fervid.jobs.engine import Engine, JobProgress
from fervid.jobs.inputs import Input, find_videos, name_inputs
from fervid.jobs.job import Job, failed_outcome, timeline_path
from fervid.jobs.manifest import Manifest, Row, open_manifest, read_manifest
from fervid.provenance import models_fingerprint, resume_key
from fervid.timeline.read import read_provenance
from fervid.timeline.write import rename_timeline

__all__ = ["BatchStarted", "Event", "JobFinished", "Request", "Summary", "forget", "run_batch"]

#: Reasons of failures that do not depend on the content of the video: the next run retries them.
_TRANSIENT = ("missing", "unreadable", "not_written")


@dataclass(frozen=True)
class Request:
    """Inputs and outputs of a batch."""

    inputs: tuple[str, ...]
    """Files, folders and glob patterns."""
    out: Path
    """Folder of the results."""
    listed: tuple[str, ...] = ()
    """Names from a list; these files may have disappeared since."""
    retry_failed: bool = False
    """Whether to process videos again that failed in an earlier run."""
    fresh: bool = False
    """Whether to process all videos again."""


@dataclass(frozen=True)
class BatchStarted:
    """Event: the inputs are known."""

    jobs: int
    """How many videos will be processed."""
    bytes: int
    """Size of these videos together."""
    finished: list[Row]
    """Rows of earlier runs that remain valid."""


@dataclass(frozen=True)
class JobFinished:
    """Event: a video is finished and its row is saved."""

    row: Row
    job: Job


Event = BatchStarted | JobProgress | JobFinished


@dataclass(frozen=True)
class Summary:
    """Result of a batch."""

    out: Path
    """Folder of the results."""
    rows: list[Row] = field(repr=False)
    """One row per input, in the order of the inputs."""
    skipped: int
    """How many inputs were finished by earlier runs."""
    taken_s: float
    """Duration of the run in seconds."""
    video_s: float
    """Duration of the videos processed in this run, in seconds."""
    outdated: int = 0
    """How many timelines in the folder are of videos that are no input of this run, and were made with other options,
    other models or by another version of fervid."""

    def count(self, status: str) -> int:
        """Count the inputs with a status.

        Parameters
        ----------
        status : str
            ok, degraded or failed.

        Returns
        -------
        int
            Number of inputs.
        """
        return sum(row.status == status for row in self.rows)

    @property
    def troubles(self) -> list[Row]:
        """Rows that are not ok, failed ones first."""
        return sorted((r for r in self.rows if r.status != "ok"), key=lambda r: (r.status != "failed", r.path))

    @property
    def exit_code(self) -> int:
        """0 if all inputs are ok, 1 if some are degraded or failed."""
        return 1 if self.troubles else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as plain values for JSON.

        Returns
        -------
        dict
            Counts, durations, and the rows that are not ok.
        """
        columns = ("path", "status", "reason", "message", "source")
        return {
            "out": str(self.out),
            "inputs": len(self.rows),
            "ok": self.count("ok"),
            "degraded": self.count("degraded"),
            "failed": self.count("failed"),
            "skipped": self.skipped,
            "outdated": self.outdated,
            "taken_s": round(self.taken_s, 3),
            "video_s": round(self.video_s, 3),
            "troubles": [{name: getattr(row, name) for name in columns} for row in self.troubles],
        }


def run_batch(
    request: Request, config: Config, engine: Engine, on_event: Callable[[Event], None] | None = None
) -> Summary:
    """Process every input, or reuse its result from an earlier run.

    Finished results are kept however the run ends. A video that cannot be processed is a row of the manifest, not an
    error.

    Parameters
    ----------
    request : Request
        Inputs and outputs.
    config : Config
        Options of the pipeline.
    engine : Engine
        Runs the jobs.
    on_event : callable, optional
        Called with each event.

    Returns
    -------
    Summary
        One row per input.

    Raises
    ------
    UsageError
        If the inputs or the results folder are not usable.
    RunError
        If the run had to stop, for example because the disk is full.
    """
    started, notify = monotonic(), on_event or (lambda _: None)
    models = models_fingerprint(config)
    found = find_videos(request.inputs, listed=request.listed, out=request.out)
    with open_manifest(request.out, fresh=request.fresh) as manifest:
        plan = _Plan(request, config, models, manifest)
        for name, item in name_inputs(found, {row.path: row.source for row in manifest.rows.values()}):
            plan.add(name, item)
        notify(BatchStarted(len(plan.jobs), sum(job.bytes for job in plan.jobs), plan.finished))
        done: dict[str, Row] = {}
        with closing(engine.run(plan.jobs, notify)) as outcomes:
            for outcome in outcomes:
                sha256 = outcome.sha256 or content_hash(outcome.job.path)
                row = Row.of(outcome, resume_key(sha256, config, models), sha256, request.out)
                _record(manifest, row)
                done[row.path] = row
                notify(JobFinished(row, outcome.job))
        names = set(plan.names)
        _prune(manifest, names)
        rows = [done.get(name) or manifest.rows[name] for name in plan.names]
        others = [row for row in manifest.rows.values() if row.timeline and row.path not in names]
        outdated = sum(row.key != resume_key(row.sha256, config, models) for row in others)
    video_s = sum(row.video_s for row in done.values())
    return Summary(request.out, rows, len(plan.finished), monotonic() - started, video_s, outdated)


def _record(manifest: Manifest, row: Row) -> None:
    """Add a row to the manifest, and remove the old timeline of a video that now fails.

    The old row and timeline are kept if the failure does not depend on the content of the video.
    """
    before = manifest.rows.get(row.path)
    if before is not None and before.timeline and not row.timeline:
        if row.reason in _TRANSIENT:
            return
        _remove(manifest.out / before.timeline)
    manifest.add(row)


def _prune(manifest: Manifest, names: set[str]) -> None:
    """Drop rows that are obsolete: old names of renamed videos, and folders that have become readable.

    The row and the timeline of a deleted video are kept, unless a file with the same content has them too.
    """
    kept = {row.key for row in manifest.rows.values() if row.timeline and not _is_deleted(row.source)}
    for row in list(manifest.rows.values()):
        is_duplicate = row.timeline and row.key in kept and _is_deleted(row.source)
        is_folder = not row.key and os.path.isdir(row.source)  # noqa: PTH112
        if row.path not in names and (is_duplicate or is_folder):
            _remove_timeline(manifest.out, row)
            manifest.drop(row.path)


def _is_deleted(source: str) -> bool:
    """Return whether a file does not exist; False if its folder is not accessible at the moment."""
    try:
        os.lstat(source)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as e:
        raise RunError(f"{path}: cannot be removed ({e.strerror}); fix the cause, then rerun") from e


class _Plan:
    """Sorts the inputs into finished rows, rows to reuse, and jobs to run."""

    def __init__(self, request: Request, config: Config, models: str, manifest: Manifest) -> None:
        self.request, self.config, self.models, self.manifest = request, config, models, manifest
        self.names: list[str] = []
        self.jobs: list[Job] = []
        self.finished: list[Row] = []
        self._by_size: dict[int, list[Row]] = {}
        for row in manifest.rows.values():
            self._by_size.setdefault(row.bytes, []).append(row)

    def add(self, name: str, item: Input) -> None:
        """Add an input."""
        size, changed_ns = stat_of(item.path)
        job = Job(item.path, name, timeline_path(self.request.out, name), size, changed_ns)
        self.names.append(name)
        if item.problem:
            self.manifest.add(Row.of(failed_outcome(job, "unreadable", item.problem), "", "", self.request.out))
            self.finished.append(self.manifest.rows[name])
            return
        row = None if self.request.fresh else self._find_finished(job)
        if row is None:
            remove_temporaries(job.out)  # of interrupted runs on any machine: this batch holds the lock of the folder
            self.jobs.append(job)
        else:
            self.finished.append(row)

    def _find_finished(self, job: Job) -> Row | None:
        """Return the valid row of a job, updated if the file was renamed; None if the video must be processed.

        A file is read only if its size is known and its change time is not.
        """
        own = self.manifest.rows.get(job.name)
        source = to_utf8(str(job.path.absolute()))
        if own and (own.source, own.bytes, own.changed_ns) == (source, job.bytes, job.changed_ns):
            sha256 = own.sha256
        elif job.bytes in self._by_size:
            sha256 = content_hash(job.path)
        else:
            return None
        key = resume_key(sha256, self.config, self.models)
        same = [row for row in self._by_size[job.bytes] if row.key == key] if key else []
        for row in sorted(same, key=lambda row: row.path != job.name):
            if row.status == "failed":
                if row.path == job.name and not (self.request.retry_failed or row.reason in _TRANSIENT):
                    return row
            elif self._has_timeline(row):
                return self._reuse(job, row, source)
        return None

    def _has_timeline(self, row: Row) -> bool:
        """Return whether the timeline of a row exists and has the resume key of the row."""
        try:
            return read_provenance(self.request.out / row.timeline)["resume_key"] == row.key
        except (FervidError, KeyError, TypeError):
            return False

    def _reuse(self, job: Job, row: Row, source: str) -> Row | None:
        """Return the row of a file with the same content as a row of this job."""
        if (row.path, row.source, row.changed_ns) == (job.name, source, job.changed_ns):
            return row
        timeline = str(job.out.relative_to(self.request.out))
        if timeline != row.timeline:
            try:
                job.out.parent.mkdir(parents=True, exist_ok=True)
                rename_timeline(self.request.out / row.timeline, job.out, job.name)
            except (DataError, OutputError, OSError):
                return None
        new = replace(row, path=job.name, timeline=timeline, source=source, changed_ns=job.changed_ns)
        self.manifest.add(new)
        return new


def _remove_timeline(out: Path, row: Row) -> None:
    """Remove the timeline of a row, and the folders that become empty."""
    if not row.timeline:
        return
    path = out / row.timeline
    _remove(path)
    with suppress(OSError):
        for folder in path.parents:
            if folder == out:
                break
            folder.rmdir()


def forget(video: str | os.PathLike[str], out: Path) -> list[str]:
    """Erase every trace of a video, and of copies with the same content, from a results folder.

    Parameters
    ----------
    video : str or path-like
        The file, or its name in the manifest's column `path`.
    out : Path
        Folder of the results.

    Returns
    -------
    list of str
        Names of the erased inputs.

    Raises
    ------
    DataError
        If the folder has no results of the video.
    """
    read_manifest(out)
    source = to_utf8(os.path.abspath(video))  # noqa: PTH100 - keeps links
    sha256 = content_hash(Path(video))
    with open_manifest(out) as manifest:
        erased = [
            row
            for row in manifest.rows.values()
            if to_utf8(os.fspath(video)) == row.path or row.source == source or (sha256 and row.sha256 == sha256)
        ]
        copies = {row.sha256 for row in erased} - {""}
        erased += [row for row in manifest.rows.values() if row.sha256 in copies and row not in erased]
        if not erased:
            raise DataError(
                f"{video}: {out} has no results of it; pass the video file, or its name in the column path of "
                f"{out / 'manifest.parquet'}"
            )
        for row in erased:
            _remove_timeline(out, row)
            manifest.drop(row.path)
    return [row.path for row in erased]
