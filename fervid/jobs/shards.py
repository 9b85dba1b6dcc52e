"""One long video over several workers: its pieces are looked at apart, and followed through in order, in one place.

The pieces come from the file alone (pieces.py), each look belongs to the piece of its frame, and networks see batches
of one shape: so one, two and many workers give the bytes that one worker gives who reads the video whole. Frames and
faces stay in the worker that decoded them. It gives back looks, boxes and probabilities, through a pipe, in memory.
"""

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fervid.config import Config
from fervid.emotions.classify import Classifier
from fervid.errors import ConfigError, RunError
from fervid.jobs.engine import JobProgress, default_limits
from fervid.jobs.job import Job, Outcome, run_job
from fervid.jobs.local_engine import LocalEngine
from fervid.models import Models, load_models
from fervid.pipeline import find_faces
from fervid.types import FaceBatch, Progress, concatenate
from fervid.video.open import sampling_of
from fervid.video.reader import Health, Reader, RestartNeeded
from fervid.video.sampling import KEYFRAME_GRID_S, SampledFrame, sample_frames
from fervid.video.segments import SEGMENT_S, WHOLE, NotSplittable, Segment, plan_segments

if TYPE_CHECKING:
    from fervid.video.readers.segment import SegmentReader

__all__ = [
    "LONG_S",
    "PrecomputedClassifier",
    "Shards",
    "answer",
    "around",
    "choose_shards",
    "read_segment",
    "share_job",
]


#: Shorter videos are not worth the start of several workers: "auto" has one worker read them.
LONG_S = 600.0


@dataclass(frozen=True)
class SegmentJob(Job):
    """A piece of the video at `path`; nothing is written."""

    piece: Segment = WHOLE


@dataclass(frozen=True)
class SegmentOutcome(Outcome):
    """What was found in a piece: `faces`, whose crops hold probabilities (see Recalled), or `problem`."""

    faces: tuple[FaceBatch, ...] = ()
    own: int = 0
    left_out: int = 0
    head: bytes = b""
    tail: bytes = b""
    end_s: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class Shards:
    """How to spread one video (a source.Spread): over so many workers; on_progress hears of all pieces together."""

    workers: int
    least_s: float = 0.0
    on_progress: Callable[[Progress], None] | None = None
    load: Callable[[Config], Models] = load_models
    piece_s: float = SEGMENT_S

    def __call__(self, reader: Reader, config: Config, models: Models) -> "tuple[_Pieces, Models]":
        """Plan the pieces of an open video -> the source of its faces, and the models that remember them."""
        from fervid.video.readers.segment import read_index

        video = reader.info
        if config.reader != "av":
            raise NotSplittable(f"reader {config.reader}")
        if config.start_s or config.end_s is not None:
            raise NotSplittable("a part of it only")
        if config.persons:
            raise NotSplittable("persons are told apart in one place")
        if reader.health.reasons:
            raise NotSplittable("it is damaged")
        if (video.duration_s or 0.0) < self.least_s:
            raise NotSplittable(f"shorter than {self.least_s:g} s")
        index, packets = read_index(video.path, video.stream, config.max_pixels)
        source = _Pieces(reader, config, self, plan_segments(index, self.piece_s))
        source.health.packets = packets
        return source, replace(models, classifier=PrecomputedClassifier(models.classifier))


def choose_shards(
    asked: int | str | None, workers: int, on_progress: Callable[[Progress], None] | None = None
) -> Shards | None:
    """What `--shards` means: "auto" spreads videos of LONG_S and more over `workers`, a number any over so many."""
    if asked is None or asked == 1 or (asked == "auto" and workers == 1):
        return None
    if asked == "auto":
        return Shards(workers, LONG_S, on_progress)
    if not isinstance(asked, int) or asked < 1:
        raise ConfigError(f"shards = {asked!r}: expected auto, or a number of workers from 1")
    return Shards(asked, on_progress=on_progress)


def share_job(
    job: Job, config: Config, models: Models, on_progress: Callable[[Progress], None], *, shards: Shards
) -> Outcome:
    """Do a job of a batch (jobs.run_job); a long one is put off, with status "deferred", until it has all workers."""
    from fervid.video.readers.segment import read_duration

    if not job.exclusive:
        if read_duration(job.path, config.max_pixels) >= max(shards.least_s, 2 * shards.piece_s):
            return Outcome(job, "deferred")
        return run_job(job, config, models, on_progress)
    return run_job(job, config, models, on_progress, sharding=replace(shards, on_progress=on_progress))


class PrecomputedClassifier:
    """A Classifier that has given its answers already: where a face had its pixels, `crop`, they lie as bytes."""

    def __init__(self, classifier: Classifier) -> None:
        self.name, self.labels, self.batch_size = classifier.name, classifier.labels, classifier.batch_size
        self.crop_px, self.alignment = classifier.crop_px, classifier.alignment
        self.sha256 = getattr(classifier, "sha256", None)
        self.temperature = getattr(classifier, "temperature", None)
        self.precision = getattr(classifier, "precision", None)

    def predict(self, crop: np.ndarray) -> np.ndarray:
        """Answers (m, 1, 4 K) uint8 -> probabilities (m, K) float32."""
        return np.ascontiguousarray(crop).view(np.float32).reshape(len(crop), len(self.labels))


def answer(faces: Iterable[FaceBatch], classifier: Classifier) -> Iterator[FaceBatch]:
    """Classify every face, in full batches, and put the answers in the place of the crops."""
    waiting: list[FaceBatch] = []
    for batch in faces:
        waiting.append(batch)
        if sum(map(len, waiting)) >= 4 * classifier.batch_size:
            yield from _answered(waiting, classifier)
            waiting = []
    if waiting:
        yield from _answered(waiting, classifier)


