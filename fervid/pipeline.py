"""The pipeline for one video: video -> shots -> faces -> tracks -> emotions -> timeline -> parquet."""

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from fervid._version import __version__
from fervid.clock import FileClock, clock
from fervid.config import Config
from fervid.emotions.classify import classify
from fervid.errors import VideoError
from fervid.faces.detect import detect, detect_all
from fervid.faces.keyframes import FAST_INTERVAL, INTERVAL, detect_keyframes
from fervid.faces.upright import is_upright, suggest_rotation
from fervid.files import check_paths, wrap_video_errors, write_atomically
from fervid.models import Models
from fervid.provenance import RESULTS_VERSION, describe_source, resume_key
from fervid.runtime.profiling import stage
from fervid.runtime.threads import T, prefetch
from fervid.shots.detect import Shot, ShotDetector, assign_shots
from fervid.timeline.aggregate import NO_DATA, fill_gaps, summarise
from fervid.timeline.derived import baseline, smooth
from fervid.timeline.read import timeline_summary
from fervid.timeline.schema import ID_COLUMNS, SCHEMA_VERSION, shots_table, to_table
from fervid.timeline.write import FacesWriter, write_table
from fervid.tracks.persons import PersonClusterer
from fervid.tracks.tracker import Tracker, link
from fervid.types import EmotionBatch, FaceBatch, FrameBatch, Progress, Rows, TrackBatch, VideoInfo
from fervid.video.open import read_video
from fervid.video.reader import MAX_HOLD_S, Health, Reader
from fervid.video.sampling import SampledFrame, batch_frames, detection_size, sample_frames, skip_static
from fervid.video.segments import NotSplittable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Result", "ShardingStrategy", "Source", "WholeVideo", "find_faces", "process_video", "track_faces"]

#: Frames decoded ahead for a GPU: enough to bridge an uneven decoder, few enough not to fill the GPU's memory.
_DECODED_AHEAD = 4


class Source(Protocol):
    """Where the faces of one video come from. `health` and `end_s` are complete when `faces()` is exhausted.

    Attributes
    ----------
    info : VideoInfo
    health : Health
    end_s : float, optional
        End of the last frame, in seconds.
    """

    info: VideoInfo
    health: Health

    @property
    def end_s(self) -> float | None:
        """End of the last frame, in seconds."""

    def faces(self) -> Generator[FaceBatch]:
        """Find the faces of every sampled frame.

        Yields
        ------
        FaceBatch
            In the order of time.
        """


#: Finds the faces of an open video elsewhere; raises video.segments.NotSplittable where it cannot.
ShardingStrategy = Callable[[Reader, Config], Source]


@dataclass(frozen=True)
class Result:
    """The timeline of one video, and how it was made."""

    path: Path
    """The video."""
    out: Path | None
    """Where the timeline was written, if it was."""
    table: pa.Table = field(repr=False)
    """The timeline."""
    provenance: dict[str, Any] = field(repr=False)
    """Everything that determined it, as in the metadata of the file."""
    whole: str = ""
    """Why one worker read the whole video, where several were requested."""

    @property
    def status(self) -> str:
        """ "ok" or "degraded"."""
        return self.provenance["status"]

    @property
    def reasons(self) -> list[str]:
        """Why the result is degraded, one word each."""
        return self.provenance["reasons"]

    @property
    def decoder_note(self) -> str:
        """Why the reader auto decoded on the CPU although the pipeline ran on a GPU; else empty."""
        return self.provenance.get("decoder_note") or ""

    def to_pandas(self) -> "pd.DataFrame":
        """Convert the timeline to pandas.

        Returns
        -------
        pandas.DataFrame
            As load_timeline returns it.
        """
        return self.table.to_pandas().astype({k: "Int32" for k in ID_COLUMNS if k in self.table.column_names})

    def _repr_html_(self) -> str:
        """Show a summary in notebooks."""
        summary = timeline_summary(self.to_pandas(), self.provenance)
        shares = ", ".join(f"{name} {share:.0%}" for name, share in summary.pop("dominant").items())
        facts = {
            "video": self.table["video"][0].as_py() if len(self.table) else str(self.path),
            "timeline": self.out,
            "status": ", ".join([self.status, *self.reasons]),
            **summary,
            "dominant": shares,
        }
        rows = (
            f"<tr><th>{escape(name.replace('_', ' '))}</th><td>{escape(str(value))}</td></tr>"
            for name, value in facts.items()
            if value is not None
        )
        return f"<table>{''.join(rows)}</table>"


