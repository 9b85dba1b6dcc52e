"""The actor that runs on the nodes of a Ray cluster: one supervised worker process, and checks of the node."""

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

__all__ = ["FileMismatch", "RayWorker", "Setup", "capacity", "load_within"]

#: How often to check a file: a network file system may show a new one late.
_CHECKS, _PAUSE_S = 5, 1.0


@dataclass(frozen=True)
class Setup:
    """What the driver sends to every actor."""

    config: Config
    limits: Limits
    need: Mapping[str, float]
    """Ray resources per actor."""
    load: Callable[[Config], Any]
    work: Work
    token_path: Path | None
    """File in the folder of the results; None if there is no such folder."""
    token: str
    """Content of that file."""
    models: str
    """Fingerprint of the models on the driver."""
    folder: str
    """Working directory of the driver, for relative paths in the config."""
    version: str = __version__
    results_version: int = RESULTS_VERSION


@dataclass(frozen=True)
class FileMismatch:
    """A file does not have the same size on this node as on the driver."""

    found_bytes: int
    """Size on the node; 0 if the file does not exist."""
    node: str


def capacity(resources: Mapping[str, float], need: Mapping[str, float]) -> int:
    """Return how many actors fit on a node.

    Parameters
    ----------
    resources : mapping of str to float
        Ray resources of the node.
    need : mapping of str to float
        Ray resources per actor.

    Returns
    -------
    int
        Limited by the scarcest resource.
    """
    return min((int(resources.get(name, 0.0) / each + 1e-6) for name, each in need.items() if each), default=0)


def load_within(config: Config, *, load: Callable[[Config], Any], share: float) -> Any:
    """Load the models into a share of the GPU's memory. Ray schedules fractions of a GPU but does not enforce them.

    Parameters
    ----------
    config : Config
        Options of the pipeline.
    load : callable
        Loads the models.
    share : float
        Share of the GPU's memory, in 0..1.

    Returns
    -------
    Models
        What `load` returns.
    """
    from fervid.runtime.device import limit_memory

    limit_memory(share)
    return load(config)


class RayWorker:
    """A Ray actor with one supervised worker process, which loads the models once and runs job after job.

    The process belongs to a `LocalEngine`, so a video that kills, stalls or swells it fails here, on the node. If the
    actor itself is lost, no video is the cause.

    Parameters
    ----------
    setup : Setup
        From the driver.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._progress: JobProgress | None = None
        with suppress(OSError):
            os.chdir(setup.folder)
        gpus = setup.need.get("GPU", 0.0)
        if not gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the actor has reserved none
        load = functools.partial(load_within, load=setup.load, share=gpus) if 0 < gpus < 1 else setup.load
        limits = setup.limits
        if limits.memory_bytes is None:
            limits = replace(limits, memory_bytes=int(0.8 * machine_memory() / _actors_per_node(setup.need)))
        self._engine = LocalEngine(setup.config, 1, limits, load=load, work=setup.work)

    def check_node(self) -> str:
        """Check that the node has the same version, model and folder of the results as the driver.

        Returns
        -------
        str
            What differs, in a sentence; empty if nothing does.
        """
        setup, node = self._setup, _node()
        if (__version__, RESULTS_VERSION) != (setup.version, setup.results_version):
            return f"{node} has fervid {__version__}, the driver {setup.version}: install the same version everywhere"
        try:
            models = models_fingerprint(setup.config)
        except FervidError as e:
            return f"{node}: {e}; the weights must be at the same path on every node"
        if models != setup.models:
            return f"{node}: the weights {setup.config.weights} differ from the driver's; copy them to every node"
        if setup.token_path is not None and not _has_token(setup.token_path, setup.token):
            return (
                f"{node} does not see {setup.token_path.parent}: --out must be a shared folder with the same path on "
                "every node"
            )
        return ""

    def run(self, job: Job, is_checked: bool = False) -> Outcome | FervidError | FileMismatch:
        """Run a job.

        Parameters
        ----------
        job : Job
            With absolute paths.
        is_checked : bool
            Whether the driver has confirmed the size of the file.

        Returns
        -------
        Outcome or FervidError or FileMismatch
            An error that stops the run is returned, not raised, because every version of Ray can transfer a value.
        """
        if not is_checked and (found := _size_of(job)) != job.bytes:
            return FileMismatch(found, _node())
        self._progress = None
        try:
            return next(iter(self._engine.serve([job], self._set_progress)))
        except FervidError as e:
            return e
        except Exception:  # noqa: BLE001 - a bug of fervid: report the traceback to the driver
            return RunError(f"{_node()}: a worker failed; please report this:\n{traceback.format_exc()}")

    def progress(self) -> JobProgress | None:
        """Return the progress of the current job.

        Returns
        -------
        JobProgress or None
            None before the first report.
        """
        return self._progress

    def _set_progress(self, progress: JobProgress) -> None:
        self._progress = progress


def _actors_per_node(need: Mapping[str, float]) -> int:
    """Return how many actors share this node's memory at most."""
    here = ray.get_runtime_context().get_node_id()
    node: dict[str, Any] = next((one for one in ray.nodes() if one["NodeID"] == here), {})
    return max(1, capacity(node.get("Resources", {}), need))


def _node() -> str:
    return f"node {platform.node()}"


def _size_of(job: Job) -> int:
    for check in range(_CHECKS):
        if (found := stat_of(job.path)[0]) == job.bytes:
            break
        sleep(_PAUSE_S * (check < _CHECKS - 1))
    return found


def _has_token(path: Path, token: str) -> bool:
    for check in range(_CHECKS):
        with suppress(OSError, ValueError):
            if path.read_text("ascii") == token:
                return True
        sleep(_PAUSE_S * (check < _CHECKS - 1))
    return False