def _answered(batches: list[FaceBatch], classifier: Classifier) -> Iterator[FaceBatch]:
    prob = np.ascontiguousarray(classifier.predict(concatenate(batches).crop), np.float32)
    said = prob.view(np.uint8).reshape(len(prob), 1, 4 * len(classifier.labels))
    ends = np.cumsum([len(batch) for batch in batches])
    for batch, part in zip(batches, np.split(said, ends[:-1])):
        yield replace(batch, crop=part)


def read_segment(job: Job, config: Config, models: Models, on_progress: Callable[[Progress], None]) -> SegmentOutcome:
    """Look through one piece, in a worker. What is wrong with the video is told by who then reads it whole."""
    from fervid.runtime.allocator import tune_malloc
    from fervid.video.readers.segment import SegmentReader

    assert isinstance(job, SegmentJob)
    tune_malloc()
    try:
        file: dict[str, Any] = {"stream": config.stream, "max_pixels": config.max_pixels}
        with SegmentReader(job.path, **file, sampling=sampling_of(config)) as reader:
            start_s, stop_s = reader.bounds_s(job.piece)
            looks = around(reader, job.piece, config)
            seen = find_faces(looks, reader.info, config, models)
            own = (batch.between(start_s, stop_s) for batch in seen)
            found = []
            for batch in answer((batch for batch in own if len(batch.sampled_s)), models.classifier):
                found.append(batch)
                on_progress(Progress(float(batch.sampled_s[-1]) - max(start_s, 0.0), None, len(batch)))
            if reader.health.reasons or reader.health.untimed:
                return SegmentOutcome(job, "failed", problem="it is damaged")
            return SegmentOutcome(
                job,
                "ok",
                faces=tuple(found),
                own=reader.n_decoded,
                left_out=reader.n_skipped,
                head=reader.head,
                tail=reader.tail,
                end_s=reader.end_s or 0.0,
            )
    except RunError:
        raise
    except RestartNeeded:
        return SegmentOutcome(job, "failed", problem="it is damaged, or its timestamps are")
    except Exception as e:  # noqa: BLE001 - whatever it is, reading the video whole will tell it
        return SegmentOutcome(job, "failed", problem=f"a piece failed ({type(e).__name__}: {e})")


def around(reader: "SegmentReader", piece: Segment, config: Config) -> Iterator[SampledFrame]:
    """The looks of a piece, and as many around it as the detector needs to see in them what it sees in the whole.

    Where it searches key looks, those begin and end at looks that are key looks in any case (frames.ANCHOR_S).
    """
    start_s, stop_s = reader.bounds_s(piece)
    cell_s = KEYFRAME_GRID_S if config.detection == "adaptive" else 1e-9
    looks, before_s = sample_frames(reader.frames_of(piece), config.fps), -math.inf
    for look in looks:
        at_s = look[1]
        if start_s == -math.inf or at_s // cell_s >= start_s // cell_s:
            yield look
            if at_s >= stop_s and at_s // cell_s > before_s // cell_s:
                break
        before_s = at_s
    while not reader.tail_complete and next(looks, None):
        pass


class _Pieces:
    """The faces of a video that is read in pieces: a Source (see source.py)."""

    def __init__(self, reader: Reader, config: Config, shards: Shards, pieces: list[Segment]) -> None:
        self.info, self.health = reader.info, Health()
        self.end_s: float | None = None
        self._config, self._shards, self._pieces = config, shards, pieces
        self._done_s: dict[str, float] = {}

    def faces(self) -> Generator[FaceBatch]:
        """Have the pieces read, and give what is found in order. NotSplittable as soon as one of them is not sound."""
        shards, end_s, tail = self._shards, 0.0, b""
        jobs = [SegmentJob(self.info.path, f"piece {p.number}", Path(), piece=p) for p in self._pieces]
        size, limits = min(shards.workers, len(jobs)), default_limits(shards.workers)
        engine = LocalEngine(self._config, size, limits, load=shards.load, work=read_segment)
        names = [job.name for job in jobs]
        early: dict[int, SegmentOutcome] = {}
        following = 0
        # the last piece first: it tells whether the file is cut off
        with closing(engine.run([jobs[-1], *jobs[:-1]], self._hear)) as outcomes:
            for outcome in outcomes:
                found = _sound(outcome)
                early[names.index(found.job.name)] = found
                while following in early:
                    piece = early.pop(following)
                    if following and piece.head != tail:
                        raise NotSplittable("pieces that do not meet: its key frames are none")
                    tail, end_s, following = piece.tail, max(end_s, piece.end_s), following + 1
                    self.health.decoded += piece.own
                    self.health.skipped += piece.left_out
                    yield from piece.faces
        self.end_s = end_s

    def _hear(self, moved: JobProgress) -> None:
        """Add up how far the pieces are."""
        if moved.job is None or self._shards.on_progress is None:
            return
        self._done_s[moved.job.name] = moved.done_s
        self._shards.on_progress(Progress(sum(self._done_s.values()), self.info.duration_s, 0))


def _sound(outcome: Outcome) -> SegmentOutcome:
    if not isinstance(outcome, SegmentOutcome):  # its worker died, or was ended
        raise NotSplittable(f"a piece failed ({outcome.message})")
    if outcome.problem:
        raise NotSplittable(outcome.problem)
    return outcome