def process_video(
    path: Path,
    out: Path | None,
    config: Config,
    models: Models,
    *,
    faces_out: Path | None = None,
    shots_out: Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    name: str | None = None,
    sharding: ShardingStrategy | None = None,
) -> Result:
    """Turn one video into its timeline.

    A damaged or truncated video gives a degraded result. Files appear only when they are complete.

    Parameters
    ----------
    path : Path
    out, faces_out, shots_out : Path, optional
        Where to write the timeline, every face reading, and the shots.
    config : Config
    models : Models
    on_progress : callable, optional
    name : str, optional
        What the column `video` contains; by default the path as given.
    sharding : ShardingStrategy, optional
        Finds the faces elsewhere (jobs/shards.py). The result has the same bytes.

    Returns
    -------
    Result

    Raises
    ------
    VideoError
        If the video cannot be read at all.
    OutputError
        If a file cannot be written where it was requested.
    RunError
        If the disk is full.
    """
    from fervid.runtime.allocator import tune_malloc
    from fervid.runtime.threads import one_thread

    check_paths(path, out, faces_out, shots_out)
    tune_malloc()
    whole = ""

    def run(reader: Reader) -> tuple[pa.Table, list[Shot], dict[str, Any]]:
        nonlocal whole
        if sharding and not whole:
            try:
                shards = sharding(reader, config)
                return _VideoRun(name or str(path), shards, config, models, source).run(faces_part, None)
            except NotSplittable as reason:
                whole = str(reason)
        video = WholeVideo(reader, config, models)
        return _VideoRun(name or str(path), video, config, models, source).run(faces_part, on_progress)

    with ExitStack() as stack:
        part = stack.enter_context(write_atomically(out)) if out else None
        faces_part = stack.enter_context(write_atomically(faces_out)) if faces_out else None
        shots_part = stack.enter_context(write_atomically(shots_out)) if shots_out else None
        with wrap_video_errors(path):
            with stage("hash"):
                source = describe_source(path)
            (table, shots, provenance), _ = one_thread(read_video)(path, config, run, device=models.device)
        if part:
            with stage("write"):
                write_table(table, part)
        if shots_part:
            write_table(shots_table(shots, name or str(path), provenance), shots_part)
    return Result(path, out, table, provenance, whole)


