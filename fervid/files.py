"""Files: atomic writes, checks of inputs and outputs, content hashes, and folders.

A file is written under a temporary name beside it, which contains the machine and the process, and then renamed: it
appears whole or not at all. Temporary files of processes that have died are removed.
"""

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
    "Name",
    "check_file",
    "check_output",
    "check_paths",
    "content_hash",
    "file_sha256",
    "files_below",
    "identity",
    "make_folder",
    "remove_stale",
    "remove_temporaries",
    "shipped_folder",
    "stat_of",
    "temporary_path",
    "to_utf8",
    "wrap_video_errors",
    "write_atomically",
    "write_error",
]

#: What the API accepts as the name of a file or folder.
Name = str | os.PathLike[str]

#: .NAME.MACHINE-PROCESS.tmp, or .NAME.PROCESS.tmp as early versions wrote it.
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?:(?P<machine>[0-9a-f]{12})-)?(?P<process>\d+)\.tmp")
#: Whether a process of another machine is alive is not visible here: its files are kept for this long.
_FOREIGN_S = 7 * 24 * 3600.0


@contextmanager
def write_atomically(out: Path) -> Iterator[Path]:
    """Yield a temporary file beside `out`, which replaces it when the block succeeds and is removed when it fails.

    The temporary file is created at once, so that a place that cannot be written is detected before the work.

    Parameters
    ----------
    out : Path

    Yields
    ------
    Path

    Raises
    ------
    OutputError
        If `out` cannot be written there.
    RunError
        If the disk is full, or the process may open no more files.
    """
    try:
        if out.is_dir():
            raise OutputError(f"{out}: is a folder; name a file, such as {out / 'timeline.parquet'}")
        if out.exists() and not out.is_file():
            raise OutputError(f"{out}: is not a plain file (a pipe or a device?); name a file")
        temporary = temporary_path(out)
        temporary.touch()
    except OutputError:
        raise
    except (OSError, ValueError) as e:
        raise write_error(out, e) from e
    written = False
    try:
        yield temporary
        written = True
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(out)
        _sync_folder(out.parent)
    except OSError as e:
        if written or e.errno in _ADVICE:
            raise write_error(out, e) from e
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


#: Errors that the next file would meet too, and what to do about each.
_ADVICE = {
    errno.ENOSPC: "free some space, then rerun",
    errno.EDQUOT: "free some space, then rerun",
    errno.EFBIG: "allow larger files (ulimit -f), then rerun",
    errno.EIO: "check the disk, then rerun",
    errno.EROFS: "make it writable, or name another place",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENFILE: "close other programs, then rerun",
}


def write_error(out: Path, error: OSError | ValueError) -> RunError | OutputError:
    """Choose the error to raise when a result cannot be written.

    Parameters
    ----------
    out : Path
    error : OSError or ValueError

    Returns
    -------
    RunError or OutputError
        RunError if the next file would fail too, as on a full disk; OutputError if the cause is this path.
    """
    reason = error.strerror or error if isinstance(error, OSError) else error
    if isinstance(error, OSError) and error.errno in _ADVICE:
        return RunError(f"{out}: {reason}; {_ADVICE[error.errno]}")
    if isinstance(error, FileNotFoundError) and not out.parent.is_dir():
        return _no_folder(out)
    return OutputError(f"{out}: cannot be written ({reason}); name a file in a folder that exists and is writable")


def _no_folder(out: Path) -> OutputError:
    return OutputError(f"{out}: cannot be written (no folder {out.parent}); name a file in a folder that exists")


def make_folder(out: Path) -> None:
    """Make a folder for results, before the work.

    Parameters
    ----------
    out : Path

    Raises
    ------
    OutputError
        If it is a file, or cannot be made.
    """
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
    """Give the hidden name beside `out` under which this process alone writes it.

    Parameters
    ----------
    out : Path

    Returns
    -------
    Path
    """
    return out.with_name(f".{out.name}.{_machine()}-{os.getpid()}.tmp")


@cache
def _machine() -> str:
    """Identify what process numbers refer to: this machine, or this container on it."""
    known = [socket.gethostname()]
    with suppress(OSError):
        known.append(str(Path("/proc/self/ns/pid").readlink()))
    with suppress(OSError):
        known.append(Path("/etc/machine-id").read_text("ascii", "replace"))
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:12]


def remove_stale(folder: Path) -> None:
    """Remove the temporary files below a folder whose processes are dead; those of other machines after a week.

    Parameters
    ----------
    folder : Path
    """
    for place, _, files in os.walk(folder):
        for name in files:
            found = _TEMPORARY.fullmatch(name)
            if found and _is_stale(Path(place) / name, found["machine"], int(found["process"])):
                with suppress(OSError):
                    (Path(place) / name).unlink()


