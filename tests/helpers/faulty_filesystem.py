"""A file system that fails on demand: counts every file operation below some folders, and fails one of them.

Python's functions are patched where the code looks them up, and Arrow's at the functions that fervid calls. A write
that fails leaves half of its data, as a full disk does.
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

__all__ = ["VARIABLE", "Faults", "inject", "load_with_faults"]

_OS_FUNCTIONS = (
    "open", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir", "stat", "lstat", "scandir", "utime", "access",
)  # fmt: skip
_PARQUET_FUNCTIONS = ("write_table", "read_table", "read_metadata", "read_schema")
#: Modules and names of the functions that are patched; each takes a path or a file descriptor first.
_FUNCTIONS: list[tuple[Any, str]] = [
    (builtins, "open"),
    (io, "open"),
    *((os, name) for name in _OS_FUNCTIONS),
    (fcntl, "flock"),
    *((pq, name) for name in _PARQUET_FUNCTIONS),
]
_METHODS = ("read", "write", "flush", "truncate")


@dataclass
class Faults:
    """Counts the operations below `roots`; number `at`, and `more` after it, fail with `error`."""

    roots: tuple[str, ...]
    at: int | None = None
    error: int = 0
    more: int = 0
    calls: list[str] = field(default_factory=list)

    def record(self, name: str, target: Any) -> None:
        """Count one operation; OSError if it has to fail."""
        path = _path_of(target)
        if path is None or not path.startswith(self.roots):
            return
        self.calls.append(f"{name} {os.path.basename(path)}")  # noqa: PTH119
        number = len(self.calls) - 1
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


class _File:
    """An open file whose reads and writes are counted."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file, self._faults = file, faults

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._file, name)
        if name not in _METHODS:
            return value

        def call(*args: Any) -> Any:
            try:
                self._faults.record(name, self._file)
            except OSError:
                if name == "write":
                    value(args[0][: len(args[0]) // 2])
                raise
            return value(*args)

        return call

    def __enter__(self) -> "_File":
        self._file.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.__exit__(*exc)

    def __iter__(self) -> Iterator:
        return iter(self._file)


def _wrap(name: str, function: Callable, faults: Faults) -> Callable:
    def call(*args: Any, **kwargs: Any) -> Any:
        target = args[1] if name == "write_table" else args[0] if args else "."
        try:
            faults.record(name, target)
        except OSError:
            if name == "write_table":
                Path(target).write_bytes(b"PAR1 half")
            raise
        value = function(*args, **kwargs)
        is_inside = name == "open" and hasattr(value, "read") and (_path_of(value) or "").startswith(faults.roots)
        return _File(value, faults) if is_inside else value

    return call


@contextmanager
def inject(faults: Faults) -> Iterator[Faults]:
    """Patch the functions within the `with` block."""
    originals = [(module, name, getattr(module, name)) for module, name in _FUNCTIONS]
    try:
        for module, name, function in originals:
            setattr(module, name, _wrap(name, function, faults))
        yield faults
    finally:
        for module, name, function in originals:
            setattr(module, name, function)


# -- in a worker ------------------------------------------------------------------------------------------

#: Environment variable with the faults of a worker.
VARIABLE = "FERVID_TEST_FAULTS"


def load_with_faults(config: Any) -> Any:
    """Load fake models, and inject the faults until the worker exits."""
    from tests.helpers.failing_jobs import load_fakes

    models = load_fakes(config)
    known = json.loads(os.environ[VARIABLE])
    _until_exit.enter_context(inject(Faults(tuple(known["roots"]), known["at"], known["error"])))
    return models


_until_exit = ExitStack()
