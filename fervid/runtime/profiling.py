"""Where the time of a run goes: seconds of CPU and of the wall clock, stage by stage.

with Stopwatch() as watch:
    fervid.process("movie.mp4", "timeline.parquet")
watch.stages()

The stages mark themselves with `span`; without a Stopwatch around them that costs less than a microsecond. A span
within a span is taken from the outer one, so that the rows add up. Threads that begin in a copy of the caller's
context (`contextvars.copy_context`) count in the same Stopwatch.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Self

__all__ = ["Profiler", "StageTime", "stage"]

#: The rest: Python between the stages, and the threads that FFmpeg or torch start by themselves.
ELSEWHERE = "elsewhere"
_START = "start-up"


@dataclass(frozen=True)
class StageTime:
    """What one stage took: seconds of CPU on its threads, seconds by the clock, times that it was entered."""

    stage: str
    cpu_s: float
    wall_s: float
    calls: int


class Profiler:
    """Adds up what the stages of all threads take, from `with` on; what the process took before counts as start-up."""

    def __init__(self) -> None:
        self._spent: dict[str, list[float]] = {}
        self._lock = threading.Lock()
        self._thread = threading.local()
        self._before_s = self._began_s = self.wall_s = self.cpu_s = 0.0

    def __enter__(self) -> Self:
        self._before_s, self._began_s = time.process_time(), time.perf_counter()
        self._token = _RUNNING.set(self)
        return self

    def __exit__(self, *exc: object) -> None:
        _RUNNING.reset(self._token)
        self.wall_s, self.cpu_s = time.perf_counter() - self._began_s, time.process_time()

    @contextmanager
    def stage(self, stage: str) -> Iterator[None]:
        """Count the block as this stage, without what inner spans take."""
        inner = getattr(self._thread, "inner", None)
        self._thread.inner = within = [0.0, 0.0]
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
            self._thread.inner = inner
            if inner is not None:
                inner[0] += cpu
                inner[1] += wall
            with self._lock:
                spent = self._spent.setdefault(stage, [0.0, 0.0, 0])
                spent[0] += cpu - within[0]
                spent[1] += wall - within[1]
                spent[2] += 1

    def stages(self) -> list[StageTime]:
        """Give the stages by falling CPU time; their CPU adds up to that of the process."""
        spent = {stage: StageTime(stage, cpu, wall, int(calls)) for stage, (cpu, wall, calls) in self._spent.items()}
        start = spent.get(_START, StageTime(_START, 0.0, 0.0, 0))
        spent[_START] = StageTime(_START, start.cpu_s + self._before_s, start.wall_s, start.calls)
        rest = max(0.0, self.cpu_s - sum(s.cpu_s for s in spent.values()))
        return sorted([*spent.values(), StageTime(ELSEWHERE, rest, 0.0, 0)], key=lambda s: -s.cpu_s)


_RUNNING: ContextVar[Profiler | None] = ContextVar("fervid_stopwatch", default=None)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Count a block as a stage of the running Profiler, if there is one. Never yield out of the block."""
    profiler = _RUNNING.get()
    if profiler is None:
        yield
    else:
        with profiler.stage(name):
            yield
