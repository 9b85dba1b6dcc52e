"""Where the faces of one video come from: the file opened, the line from frames to faces, each stage one step ahead."""

import math
import queue
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, closing, suppress
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from fervid.adaptive import FAST_STRIDE, STRIDE, between_keys
from fervid.batches import FaceBatch, VideoInfo
from fervid.config import Config
from fervid.emotions import Classifier
from fervid.errors import VideoError
from fervid.faces import FaceDetector, Framing, Portraits, detect, every_look
from fervid.frames import Look, batch_frames, choose_frames, hold_still, picture_size
from fervid.persons import Embedder
from fervid.video import Health, NotOnGPU, Reader, RestartNeeded, Sampling, open_video

__all__ = ["Models", "OnDevice", "Source", "Spread", "WholeVideo", "ahead", "find_faces", "read_video", "sampling_of"]

T = TypeVar("T")

#: Looks decoded ahead for a GPU: enough to bridge an uneven decoder, few enough not to fill the GPU's memory.
_DECODED = 4


class OnDevice(Protocol):
    """The line from looks to faces on a GPU: what frames.batch_frames and faces.detect do on a CPU."""

    def stage(self, looks: Iterable[Look], video: VideoInfo, size_px: tuple[int, int]) -> Generator[Any]:
        """As frames.batch_frames; what it gives is for `find` alone."""

    def find(
        self, batches: Iterable[Any], video: VideoInfo, *, framing: Framing, crop_px: int, min_face_px: float,
        portraits: Portraits | None = None,
    ) -> Generator[FaceBatch]:  # fmt: skip
        """As faces.detect, which searches every look."""


@dataclass(frozen=True)
class Models:
    """The networks of the line, loaded once and used for any number of videos; an embedder if persons are asked for.

    With `on_device` the line from looks to faces runs there, and nothing else asks `detector` for faces.
    """

    detector: FaceDetector
    classifier: Classifier
    device: str
    embedder: Embedder | None = None
    on_device: OnDevice | None = None


class Source(Protocol):
    """Where the faces of one video come from. `health` and `end_s` are complete when `faces()` is exhausted."""

    info: VideoInfo
    health: Health

    @property
    def end_s(self) -> float | None:
        """As a Reader's."""

    def faces(self) -> Generator[FaceBatch]:
        """Every look, and the faces in it, in the order of time."""


#: Finds the faces of an open video elsewhere, and gives the models that know what was found; or pieces.CannotSpread.
Spread = Callable[[Reader, Config, Models], tuple[Source, Models]]


class WholeVideo:
    """The faces of an open video, from its start to its end: the first half of the line."""

    def __init__(self, reader: Reader, config: Config, models: Models) -> None:
        self.info, self.health = reader.info, reader.health
        self._reader, self._config, self._models = reader, config, models

    @property
    def end_s(self) -> float | None:
        """As the reader's."""
        return self._reader.end_s

    def faces(self) -> Generator[FaceBatch]:
        """Decode, look, and detect."""
        config = self._config
        stop_s = math.inf if config.end_s is None else config.end_s
        part = self._reader.frames(config.start_s, config.end_s)
        looks = choose_frames(part, config.fps, start_s=config.start_s, stop_s=stop_s)
        yield from find_faces(looks, self.info, config, self._models)


def read_video(
    path: Path, config: Config, work: Callable[[Reader], T], *, device: str | None = None
) -> tuple[T, dict[str, bool]]:
    """Open the video and do the work; begin again when the reader asks for it -> the result, the options it took.

    `device` is where the line runs, if one does: some readers can decode there. With the reader auto the work begins
    again on the CPU if the GPU's decoder gives up midway.
    """
    options = {"careful": False, "synthetic_time": False, "every_frame": False}
    name, turned_back = config.reader, ""
    while True:
        try:
            with open_video(
                path, reader=name, stream=config.stream, max_pixels=config.max_pixels,
                careful=options["careful"], synthetic_time=options["synthetic_time"],
                sampling=None if any(options.values()) else sampling_of(config), device=device,
            ) as reader:  # fmt: skip
                reader.health.turned_back = reader.health.turned_back or turned_back
                return work(reader), options
        except NotOnGPU as e:
            if name != "auto":
                raise
            name, turned_back = "av", e.why
        except RestartNeeded as again:
            if all(options[name] for name in again.options):
                message = f"{path}: the reader asks again and again for {again}"
                raise VideoError(message, reason="unsupported") from None
            options |= again.options


def sampling_of(config: Config) -> Sampling | None:
    """What choose_frames will look at; None: every frame."""
    return Sampling(config.fps, config.sampling == "fast") if config.fps else None


def find_faces(looks: Iterable[Look], video: VideoInfo, config: Config, models: Models) -> Generator[FaceBatch]:
    """The line from looks to faces: decoding, detecting and cutting out run on a thread each, one step ahead."""
    picture_px, min_face_px = config.detection_scale(video.width_px, video.height_px)
    size_px, classifier = picture_size(video, picture_px), models.classifier
    task: dict[str, Any] = {
        "framing": classifier.framing, "crop_px": classifier.crop_px, "min_face_px": min_face_px,
        "portraits": models.embedder if config.persons else None,
    }  # fmt: skip
    with ExitStack() as threads:

        def led(stage: Generator[T], depth: int = 1) -> Generator[T]:
            return threads.enter_context(closing(ahead(stage, depth)))

        if models.on_device:
            decoded = led((look for look in looks), depth=_DECODED)
            staged = led(models.on_device.stage(decoded, video, size_px))
            yield from led(models.on_device.find(staged, video, **task))
            return
        finder, fast = every_look, config.sampling == "fast"
        if config.detection == "adaptive":
            looks, finder = hold_still(looks), partial(between_keys, stride=FAST_STRIDE if fast else STRIDE)
        frames = led(batch_frames(looks, video, size_px))
        task |= {"find": lambda *looked: led(finder(*looked)), "rough": fast}
        yield from detect(frames, models.detector, video, **task)


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
