"""Walk a folder: every file below it in one order, for whoever looks for videos, pictures or codes there."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from fervid.errors import DataError

__all__ = ["files_below", "identity"]


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
