"""One long video on several workers: each finds the faces of some segments, and one process links them in order.

The segments follow from the file alone (video/segments.py), each sampled frame belongs to the segment of its frame, and
networks run on batches of one shape: so the result has the bytes of one worker that reads the whole video, whatever
the number of workers. Frames and crops stay in the worker that decoded them. It returns boxes and probabilities,
through a pipe, in memory.
"""

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fervid.config import Config
from fervid.emotions.classify import classify_faces
from fervid.errors import ConfigError, RunError
from fervid.jobs.engine import JobProgress, default_limits
from fervid.jobs.job import Job, Outcome, run_job
from fervid.jobs.local_engine import LocalEngine
from fervid.models import Models, load_models
from fervid.pipeline import find_faces
from fervid.types import FaceBatch, Progress
from fervid.video.open import sampling_of
from fervid.video.reader import Health, Reader, RestartNeeded
from fervid.video.sampling import KEYFRAME_GRID_S, SampledFrame, sample_frames
from fervid.video.segments import SEGMENT_S, WHOLE, NotSplittable, Segment, plan_segments

if TYPE_CHECKING:
    from fervid.video.readers.segment import SegmentReader

__all__ = ["LONG_S", "Shards", "choose_shards", "read_segment", "sample_around", "share_job"]

#: Shorter videos do not repay the start of several workers: with "auto", one worker reads them.
LONG_S = 600.0


@dataclass(frozen=True)
class SegmentJob(Job):
    """One segment of the video at `path`; nothing is written."""

    segment: Segment = WHOLE


@dataclass(frozen=True)
class SegmentOutcome(Outcome):
    """The faces of a segment, or the problem that requires one worker to read the whole video."""

    faces: tuple[FaceBatch, ...] = ()
    """Classified, without crops."""
    decoded: int = 0
    skipped: int = 0
    head: bytes = b""
    """Hash of the first frames."""
    tail: bytes = b""
    """Hash of the first frames after the segment."""
    end_s: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class Shards:
    """A pipeline.ShardingStrategy: one video on several workers of this machine.

    Parameters
    ----------
    workers : int
    least_s : float
        Shorter videos are read by one worker.
    on_progress : callable, optional
        Called with the Progress of all segments together.
    load : callable
        Loads the models in a worker; a function of a module that workers can import.
    segment_s : float
        Length of a segment.
    """

    workers: int
    least_s: float = 0.0
    on_progress: Callable[[Progress], None] | None = None
    load: Callable[[Config], Models] = load_models
    segment_s: float = SEGMENT_S

    def __call__(self, reader: Reader, config: Config) -> "_ShardedVideo":
        """Plan the segments of an open video.

        Parameters
        ----------
        reader : Reader
        config : Config

        Returns
        -------
        Source
            The faces of the video, classified.

        Raises
        ------
        NotSplittable
            If one worker has to read the video; the message is the reason.
        """
        from fervid.video.readers.segment import read_index

        video = reader.info
        if config.reader != "av":
            raise NotSplittable(f"reader {config.reader}")
        if config.start_s or config.end_s is not None:
            raise NotSplittable("only a range of it is processed")
        if config.persons:
            raise NotSplittable("persons are clustered over the whole video")
        if reader.health.clock != "timestamps":
            raise NotSplittable("its packets have no times of display")
        if reader.health.reasons:
            raise NotSplittable("it is damaged")
        if (video.duration_s or 0.0) < self.least_s:
            raise NotSplittable(f"shorter than {self.least_s:g} s")
        index, packets = read_index(video.path, video.stream, config.max_pixels)
        source = _ShardedVideo(reader, config, self, plan_segments(index, self.segment_s))
        source.health.packets = packets
        return source


def choose_shards(
    shards: int | str | None, workers: int, on_progress: Callable[[Progress], None] | None = None
) -> Shards | None:
    """Interpret the option `shards`.

    Parameters
    ----------
    shards : int or "auto", optional
        "auto" splits videos of LONG_S and more among all workers, a number any video among that many.
    workers : int
    on_progress : callable, optional
        As for Shards.

    Returns
    -------
    Shards or None
        None where one worker is to read the video.

    Raises
    ------
    ConfigError
        If the value is neither "auto" nor a number from 1.
    """
    if shards is None or shards == 1 or (shards == "auto" and workers == 1):
        return None
    if shards == "auto":
        return Shards(workers, LONG_S, on_progress)
    if not isinstance(shards, int) or shards < 1:
        raise ConfigError(f"shards = {shards!r}: expected auto, or a number of workers from 1")
    return Shards(shards, on_progress=on_progress)


def share_job(
    job: Job, config: Config, models: Models, on_progress: Callable[[Progress], None], *, shards: Shards
) -> Outcome:
    """Run a job of a batch as `run_job` does, but defer a long video until it has all workers.

    Parameters
    ----------
    job, config, models, on_progress
        As for `run_job`.
    shards : Shards

    Returns
    -------
    Outcome
        With the status "deferred" for a long video, unless the job is exclusive.

    Raises
    ------
    RunError
        As `run_job`.
    """
    from fervid.video.readers.segment import read_duration

    if not job.exclusive:
        if read_duration(job.path, config.max_pixels) >= max(shards.least_s, 2 * shards.segment_s):
            return Outcome(job, "deferred")
        return run_job(job, config, models, on_progress)
    return run_job(job, config, models, on_progress, sharding=replace(shards, on_progress=on_progress))


