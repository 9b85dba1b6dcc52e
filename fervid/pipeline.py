"""The line for one video: video -> frames -> faces -> tracks -> emotions -> timeline -> parquet."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from fervid import __version__
from fervid.batches import EmotionBatch
from fervid.config import Config
from fervid.emotions import classify
from fervid.errors import VideoError
from fervid.parts import write_atomically
from fervid.paths import blaming_video, check_paths, fingerprint
from fervid.persons import Gallery
from fervid.pieces import CannotSpread
from fervid.shots import Shot, ShotFinder, divide
from fervid.smoothing import baseline, smooth
from fervid.source import Models, Source, Spread, WholeVideo, read_video
from fervid.stopwatch import span
from fervid.store import NUMBERS, SCHEMA_VERSION, FacesWriter, shots_table, to_table, write_table
from fervid.timeline import NO_DATA, Rows, fill_gaps, summarise
from fervid.tracks import Tracker, link
from fervid.video import Reader

__all__ = [
    "Models",
    "Progress",
    "Result",
    "load_models",
    "model_hash",
    "process_video",
]

T = TypeVar("T")


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
    whole: str = ""
    """Why one worker has read all of it, where it was to be spread over several."""

    @property
    def status(self) -> str:
        """ok or degraded."""
        return self.provenance["status"]

    @property
    def decoder_note(self) -> str:
        """Why the reader auto has decoded on the CPU, although the line ran on a GPU; else empty."""
        return self.provenance.get("decoder_note") or ""

    @property
    def reasons(self) -> list[str]:
        """Why the result is degraded, one word each."""
        return self.provenance["reasons"]

    def to_pandas(self) -> Any:
        """Give the timeline as a pandas DataFrame, as load_timeline does."""
        return self.table.to_pandas().astype({k: "Int32" for k in NUMBERS if k in self.table.column_names})


def load_models(config: Config) -> Models:
    """Load the detector and the classifier that a config names; every device and weights error comes from here."""
    from fervid.backends.heap import unswept

    with unswept():
        from fervid.backends.detectors import load_detector
        from fervid.backends.torch_classifier import TorchClassifier

    classifier = TorchClassifier(config.weights, config.device, precision=config.precision)
    embedder = None
    if config.persons:
        from fervid.backends.embedders import load_embedder

        embedder = load_embedder(config.persons, classifier.device)
    detector, line = load_detector(config.detector, classifier.device, config.precision), None
    if classifier.device != "cpu" and config.detector == "mtcnn":
        from fervid.backends.device_line import DeviceLine

        line = DeviceLine(classifier.device)
    return Models(detector, classifier, classifier.device, embedder, line)


def model_hash(config: Config) -> str:
    """The sha256 of the models that a config names, without loading them."""
    from fervid.backends.weight_files import identify

    own = identify(config.weights)
    if not config.persons:
        return own
    from fervid.backends.embedders import find_embedder

    both = own.encode() + find_embedder(config.persons).read_bytes()
    return hashlib.sha256(both).hexdigest()


def process_video(
    path: Path, out: Path | None, config: Config, models: Models, *,
    faces_out: Path | None = None, shots_out: Path | None = None,
    on_progress: Callable[[Progress], None] | None = None, name: str | None = None,
    spread: Spread | None = None,
) -> Result:  # fmt: skip
    """Turn one video into its timeline, and write it (and every face reading, and the shots) where asked.

    `name` stands in the column `video`: the path as given, unless the video is one of a folder. `spread` may find its
    faces elsewhere (shards.py); the result is the same, to the byte.

    VideoError if the video cannot be read at all; OutputError if a result cannot go where it was asked for. A damaged
    or truncated video gives a degraded result. Nothing is left at `out` unless it is complete.
    """
    from fervid.backends.heap import share_heap
    from fervid.backends.threads import one_thread

    check_paths(path, out, faces_out, shots_out)
    share_heap()
    whole = ""

    def work(reader: Reader) -> tuple[pa.Table, list[Shot], dict[str, Any]]:
        nonlocal whole
        if spread and not whole:
            try:
                pieces, known = spread(reader, config, models)
                return _Line(name or str(path), pieces, config, known, source).run(faces_part, None)
            except CannotSpread as reason:
                whole = str(reason)
        video = WholeVideo(reader, config, models)
        return _Line(name or str(path), video, config, models, source).run(faces_part, on_progress)

    with ExitStack() as stack:
        part = stack.enter_context(write_atomically(out)) if out else None
        faces_part = stack.enter_context(write_atomically(faces_out)) if faces_out else None
        shots_part = stack.enter_context(write_atomically(shots_out)) if shots_out else None
        with blaming_video(path):
            with span("fingerprint"):
                source = fingerprint(path)
            (table, shots, provenance), _ = one_thread(read_video)(path, config, work, device=models.device)
        if part:
            with span("write"):
                write_table(table, part)
        if shots_part:
            write_table(shots_table(shots, name or str(path), provenance), shots_part)
    return Result(path, out, table, provenance, whole)


class _Line:
    """The line of one video from its faces on: tracks, emotions, timeline."""

    def __init__(self, name: str, video: Source, config: Config, models: Models, source: dict[str, Any]) -> None:
        self.name, self.video, self.config, self.models, self.source = name, video, config, models, source
        self.n_looks = self.n_faces = 0
        self.shots = ShotFinder(cuts=config.cuts)
        self.gallery = Gallery(models.embedder) if models.embedder and config.persons else None

    def run(self, faces_part: Path | None, on_progress: Callable | None) -> tuple[pa.Table, list[Shot], dict[str, Any]]:
        """Run the line to its end; give the timeline's table, the shots and the provenance."""
        config, video, labels = self.config, self.video, self.models.classifier.labels
        self.writer = FacesWriter(faces_part, labels, video.info, self.name) if faces_part else None

        faces = video.faces()
        tracks = link(divide(faces, self.shots), Tracker(max_gap_s=config.track_gap_s, birth_score=config.birth_score))
        tracks = self.gallery.watch(tracks) if self.gallery else tracks
        emotions = classify(tracks, self.models.classifier)
        seconds = summarise(self._watched(emotions, on_progress), labels, video.info, lambda: video.end_s)
        try:
            rows = fill_gaps(seconds, labels, int(config.start_s), lambda: video.end_s or 0.0)
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
        table = to_table(rows, labels, self.name, provenance, self._extra(rows, labels))
        return table, self.shots.shots(self.video.end_s), provenance

    def _extra(self, rows: Rows, labels: tuple[str, ...]) -> Rows:
        """Make the columns that were asked for: persons, what they and the curves rest on, and the curves."""
        config, extra = self.config, Rows()
        if self.gallery:
            extra |= self.gallery.columns(rows)
        if self.gallery or config.smooth_s or config.baseline:
            extra["quality"] = rows["quality"]
        if config.smooth_s:
            extra |= smooth(rows, labels, config.smooth_s)
        if config.baseline:
            extra |= baseline(rows | extra, labels)
        return extra

    def _check_range(self) -> None:
        if not self.n_looks and self.config.start_s > 0 and self.config.start_s >= (self.video.end_s or 0.0):
            raise VideoError(
                f"{self.name}: nothing at {self.config.start_s:g} s, the video ends at {self.video.end_s or 0:.1f} s",
                reason="bad_range",
            )

    def _watched(self, emotions: Iterator[EmotionBatch], on_progress: Callable | None) -> Iterator[EmotionBatch]:
        """Count what passes, keep the readings if asked, and tell how far the line is."""
        end_s = self.config.end_s or self.video.info.duration_s
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
        video, health, classifier = self.video.info, self.video.health, self.models.classifier
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
            "searched": "every" if self.models.on_device else self.config.detection,
            "decoder": health.decoder,
            "decoder_note": health.turned_back or None,
            "sampling": self.config.sampling,
            "persons": self.gallery.facts() if self.gallery else None,
            "counters": {
                "packets": health.packets, "decode_errors": health.decode_errors, "frames_decoded": health.decoded,
                "frames_left_out": health.left_out,
                "frames_untimed": health.untimed, "looks": self.n_looks, "faces": self.n_faces,
                "shots": len(self.shots.shots()),
            },
            "status": "degraded" if health.reasons else "ok",
            "reasons": list(health.reasons),
        }  # fmt: skip
