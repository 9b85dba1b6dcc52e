"""The books of a results folder: one row an input, a journal that no kill can tear, a lock, and tidying up."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from fervid.errors import DataError, OutputError, RunError, UsageError
from fervid.files import remove_stale, to_utf8, write_atomically, write_error
from fervid.jobs.job import COUNTERS, Outcome
from fervid.timeline.write import write_table

__all__ = ["MANIFEST", "Manifest", "Row", "open_manifest", "read_manifest"]

MANIFEST, _JOURNAL, _LOCK = "manifest.parquet", ".manifest.journal", ".fervid.lock"
_VERSION = 1
_KEY = b"fervid_manifest"
_TEXT = ("path", "key", "status", "reason", "message")
_SCHEMA = pa.schema(
    [(name, pa.string()) for name in _TEXT]
    + [(name, pa.int64()) for name in COUNTERS]
    + [
        ("video_s", pa.float64()),
        ("taken_s", pa.float64()),
        ("timeline", pa.string()),
        ("source", pa.string()),
        ("bytes", pa.int64()),
        ("changed_ns", pa.int64()),
        ("sha256", pa.string()),
        ("finished", pa.timestamp("ms", "UTC")),
    ],
    {_KEY: str(_VERSION)},
)
#: The journal is folded into the Parquet file after so many seconds of news.
_FOLD_S = 60.0


@dataclass(frozen=True)
class Row:
    """One input: what came of it, in how many seconds, where its timeline lies, and which file it was."""

    path: str
    key: str
    status: str
    reason: str
    message: str
    counters: dict[str, int]
    video_s: float
    taken_s: float
    timeline: str
    source: str
    bytes: int
    changed_ns: int
    sha256: str
    finished_ms: int

    @classmethod
    def of(cls, outcome: Outcome, key: str, sha256: str, out: Path) -> "Row":
        """The row of an outcome; `timeline` is empty where there is none."""
        job = outcome.job
        return cls(
            job.name,
            key,
            outcome.status,
            outcome.reason,
            to_utf8(outcome.message),
            outcome.counters,
            outcome.video_s,
            outcome.taken_s,
            "" if outcome.status == "failed" else str(job.out.relative_to(out)),
            to_utf8(str(job.path.absolute())),
            job.bytes,
            job.changed_ns,
            sha256,
            int(datetime.now(UTC).timestamp() * 1000),
        )


class Manifest:
    """The rows by name, kept in a journal that is synced row by row, and folded into manifest.parquet."""

    def __init__(self, out: Path, rows: dict[str, Row], journal: IO[bytes]) -> None:
        self.out, self.rows = out, rows
        self._journal, self._folded = journal, monotonic()

    def add(self, row: Row) -> None:
        """Note what came of an input; when this returns no crash loses it."""
        self.rows[row.path] = row
        self._note({"row": asdict(row)})

    def drop(self, name: str) -> None:
        """Forget an input."""
        del self.rows[name]
        self._note({"drop": name})

    def _note(self, news: dict[str, Any]) -> None:
        with _stopping(self.out / _JOURNAL):
            _write_all(self._journal, f"{json.dumps(news)}\n".encode())
            os.fsync(self._journal.fileno())
        if monotonic() - self._folded > _FOLD_S:
            self.fold()

    def fold(self) -> None:
        """Write manifest.parquet anew, then empty the journal: killed in between, the journal only says it again."""
        rows = [self.rows[name] for name in sorted(self.rows)]
        columns = {
            name: [row.counters.get(name) for row in rows] if name in COUNTERS
            else [getattr(row, "finished_ms" if name == "finished" else name) for row in rows]
            for name in _SCHEMA.names
        }  # fmt: skip
        with _stopping(self.out / MANIFEST):
            with write_atomically(self.out / MANIFEST) as part:
                write_table(pa.table(columns, _SCHEMA), part)
            self._journal.truncate(0)
        self._folded = monotonic()


def _write_all(file: IO[bytes], data: bytes) -> None:
    """Write to a file without a buffer: one that still held what a full disk refused would fail again when closed."""
    while data:
        data = data[file.write(data) :]


@contextmanager
def _stopping(path: Path) -> Iterator[None]:
    """Books that cannot be kept stop the run."""
    try:
        yield
    except OutputError as e:
        raise RunError(str(e)) from e
    except OSError as e:
        raise RunError(str(write_error(path, e))) from e


@contextmanager
def open_manifest(out: Path, *, fresh: bool = False) -> Iterator[Manifest]:
    """Hold a results folder alone: lock it, read its books, remove what dead processes left, and fold at the end.

    OutputError if another batch holds it or it cannot be written, RunError if the disk is full or fails; DataError if
    the books are not fervid's. `fresh` does without books that cannot be read.
    """
    with ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            _take(stack.enter_context((out / _LOCK).open("ab+", buffering=0)), out)
            remove_stale(out)
            rows = _read_rows(out, fresh)
            _replay(out / _JOURNAL, rows)
            journal = stack.enter_context((out / _JOURNAL).open("ab", buffering=0))
        except OSError as e:
            raise write_error(out, e) from e
        manifest = Manifest(out, rows, journal)
        manifest.fold()
        try:
            yield manifest
        finally:
            remove_stale(out)
            manifest.fold()
        with _stopping(out / _JOURNAL):
            (out / _JOURNAL).unlink(missing_ok=True)


def _take(lock: IO[bytes], out: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        owner = lock.read(20).strip().decode("ascii", "replace")
        who = f"another batch (process {owner})" if owner.isdigit() else "another batch"
        raise OutputError(f"{out}: {who} is writing here; wait for it, or name another folder with --out") from None
    lock.truncate(0)
    _write_all(lock, str(os.getpid()).encode())


def read_manifest(out: Path) -> list[Row]:
    """The rows of a results folder, as they stand in its manifest; DataError if there is none."""
    try:
        if not (out / MANIFEST).is_file():
            raise DataError(f"{out / MANIFEST}: no such file; expected a folder that `fervid batch` wrote")
        return list(_read_rows(out, fresh=False).values())
    except OSError as e:
        raise DataError(f"{out / MANIFEST}: cannot be read ({e.strerror or e}); check its permissions") from e


def _read_rows(out: Path, fresh: bool) -> dict[str, Row]:
    path = out / MANIFEST
    try:
        path.stat()
        return {row.path: row for row in _parse(path)}
    except FileNotFoundError:
        return {}
    except UsageError:
        if fresh:
            return {}
        raise


def _parse(path: Path) -> Iterator[Row]:
    advice = "name another folder with --out, or begin anew with --fresh"
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as e:
        if isinstance(e, OSError) and e.errno:  # Arrow's own complaints have no number: those are about the content
            raise
        reason = str(e).splitlines()[0]
        raise DataError(
            f"{path}: expected the manifest of a batch, found no readable one ({reason}); {advice}"
        ) from None
    found = (table.schema.metadata or {}).get(_KEY, b"none").decode("utf-8", "replace")
    if found != str(_VERSION) or table.schema.names != _SCHEMA.names:
        raise DataError(f"{path}: expected a manifest of version {_VERSION}, found {found}; {advice}")
    plain = {f.name for f in fields(Row)} - {"counters", "finished_ms"}
    for values in table.set_column(
        table.schema.names.index("finished"), "finished", table["finished"].cast(pa.int64())
    ).to_pylist():
        counters = {name: values[name] for name in COUNTERS if values[name] is not None}
        yield Row(**{k: values[k] for k in plain}, counters=counters, finished_ms=values["finished"])


def _replay(journal: Path, rows: dict[str, Row]) -> None:
    """Put the journal's news into the rows. Its last line may be torn: that job is done again."""
    try:
        lines = journal.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            news = json.loads(line)
            if "drop" in news:
                rows.pop(news["drop"], None)
            else:
                row = Row(**news["row"])
                rows[row.path] = row
        except (ValueError, TypeError, KeyError):
            continue
