"""The Ray engine: actors on a cluster, each with one supervised worker process, wherever there is capacity.

Neither frames nor readings enter Ray's object store: the driver sends a job and receives an outcome, and the node that
processes a video writes its timeline to a file system that all nodes share. Only its own worker process can fail a
video (see ray_actor.py); if an actor or a node is lost, its job starts over elsewhere.
"""

import logging
import os
import uuid
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from fervid.config import Config
from fervid.errors import ConfigError, FervidError, MissingDependency, RunError, install_extra
from fervid.files import remove_temporaries, stat_of, temporary_path
from fervid.jobs.engine import JobProgress, Limits
from fervid.jobs.job import Job, Outcome
from fervid.jobs.ray_actor import FileMismatch, RayWorker, Setup, capacity
from fervid.jobs.worker import Work
from fervid.provenance import models_fingerprint

__all__ = ["RayEngine"]

_TICK_S, _PROGRESS_INTERVAL_S, _CLUSTER_INTERVAL_S = 0.25, 1.0, 2.0
_WORKER_BYTES = 1.5e9
#: How long a cluster may lack a node with capacity; an autoscaler may be starting one.
_PATIENCE_S = 300.0
#: How often one job may lose its actor, and how many actors in a row may fail to start.
_MAX_LOSSES, _MAX_FAILED_STARTS = 20, 5
_STOP_TIMEOUT_S = 10.0


@dataclass
class _Slot:
    """An actor and its pending calls."""

    actor: Any
    node_check: Any
    job: Job | None = None
    outcome: Any = None
    progress: Any = None

    @property
    def pending(self) -> list:
        return [ref for ref in (self.node_check, self.outcome, self.progress) if ref is not None]


