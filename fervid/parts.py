"""Files that appear whole or not at all: written as part files, named after their process, removed once it is dead."""

import errno
import hashlib
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from time import time

from fervid.errors import OutputError, RunError

__all__ = ["part_of", "refusal", "remove_parts", "remove_stale", "write_atomically"]

#: .NAME.MACHINE-PROCESS.tmp, or .NAME.PROCESS.tmp as fervid 0.1 wrote it.
_PART = re.compile(r"\.(?P<name>.+)\.(?:(?P<machine>[0-9a-f]{12})-)?(?P<process>\d+)\.tmp")
#: Whether a process of another machine lives cannot be seen from here: its parts are left alone for so long.
_FOREIGN_S = 7 * 24 * 3600.0


@contextmanager
def write_atomically(out: Path) -> Iterator[Path]:
    """Give a part file beside `out` that takes its place when the block ends well, and vanishes when it does not.

    The part file is made at once, so that a place that cannot be written is found before the work, not after it.
    """
    try:
        if out.is_dir():
            raise OutputError(f"{out}: is a folder; name a file, such as {out / 'timeline.parquet'}")
        if out.exists() and not out.is_file():
            raise OutputError(f"{out}: is not a plain file (a pipe or a device?); name a file")
        part = part_of(out)
        part.touch()
    except OutputError:
        raise
    except (OSError, ValueError) as e:
        raise refusal(out, e) from e
    written = False
    try:
        yield part
        written = True
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(out)
        _sync_folder(out.parent)
    except OSError as e:
        if written or e.errno in _ADVICE:
            raise refusal(out, e) from e
        raise
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


#: What the disk, or the process, lacks as a whole: the next file would meet it too.
_ADVICE = {
    errno.ENOSPC: "free some space and run again", errno.EDQUOT: "free some space and run again",
    errno.EFBIG: "allow larger files (ulimit -f) and run again", errno.EIO: "check the disk, then run again",
    errno.EROFS: "make it writable, or name another place", errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENFILE: "close other programs and run again",
}  # fmt: skip


def refusal(out: Path, error: OSError | ValueError) -> RunError | OutputError:
    """What to raise when a result cannot be written: RunError if the disk is to blame, OutputError if this place is."""
    reason = error.strerror or error if isinstance(error, OSError) else error
    if isinstance(error, OSError) and error.errno in _ADVICE:
        return RunError(f"{out}: {reason}; {_ADVICE[error.errno]}")
    return OutputError(f"{out}: cannot be written ({reason}); name a file in a folder that exists and is writable")


def make_folder(out: Path) -> None:
    """Make a folder for results, before work is done for them; OutputError if there can be none."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise OutputError(f"{out}: is a file; name a folder with --out") from None
    except OSError as e:
        raise OutputError(f"{out}: cannot be written ({e.strerror}); name a folder with --out") from None


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def part_of(out: Path) -> Path:
    """Where this process writes what becomes `out`: beside it, hidden, and no other process has the name."""
    return out.with_name(f".{out.name}.{_machine()}-{os.getpid()}.tmp")


@cache
def _machine() -> str:
    """A name for where the numbers of processes mean something: this machine, or this container on it."""
    known = [socket.gethostname()]
    with suppress(OSError):
        known.append(str(Path("/proc/self/ns/pid").readlink()))
    with suppress(OSError):
        known.append(Path("/etc/machine-id").read_text("ascii", "replace"))
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:12]


def remove_stale(folder: Path) -> None:
    """Remove the part files below a folder whose process is dead; those of other machines after a week."""
    for place, _, files in os.walk(folder):
        for name in files:
            found = _PART.fullmatch(name)
            if found and _is_stale(Path(place) / name, found["machine"], int(found["process"])):
                with suppress(OSError):
                    (Path(place) / name).unlink()


def remove_parts(out: Path) -> None:
    """Remove what others began of `out`, wherever they are: for who knows that nobody else writes it now.

    One that writes still, on a machine that is out of reach, does no harm: it would write the same bytes.
    """
    with suppress(OSError):
        for path in list(out.parent.iterdir()):
            found = _PART.fullmatch(path.name)
            if found and found["name"] == out.name:
                with suppress(OSError):
                    path.unlink()


def _is_stale(part: Path, machine: str | None, process: int) -> bool:
    if machine in (None, _machine()):
        return not _alive(process)
    try:
        return time() - part.stat().st_mtime > _FOREIGN_S
    except OSError:
        return False


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
