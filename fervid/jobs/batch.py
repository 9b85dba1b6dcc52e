"""The line over many videos: find them, skip what is finished, run the rest, keep the books."""

import os
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from fervid.config import Config
from fervid.errors import DataError, FervidError, OutputError, RunError
from fervid.files import content_hash, remove_temporaries, stat_of, to_utf8
from fervid.jobs.engine import Engine, JobProgress
from fervid.jobs.inputs import Input, find_videos, name_inputs
from fervid.jobs.job import Job, fail, place
from fervid.jobs.manifest import Manifest, Row, open_manifest, read_manifest
from fervid.provenance import models_fingerprint, resume_key
from fervid.timeline.read import read_provenance
from fervid.timeline.write import rename_timeline

__all__ = ["BatchStarted", "Event", "JobFinished", "Request", "Summary", "forget", "run_batch"]


@dataclass(frozen=True)
class Request:
    """What a batch is asked for: where to look, where results go, and what to do again."""

    given: tuple[str, ...]
    out: Path
    listed: tuple[str, ...] = ()
    retry_failed: bool = False
    fresh: bool = False


@dataclass(frozen=True)
class BatchStarted:
    """News: the plan is made. `finished` are rows of earlier runs that stand; `bytes` are those of `jobs`."""

    jobs: int
    bytes: int
    finished: list[Row]


@dataclass(frozen=True)
class JobFinished:
    """News: an input is done, and its row is safe."""

    row: Row
    job: Job


Event = BatchStarted | JobProgress | JobFinished


@dataclass(frozen=True)
class Summary:
    """What a batch comes to. `rows` has one row for each input; `skipped` of them were finished before."""

    out: Path
    rows: list[Row] = field(repr=False)
    skipped: int
    taken_s: float
    video_s: float

    def count(self, status: str) -> int:
        """How many inputs are ok, degraded or failed."""
        return sum(row.status == status for row in self.rows)

    @property
    def troubles(self) -> list[Row]:
        """The rows that are not ok: failed ones first."""
        return sorted((r for r in self.rows if r.status != "ok"), key=lambda r: (r.status != "failed", r.path))

    @property
    def exit_code(self) -> int:
        """0 if all are ok, 1 if some are degraded or failed."""
        return 1 if self.troubles else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        words = ("path", "status", "reason", "message", "source")
        return {
            "out": str(self.out), "inputs": len(self.rows), "ok": self.count("ok"),
            "degraded": self.count("degraded"), "failed": self.count("failed"), "skipped": self.skipped,
            "taken_s": round(self.taken_s, 3), "video_s": round(self.video_s, 3),
            "troubles": [{word: getattr(row, word) for word in words} for row in self.troubles],
        }  # fmt: skip


def run_batch(
    request: Request, config: Config, engine: Engine, on_event: Callable[[Event], None] | None = None
) -> Summary:
    """Account for every input: process it, or find that it is finished. What is done stays done, however this ends.

    UsageError for a request that cannot be carried out, RunError if the run had to stop; a broken video is a row.
    """
    started, tell = monotonic(), on_event or (lambda _: None)
    models = models_fingerprint(config)
    found = find_videos(request.given, listed=request.listed, out=request.out)
    with open_manifest(request.out, fresh=request.fresh) as books:
        plan = _Plan(request, config, models, books)
        for name, one in name_inputs(found, {row.path: row.source for row in books.rows.values()}):
            plan.take(name, one)
        tell(BatchStarted(len(plan.jobs), sum(job.bytes for job in plan.jobs), plan.finished))
        done: dict[str, Row] = {}
        with closing(engine.run(plan.jobs, tell)) as outcomes:
            for outcome in outcomes:
                sha256 = outcome.sha256 or content_hash(outcome.job.path)
                row = Row.of(outcome, resume_key(sha256, config, models), sha256, request.out)
                _enter(books, row)
                done[row.path] = row
                tell(JobFinished(row, outcome.job))
        _tidy(books, set(plan.names))
        rows = [done.get(name) or books.rows[name] for name in plan.names]
    video_s = sum(row.video_s for row in done.values())
    return Summary(request.out, rows, len(plan.finished), monotonic() - started, video_s)


def _enter(books: Manifest, row: Row) -> None:
    """Put what came of an input into the books; a video that now fails leaves no timeline of what it was before.

    But a result is not given up because its video is out of reach, or because the new one could not be written.
    """
    before = books.rows.get(row.path)
    if before is not None and before.timeline and not row.timeline:
        if row.reason in _PASSING:
            return
        _remove(books.out / before.timeline)
    books.add(row)


