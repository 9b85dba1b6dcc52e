"""Engines run many jobs and survive every one of them. Here: the protocol, and the engine of one machine.

The local engine keeps worker processes of its own instead of a library's pool. Pebble and concurrent.futures share
queues and locks between workers, so that one killed at the wrong moment takes the pool with it; neither tells how far a
task is, which a watchdog needs; and both start workers through the caller's `__main__`, which a plain script without
`if __name__ == "__main__"` does not survive. Here each worker has a pipe of its own and nothing is shared.
"""

import os
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fervid.jobs.job import Job, Outcome

__all__ = ["Engine", "JobProgress", "Limits", "default_limits", "default_workers", "machine_memory"]

#: Each worker has a context and models of its own on the GPU. Reckoned, not measured.
_BESIDE_A_GPU = 4
_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/dxg")


@dataclass(frozen=True)
class JobProgress:
    """News of a worker: how far its job is, in seconds of video. A worker without work has no job."""

    worker: int
    job: Job | None
    done_s: float = 0.0
    end_s: float | None = None


class Engine(Protocol):
    """Runs jobs, in any order, and gives exactly one outcome for each."""

    def run(self, jobs: Iterable[Job], on_progress: Callable[[JobProgress], None] | None = None) -> Generator[Outcome]:
        """Yield outcomes as they come. Closing the iterator stops all work. RunError if no file is to blame."""


@dataclass(frozen=True)
class Limits:
    """What one job may take. None is no limit."""

    timeout_s: float | None = None
    """Wall-clock seconds for one video."""
    stall_s: float | None = 600.0
    """Seconds without any progress within the video."""
    memory_bytes: int | None = None
    """Resident memory of the worker."""


def machine_memory() -> int:
    """Bytes of memory that this process may have: the machine's, or its control group's if that is less."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no control group, or "max"
        return total


def default_workers(device: str = "cpu") -> int:
    """One worker a core, as far as memory reaches at 1.5 GB each; beside a GPU, whose memory they share, at most four.

    DeviceError if the device is not on this machine.
    """
    most = max(1, min(len(os.sched_getaffinity(0)), int(0.8 * machine_memory() / 1.5e9)))
    return min(most, _BESIDE_A_GPU) if _is_gpu(device) else most


def _is_gpu(device: str) -> bool:
    """Whether workers will compute on a GPU. Where no driver is, "auto" needs no torch to tell."""
    if device == "cpu" or (device == "auto" and not any(map(os.path.exists, _GPU_DRIVERS))):
        return False
    from fervid.runtime.device import resolve_device

    return resolve_device(device) != "cpu"


def default_limits(workers: int, timeout_s: float | None = None) -> Limits:
    """An equal share of four fifths of the memory for each worker."""
    return Limits(timeout_s=timeout_s, memory_bytes=int(0.8 * machine_memory() / workers))
