"""What goes wrong in workers, as functions that a worker can import: a job's name says what its video does."""

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
from fervid.pipeline import Models
from fervid.provenance import models_fingerprint
from fervid.types import Progress


def load_nothing(config: Config) -> None:
    """Models for jobs that need none."""


def load_fakes(config: Config) -> Models:
    """The fake models, which pass for those that the configuration names."""
    from tests.helpers.fakes import FakeClassifier, FakeDetector

    return Models(FakeDetector(), FakeClassifier(), "cpu", fingerprint=models_fingerprint(config))


def load_badly(config: Config) -> Models:
    """Weights that are not there."""
    raise WeightsError("x.safetensors: no such weights")


def load_to_death(config: Config) -> Models:
    """A worker that never gets ready."""
    os._exit(3)


def load_to_crash(config: Config) -> Models:
    """The fake models, with a detector that kills its process."""
    models = load_fakes(config)
    models.detector.detect = lambda *_: os._exit(9)  # type: ignore[method-assign]
    return models


def act(job: Job, config: Config, models: Models, on_progress: Callable[[Progress], None]) -> Outcome:
    """Do what the job's name says; without a poison in it, tell the process id, or process the video."""
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
    if name.startswith("meet"):  # waits for another of its kind, at the same time in another worker
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


#: The local engine with fake models, for videos that act by their names.
FakeEngine = functools.partial(fervid.jobs.local_engine.LocalEngine, load=load_fakes, work=act)


def main() -> None:
    """The command line with that engine, in a process of its own."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests in the background ignores it
    fervid.jobs.local_engine.LocalEngine = FakeEngine
    fervid.cli.main()