class _VideoRun:
    """The pipeline of one video from its faces on: shots, tracks, emotions, timeline."""

    def __init__(self, name: str, video: Source, config: Config, models: Models, source: dict[str, Any]) -> None:
        self.name, self.video, self.config, self.models, self.source = name, video, config, models, source
        self.start_s, self.stop_s = FileClock(video.info.origin_s).part(config.start_s, config.end_s)
        self.n_sampled = self.n_faces = self.n_with_face = self.n_upright = 0
        self.shots = ShotDetector(enabled=config.detect_shots)
        self.persons = PersonClusterer(models.embedder) if models.embedder and config.persons else None
        self.writer: FacesWriter | None = None

    def run(self, faces_part: Path | None, on_progress: Callable | None) -> tuple[pa.Table, list[Shot], dict[str, Any]]:
        """Give the table of the timeline, the shots and the provenance."""
        config, video, labels = self.config, self.video, self.models.classifier.labels
        if faces_part:
            self.writer = FacesWriter(faces_part, labels, self.name)
        faces = video.faces()
        tracks = track_faces(faces, self.shots, config)
        if self.persons:
            tracks = self.persons.watch(tracks)
        emotions = self._record(classify(tracks, self.models.classifier), on_progress)
        seconds = summarise(emotions, labels)
        try:
            rows = fill_gaps(seconds, labels, int(self.start_s), lambda: video.end_s or 0.0)
            self._check_range()
        except BaseException:
            if self.writer:
                self.writer.abandon()
            raise
        finally:
            faces.close()
        if (rows["status"] == NO_DATA).any():
            self.video.health.degrade("seconds_lost")
        provenance = self._provenance()
        if self.writer:
            self.writer.close(provenance)
        table = to_table(rows, labels, self.name, provenance, self._requested_columns(rows, labels))
        return table, self.shots.shots(self.video.end_s), provenance

    def _requested_columns(self, rows: Rows, labels: tuple[str, ...]) -> Rows:
        """Make the optional columns: persons, the quality that they and the curves depend on, and the curves."""
        config, columns = self.config, Rows()
        if self.persons:
            columns |= self.persons.columns(rows)
        if self.persons or config.smooth_s or config.baseline:
            columns["quality"] = rows["quality"]
        if config.smooth_s:
            columns |= smooth(rows, labels, config.smooth_s)
        if config.baseline:
            columns |= baseline(rows | columns, labels)
        return columns

    def _check_range(self) -> None:
        end_s, origin_s = self.video.end_s or 0.0, self.video.info.origin_s
        if not self.n_sampled and (self.stop_s <= 0 or (self.start_s > 0 and self.start_s >= end_s)):
            if self.stop_s <= 0:
                found = f"its first frame is at {origin_s:.4g} s, after --end {self.config.end_s:g}"
                raise VideoError(f"{self.name}: {found}; choose a later end", reason="bad_range")
            end, start = clock(end_s + origin_s), clock(self.config.start_s)
            raise VideoError(
                f"{self.name}: ends at {end}, before --start {start}; choose an earlier start", reason="bad_range"
            )

    def _record(self, emotions: Iterator[EmotionBatch], on_progress: Callable | None) -> Iterator[EmotionBatch]:
        """Count frames and faces, write the face readings if requested, and report progress."""
        end_s = self.stop_s if math.isfinite(self.stop_s) else self.video.info.duration_s
        for batch in emotions:
            self.n_sampled += len(batch.sampled_s)
            self.n_faces += len(batch)
            self.n_with_face += len(np.unique(batch.pts_s))
            self.n_upright += int(is_upright(batch.score, batch.landmarks_px).sum())
            if self.writer:
                with stage("write"):
                    self.writer.write(batch)
            if on_progress:
                on_progress(Progress(float(batch.sampled_s[-1]), end_s, self.n_faces))
            yield batch

    def _suggested_rotation(self) -> str | None:
        """Where most frames have no face, or many faces are not certainly upright, the video may lie on its side."""
        few = self.n_with_face < self.n_sampled / 2 or self.n_upright < 0.8 * self.n_faces
        if not few or self.video.health.reasons:
            return None
        with stage("detect"):
            return suggest_rotation(self.video.info, self.config, self.models.detector, self.video.end_s or 0.0)

    def _provenance(self) -> dict[str, Any]:
        """Everything that determined the result, and nothing else: no clock, no host."""
        video, health, classifier = self.video.info, self.video.health, self.models.classifier
        prior = getattr(classifier, "prior", None)
        return {
            "version": __version__,
            "schema": SCHEMA_VERSION,
            "results_version": RESULTS_VERSION,
            "resume_key": resume_key(self.source["sha256"], self.config, self.models.fingerprint),
            "config": self.config.to_dict(),
            "device": self.models.device,
            "source": self.source
            | {
                "container": video.container,
                "codec": video.codec,
                "width_px": video.width_px,
                "height_px": video.height_px,
                "rotation_deg": video.rotation_deg,
                "mirrored": video.mirrored,
                "odd_matrix": video.odd_matrix,
                "suggested_rotation": self._suggested_rotation(),
                "hdr": video.hdr or None,
                "stream": video.stream,
                "frame_rate": str(video.frame_rate) if video.frame_rate else None,
                "duration_s": video.duration_s,
                "start_s": video.start_s,
                "origin_s": video.origin_s,
            },
            "model": {
                "name": classifier.name,
                "sha256": getattr(classifier, "sha256", None),
                "labels": list(classifier.labels),
                "temperature": getattr(classifier, "temperature", None),
                "prior": prior.to_dict(classifier.labels) if prior else None,
                "precision": getattr(classifier, "precision", None),
            },
            "detector": self.models.detector.name,
            "searched": "every" if self.models.on_device else self.config.detection,
            "timing": {"clock": health.clock, "max_hold_s": MAX_HOLD_S},
            "decoder": health.decoder,
            "decoder_note": health.fallback_reason or None,
            "sampling": self.config.sampling,
            "persons": self.persons.facts() if self.persons else None,
            "counters": {
                "packets": health.packets,
                "decode_errors": health.decode_errors,
                "frames_decoded": health.decoded,
                "frames_left_out": health.skipped,
                "frames_untimed": health.untimed,
                "looks": self.n_sampled,
                "faces": self.n_faces,
                "shots": len(self.shots.shots()),
            },
            "status": "degraded" if health.reasons else "ok",
            "reasons": list(health.reasons),
        }


