"""The local engine: worker processes on this machine, replaced when they die, hang or swell."""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from multiprocessing.connection import wait
from time import monotonic

from fervid.config import Config
from fervid.errors import RunError
from fervid.jobs.engine import JobProgress, Limits, default_limits
from fervid.jobs.job import Job, Outcome, fail, run_job
from fervid.jobs.worker import Work, Worker
from fervid.models import load_models
from fervid.pipeline import Models

__all__ = ["LocalEngine"]


_TICK_S = 0.25


#: How often a job is tried again, alone, by what ended it. Who kills from outside is not the file's doing.
_RETRIES = {"timeout": 1, "stalled": 1, "crashed": 1, "killed": 5, "memory": 0}


_START_S, _START_TRIES = 600.0, 3


def _hire(config: Config, load: Callable[[Config], Models], work: Work) -> Worker:
    try:
        return Worker(config, load, work)
    except OSError as e:
        raise RunError(f"no worker can be started ({e.strerror}); try fewer --workers, or close other programs") from e


class LocalEngine:
    """Worker processes on this machine, models loaded once each, one torch thread each.

    A worker that dies, hangs, or takes too much costs the job it had, and a new one takes its place. `load` and `work`
    are functions of a module that the worker can import.
    """

    def __init__(
        self,
        config: Config,
        workers: int = 1,
        limits: Limits | None = None,
        *,
        load: Callable[[Config], Models] = load_models,
        work: Work = run_job,
    ) -> None:
        self.limits = limits or default_limits(workers)
        self._size, self._setup = workers, (config, load, work)
        self._workers: dict[int, Worker] = {}
        self._queue: deque[Job] = deque()
        self._alone: deque[Job] = deque()
        self._tried: dict[str, int] = {}
        self._failed_starts = 0
        #: How many workers ended before their time, by reason: more than files failed, for jobs are tried again.
        self.losses: Counter[str] = Counter()

    def run(self, jobs: Iterable[Job], on_progress: Callable[[JobProgress], None] | None = None) -> Generator[Outcome]:
        """Yield the outcome of each job as it comes; see Engine."""
        try:
            yield from self.serve(jobs, on_progress)
        finally:
            self.close()

    def serve(
        self, jobs: Iterable[Job], on_progress: Callable[[JobProgress], None] | None = None
    ) -> Generator[Outcome]:
        """Do as `run`, but keep the workers for more jobs, until `close`."""
        self._queue.extend(jobs)
        tell = on_progress or (lambda _: None)
        while self._queue or self._alone or any(worker.job for worker in self._workers.values()):
            self._staff()
            self._hand_out()
            ready = wait([worker.pipe for worker in self._workers.values()], _TICK_S)
            for slot, worker in list(self._workers.items()):
                outcome = self._listen(slot, worker, tell) if worker.pipe in ready else None
                if outcome is None and self._workers.get(slot) is worker:
                    outcome = self._watch(slot, worker)
                if outcome is not None:
                    tell(JobProgress(slot, None))
                    self._hand_out()  # the next job begins while this one is entered in the books
                    yield outcome

    def close(self) -> None:
        """End all workers at once, whatever they do."""
        self._queue.clear()
        self._alone.clear()
        for worker in self._workers.values():
            worker.kill()
        self._workers.clear()

    def _staff(self) -> None:
        """Keep as many workers as there is work for."""
        waiting = len(self._queue) + min(1, len(self._alone))
        free = sum(worker.job is None for worker in self._workers.values())
        for slot in range(self._size):
            if slot not in self._workers and free < waiting:
                self._workers[slot] = _hire(*self._setup)
                free += 1

    def _hand_out(self) -> None:
        """Give jobs to free workers; those that are tried again come last, one at a time."""
        for worker in self._workers.values():
            if not worker.ready or worker.job is not None:
                continue
            if self._queue:
                worker.begin(self._queue.popleft())
            elif self._alone and not any(other.job for other in self._workers.values()):
                worker.begin(self._alone.popleft())

    def _listen(self, slot: int, worker: Worker, tell: Callable[[JobProgress], None]) -> Outcome | None:
        """Take one message from a worker, or its death."""
        message = worker.receive()
        if message is None:
            return self._bury(slot, worker, *worker.cause_of_death())
        kind, *rest = message
        if kind == "ready":
            self._failed_starts = 0
        elif kind == "moved" and worker.job is not None:
            tell(JobProgress(slot, worker.job, *rest))
        elif kind == "stop":
            raise rest[0]
        elif kind == "done":
            outcome: Outcome = rest[0]
            if outcome.status == "long":  # it will have all workers, when they have nothing else to do
                self._alone.append(replace(outcome.job, alone=True))
                tell(JobProgress(slot, None))
                return None
            if outcome.reason == "memory":  # its heap is what the job left: begin with a new one
                worker.kill()
                del self._workers[slot]
            return outcome
        return None

    def _watch(self, slot: int, worker: Worker) -> Outcome | None:
        """Hold a worker to its limits."""
        limits, now = self.limits, monotonic()
        if worker.job is None:
            if not worker.ready and now - worker.since > _START_S:
                return self._bury(slot, worker, "timeout", f"no worker was ready within {_START_S:g} s")
            return None
        if limits.memory_bytes and worker.memory_bytes() > limits.memory_bytes:
            size = f"{limits.memory_bytes / 1e9:.1f} GB"
            return self._bury(slot, worker, "memory", f"needed more than {size} of memory; --memory allows more")
        if limits.timeout_s and now - worker.since > limits.timeout_s:
            return self._bury(slot, worker, "timeout", f"not done after {limits.timeout_s:g} s; --timeout allows more")
        if limits.stall_s and now - worker.alive_at() > limits.stall_s:
            return self._bury(slot, worker, "stalled", f"no progress for {limits.stall_s:g} s; --stall allows more")
        return None

    def _bury(self, slot: int, worker: Worker, reason: str, message: str) -> Outcome | None:
        """End a worker; try its job again if that may help, else give the outcome."""
        worker.kill()
        del self._workers[slot]
        self.losses[reason] += 1
        job, taken_s = worker.job, monotonic() - worker.since
        if job is None:
            if not worker.ready:
                self._failed_starts += 1
            if self._failed_starts >= _START_TRIES:
                raise RunError(f"workers die before they are ready: {message}{worker.last_words()}")
            return None
        self._tried[job.name] = tried = self._tried.get(job.name, 0) + 1
        if tried <= _RETRIES[reason]:
            self._alone.append(job)
            return None
        again = f" (tried {tried} times)" if tried > 1 else ""
        return fail(job, reason, f"{job.path}: {message}{again}{worker.last_words()}", taken_s)
