"""A file system that fails on demand: every file operation below some folders is counted, and one of them fails.

Python's own calls are patched where the code looks them up, and Arrow's at the doors that fervid uses; a write that
fails leaves half of what it had to write, as a full disk does.
"""

import builtins
import fcntl
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

#: (where the function lives, its name): each takes a path or a file descriptor first.
_CALLS: list[tuple[Any, str]] = [
    (builtins, "open"), (io, "open"),
    *((os, name) for name in ("open", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir", "stat", "lstat",
                              "scandir", "utime", "access")),
    (fcntl, "flock"),
    *((pq, name) for name in ("write_table", "read_table", "read_metadata", "read_schema")),
]  # fmt: skip
_METHODS = ("read", "write", "flush", "truncate")


@dataclass
class Faults:
    """Counts operations on what lies below `roots`; the one numbered `at`, and `more` after it, fail with `error`."""

    roots: tuple[str, ...]
    at: int | None = None
    error: int = 0
    more: int = 0
    seen: list[str] = field(default_factory=list)

    def pass_by(self, name: str, target: Any) -> None:
        """Count one operation; OSError if its turn has come."""
        path = _path_of(target)
        if path is None or not path.startswith(self.roots):
            return
        self.seen.append(f"{name} {os.path.basename(path)}")  # noqa: PTH119
        number = len(self.seen) - 1
        if self.at is not None and self.at <= number <= self.at + self.more:
            raise OSError(self.error, os.strerror(self.error), path)


def _path_of(target: Any) -> str | None:
    try:
        if hasattr(target, "fileno"):
            target = target.fileno()
        if isinstance(target, int):
            return _readlink(f"/proc/self/fd/{target}")
        return os.path.abspath(os.fsdecode(target))  # noqa: PTH100
    except (TypeError, OSError, ValueError):
        return None


_readlink = os.readlink


class File:
    """An open file whose reads and writes are counted, too."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file, self._faults = file, faults

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._file, name)
        if name not in _METHODS:
            return value

        def call(*args: Any) -> Any:
            try:
                self._faults.pass_by(name, self._file)
            except OSError:
                if name == "write":
                    value(args[0][: len(args[0]) // 2])
                raise
            return value(*args)

        return call

    def __enter__(self) -> "File":
        self._file.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.__exit__(*exc)

    def __iter__(self) -> Iterator:
        return iter(self._file)


def _watched(name: str, real: Callable, faults: Faults) -> Callable:
    def call(*args: Any, **kwargs: Any) -> Any:
        target = args[1] if name == "write_table" else args[0] if args else "."
        try:
            faults.pass_by(name, target)
        except OSError:
            if name == "write_table":
                Path(target).write_bytes(b"PAR1 half")
            raise
        value = real(*args, **kwargs)
        inside = name == "open" and hasattr(value, "read") and (_path_of(value) or "").startswith(faults.roots)
        return File(value, faults) if inside else value

    return call


@contextmanager
def failing(faults: Faults) -> Iterator[Faults]:
    """Put the patches in for a while."""
    real = [(home, name, getattr(home, name)) for home, name in _CALLS]
    try:
        for home, name, call in real:
            setattr(home, name, _watched(name, call, faults))
        yield faults
    finally:
        for home, name, call in real:
            setattr(home, name, call)


# -- in a worker ------------------------------------------------------------------------------------------

#: A worker of this environment meets the faults that the variable describes.
VARIABLE = "FERVID_TEST_FAULTS"


def load(config: Any) -> Any:
    """Fake models, and the faults put in for good."""
    from tests.helpers.failing_jobs import load_fakes

    models = load_fakes(config)
    known = json.loads(os.environ[VARIABLE])
    _for_good.enter_context(failing(Faults(tuple(known["roots"]), known["at"], known["error"])))
    return models


_for_good = ExitStack()
