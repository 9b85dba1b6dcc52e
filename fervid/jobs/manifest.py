"""The manifest of a results folder: one row per input, a crash-safe journal and a lock."""

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
#: Seconds after which the next change also writes the Parquet file and empties the journal.
_CHECKPOINT_INTERVAL_S = 60.0


@dataclass(frozen=True)
class Row:
    """One input of a batch: its outcome, and what identifies the file."""

    path: str
    """Unique name of the input."""
    key: str
    """Resume key, see `fervid.provenance`; empty if the file could not be read."""
    status: str
    reason: str
    message: str
    counters: dict[str, int]
    video_s: float
    taken_s: float
    timeline: str
    """Path of the timeline in the results folder; empty if there is none."""
    source: str
    """Absolute path of the file."""
    bytes: int
    changed_ns: int
    sha256: str
    finished_ms: int
    """Milliseconds since 1970, UTC."""

    @classmethod
    def of(cls, outcome: Outcome, key: str, sha256: str, out: Path) -> "Row":
        """Return the row of an outcome.

        Parameters
        ----------
        outcome : Outcome
            Outcome of a job.
        key : str
            Resume key of the result.
        sha256 : str
            Hash of the file's content.
        out : Path
            Folder of the results.

        Returns
        -------
        Row
            Finished now.
        """
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
    """The rows of a results folder by name; use `open_manifest` to get one.

    Every change is appended to a journal and synced to disk; a checkpoint writes it to manifest.parquet.

    Attributes
    ----------
    out : Path
        Folder of the results.
    rows : dict of str to Row
        The rows by name. Change them with `add` and `drop` only.
    """

    def __init__(self, out: Path, rows: dict[str, Row], journal: IO[bytes]) -> None:
        self.out, self.rows = out, rows
        self._journal, self._checkpoint_at = journal, monotonic()

    def add(self, row: Row) -> None:
        """Add or replace a row. No crash loses it once this returns.

        Parameters
        ----------
        row : Row
            The row.

        Raises
        ------
        RunError
            If the journal cannot be written.
        """
        self.rows[row.path] = row
        self._append({"row": asdict(row)})

    def drop(self, name: str) -> None:
        """Remove a row.

        Parameters
        ----------
        name : str
            Name of the input.

        Raises
        ------
        KeyError
            If there is no such row.
        RunError
            If the journal cannot be written.
        """
        del self.rows[name]
        self._append({"drop": name})

    def _append(self, entry: dict[str, Any]) -> None:
        with _as_run_error(self.out / _JOURNAL):
            _write_all(self._journal, f"{json.dumps(entry)}\n".encode())
            os.fsync(self._journal.fileno())
        if monotonic() - self._checkpoint_at > _CHECKPOINT_INTERVAL_S:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Write manifest.parquet, then empty the journal. If interrupted in between, the journal repeats known rows.

        Raises
        ------
        RunError
            If a file cannot be written.
        """
        rows = [self.rows[name] for name in sorted(self.rows)]
        columns = {name: [_cell(row, name) for row in rows] for name in _SCHEMA.names}
        with _as_run_error(self.out / MANIFEST):
            with write_atomically(self.out / MANIFEST) as temporary:
                write_table(pa.table(columns, _SCHEMA), temporary)
            self._journal.truncate(0)
        self._checkpoint_at = monotonic()


def _cell(row: Row, column: str) -> Any:
    if column in COUNTERS:
        return row.counters.get(column)
    return getattr(row, "finished_ms" if column == "finished" else column)


def _write_all(file: IO[bytes], data: bytes) -> None:
    """Write to an unbuffered file; a buffer would retry on close what a full disk has refused, and fail again."""
    while data:
        data = data[file.write(data) :]


@contextmanager
def _as_run_error(path: Path) -> Iterator[None]:
    """Raise errors while writing `path` as RunError: a run cannot continue without its manifest."""
    try:
        yield
    except OutputError as e:
        raise RunError(str(e)) from e
    except OSError as e:
        raise RunError(str(write_error(path, e))) from e


@contextmanager
def open_manifest(out: Path, *, fresh: bool = False) -> Iterator[Manifest]:
    """Lock a results folder, and read and finally write its manifest.

    Temporary files of dead processes are removed.

    Parameters
    ----------
    out : Path
        Folder of the results; created if necessary.
    fresh : bool
        Whether to ignore a manifest that cannot be read.

    Yields
    ------
    Manifest
        Valid within the `with` block.

    Raises
    ------
    OutputError
        If another batch holds the lock, or the folder is not writable.
    RunError
        If the disk is full or fails.
    DataError
        If manifest.parquet is not a manifest of this version of fervid.
    """
    with ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            _lock(stack.enter_context((out / _LOCK).open("ab+", buffering=0)), out)
            remove_stale(out)
            rows = _read_rows(out, fresh)
            _replay(out / _JOURNAL, rows)
            journal = stack.enter_context((out / _JOURNAL).open("ab", buffering=0))
        except OSError as e:
            raise write_error(out, e) from e
        manifest = Manifest(out, rows, journal)
        manifest.checkpoint()
        try:
            yield manifest
        finally:
            remove_stale(out)
            manifest.checkpoint()
        with _as_run_error(out / _JOURNAL):
            (out / _JOURNAL).unlink(missing_ok=True)


def _lock(lock: IO[bytes], out: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        owner = lock.read(20).strip().decode("ascii", "replace")
        holder = f"another batch (process {owner})" if owner.isdigit() else "another batch"
        raise OutputError(
            f"{out}: {holder} is writing here; wait for it, or choose another folder with --out"
        ) from None
    lock.truncate(0)
    _write_all(lock, str(os.getpid()).encode())


def read_manifest(out: Path) -> list[Row]:
    """Read the rows of a results folder from its manifest.parquet.

    Parameters
    ----------
    out : Path
        Folder of the results.

    Returns
    -------
    list of Row
        Sorted by name.

    Raises
    ------
    DataError
        If there is no manifest, or it cannot be read.
    """
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
    advice = "choose another folder with --out, or start over with --fresh"
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as e:
        if isinstance(e, OSError) and e.errno:  # errors of Arrow itself have no number: they concern the content
            raise
        reason = str(e).splitlines()[0]
        raise DataError(
            f"{path}: expected the manifest of a batch, found an unreadable file ({reason}); {advice}"
        ) from None
    found = (table.schema.metadata or {}).get(_KEY, b"none").decode("utf-8", "replace")
    if found != str(_VERSION) or table.schema.names != _SCHEMA.names:
        raise DataError(f"{path}: expected a manifest of version {_VERSION}, found {found}; {advice}")
    plain = {f.name for f in fields(Row)} - {"counters", "finished_ms"}
    finished = table["finished"].cast(pa.int64())
    for values in table.set_column(table.schema.names.index("finished"), "finished", finished).to_pylist():
        counters = {name: values[name] for name in COUNTERS if values[name] is not None}
        yield Row(**{k: values[k] for k in plain}, counters=counters, finished_ms=values["finished"])


def _replay(journal: Path, rows: dict[str, Row]) -> None:
    """Apply the journal to the rows. A crash may have truncated its last line; that job is repeated."""
    try:
        lines = journal.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            entry = json.loads(line)
            if "drop" in entry:
                rows.pop(entry["drop"], None)
            else:
                row = Row(**entry["row"])
                rows[row.path] = row
        except (ValueError, TypeError, KeyError):
            continue
