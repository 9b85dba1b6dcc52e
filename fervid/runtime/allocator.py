"""Tune malloc and pause the garbage collector, so that memory and start-up time stay small."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

__all__ = ["gc_paused", "tune_malloc"]

# Parameters of glibc's mallopt(3) and their values: one arena for all threads; arrays of up to 32 MiB (the largest
# value allowed) come from it rather than from the kernel, which zeroes their pages each time; freed memory is kept.
_M_ARENA_MAX, _M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -8, -3, -1
_SETTINGS = ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, 2**25), (_M_TRIM_THRESHOLD, 2**29))


@cache
def tune_malloc() -> None:
    """Make all threads share one malloc arena that keeps freed memory; do nothing where the C library is not glibc.

    By default, glibc gives each thread its own arena. Frames are allocated on the decoding thread and freed on another:
    the arenas fragment, and 20 minutes of video took 50% more memory than one minute (tests/benchmarks/memory.py).
    It also returns large arrays to the kernel at once: mapping them again took a fifth of the detector's time.
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
    """Disable Python's garbage collector within the block.

    While torch is imported, the collector runs again and again without freeing anything: half a second.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
