"""Jobs and models that fail in a worker, as functions that a worker can import; a video fails by its name."""

import functools
import os
import signal
import time
from collections.abc import Callable

import fervid.cli
import fervid.jobs.local_engine
from fervid.config import Config
from fervid.errors import RunError, WeightsError
from fervid.jobs.job import Job, Outcome, run_job
from fervid.models import Models
from fervid.provenance import models_fingerprint
from fervid.types import Progress

__all__ = [
    "FakeEngine",
    "load_and_exit",
    "load_crashing_detector",
    "load_fakes",
    "load_missing_weights",
    "load_nothing",
    "main",
    "run_by_name",
]


def load_nothing(config: Config) -> None:
    """Load no models, for jobs that need none."""


def load_fakes(config: Config) -> Models:
    """Load fake models with the fingerprint of the models that the configuration names."""
    from tests.helpers.fakes import FakeClassifier, FakeDetector

    return Models(FakeDetector(), FakeClassifier(), "cpu", fingerprint=models_fingerprint(config))


def load_missing_weights(config: Config) -> Models:
    """Raise WeightsError."""
    raise WeightsError("x.safetensors: no such weights")


def load_and_exit(config: Config) -> Models:
    """Exit before the worker is ready."""
    os._exit(3)


def load_crashing_detector(config: Config) -> Models:
    """Load fake models with a detector that kills its process."""
    models = load_fakes(config)
    models.detector.detect = lambda *_: os._exit(9)  # type: ignore[method-assign]
    return models


def run_by_name(job: Job, config: Config, models: Models, on_progress: Callable[[Progress], None]) -> Outcome:
    """Fail as the name of the video says; otherwise process it, or report the process id if there are no models."""
    name = job.path.name
    if name.startswith("crash"):
        os._exit(9)
    if name.startswith("segfault"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if name.startswith("killed-once") and _first_time(f"{job.path}.mark"):
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("hang") or (name.startswith("slow-once") and _first_time(f"{job.path}.mark")):
        time.sleep(1000)
    if name.startswith("nap"):
        time.sleep(0.02)
    if name.startswith("creep"):
        for i in range(1000):
            on_progress(Progress(float(i), 1000.0, 0))
            time.sleep(0.05)
    if name.startswith("hog"):
        held = [bytearray(b"x" * 2**20) for _ in range(600)]
        time.sleep(1000 + len(held))
    if name.startswith("meet"):  # waits until another worker runs such a job at the same time
        (job.path.parent / f"{os.getpid()}.here").touch()
        while len(list(job.path.parent.glob("*.here"))) < 2:
            time.sleep(0.01)
    if name.startswith("full"):
        raise RunError("disk full")
    if name.startswith("bug"):
        raise ZeroDivisionError("a bug")
    if models is None:
        return Outcome(job, "ok", message=str(os.getpid()))
    return run_job(job, config, models, on_progress)


def _first_time(mark: str) -> bool:
    if os.path.exists(mark):  # noqa: PTH110
        return False
    os.close(os.open(mark, os.O_CREAT))
    return True


#: The local engine with fake models, for videos that fail by their names.
FakeEngine = functools.partial(fervid.jobs.local_engine.LocalEngine, load=load_fakes, work=run_by_name)


def main() -> None:
    """Run the command line with that engine, in a process of its own."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell has the tests ignore it
    fervid.jobs.local_engine.LocalEngine = FakeEngine
    fervid.cli.main()