def read_segment(job: Job, config: Config, models: Models, on_progress: Callable[[Progress], None]) -> SegmentOutcome:
    """Find and classify the faces of one segment, in a worker.

    Parameters
    ----------
    job : SegmentJob
    config : Config
    models : Models
    on_progress : callable

    Returns
    -------
    SegmentOutcome
        With a `problem` if anything fails: one worker then reads the whole video, and reports what is wrong with it.

    Raises
    ------
    RunError
        If the run has to stop.
    """
    from fervid.runtime.allocator import tune_malloc
    from fervid.video.readers.segment import SegmentReader

    assert isinstance(job, SegmentJob)
    tune_malloc()
    try:
        file: dict[str, Any] = {"stream": config.stream, "max_pixels": config.max_pixels, "rotate": config.rotate}
        with SegmentReader(job.path, **file, sampling=sampling_of(config)) as reader:
            start_s, stop_s = reader.bounds_s(job.segment)
            found = find_faces(sample_around(reader, job.segment, config), reader.info, config, models)
            own = (batch.between(start_s, stop_s) for batch in found)
            faces = []
            for batch in classify_faces((batch for batch in own if len(batch.sampled_s)), models.classifier):
                faces.append(batch)
                on_progress(Progress(float(batch.sampled_s[-1]) - max(start_s, 0.0), None, len(batch)))
            if reader.health.reasons or reader.health.untimed:
                return SegmentOutcome(job, "failed", problem="it is damaged")
            return SegmentOutcome(
                job,
                "ok",
                faces=tuple(faces),
                decoded=reader.n_decoded,
                skipped=reader.n_skipped,
                head=reader.head,
                tail=reader.tail,
                end_s=reader.end_s or 0.0,
            )
    except RunError:
        raise
    except RestartNeeded:
        return SegmentOutcome(job, "failed", problem="it is damaged, or its timestamps are")
    except Exception as e:  # noqa: BLE001 - whatever it is, reading the whole video will report it
        return SegmentOutcome(job, "failed", problem=f"a segment failed ({type(e).__name__}: {e})")


def sample_around(reader: "SegmentReader", segment: Segment, config: Config) -> Iterator[SampledFrame]:
    """Sample a segment, and as much around it as the detector needs to find in it what it finds in the whole video.

    Adaptive detection searches keyframes; those at the ends of cells of KEYFRAME_GRID_S are keyframes in any case, so
    the samples begin and end at such cells.

    Parameters
    ----------
    reader : SegmentReader
    segment : Segment
    config : Config

    Yields
    ------
    SampledFrame
    """
    start_s, stop_s = reader.bounds_s(segment)
    cell_s = KEYFRAME_GRID_S if config.detection == "adaptive" else 1e-9
    samples, before_s = sample_frames(reader.frames_of(segment), config.fps), -math.inf
    for sample in samples:
        at_s = sample[1]
        if start_s == -math.inf or at_s // cell_s >= start_s // cell_s:
            yield sample
            if at_s >= stop_s and at_s // cell_s > before_s // cell_s:
                break
        before_s = at_s
    while not reader.tail_complete and next(samples, None):
        pass


class _ShardedVideo:
    """A pipeline.Source: the faces of a video whose segments are read by several workers."""

    def __init__(self, reader: Reader, config: Config, shards: Shards, segments: list[Segment]) -> None:
        self.info, self.health = reader.info, Health()
        self.end_s: float | None = None
        self._config, self._shards, self._segments = config, shards, segments
        self._done_s: dict[str, float] = {}

    def faces(self) -> Generator[FaceBatch]:
        """Have the segments read, and yield their faces in order; NotSplittable as soon as one of them has failed."""
        shards, end_s, tail = self._shards, 0.0, b""
        jobs = [SegmentJob(self.info.path, f"segment {s.number}", Path(), segment=s) for s in self._segments]
        size, limits = min(shards.workers, len(jobs)), default_limits(shards.workers)
        engine = LocalEngine(self._config, size, limits, load=shards.load, work=read_segment)
        names = [job.name for job in jobs]
        early: dict[int, SegmentOutcome] = {}
        next_number = 0
        # the last segment first: it shows whether the file is truncated
        with closing(engine.run([jobs[-1], *jobs[:-1]], self._report)) as outcomes:
            for outcome in outcomes:
                found = _checked(outcome)
                early[names.index(found.job.name)] = found
                while next_number in early:
                    segment = early.pop(next_number)
                    if next_number and segment.head != tail:
                        raise NotSplittable("its segments do not match: its keyframes are not independent")
                    tail, end_s, next_number = segment.tail, max(end_s, segment.end_s), next_number + 1
                    self.health.decoded += segment.decoded
                    self.health.skipped += segment.skipped
                    yield from segment.faces
        self.end_s = end_s

    def _report(self, progress: JobProgress) -> None:
        """Add up the progress of all segments."""
        if progress.job is None or self._shards.on_progress is None:
            return
        self._done_s[progress.job.name] = progress.done_s
        self._shards.on_progress(Progress(sum(self._done_s.values()), self.info.duration_s, 0))


def _checked(outcome: Outcome) -> SegmentOutcome:
    if not isinstance(outcome, SegmentOutcome):  # its worker died or was stopped
        raise NotSplittable(f"a segment failed ({outcome.message})")
    if outcome.problem:
        raise NotSplittable(outcome.problem)
    return outcome
