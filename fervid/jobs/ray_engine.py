"""The engine of a Ray cluster: actors, each with one supervised worker process, wherever the cluster has room.

No frame and no reading enters Ray's object store: a job goes out, an outcome comes back, and the timeline is written by
the node that made it, onto a file system that all nodes share. A file is blamed by its own worker process only (see
ray_actor.py). When an actor or a node is lost, its job is begun anew elsewhere, and blames nobody.
"""

import logging
import os
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from fervid.config import Config
from fervid.errors import ConfigError, FervidError, MissingDependency, RunError
from fervid.files import remove_temporaries, stat_of, temporary_path
from fervid.jobs.engine import JobProgress, Limits
from fervid.jobs.job import Job, Outcome
from fervid.jobs.ray_actor import RayWorker, Setup, Unseen, fits
from fervid.jobs.worker import Work
from fervid.networks.weights import model_fingerprint

__all__ = ["RayEngine"]

_TICK_S, _NEWS_S, _LOOK_S = 0.25, 1.0, 2.0
_WORKER_BYTES = 1.5e9
#: How long a cluster may be without a node that has room, while an autoscaler may be starting some.
_PATIENCE_S = 300.0
#: Sanity: so often one job may lose its node, and actors in a row may fail to start.
_LOSSES, _START_TRIES = 20, 5
_STOP_S = 10.0


@dataclass
class _Slot:
    """An actor, and what was asked of it and is not answered yet."""

    hand: Any
    greeting: Any
    job: Job | None = None
    doing: Any = None
    news: Any = None

    @property
    def asked(self) -> list:
        return [ref for ref in (self.greeting, self.doing, self.news) if ref is not None]


