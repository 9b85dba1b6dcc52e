"""The local engine: worker processes on this machine, replaced when they crash, stall or exceed their memory."""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from multiprocessing.connection import wait
from time import monotonic

from fervid.config import Config
from fervid.errors import RunError
from fervid.jobs.engine import JobProgress, Limits, default_limits
from fervid.jobs.job import Job, Outcome, failed_outcome, run_job
from fervid.jobs.worker import Work, Worker
from fervid.models import Models, load_models

__all__ = ["LocalEngine"]

_TICK_S = 0.25
#: How often a job is retried, by the reason why its worker ended. A kill from outside is not the file's fault.
_RETRIES = {"timeout": 1, "stalled": 1, "crashed": 1, "killed": 5, "memory": 0}
_START_TIMEOUT_S, _MAX_FAILED_STARTS = 600.0, 3


class LocalEngine:
    """Run jobs in worker processes on this machine (an `Engine`).

    Each worker loads the models once and uses one thread. A worker that dies, stalls or exceeds a limit fails its own
    job only, and is replaced.

    Parameters
    ----------
    config : Config
        Options of the pipeline.
    workers : int
        How many processes to run.
    limits : Limits, optional
        Limits per job; by default an equal share of the memory.
    load : callable
        Loads the models in a worker. A function of a module that the worker can import.
    work : callable
        Runs one job in a worker. A function of a module that the worker can import.

    Attributes
    ----------
    losses : collections.Counter
        How many workers ended early, by reason. This exceeds the number of failed files, because jobs are retried.
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
        self.losses: Counter[str] = Counter()
        self._size, self._setup = workers, (config, load, work)
        self._workers: dict[int, Worker] = {}
        self._queue: deque[Job] = deque()
        self._exclusive: deque[Job] = deque()  # retried and deferred jobs, which run one at a time after all others
        self._attempts: Counter[str] = Counter()
        self._failed_starts = 0

    def run(self, jobs: Iterable[Job], on_progress: Callable[[JobProgress], None] | None = None) -> Generator[Outcome]:
        """Run jobs and yield each outcome. Parameters and errors are those of `Engine.run`."""
        try:
            yield from self.serve(jobs, on_progress)
        finally:
            self.close()

    def serve(
        self, jobs: Iterable[Job], on_progress: Callable[[JobProgress], None] | None = None
    ) -> Generator[Outcome]:
        """Run jobs as `run` does, but keep the workers for later jobs until `close`."""
        self._queue.extend(jobs)
        notify = on_progress or (lambda _: None)
        while self._queue or self._exclusive or any(worker.job for worker in self._workers.values()):
            self._ensure_workers()
            self._assign_jobs()
            ready = wait([worker.pipe for worker in self._workers.values()], _TICK_S)
            for slot, worker in list(self._workers.items()):
                outcome = self._handle_message(slot, worker, notify) if worker.pipe in ready else None
                if outcome is None and self._workers.get(slot) is worker:
                    outcome = self._check_limits(slot, worker)
                if outcome is not None:
                    notify(JobProgress(slot, None))
                    self._assign_jobs()  # the next job starts while the caller records this one
                    yield outcome

    def close(self) -> None:
        """Kill all workers and discard the remaining jobs."""
        self._queue.clear()
        self._exclusive.clear()
        for worker in self._workers.values():
            worker.kill()
        self._workers.clear()

    def _ensure_workers(self) -> None:
        """Start workers until there is one for each waiting job, or all slots are in use."""
        waiting = len(self._queue) + min(1, len(self._exclusive))
        idle = sum(worker.job is None for worker in self._workers.values())
        for slot in range(self._size):
            if slot not in self._workers and idle < waiting:
                self._workers[slot] = self._start_worker()
                idle += 1

    def _start_worker(self) -> Worker:
        try:
            return Worker(*self._setup)
        except OSError as e:
            raise RunError(f"cannot start a worker ({e.strerror}); try fewer --workers, or close other programs") from e

    def _assign_jobs(self) -> None:
        """Give jobs to idle workers; exclusive jobs come last, one at a time."""
        for worker in self._workers.values():
            if not worker.ready or worker.job is not None:
                continue
            if self._queue:
                worker.start_job(self._queue.popleft())
            elif self._exclusive and not any(other.job for other in self._workers.values()):
                worker.start_job(self._exclusive.popleft())

    def _handle_message(self, slot: int, worker: Worker, notify: Callable[[JobProgress], None]) -> Outcome | None:
        """Process one message of a worker, or its death."""
        message = worker.receive()
        if message is None:
            return self._handle_worker_death(slot, worker, *worker.cause_of_death())
        kind, *content = message
        if kind == "ready":
            self._failed_starts = 0
        elif kind == "progress" and worker.job is not None:
            notify(JobProgress(slot, worker.job, *content))
        elif kind == "error":
            raise content[0]
        elif kind == "done":
            outcome: Outcome = content[0]
            if outcome.status == "deferred":  # it gets all workers once no other job is left
                self._exclusive.append(replace(outcome.job, exclusive=True))
                notify(JobProgress(slot, None))
                return None
            if outcome.reason == "memory":  # the job has left a large heap: continue with a new process
                worker.kill()
                del self._workers[slot]
            return outcome
        return None

    def _check_limits(self, slot: int, worker: Worker) -> Outcome | None:
        """End a worker that exceeds a limit."""
        limits, now = self.limits, monotonic()
        if worker.job is None:
            if not worker.ready and now - worker.since > _START_TIMEOUT_S:
                message = f"a worker was not ready within {_START_TIMEOUT_S:g} s"
                return self._handle_worker_death(slot, worker, "timeout", message)
            return None
        if limits.memory_bytes and worker.memory_bytes() > limits.memory_bytes:
            message = f"needs more than {limits.memory_bytes / 1e9:.1f} GB of memory; --memory allows more"
            return self._handle_worker_death(slot, worker, "memory", message)
        if limits.timeout_s and now - worker.since > limits.timeout_s:
            message = f"not finished after {limits.timeout_s:g} s; --timeout allows more"
            return self._handle_worker_death(slot, worker, "timeout", message)
        if limits.stall_s and now - worker.last_progress_at() > limits.stall_s:
            message = f"no progress for {limits.stall_s:g} s; --stall allows more"
            return self._handle_worker_death(slot, worker, "stalled", message)
        return None

    def _handle_worker_death(self, slot: int, worker: Worker, reason: str, message: str) -> Outcome | None:
        """End a worker, and either retry its job or return the failed outcome."""
        worker.kill()
        del self._workers[slot]
        self.losses[reason] += 1
        job, taken_s = worker.job, monotonic() - worker.since
        if job is None:
            if not worker.ready:
                self._failed_starts += 1
            if self._failed_starts >= _MAX_FAILED_STARTS:
                raise RunError(f"workers die before they are ready: {message}{worker.stderr_tail()}")
            return None
        self._attempts[job.name] += 1
        attempts = self._attempts[job.name]
        if attempts <= _RETRIES[reason]:
            self._exclusive.append(job)
            return None
        retried = f" (tried {attempts} times)" if attempts > 1 else ""
        return failed_outcome(job, reason, f"{job.path}: {message}{retried}{worker.stderr_tail()}", taken_s)
