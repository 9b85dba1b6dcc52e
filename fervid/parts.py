"""Part files: results that are not finished, named after the process that writes them, removed once it is dead."""

import hashlib
import os
import re
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path
from time import time

__all__ = ["part_of", "remove_parts", "remove_stale"]

#: .NAME.MACHINE-PROCESS.tmp, or .NAME.PROCESS.tmp as fervid 0.1 wrote it.
_PART = re.compile(r"\.(?P<name>.+)\.(?:(?P<machine>[0-9a-f]{12})-)?(?P<process>\d+)\.tmp")
#: Whether a process of another machine lives cannot be seen from here: its parts are left alone for so long.
_FOREIGN_S = 7 * 24 * 3600.0


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