class RayEngine:
    """An Engine (see engine.py) over a Ray cluster; `workers` actors, or as many as there is room for at any time.

    address: "auto" (a cluster that this machine belongs to), "local" (one that lives as long as the run), or HOST:PORT.
    out: the folder for the results; every node has to see it, and the inputs, at the same paths.
    gpus_per_worker: what Ray books of a GPU; a fraction is also the share of its memory that a worker may have.
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
            raise ConfigError(f"--device {config.device}: Ray chooses the GPU; name cuda, and --gpus-per-worker")
        gpus = gpus_per_worker if gpus_per_worker is not None else float(config.device == "cuda")
        self._need = {"CPU": 1.0, "memory": _WORKER_BYTES} | ({"GPU": gpus} if gpus else {})
        self._limits, self._load, self._work, self._config = limits, load, work, config
        self._workers, self._address, self._out, self._patience_s = workers, address, out, patience_s
        self._queue: deque[Job] = deque()
        self._slots: dict[int, _Slot] = {}
        self._lost: dict[str, int] = {}
        self._next = self._failed_starts = 0
        self._looked = self._heard = -_LOOK_S
        self._roomy = monotonic()

    def run(self, jobs: Iterable[Job], on_progress: Callable[[JobProgress], None] | None = None) -> Generator[Outcome]:
        """Yield the outcome of each job as it comes; see Engine."""
        self._queue.extend(jobs)
        if not self._queue:
            return
        tell = on_progress or (lambda _: None)
        with _connected(self._address), _marked(self._out) as (mark, token):
            setup = Setup(
                self._config,
                self._limits,
                self._need,
                self._load,
                self._work,
                mark,
                token,
                model_fingerprint(self._config.weights),
                os.getcwd(),  # noqa: PTH109
            )
            try:
                while self._queue or any(slot.job for slot in self._slots.values()):
                    self._staff(setup)
                    self._hand_out()
                    self._ask()
                    for number, ref in self._answers():
                        outcome = self._listen(number, ref, tell) if number in self._slots else None
                        if outcome is not None:
                            tell(JobProgress(number, None))
                            yield outcome
            finally:
                self._dismiss()

    def _staff(self, setup: Setup) -> None:
        """Keep as many actors as there is work and room for. RunError if no node has had room for long."""
        if monotonic() - self._looked < _LOOK_S:
            return
        self._looked = monotonic()
        room = sum(fits(node["Resources"], self._need) for node in ray.nodes() if node["Alive"])
        if room or any(slot.job for slot in self._slots.values()):
            self._roomy = monotonic()
        elif monotonic() - self._roomy > self._patience_s:
            need = ", ".join(f"{each:g} {name}" for name, each in self._need.items())
            raise RunError(
                f"the Ray cluster {self._address} has no node that can run a worker ({need}), for "
                f"{self._patience_s:g} s; finished videos are kept: mend the cluster and run again"
            )
        busy = sum(slot.job is not None for slot in self._slots.values())
        wanted = min(self._workers or max(1, room), len(self._queue) + busy)
        options = {"num_cpus": self._need["CPU"], "memory": self._need["memory"], "num_gpus": self._need.get("GPU", 0)}
        for _ in range(wanted - len(self._slots)):
            hand: Any = ray.remote(RayWorker).options(max_concurrency=2, max_restarts=0, **options).remote(setup)
            self._slots[self._next] = _Slot(hand, hand.greet.remote())
            self._next += 1

    def _hand_out(self) -> None:
        for slot in self._slots.values():
            if self._queue and slot.greeting is None and slot.job is None:
                slot.job = self._queue.popleft()
                slot.doing = slot.hand.do.remote(_anywhere(slot.job))

    def _ask(self) -> None:
        """Ask how far the jobs are, once a second."""
        if monotonic() - self._heard < _NEWS_S:
            return
        self._heard = monotonic()
        for slot in self._slots.values():
            if slot.job is not None and slot.news is None:
                slot.news = slot.hand.news.remote()

    def _answers(self) -> Iterator[tuple[int, Any]]:
        """Wait a moment, and give what was answered, with the number of its slot."""
        owner = {ref: number for number, slot in self._slots.items() for ref in slot.asked}
        if not owner:
            sleep(_TICK_S)
            return
        ray.wait(list(owner), timeout=_TICK_S)
        ready, _ = ray.wait(list(owner), num_returns=len(owner), timeout=0)
        yield from ((owner[ref], ref) for ref in ready)

    def _listen(self, number: int, ref: Any, tell: Callable[[JobProgress], None]) -> Outcome | None:
        """Take one answer, or the loss of the actor."""
        slot = self._slots[number]
        try:
            answer = ray.get(ref)
        except RayTaskError as e:
            raise RunError(f"a Ray actor failed; is fervid installed on every node?\n{e}") from None
        except RayError as e:
            self._lose(number, e)
            return None
        if ref == slot.greeting:
            slot.greeting, self._failed_starts = None, 0
            if answer:
                raise RunError(answer)
        elif ref == slot.news:
            slot.news = None
            if answer is not None and slot.job is not None and answer.job == _anywhere(slot.job):
                tell(JobProgress(number, slot.job, answer.done_s, answer.end_s))
        elif isinstance(answer, FervidError):
            raise answer
        elif isinstance(answer, Unseen):
            self._compare(slot, answer)
        elif slot.job is not None:
            job, slot.job, slot.doing = slot.job, None, None
            message = answer.message.replace(str(answer.job.path), str(job.path))
            return replace(answer, job=job, message=message)
        return None

    def _compare(self, slot: _Slot, unseen: Unseen) -> None:
        """A file that is not what it was: gone or changed for all is its own affair, for one node is the cluster's."""
        job = slot.job
        assert job is not None
        here = stat_of(job.path)[0]
        if here != unseen.found_bytes:
            found = f"{unseen.found_bytes} bytes" if unseen.found_bytes else "nothing"
            raise RunError(
                f"{job.path}: {unseen.node} finds {found} there, the driver {here} bytes; inputs must lie at the same "
                "path on every node, on a file system that they share"
            )
        slot.doing = slot.hand.do.remote(_anywhere(job), sure=True)

    def _lose(self, number: int, error: RayError) -> None:
        """An actor or its node is gone: nobody's fault, the job is the next to be begun."""
        slot = self._slots.pop(number)
        with suppress(RayError, ValueError):
            ray.kill(slot.hand)
        if slot.greeting is not None:
            self._failed_starts += 1
            if self._failed_starts >= _START_TRIES:
                raise RunError(f"Ray actors die before they are ready: {error}")
        if slot.job is not None:
            self._lost[slot.job.name] = lost = self._lost.get(slot.job.name, 0) + 1
            if lost >= _LOSSES:
                raise RunError(f"{slot.job.path}: its Ray actor was lost {lost} times; the last time: {error}")
            remove_temporaries(slot.job.out)
            self._queue.appendleft(slot.job)
        self._looked = -_LOOK_S

    def _dismiss(self) -> None:
        """End all actors, and remove what they were writing; their processes die with them."""
        for slot in self._slots.values():
            with suppress(RayError, ValueError):
                ray.kill(slot.hand)
        doing = [slot.doing for slot in self._slots.values() if slot.doing is not None]
        with suppress(RayError, ValueError):
            if doing:
                ray.wait(doing, num_returns=len(doing), timeout=_STOP_S)
        for slot in self._slots.values():
            if slot.job is not None:
                remove_temporaries(slot.job.out)
        self._slots.clear()
        self._queue.clear()


def _anywhere(job: Job) -> Job:
    """The job with paths that do not depend on where a process stands."""
    return replace(job, path=job.path.absolute(), out=job.out.absolute())


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """Join a cluster, or start one without dashboard that reports to nobody; one that is joined already is kept."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns in the middle of the bars
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 100 * 2**20} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except ImportError as e:
        raise MissingDependency(f"--address {address} needs {e.name}: pip install 'fervid[ray]'") from None
    except (ConnectionError, RuntimeError, ValueError, OSError) as e:
        raise ConfigError(
            f"--address {address}: no Ray cluster there ({str(e).splitlines()[0]}); expected auto, local or "
            "HOST:PORT; `ray start --head` starts one"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _marked(out: Path | None) -> Iterator[tuple[Path | None, str]]:
    """Leave a token in the folder for the results, by which a node can tell that it sees the same folder."""
    token = uuid.uuid4().hex
    if out is None:
        yield None, token
        return
    mark = temporary_path(out.absolute() / "shared")
    mark.write_text(token, "ascii")
    try:
        yield mark, token
    finally:
        mark.unlink(missing_ok=True)
