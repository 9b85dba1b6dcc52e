"""Open a video with the reader that was asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fervid.config import MAX_PIXELS, Config, check_choice
from fervid.errors import ConfigError, DeviceError, MissingDependency, VideoError
from fervid.files import check_file
from fervid.registry import READERS
from fervid.runtime.threads import T
from fervid.video.reader import NotOnGPU, Reader, RestartNeeded, Sampling

__all__ = ["open_video", "read_video", "sampling_of"]


def open_video(
    path: Path,
    *,
    reader: str = "av",
    stream: int | None = None,
    max_pixels: int = MAX_PIXELS,
    careful: bool = False,
    synthetic_time: bool = False,
    sampling: Sampling | None = None,
    device: str | None = None,
) -> Reader:
    """Open a video with the named reader; only "auto" turns from one to another, and `health.turned_back` says why.

    `careful` decodes on one thread and keeps what damage leaves; without it damage raises RestartNeeded.
    `synthetic_time` counts frames at the declared rate, for files whose timestamps are missing or disordered.
    `sampling` says what will be looked at, so that other frames need not be decoded: they come all the same, but who
    asks for their pixels gets RestartNeeded. Only the reader av makes use of it.
    `device` is where the line runs: on a GPU, the readers torchcodec and nvdec decode there and leave the frames there.
    None: no line runs, and what nvdec would read is read by av.
    VideoError tells what is wrong with the file; ConfigError if the reader is unknown.
    """
    check_file(path)
    check_choice("reader", reader, READERS)
    context: dict[str, Any] = {
        "stream": stream,
        "max_pixels": max_pixels,
        "careful": careful,
        "synthetic_time": synthetic_time,
        "sampling": sampling,
        "device": device or "cpu",
    }
    fallback_reason = ""
    if reader in ("nvdec", "auto"):
        if device not in (None, "cpu"):
            try:
                return READERS["nvdec"].create(path, **context)
            except (NotOnGPU, DeviceError, MissingDependency) as e:
                if reader == "nvdec":
                    raise
                fallback_reason = e.why if isinstance(e, NotOnGPU) else str(e)
        elif reader == "nvdec" and device:
            raise ConfigError("--reader nvdec decodes on a GPU and needs --device cuda; use --reader av on a CPU")
        reader = "av"
    opened = READERS[reader].create(path, **context)
    opened.health.fallback_reason = fallback_reason
    return opened


def read_video(
    path: Path, config: Config, work: Callable[[Reader], T], *, device: str | None = None
) -> tuple[T, dict[str, bool]]:
    """Open the video and do the work; begin again when the reader asks for it -> the result, the options it took.

    `device` is where the line runs, if one does: some readers can decode there. With the reader auto the work begins
    again on the CPU if the GPU's decoder gives up midway.
    """
    options = {"careful": False, "synthetic_time": False, "every_frame": False}
    name, fallback_reason = config.reader, ""
    while True:
        try:
            with open_video(
                path,
                reader=name,
                stream=config.stream,
                max_pixels=config.max_pixels,
                careful=options["careful"],
                synthetic_time=options["synthetic_time"],
                sampling=None if any(options.values()) else sampling_of(config),
                device=device,
            ) as reader:
                reader.health.fallback_reason = reader.health.fallback_reason or fallback_reason
                return work(reader), options
        except NotOnGPU as e:
            if name != "auto":
                raise
            name, fallback_reason = "av", e.why
        except RestartNeeded as again:
            if all(options[name] for name in again.options):
                message = f"{path}: the reader asks again and again for {again}"
                raise VideoError(message, reason="unsupported") from None
            options |= again.options


def sampling_of(config: Config) -> Sampling | None:
    """What sample_frames will look at; None: every frame."""
    return Sampling(config.fps, config.sampling == "fast") if config.fps else None
