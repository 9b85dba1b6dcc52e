"""Interface of the engines that run the jobs of a batch, and the limits and defaults they share."""

import os
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fervid.jobs.job import Job, Outcome

__all__ = ["Engine", "JobProgress", "Limits", "default_limits", "default_workers", "machine_memory"]

#: Every worker holds a CUDA context and models of its own on the GPU. An estimate, not a measurement.
_MAX_GPU_WORKERS = 4
_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/dxg")
_WORKER_BYTES = 1.5e9
#: Share of the machine's memory that all workers together may use.
_MEMORY_SHARE = 0.8


@dataclass(frozen=True)
class JobProgress:
    """Progress of one worker within its job, in seconds of video. An idle worker has no job."""

    worker: int
    job: Job | None
    done_s: float = 0.0
    end_s: float | None = None


class Engine(Protocol):
    """Runs jobs in any order and yields exactly one outcome per job."""

    def run(self, jobs: Iterable[Job], on_progress: Callable[[JobProgress], None] | None = None) -> Generator[Outcome]:
        """Run jobs and yield each outcome as soon as it is known.

        Closing the generator stops all work.

        Parameters
        ----------
        jobs : iterable of Job
            Jobs with distinct names.
        on_progress : callable, optional
            Called with the progress of each worker, and with no job when a worker becomes idle.

        Yields
        ------
        Outcome
            One per job.

        Raises
        ------
        RunError
            If the run cannot continue and no file is the cause.
        """


@dataclass(frozen=True)
class Limits:
    """Limits of a single job. None means no limit."""

    timeout_s: float | None = None
    """Wall-clock seconds per video."""
    stall_s: float | None = 600.0
    """Seconds without progress within the video."""
    memory_bytes: int | None = None
    """Resident memory of the worker."""


def machine_memory() -> int:
    """Return how much memory this process may use.

    Returns
    -------
    int
        Bytes: the machine's memory, or the limit of the control group if that is less.
    """
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no control group, or "max"
        return total


def default_workers(device: str = "cpu") -> int:
    """Return how many workers to start: one per core, as far as memory allows at 1.5 GB per worker.

    Parameters
    ----------
    device : str
        Device that the workers compute on. Workers on a GPU share its memory: at most four are started.

    Returns
    -------
    int
        At least one.

    Raises
    ------
    DeviceError
        If the device does not exist on this machine.
    """
    most = max(1, min(len(os.sched_getaffinity(0)), int(_MEMORY_SHARE * machine_memory() / _WORKER_BYTES)))
    return min(most, _MAX_GPU_WORKERS) if _is_gpu(device) else most


def _is_gpu(device: str) -> bool:
    """Return whether workers will compute on a GPU. "auto" without a GPU driver is decided without importing torch."""
    if device == "cpu" or (device == "auto" and not any(map(os.path.exists, _GPU_DRIVERS))):
        return False
    from fervid.runtime.device import resolve_device

    return resolve_device(device) != "cpu"


def default_limits(workers: int, timeout_s: float | None = None) -> Limits:
    """Return limits that give each worker an equal share of four fifths of the memory.

    Parameters
    ----------
    workers : int
        How many workers share the machine.
    timeout_s : float, optional
        Wall-clock seconds per video.

    Returns
    -------
    Limits
        With the default stall time.
    """
    return Limits(timeout_s=timeout_s, memory_bytes=int(_MEMORY_SHARE * machine_memory() / workers))
