"""What runs on the nodes of a Ray cluster: an actor that holds one worker process, and knows a node that is unfit."""

import functools
import os
import platform
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import sleep
from typing import Any

import ray

from fervid._version import __version__
from fervid.config import Config
from fervid.errors import FervidError, RunError
from fervid.files import stat_of
from fervid.jobs.engine import JobProgress, Limits, machine_memory
from fervid.jobs.job import Job, Outcome
from fervid.jobs.local_engine import LocalEngine
from fervid.jobs.worker import Work
from fervid.provenance import RESULTS_VERSION, models_fingerprint

__all__ = ["RayWorker", "Setup", "Unseen", "fits", "load_within"]

#: A network file system may show what is new a little later.
_LOOKS, _PAUSE_S = 5, 1.0


@dataclass(frozen=True)
class Setup:
    """What an actor is told once. `token` stands in the file `mark`, which lies in the folder for the results."""

    config: Config
    limits: Limits
    need: Mapping[str, float]
    load: Callable[[Config], Any]
    work: Work
    mark: Path | None
    token: str
    models: str
    folder: str
    """Where the driver stands, for paths within the config."""
    version: str = __version__
    results_version: int = RESULTS_VERSION


@dataclass(frozen=True)
class Unseen:
    """A file is not on this node what it is for the driver: found_bytes, or 0 where there is none."""

    found_bytes: int
    node: str


def fits(resources: Mapping[str, float], need: Mapping[str, float]) -> int:
    """How many actors of this need a node has room for."""
    return min((int(resources.get(name, 0.0) / each + 1e-6) for name, each in need.items() if each), default=0)


def load_within(config: Config, *, load: Callable[[Config], Any], share: float) -> Any:
    """Load the models into a share of the GPU's memory: what Ray books as 0.5 of a GPU is not held to it by Ray."""
    from fervid.runtime.device import limit_memory

    limit_memory(share)
    return load(config)


class RayWorker:
    """An actor: one supervised worker process, which loads its models once and does job after job.

    The process is LocalEngine's: a video that kills, hangs or swells it is blamed here, on the node. Whatever ends this
    actor itself is Ray's doing, and blames nobody.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._moved: JobProgress | None = None
        with suppress(OSError):
            os.chdir(setup.folder)
        gpus = setup.need.get("GPU", 0.0)
        if not gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # what is not booked is not used
        load = functools.partial(load_within, load=setup.load, share=gpus) if 0 < gpus < 1 else setup.load
        limits = setup.limits
        if limits.memory_bytes is None:
            limits = replace(limits, memory_bytes=int(0.8 * machine_memory() / _room(setup.need)))
        self._engine = LocalEngine(setup.config, 1, limits, load=load, work=setup.work)

    def greet(self) -> str:
        """Say what makes this node unfit to do the same work as any other; "" if nothing does."""
        setup, node = self._setup, _node()
        if (__version__, RESULTS_VERSION) != (setup.version, setup.results_version):
            return f"{node} has fervid {__version__}, the driver {setup.version}: install the same on every node"
        try:
            models = models_fingerprint(setup.config)
        except FervidError as e:
            return f"{node}: {e}; weights must lie at the same path on every node"
        if models != setup.models:
            return f"{node}: the weights {setup.config.weights} are others than the driver's; copy them to every node"
        if setup.mark is not None and not _shows(setup.mark, setup.token):
            return (
                f"{node} does not see {setup.mark.parent}: --out must be one shared folder, at one path on every node"
            )
        return ""

    def do(self, job: Job, sure: bool = False) -> Outcome | FervidError | Unseen:
        """Do a job; an error that stops the run comes back as a value. `sure`: the driver sees what this node sees."""
        if not sure and (found := _bytes_of(job)) != job.bytes:
            return Unseen(found, _node())
        self._moved = None
        try:
            return next(iter(self._engine.serve([job], self._note)))
        except FervidError as e:
            return e
        except Exception:  # noqa: BLE001 - crosses to the driver as a value, which every Ray can carry
            return RunError(f"{_node()}: a worker failed; please report this:\n{traceback.format_exc()}")

    def news(self) -> JobProgress | None:
        """How far the job is."""
        return self._moved

    def _note(self, moved: JobProgress) -> None:
        self._moved = moved


def _room(need: Mapping[str, float]) -> int:
    """How many actors share this node's memory, if it is filled with them."""
    here = ray.get_runtime_context().get_node_id()
    node: dict[str, Any] = next((one for one in ray.nodes() if one["NodeID"] == here), {})
    return max(1, fits(node.get("Resources", {}), need))


def _node() -> str:
    return f"node {platform.node()}"


def _bytes_of(job: Job) -> int:
    for look in range(_LOOKS):
        if (found := stat_of(job.path)[0]) == job.bytes:
            break
        sleep(_PAUSE_S * (look < _LOOKS - 1))
    return found


def _shows(mark: Path, token: str) -> bool:
    for look in range(_LOOKS):
        with suppress(OSError, ValueError):
            if mark.read_text("ascii") == token:
                return True
        sleep(_PAUSE_S * (look < _LOOKS - 1))
    return False
