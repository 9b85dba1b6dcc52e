"""An engine without worker processes."""

from collections.abc import Callable, Iterable, Iterator

from fervid.config import Config
from fervid.jobs.job import Job, Outcome, run_job
from fervid.models import Models
from tests.helpers.failing_jobs import load_fakes

__all__ = ["InProcessEngine"]


class InProcessEngine:
    """Runs jobs in this process, one after another.

    Parameters
    ----------
    config : Config
        Options of the pipeline.
    *ignored : object
        What LocalEngine takes in these places.
    load : callable
        Loads the models.
    interrupt_after : int, optional
        Number of jobs after which KeyboardInterrupt is raised.

    Attributes
    ----------
    names : list of str
        Names of the jobs that were run.
    """

    def __init__(
        self,
        config: Config,
        *ignored: object,
        load: Callable[[Config], Models] = load_fakes,
        interrupt_after: int | None = None,
    ) -> None:
        self.names: list[str] = []
        self._config, self._load, self._interrupt_after = config, load, interrupt_after

    def run(self, jobs: Iterable[Job], on_progress: object = None) -> Iterator[Outcome]:
        """Run the jobs and yield their outcomes."""
        models = self._load(self._config)
        for job in jobs:
            if len(self.names) == self._interrupt_after:
                raise KeyboardInterrupt
            self.names.append(job.name)
            yield run_job(job, self._config, models)
