"""The line for one video: video -> frames -> faces -> tracks -> emotions -> timeline -> parquet."""

import hashlib
import math
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from fervid import __version__
from fervid.adaptive import between_keys
from fervid.batches import EmotionBatch
from fervid.config import Config
from fervid.emotions import Classifier, classify
from fervid.errors import OutputError, VideoError
from fervid.faces import FaceDetector, detect, every_look
from fervid.frames import batch_frames, choose_frames, hold_still, picture_size
from fervid.stopwatch import span
from fervid.store import SCHEMA_VERSION, FacesWriter, spelled, to_table, write_atomically, write_table
from fervid.timeline import NO_DATA, fill_gaps, summarise
from fervid.tracks import Tracker, link
from fervid.video import Reader, RestartNeeded, check_file, open_video

__all__ = [
    "Models",
    "Progress",
    "Result",
    "check_paths",
    "describe_video",
    "load_models",
    "model_hash",
    "process_video",
    "read_video",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Models:
    """The two networks of the line, loaded once and used for any number of videos."""

    detector: FaceDetector
    classifier: Classifier
    device: str


@dataclass(frozen=True)
class Progress:
    """How far the line is, in seconds of the video; end_s is None where the file does not declare its length."""

    done_s: float
    end_s: float | None
    faces: int


@dataclass(frozen=True)
class Result:
    """What came of one video. `table` is the timeline; status "degraded" has its reasons in `reasons`."""

    path: Path
    out: Path | None
    table: pa.Table = field(repr=False)
    provenance: dict[str, Any] = field(repr=False)

    @property
    def status(self) -> str:
        """ok or degraded."""
        return self.provenance["status"]

    @property
    def reasons(self) -> list[str]:
        """Why the result is degraded, one word each."""
        return self.provenance["reasons"]

    def to_pandas(self) -> Any:
        """Give the timeline as a pandas DataFrame, as load_timeline does."""
        return self.table.to_pandas().astype({"track": "Int32"})


def load_models(config: Config) -> Models:
    """Load the detector and the classifier that a config names; every device and weights error comes from here."""
    from fervid.backends.mtcnn import MTCNN
    from fervid.backends.torch_classifier import TorchClassifier

    classifier = TorchClassifier(config.weights, config.device, precision=config.precision)
    return Models(MTCNN(device=classifier.device), classifier, classifier.device)


def model_hash(config: Config) -> str:
    """The sha256 of the classifier that a config names, without loading it."""
    from fervid.backends.weight_files import identify

    return identify(config.weights)


def process_video(
    path: Path, out: Path | None, config: Config, models: Models, *,
    faces_out: Path | None = None, on_progress: Callable[[Progress], None] | None = None, name: str | None = None,
) -> Result:  # fmt: skip
    """Turn one video into its timeline, and write it (and every face reading) where asked.

    `name` stands in the column `video`: the path as given, unless the video is one of a folder.

    VideoError if the video cannot be read at all; OutputError if a result cannot go where it was asked for. A damaged
    or truncated video gives a degraded result. Nothing is left at `out` unless it is complete.
    """
    from fervid.backends.device import one_thread
    from fervid.backends.heap import share_heap

    check_paths(path, out, faces_out)
    share_heap()
    with ExitStack() as stack:
        part = stack.enter_context(write_atomically(out)) if out else None
        faces_part = stack.enter_context(write_atomically(faces_out)) if faces_out else None
        with span("fingerprint"):
            source = _fingerprint(path)
        (table, provenance), _ = one_thread(read_video)(
            path,
            config,
            lambda reader: _Line(name or str(path), reader, config, models, source).run(faces_part, on_progress),
        )
        if part:
            with span("write"):
                write_table(table, part)
    return Result(path, out, table, provenance)


def describe_video(path: Path, config: Config) -> dict[str, Any]:
    """Tell what a video file holds and what the line would do with it, decoding one frame only."""
    video, options = read_video(path, config, lambda reader: reader.info)
    notes = [note for name, note in _NOTES.items() if options[name]]
    picture_px, min_face_px = config.detection_scale(video.width_px, video.height_px)
    return {
        "file": {
            "path": str(path), "container": video.container, "codec": video.codec, "stream": video.stream,
            "displayed": f"{video.width_px}x{video.height_px}", "rotation_deg": video.rotation_deg,
            "frame_rate": f"{float(video.frame_rate):.5g}" if video.frame_rate else None,
            "duration_s": video.duration_s, "start_s": video.start_s,
        },
        "plan": {
            "reader": config.reader, "looks_per_second": config.fps or "every frame",
            "detection_picture": "x".join(map(str, picture_size(video, picture_px))),
            "smallest_face_px": round(min_face_px, 1), "detector": config.detector, "weights": config.weights,
        },
        "notes": notes or ["the first frame is fine; damage further on shows when the video is processed"],
    }  # fmt: skip


_NOTES = {
    "careful": "damaged at the start: decoded on one thread, damage left out, the result degraded",
    "synthetic_time": "no usable timestamps: frames are counted at the declared rate, the result degraded",
}


def read_video(path: Path, config: Config, work: Callable[[Reader], T]) -> tuple[T, dict[str, bool]]:
    """Open the video and do the work; begin again when the reader asks for it -> the result, the options it took."""
    options = {"careful": False, "synthetic_time": False, "every_frame": config.sampling == "exact"}
    while True:
        gap_s = None if options["every_frame"] or options["synthetic_time"] or not config.fps else 1 / config.fps
        try:
            with open_video(
                path, reader=config.reader, stream=config.stream, max_pixels=config.max_pixels, gap_s=gap_s,
                careful=options["careful"], synthetic_time=options["synthetic_time"],
            ) as reader:  # fmt: skip
                return work(reader), options
        except RestartNeeded as again:
            if all(options[name] for name in again.options):
                message = f"{path}: the reader asks again and again for {again}"
                raise VideoError(message, reason="unsupported") from None
            options |= again.options


class _Line:
    """One run over one open video."""

    def __init__(self, name: str, reader: Reader, config: Config, models: Models, source: dict[str, Any]) -> None:
        self.name, self.reader, self.config, self.models, self.source = name, reader, config, models, source
        self.n_looks = self.n_faces = 0
        self._threads: list[Generator] = []

    def run(self, faces_part: Path | None, on_progress: Callable | None) -> tuple[pa.Table, dict[str, Any]]:
        """Run the line from end to end; give the timeline's table and its provenance."""
        config, video, labels = self.config, self.reader.info, self.models.classifier.labels
        picture_px, min_face_px = config.detection_scale(video.width_px, video.height_px)
        self.writer = FacesWriter(faces_part, labels, video, self.name) if faces_part else None

        stop_s = math.inf if config.end_s is None else config.end_s
        part = self.reader.frames(config.start_s, config.end_s)
        looks = choose_frames(part, config.fps, start_s=config.start_s, stop_s=stop_s)
        finder = every_look
        if config.detection == "adaptive":
            looks, finder = hold_still(looks), between_keys
        frames = self._ahead(batch_frames(looks, video, picture_size(video, picture_px)))
        faces = detect(
            frames, self.models.detector, video, framing=self.models.classifier.framing,
            crop_px=self.models.classifier.crop_px, min_face_px=min_face_px,
            find=lambda *task: self._ahead(finder(*task)),
        )  # fmt: skip
        tracks = link(faces, Tracker(max_gap_s=config.track_gap_s, birth_score=config.birth_score))
        emotions = classify(tracks, self.models.classifier)
        seconds = summarise(self._watched(emotions, on_progress), labels, video, lambda: self.reader.end_s)
        try:
            rows = fill_gaps(seconds, labels, int(config.start_s), lambda: self.reader.end_s or 0.0)
            self._check_range()
        except BaseException:
            if self.writer:
                self.writer.abandon()
            raise
        finally:
            for thread in reversed(self._threads):
                thread.close()
        if (rows["status"] == NO_DATA).any():
            self.reader.health.degrade("seconds_lost")
        provenance = self._provenance()
        if self.writer:
            self.writer.close(provenance)
        return to_table(rows, labels, self.name, provenance), provenance

    def _ahead(self, stage: Generator[T]) -> Generator[T]:
        """Run a stage ahead of the next one; run() ends its thread."""
        self._threads.append(ahead(stage, depth=1))
        return self._threads[-1]

    def _check_range(self) -> None:
        if not self.n_looks and self.config.start_s > 0 and self.config.start_s >= (self.reader.end_s or 0.0):
            raise VideoError(
                f"{self.name}: nothing at {self.config.start_s:g} s, the video ends at {self.reader.end_s or 0:.1f} s",
                reason="bad_range",
            )

    def _watched(self, emotions: Iterator[EmotionBatch], on_progress: Callable | None) -> Iterator[EmotionBatch]:
        """Count what passes, keep the readings if asked, and tell how far the line is."""
        end_s = self.config.end_s or self.reader.info.duration_s
        for batch in emotions:
            self.n_looks += len(batch.look_s)
            self.n_faces += len(batch)
            if self.writer:
                with span("write"):
                    self.writer.write(batch)
            if on_progress:
                on_progress(Progress(float(batch.look_s[-1]), end_s, self.n_faces))
            yield batch

    def _provenance(self) -> dict[str, Any]:
        """Everything that decided the result, and nothing that did not: no clock, no host."""
        video, health, classifier = self.reader.info, self.reader.health, self.models.classifier
        return {
            "version": __version__,
            "schema": SCHEMA_VERSION,
            "config": self.config.to_dict(),
            "device": self.models.device,
            "source": self.source | {
                "container": video.container, "codec": video.codec, "width_px": video.width_px,
                "height_px": video.height_px, "rotation_deg": video.rotation_deg, "stream": video.stream,
                "frame_rate": str(video.frame_rate) if video.frame_rate else None,
                "duration_s": video.duration_s, "start_s": video.start_s,
            },
            "model": {
                "name": classifier.name, "sha256": getattr(classifier, "sha256", None),
                "labels": list(classifier.labels), "temperature": getattr(classifier, "temperature", None),
                "precision": getattr(classifier, "precision", None),
            },
            "detector": self.models.detector.name,
            "sampling": "fast" if health.reference_only else "exact",
            "counters": {
                "packets": health.packets, "decode_errors": health.decode_errors, "frames_decoded": health.decoded,
                "frames_untimed": health.untimed, "looks": self.n_looks, "faces": self.n_faces,
            },
            "status": "degraded" if health.reasons else "ok",
            "reasons": list(health.reasons),
        }  # fmt: skip


def ahead(source: Generator[T], depth: int = 2) -> Generator[T]:
    """Run a stage on a thread of its own, at most `depth` items ahead.

    An exception crosses the queue. Closing this generator stops the thread and closes the stage in it.
    """
    items: queue.Queue = queue.Queue(depth)
    stop = threading.Event()

    def work() -> None:
        try:
            for item in source:
                items.put((item, None))
                if stop.is_set():
                    return
            items.put((None, StopIteration()))
        except BaseException as e:  # noqa: BLE001 - crosses to the reader of the queue
            items.put((None, e))
        finally:
            source.close()

    thread = threading.Thread(target=copy_context().run, args=(work,), name="fervid-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = items.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        stop.set()
        while thread.is_alive():
            with suppress(queue.Empty):
                items.get(timeout=0.02)


_NOT_PARQUET = {".csv", ".tsv", ".txt", ".json", ".xlsx", ".html"}


def check_paths(path: Path, *outputs: Path | None) -> None:
    """Refuse an input that is no file, and an output that is the input or is named twice, before anything is loaded."""
    check_file(path)
    named = [out for out in outputs if out is not None]
    for out in named:
        if out.suffix.lower() in _NOT_PARQUET:
            raise OutputError(f"{out}: results are Parquet; name it {out.with_suffix('.parquet').name}")
        if out.exists() and out.samefile(path):
            raise OutputError(f"{out}: is the video itself; name another file with --out")
    if len({out.resolve() for out in named}) < len(named):
        raise OutputError(f"{named[0]}: named for two results; give --faces a file of its own")


def _fingerprint(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"name": spelled(path.name), "bytes": path.stat().st_size, "sha256": digest}
    except OSError as e:
        raise VideoError(f"{path}: cannot be read ({e.strerror or e})", reason="unreadable") from None
