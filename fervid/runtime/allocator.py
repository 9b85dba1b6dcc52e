"""The heap: one for all threads, so that memory does not grow with a video; and left alone while libraries load."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

__all__ = ["gc_paused", "tune_malloc"]

# Parameters of glibc's mallopt(3) and what they are set to: one arena; arrays up to 32 MiB (the most that is allowed)
# come from it rather than from the kernel, whose pages must be zeroed each time; freed memory is kept for the next one.
_M_ARENA_MAX, _M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -8, -3, -1
_SETTINGS = ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, 2**25), (_M_TRIM_THRESHOLD, 2**29))


@cache
def tune_malloc() -> None:
    """Ask the C library for one heap; where it is not glibc, nothing is done.

    By default glibc gives each thread a heap of its own. Frames are made on the decoding thread and freed on another:
    their heap fragments, and 20 minutes of video took half as much memory again as one (tests/benchmarks/memory.py).
    And it hands large arrays back to the kernel at once: fetching them again took a fifth of the detector's time.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for parameter, value in _SETTINGS:
        mallopt(parameter, value)


@contextmanager
def gc_paused() -> Iterator[None]:
    """Let Python's garbage collector rest: while torch is imported it walks in vain, again and again, half a second."""
    swept = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if swept:
            gc.enable()