def remove_temporaries(out: Path) -> None:
    """Remove all temporary files of `out`, for a caller that holds the lock of its folder.

    A process that still writes one, on a machine that is out of reach, does no harm: it would write the same bytes.

    Parameters
    ----------
    out : Path
    """
    with suppress(OSError):
        for path in list(out.parent.iterdir()):
            found = _TEMPORARY.fullmatch(path.name)
            if found and found["name"] == out.name:
                with suppress(OSError):
                    path.unlink()


def _is_stale(temporary: Path, machine: str | None, process: int) -> bool:
    if machine in (None, _machine()):
        return not _alive(process)
    try:
        return time() - temporary.stat().st_mtime > _FOREIGN_S
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
    """Check that a path is a regular file that is not empty.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Path
        The same.

    Raises
    ------
    VideoError
        If it is missing, empty, or not a regular file.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise VideoError(f"{path}: no such file; check the name", reason="missing") from None
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
    """Convert a file name to text that every format can store: bytes that are not UTF-8 become escapes.

    Parameters
    ----------
    name : str

    Returns
    -------
    str
    """
    return name.encode("utf-8", "backslashreplace").decode()


def check_output(out: Path, suffixes: tuple[str, ...], *inputs: Path | None, purpose: str = "") -> str:
    """Check the name of an output.

    Parameters
    ----------
    out : Path
    suffixes : tuple[str, ...]
        The suffixes that it may have, in lower case.
    *inputs : Path or None
    purpose : str
        What needs one of the suffixes, such as "--to csv", for the message.

    Returns
    -------
    str
        Its suffix, in lower case.

    Raises
    ------
    OutputError
        If it has another suffix, or is one of the inputs.
    """
    suffix = out.suffix.lower()
    if suffix not in suffixes:
        needed = f" (for {purpose})" if purpose else ""
        raise OutputError(f"{out}: expected a name that ends with {' or '.join(suffixes)}{needed}")
    for given in inputs:
        if given is not None and out.exists() and given.exists() and out.samefile(given):
            raise OutputError(f"{out}: is the input {given} itself; name another file with --out")
    return suffix


def shipped_folder(name: str) -> Path:
    """Find a folder that ships with fervid beside its code.

    Parameters
    ----------
    name : str
        Such as "pipelines".

    Returns
    -------
    Path
        Within the package if it comes from a wheel, else in the checkout.
    """
    package = Path(__file__).parent
    return package / name if (package / name).is_dir() else package.parent / name


def stat_of(path: Path) -> tuple[int, int]:
    """Give the size of a file and the time of its last change.

    Parameters
    ----------
    path : Path

    Returns
    -------
    bytes, changed_ns : int
        Zeros if it is missing. The time is ctime, which programs cannot set.
    """
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
    root: Path, *, without: Path | None = None, on_error: Callable[[OSError], None] | None = None
) -> Iterator[Path]:
    """List every file below a folder in the order of names, the files of a folder before those of its folders.

    Links are followed; a folder that is reached twice (a loop of links) is entered once. Names that begin with a dot
    are skipped.

    Parameters
    ----------
    root : Path
    without : Path, optional
        A folder to skip.
    on_error : callable, optional
        Called with the error of each folder that cannot be read.

    Yields
    ------
    Path

    Raises
    ------
    DataError
        If a folder cannot be read, unless `on_error` is given.
    """
    entered = {identity(without)} if without else set()
    for place, folders, files in os.walk(root, onerror=on_error or _raise_unreadable, followlinks=True):
        here = identity(Path(place))
        if here in entered:
            folders.clear()
            continue
        entered.add(here)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))


def identity(path: Path) -> tuple[int, int] | None:
    """Identify a file, whatever the name by which it is reached.

    Parameters
    ----------
    path : Path

    Returns
    -------
    tuple[int, int] or None
        Device and inode; None if it cannot be accessed.
    """
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _raise_unreadable(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions") from None


_NOT_PARQUET = {".csv", ".tsv", ".txt", ".json", ".xlsx", ".html"}


def check_paths(path: Path, *outputs: Path | None) -> None:
    """Check the paths of a video and of its results, before anything is loaded.

    Parameters
    ----------
    path : Path
        The video.
    *outputs : Path or None

    Raises
    ------
    VideoError
        If the video is not a regular file.
    OutputError
        If a result cannot be written there, is the video itself, or is named twice.
    """
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
            raise _no_folder(out)
        if itself:
            raise OutputError(f"{out}: is the video itself; name another file with --out")
    if len({out.resolve() for out in named}) < len(named):
        raise OutputError(f"{named[0]}: named for two results; give --faces and --shots files of their own")


@contextmanager
def wrap_video_errors(path: Path) -> Iterator[None]:
    """Turn errors of the system into VideoErrors, while a video is read.

    Parameters
    ----------
    path : Path
        The video.

    Raises
    ------
    VideoError
        In place of any OSError that is not a FervidError.
    """
    try:
        yield
    except OSError as e:
        if isinstance(e, FervidError):
            raise
        raise VideoError(f"{path}: cannot be read ({e.strerror or e})", reason="unreadable") from e