class RayEngine:
    """Run jobs on a Ray cluster (an `Engine`).

    Parameters
    ----------
    config : Config
        Options of the pipeline.
    workers : int or None
        How many actors to run; None uses the capacity of the cluster at any time.
    limits : Limits
        Limits per job.
    load : callable
        Loads the models in a worker process.
    work : callable
        Runs one job in a worker process.
    address : str
        "auto" for the cluster that this machine belongs to, "local" for one that lasts as long as the run, or
        HOST:PORT.
    out : Path, optional
        Folder of the results. Every node must see it, and the inputs, at the same paths.
    gpus_per_worker : float, optional
        GPUs that Ray reserves per actor. A fraction also limits the share of the GPU's memory.
    patience_s : float
        Seconds to wait for a node with capacity.

    Raises
    ------
    ConfigError
        If the config names one GPU of several: Ray assigns GPUs.
    """

    def __init__(
        self,
        config: Config,
        workers: int | None,
        limits: Limits,
        *,
        load: Callable[[Config], Any],
        work: Work,
        address: str = "auto",
        out: Path | None = None,
        gpus_per_worker: float | None = None,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        if config.device.startswith("cuda:"):
            raise ConfigError(
                f"--device {config.device}: Ray assigns the GPUs; use --device cuda with --gpus-per-worker"
            )
        gpus = gpus_per_worker if gpus_per_worker is not None else float(config.device == "cuda")
        self._need = {"CPU": 1.0, "memory": _WORKER_BYTES} | ({"GPU": gpus} if gpus else {})
        self._limits, self._load, self._work, self._config = limits, load, work, config
        self._workers, self._address, self._out, self._patience_s = workers, address, out, patience_s
        self._queue: deque[Job] = deque()
        self._slots: dict[int, _Slot] = {}
        self._losses: Counter[str] = Counter()
        self._next_slot = self._failed_starts = 0
        self._cluster_checked_at = self._progress_requested_at = -_CLUSTER_INTERVAL_S
        self._had_capacity_at = monotonic()

    def run(self, jobs: Iterable[Job], on_progress: Callable[[JobProgress], None] | None = None) -> Generator[Outcome]:
        """Run jobs and yield each outcome, as `Engine.run` does. ConfigError if there is no cluster at the address."""
        self._queue.extend(jobs)
        if not self._queue:
            return
        notify = on_progress or (lambda _: None)
        with _connect(self._address), _shared_token(self._out) as (token_path, token):
            setup = Setup(
                self._config,
                self._limits,
                self._need,
                self._load,
                self._work,
                token_path,
                token,
                models_fingerprint(self._config),
                os.getcwd(),  # noqa: PTH109
            )
            try:
                while self._queue or any(slot.job for slot in self._slots.values()):
                    self._ensure_actors(setup)
                    self._assign_jobs()
                    self._request_progress()
                    for number, ref in self._wait():
                        outcome = self._handle_result(number, ref, notify) if number in self._slots else None
                        if outcome is not None:
                            notify(JobProgress(number, None))
                            yield outcome
            finally:
                self._stop()

    def _ensure_actors(self, setup: Setup) -> None:
        """Start actors for the waiting jobs, as far as there is capacity."""
        if monotonic() - self._cluster_checked_at < _CLUSTER_INTERVAL_S:
            return
        self._cluster_checked_at = monotonic()
        available = sum(capacity(node["Resources"], self._need) for node in ray.nodes() if node["Alive"])
        if available or any(slot.job for slot in self._slots.values()):
            self._had_capacity_at = monotonic()
        elif monotonic() - self._had_capacity_at > self._patience_s:
            need = ", ".join(f"{each:g} {name}" for name, each in self._need.items())
            raise RunError(
                f"the Ray cluster {self._address} has had no node that can run a worker ({need}) for "
                f"{self._patience_s:g} s; finished videos are kept: fix the cluster, then rerun"
            )
        busy = sum(slot.job is not None for slot in self._slots.values())
        wanted = min(self._workers or max(1, available), len(self._queue) + busy)
        resources = {
            "num_cpus": self._need["CPU"],
            "memory": self._need["memory"],
            "num_gpus": self._need.get("GPU", 0),
        }
        for _ in range(wanted - len(self._slots)):
            actor: Any = ray.remote(RayWorker).options(max_concurrency=2, max_restarts=0, **resources).remote(setup)
            self._slots[self._next_slot] = _Slot(actor, actor.check_node.remote())
            self._next_slot += 1

    def _assign_jobs(self) -> None:
        for slot in self._slots.values():
            if self._queue and slot.node_check is None and slot.job is None:
                slot.job = self._queue.popleft()
                slot.outcome = slot.actor.run.remote(_with_absolute_paths(slot.job))

    def _request_progress(self) -> None:
        """Request the progress of every job, once per second."""
        if monotonic() - self._progress_requested_at < _PROGRESS_INTERVAL_S:
            return
        self._progress_requested_at = monotonic()
        for slot in self._slots.values():
            if slot.job is not None and slot.progress is None:
                slot.progress = slot.actor.progress.remote()

    def _wait(self) -> Iterator[tuple[int, Any]]:
        """Wait for a moment, and yield the finished calls with the numbers of their slots."""
        owner = {ref: number for number, slot in self._slots.items() for ref in slot.pending}
        if not owner:
            sleep(_TICK_S)
            return
        ray.wait(list(owner), timeout=_TICK_S)
        ready, _ = ray.wait(list(owner), num_returns=len(owner), timeout=0)
        yield from ((owner[ref], ref) for ref in ready)

    def _handle_result(self, number: int, ref: Any, notify: Callable[[JobProgress], None]) -> Outcome | None:
        """Process the result of one call, or the loss of the actor."""
        slot = self._slots[number]
        try:
            result = ray.get(ref)
        except RayTaskError as e:
            raise RunError(f"a Ray actor failed; is fervid installed on every node?\n{e}") from None
        except RayError as e:
            self._handle_actor_loss(number, e)
            return None
        if ref == slot.node_check:
            slot.node_check, self._failed_starts = None, 0
            if result:
                raise RunError(result)
        elif ref == slot.progress:
            slot.progress = None
            if result is not None and slot.job is not None and result.job == _with_absolute_paths(slot.job):
                notify(JobProgress(number, slot.job, result.done_s, result.end_s))
        elif isinstance(result, FervidError):
            raise result
        elif isinstance(result, FileMismatch):
            self._handle_mismatch(slot, result)
        elif slot.job is not None:
            job, slot.job, slot.outcome = slot.job, None, None
            message = result.message.replace(str(result.job.path), str(job.path))
            return replace(result, job=job, message=message)
        return None

    def _handle_mismatch(self, slot: _Slot, mismatch: FileMismatch) -> None:
        """Run the job if the driver sees the changed file too; otherwise the node does not see the same file system."""
        job = slot.job
        assert job is not None
        here = stat_of(job.path)[0]
        if here != mismatch.found_bytes:
            found = f"{mismatch.found_bytes} bytes" if mismatch.found_bytes else "nothing"
            raise RunError(
                f"{job.path}: {mismatch.node} finds {found} there, the driver {here} bytes; inputs must be at the same "
                "path on every node, on a shared file system"
            )
        slot.outcome = slot.actor.run.remote(_with_absolute_paths(job), is_checked=True)

    def _handle_actor_loss(self, number: int, error: RayError) -> None:
        """Put the job of a lost actor at the front of the queue."""
        slot = self._slots.pop(number)
        with suppress(RayError, ValueError):
            ray.kill(slot.actor)
        if slot.node_check is not None:
            self._failed_starts += 1
            if self._failed_starts >= _MAX_FAILED_STARTS:
                raise RunError(f"Ray actors die before they are ready: {error}")
        if slot.job is not None:
            self._losses[slot.job.name] += 1
            if self._losses[slot.job.name] >= _MAX_LOSSES:
                raise RunError(f"{slot.job.path}: lost its Ray actor {_MAX_LOSSES} times, the last time by: {error}")
            remove_temporaries(slot.job.out)
            self._queue.appendleft(slot.job)
        self._cluster_checked_at = -_CLUSTER_INTERVAL_S

    def _stop(self) -> None:
        """Kill all actors, whose worker processes die with them, and remove their temporary files."""
        for slot in self._slots.values():
            with suppress(RayError, ValueError):
                ray.kill(slot.actor)
        running = [slot.outcome for slot in self._slots.values() if slot.outcome is not None]
        with suppress(RayError, ValueError):
            if running:
                ray.wait(running, num_returns=len(running), timeout=_STOP_TIMEOUT_S)
        for slot in self._slots.values():
            if slot.job is not None:
                remove_temporaries(slot.job.out)
        self._slots.clear()
        self._queue.clear()


def _with_absolute_paths(job: Job) -> Job:
    return replace(job, path=job.path.absolute(), out=job.out.absolute())


@contextmanager
def _connect(address: str) -> Iterator[None]:
    """Join a cluster, or start one without a dashboard and without usage reports; an existing connection is kept."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # prevents a warning amid the progress bars
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 100 * 2**20} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except ImportError as e:
        raise MissingDependency(f"--address {address} needs {e.name}: {install_extra('ray')}") from None
    except (ConnectionError, RuntimeError, ValueError, OSError) as e:
        raise ConfigError(
            f"--address {address}: cannot connect to a Ray cluster ({str(e).splitlines()[0]}); expected auto, local or "
            "HOST:PORT; `ray start --head` starts a cluster"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _shared_token(out: Path | None) -> Iterator[tuple[Path | None, str]]:
    """Write a token into the folder of the results, by which nodes check that they see the same folder."""
    token = uuid.uuid4().hex
    if out is None:
        yield None, token
        return
    path = temporary_path(out.absolute() / "shared")
    path.write_text(token, "ascii")
    try:
        yield path, token
    finally:
        path.unlink(missing_ok=True)