def track_faces(faces: Iterable[FaceBatch], shots: ShotDetector, config: Config) -> Iterator[TrackBatch]:
    """Assign faces to shots and link them to tracks.

    Parameters
    ----------
    faces : Iterable[FaceBatch]
        In the order of time.
    shots : ShotDetector
        Knows the shots when the tracks are exhausted.
    config : Config

    Returns
    -------
    Iterator[TrackBatch]
    """
    tracker = Tracker(max_lost_s=config.tracker_max_lost_s, start_score=config.track_start_score)
    return link(assign_shots(faces, shots), tracker)


class WholeVideo:
    """The Source of an open video that is read from its start to its end."""

    def __init__(self, reader: Reader, config: Config, models: Models) -> None:
        self.info, self.health = reader.info, reader.health
        self._reader, self._config, self._models = reader, config, models

    @property
    def end_s(self) -> float | None:
        """End of the last frame, in seconds."""
        return self._reader.end_s

    def faces(self) -> Generator[FaceBatch]:
        """Decode, sample, and find faces."""
        config = self._config
        start_s, stop_s = FileClock(self.info.origin_s).part(config.start_s, config.end_s)
        frames = self._reader.frames(start_s, max(stop_s, 0.0) if math.isfinite(stop_s) else None)
        samples = sample_frames(frames, config.fps, start_s=start_s, stop_s=stop_s)
        yield from find_faces(samples, self.info, config, self._models)


def find_faces(
    samples: Iterable[SampledFrame],
    video: VideoInfo,
    config: Config,
    models: Models,
    *,
    on_frames: Callable[[FrameBatch], object] | None = None,
) -> Generator[FaceBatch]:
    """Run the pipeline from sampled frames to faces: decoding, detection and cropping run ahead on a thread each.

    Parameters
    ----------
    samples : Iterable[SampledFrame]
    video : VideoInfo
    config : Config
    models : Models
    on_frames : callable, optional
        Called with each batch of frames before its faces are yielded; not where the pipeline runs on a GPU.

    Yields
    ------
    FaceBatch
        In the order of time.
    """
    config.check_min_face(video.width_px, video.height_px)

    def size(frame_px: tuple[int, int]) -> tuple[int, int]:
        return detection_size(frame_px, config.detection_scale(*frame_px)[0])

    def min_face(frame_px: tuple[int, int]) -> float:
        return config.detection_scale(*frame_px)[1] / frame_px[0]

    classifier = models.classifier
    crops: dict[str, Any] = {
        "alignment": classifier.alignment,
        "crop_px": classifier.crop_px,
        "channels": classifier.channels,
        "min_face": min_face,
        "recognition": models.embedder if config.persons else None,
    }
    with ExitStack() as threads:

        def ahead(stage: Generator[T], depth: int = 1) -> Generator[T]:
            return threads.enter_context(closing(prefetch(stage, depth)))

        if models.on_device:
            decoded = ahead((sample for sample in samples), depth=_DECODED_AHEAD)
            staged = ahead(models.on_device.upload(decoded, video, size))
            yield from ahead(models.on_device.detect(staged, video, **crops))
            return
        strategy, fast = detect_all, config.sampling == "fast"
        if config.detection == "adaptive":
            samples = skip_static(samples)
            strategy = partial(detect_keyframes, interval=FAST_INTERVAL if fast else INTERVAL)
        frames = ahead(_pass_on(batch_frames(samples, size), on_frames))
        yield from detect(frames, models.detector, strategy=strategy, rough=fast, ahead=ahead, **crops)


def _pass_on(frames: Iterable[FrameBatch], on_frames: Callable[[FrameBatch], object] | None) -> Generator[FrameBatch]:
    for batch in frames:
        if on_frames:
            on_frames(batch)
        yield batch