def _tidy(books: Manifest, names: set[str]) -> None:
    """Drop rows that nothing stands for any more: old names of videos that have another, folders that can be read now.

    A video whose file is gone keeps its row and its timeline, unless a file of the same content has them too.
    """
    kept = {row.key for row in books.rows.values() if row.timeline and not _is_gone(row.source)}
    for row in list(books.rows.values()):
        doubled = row.timeline and row.key in kept and _is_gone(row.source)
        folder = not row.key and os.path.isdir(row.source)  # noqa: PTH112
        if row.path not in names and (doubled or folder):
            _erase(books.out, row)
            books.drop(row.path)


def _is_gone(source: str) -> bool:
    """Whether a file is not there, rather than out of reach just now."""
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
        raise RunError(f"{path}: cannot be removed ({e.strerror}); mend that and run again") from e


#: Failures that say nothing of the video: the next run tries again.
_PASSING = ("missing", "unreadable", "not_written")


class _Plan:
    """Sorts inputs into what stands, what is the same under another name, and what has to be done."""

    def __init__(self, request: Request, config: Config, models: str, books: Manifest) -> None:
        self.request, self.config, self.models, self.books = request, config, models, books
        self.names: list[str] = []
        self.jobs: list[Job] = []
        self.finished: list[Row] = []
        self._by_size: dict[int, list[Row]] = {}
        for row in books.rows.values():
            self._by_size.setdefault(row.bytes, []).append(row)

    def take(self, name: str, one: Input) -> None:
        """Decide about one input."""
        size, changed_ns = stat_of(one.path)
        job = Job(one.path, name, place(self.request.out, name), size, changed_ns)
        self.names.append(name)
        if one.problem:
            self.books.add(Row.of(fail(job, "unreadable", one.problem), "", "", self.request.out))
            self.finished.append(self.books.rows[name])
            return
        row = None if self.request.fresh else self._standing(job)
        if row is None:
            remove_temporaries(job.out)  # whoever began it, on whatever machine, is gone: this batch holds the folder
            self.jobs.append(job)
        else:
            self.finished.append(row)

    def _standing(self, job: Job) -> Row | None:
        """The row that holds for this job already, written anew if the file has only another name; None if none does.

        A file of a size that no row has is new, and need not be read; neither need one whose row knows its change time.
        """
        own = self.books.rows.get(job.name)
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
                if row.path == job.name and not (self.request.retry_failed or row.reason in _PASSING):
                    return row
            elif self._is_there(row):
                return self._adopt(job, row, source)
        return None

    def _is_there(self, row: Row) -> bool:
        """Whether the timeline of a row lies where it should, and was made of what the row says."""
        try:
            return read_provenance(self.request.out / row.timeline)["resume_key"] == row.key
        except (FervidError, KeyError, TypeError):
            return False

    def _adopt(self, job: Job, row: Row, source: str) -> Row | None:
        """Take over the result of a file of the same content."""
        if (row.path, row.source, row.changed_ns) == (job.name, source, job.changed_ns):
            return row
        timeline = str(job.out.relative_to(self.request.out))
        if timeline != row.timeline:
            try:
                job.out.parent.mkdir(parents=True, exist_ok=True)
                rename_timeline(self.request.out / row.timeline, job.out, job.name)
            except (DataError, OutputError, OSError):
                return None
        new = Row(
            **vars(row) | {"path": job.name, "timeline": timeline, "source": source, "changed_ns": job.changed_ns}
        )
        self.books.add(new)
        return new


def _erase(out: Path, row: Row) -> None:
    """Remove a row's timeline, and the folders that are empty without it."""
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
    """Erase every trace of one input from a results folder, and tell the names that are gone.

    `video` is the file, or its name in the manifest's `path`. Copies of its content go with it.
    DataError if the folder knows no such video.
    """
    read_manifest(out)
    source = to_utf8(os.path.abspath(video))  # noqa: PTH100 - links stay links
    sha256 = content_hash(Path(video))
    with open_manifest(out) as books:
        gone = [
            row for row in books.rows.values()
            if to_utf8(os.fspath(video)) == row.path or row.source == source or (sha256 and row.sha256 == sha256)
        ]  # fmt: skip
        copies = {row.sha256 for row in gone} - {""}
        gone += [row for row in books.rows.values() if row.sha256 in copies and row not in gone]
        if not gone:
            raise DataError(
                f"{video}: nothing of it is in {out}; name the video's file, or what the column path of "
                f"{out / 'manifest.parquet'} calls it"
            )
        for row in gone:
            _erase(out, row)
            books.drop(row.path)
    return [row.path for row in gone]
