"""Files that appear whole or not at all: written as part files, named after their process, removed once it is dead."""

import errno
import hashlib
import os
import re
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from time import time

from fervid.errors import DataError, FervidError, OutputError, RunError, VideoError

__all__ = [
    "check_file",
    "check_output",
    "check_paths",
    "content_hash",
    "file_sha256",
    "files_below",
    "identity",
    "remove_stale",
    "remove_temporaries",
    "stat_of",
    "temporary_path",
    "to_utf8",
    "wrap_video_errors",
    "write_atomically",
    "write_error",
]

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
        part = temporary_path(out)
        part.touch()
    except OutputError:
        raise
    except (OSError, ValueError) as e:
        raise write_error(out, e) from e
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
            raise write_error(out, e) from e
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


def write_error(out: Path, error: OSError | ValueError) -> RunError | OutputError:
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


def temporary_path(out: Path) -> Path:
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


def remove_temporaries(out: Path) -> None:
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


def check_file(path: Path) -> Path:
    """Give back the path of a regular file that is not empty; VideoError says what it is instead."""
    try:
        found = path.stat()
    except FileNotFoundError:
        raise VideoError(f"{path}: no such file", reason="missing") from None
    except OSError as e:
        raise VideoError(f"{path}: cannot be read ({e.strerror or e})", reason="unreadable") from None
    if stat.S_ISDIR(found.st_mode):
        raise VideoError(f"{path}: is a folder; name one video file", reason="not_a_file")
    if not stat.S_ISREG(found.st_mode):
        raise VideoError(f"{path}: is not a regular file (a pipe or a device?)", reason="not_a_file")
    if found.st_size == 0:
        raise VideoError(f"{path}: the file is empty", reason="empty_file")
    return path


def to_utf8(name: str) -> str:
    """A file name as text that every format takes: bytes that are no UTF-8 are written as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def check_output(out: Path, suffixes: tuple[str, ...], *inputs: Path | None) -> str:
    """Give the suffix of an output; OutputError if it is none of these, or if the output is one of the inputs."""
    suffix = out.suffix.lower()
    if suffix not in suffixes:
        raise OutputError(f"{out}: expected a name that ends with {' or '.join(suffixes)}")
    for given in inputs:
        if given is not None and out.exists() and given.exists() and out.samefile(given):
            raise OutputError(f"{out}: is the input {given} itself; name another file with --out")
    return suffix


def stat_of(path: Path) -> tuple[int, int]:
    """Bytes and time of the last change (ctime, which no program sets at will) of a file; zeros if it is not there."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return 0, 0
    return found.st_size, found.st_ctime_ns


def file_sha256(path: Path) -> str:
    """Hash the content of a file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str
        The SHA-256 in hexadecimal digits.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(path: Path) -> str:
    """Hash the content of a regular file, as `file_sha256` does, without an error.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str
        "" if the file cannot be read, or is a pipe or a device.
    """
    try:
        return file_sha256(path) if path.is_file() else ""
    except (OSError, ValueError):
        return ""


def files_below(
    root: Path, *, without: Path | None = None, on_trouble: Callable[[OSError], None] | None = None
) -> Iterator[Path]:
    """Give every file below a folder in the order of names, a folder's own before those of the folders in it.

    Links are followed; a folder that is reached twice (a loop of links) is entered once. Names that begin with a dot
    are left out, and so is the folder `without`. A folder that cannot be read is told to `on_trouble`, or a DataError.
    """
    entered = {identity(without)} if without else set()
    for place, folders, files in os.walk(root, onerror=on_trouble or _refuse, followlinks=True):
        here = identity(Path(place))
        if here in entered:
            folders.clear()
            continue
        entered.add(here)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))


def identity(path: Path) -> tuple[int, int] | None:
    """Device and inode, the same by whatever name a file is reached; None if it cannot be looked at."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions") from None


_NOT_PARQUET = {".csv", ".tsv", ".txt", ".json", ".xlsx", ".html"}


def check_paths(path: Path, *outputs: Path | None) -> None:
    """Refuse an input that is no file, and an output that is the input or is named twice, before anything is loaded."""
    check_file(path)
    if path.suffix.lower() == ".parquet":
        raise VideoError(f"{path}: is a table, not a video; the video comes first", reason="not_media")
    named = [out for out in outputs if out is not None]
    for out in named:
        if out.suffix.lower() in _NOT_PARQUET:
            raise OutputError(f"{out}: results are Parquet; name it {out.with_suffix('.parquet').name}")
        try:
            placed, itself = out.parent.is_dir(), out.exists() and out.samefile(path)
        except OSError as e:
            raise write_error(out, e) from e
        if not placed:
            raise OutputError(f"{out}: cannot be written (no folder {out.parent}); name a file in a folder that exists")
        if itself:
            raise OutputError(f"{out}: is the video itself; name another file with --out")
    if len({out.resolve() for out in named}) < len(named):
        raise OutputError(f"{named[0]}: named for two results; give --faces and --shots files of their own")


@contextmanager
def wrap_video_errors(path: Path) -> Iterator[None]:
    """What the system refuses while the video is read is about the video, and not about where the result goes."""
    try:
        yield
    except OSError as e:
        if isinstance(e, FervidError):
            raise
        raise VideoError(f"{path}: cannot be read ({e.strerror or e})", reason="unreadable") from e
