"""Profile a run: seconds of CPU and of wall-clock time, stage by stage.

    with Profiler() as profiler:
        fervid.process("movie.mp4", "timeline.parquet")
    profiler.stages()

The stages mark themselves with `stage`, which costs less than a microsecond when no Profiler is running. The time of an
inner stage is subtracted from the outer one, so that the rows add up. Threads that start in a copy of the caller's
context (`contextvars.copy_context`) count in the same Profiler.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Self

__all__ = ["OTHER", "Profiler", "StageTime", "stage"]

#: The remainder: Python between the stages, and threads that FFmpeg or torch start by themselves.
OTHER = "other"
_START = "start-up"


@dataclass(frozen=True)
class StageTime:
    """The time that one stage took.

    Attributes
    ----------
    stage : str
        Its name.
    cpu_s, wall_s : float
        Seconds of CPU time on its threads, and of wall-clock time.
    calls : int
        How often it was entered.
    """

    stage: str
    cpu_s: float
    wall_s: float
    calls: int


class Profiler:
    """Add up the time of the stages on all threads within a `with` block; earlier CPU time counts as start-up.

    Attributes
    ----------
    cpu_s, wall_s : float
        Seconds of CPU time of the whole process, and of wall-clock time within the block; known after it.
    """

    def __init__(self) -> None:
        self._totals: dict[str, list[float]] = {}
        self._lock = threading.Lock()
        self._thread = threading.local()
        self._cpu_before_s = self._started_s = self.wall_s = self.cpu_s = 0.0

    def __enter__(self) -> Self:
        self._cpu_before_s, self._started_s = time.process_time(), time.perf_counter()
        self._token = _RUNNING.set(self)
        return self

    def __exit__(self, *exc: object) -> None:
        _RUNNING.reset(self._token)
        self.wall_s, self.cpu_s = time.perf_counter() - self._started_s, time.process_time()

    @contextmanager
    def stage(self, stage: str) -> Iterator[None]:
        """Count the block as this stage, without the time of inner stages.

        Parameters
        ----------
        stage : str
            A name; blocks of one name add up.
        """
        outer = getattr(self._thread, "nested", None)
        self._thread.nested = nested = [0.0, 0.0]
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
            self._thread.nested = outer
            if outer is not None:
                outer[0] += cpu
                outer[1] += wall
            with self._lock:
                total = self._totals.setdefault(stage, [0.0, 0.0, 0])
                total[0] += cpu - nested[0]
                total[1] += wall - nested[1]
                total[2] += 1

    def stages(self) -> list[StageTime]:
        """List the stages by descending CPU time, which adds up to that of the process.

        Returns
        -------
        list of StageTime
        """
        times = {stage: StageTime(stage, cpu, wall, int(calls)) for stage, (cpu, wall, calls) in self._totals.items()}
        start = times.get(_START, StageTime(_START, 0.0, 0.0, 0))
        times[_START] = StageTime(_START, start.cpu_s + self._cpu_before_s, start.wall_s, start.calls)
        rest = max(0.0, self.cpu_s - sum(one.cpu_s for one in times.values()))
        return sorted([*times.values(), StageTime(OTHER, rest, 0.0, 0)], key=lambda one: -one.cpu_s)


_RUNNING: ContextVar[Profiler | None] = ContextVar("fervid_profiler", default=None)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Count a block as a stage of the running Profiler, if there is one. Never yield out of the block.

    Parameters
    ----------
    name : str
        The stage's name.
    """
    profiler = _RUNNING.get()
    if profiler is None:
        yield
    else:
        with profiler.stage(name):
            yield
