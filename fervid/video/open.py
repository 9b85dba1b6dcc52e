"""Open a video with a reader, and read it again where the reader requests other options."""

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
    repair_time: bool = False,
    decoding_time: bool = False,
    synthetic_time: bool = False,
    rate: float | None = None,
    sampling: Sampling | None = None,
    device: str | None = None,
    rotate: str | None = None,
) -> Reader:
    """Open a video.

    Parameters
    ----------
    path : Path
    reader : str
        A key of registry.READERS. Only "auto" falls back from one reader to another; `health.fallback_reason` says why.
    stream : int, optional
        The index of the video stream.
    max_pixels : int
        The largest frame.
    careful : bool
        Decode on one thread and keep what is undamaged; by default, damage raises RestartNeeded.
    repair_time : bool
        Interpolate the times of frames that share a timestamp or have none.
    decoding_time : bool
        Use the decoding times of the packets, for files whose timestamps are out of order.
    synthetic_time : bool
        Count frames at the declared rate, for files without any times.
    rate : float, optional
        The frame rate at which to count them instead.
    sampling : Sampling, optional
        Which frames will be sampled, so that the reader av need not decode the others. These are yielded nevertheless,
        but requesting their pixels raises RestartNeeded.
    device : str, optional
        Where the pipeline runs: on a GPU, torchcodec and nvdec decode there and leave the frames there. None if no
        pipeline runs; av then reads what nvdec would read.
    rotate : str, optional
        One of config.ROTATIONS: how stored frames are displayed, whatever the file declares.

    Returns
    -------
    Reader

    Raises
    ------
    VideoError
        If the file is not a readable video.
    ConfigError
        If the reader is unknown, or is nvdec on a CPU; if `stream` is not a video stream.
    MissingDependency, DeviceError
        If the reader is not installed, or the GPU cannot decode.
    RestartNeeded
        If the file must be opened with other options; `read_video` does so.
    """
    check_file(path)
    check_choice("reader", reader, READERS)
    context: dict[str, Any] = {
        "stream": stream,
        "max_pixels": max_pixels,
        "careful": careful,
        "repair_time": repair_time,
        "decoding_time": decoding_time,
        "synthetic_time": synthetic_time,
        "rate": rate,
        "sampling": sampling,
        "device": device or "cpu",
        "rotate": rotate,
    }
    fallback_reason = ""
    if reader in ("nvdec", "auto"):
        if device not in (None, "cpu"):
            try:
                return READERS["nvdec"].create(path, **context)
            except (NotOnGPU, DeviceError, MissingDependency) as e:
                if reader == "nvdec":
                    raise
                fallback_reason = e.detail if isinstance(e, NotOnGPU) else str(e)
        elif reader == "nvdec" and device:
            raise ConfigError("--reader nvdec decodes on a GPU and needs --device cuda; use --reader av on a CPU")
        reader = "av"
    opened = READERS[reader].create(path, **context)
    opened.health.fallback_reason = fallback_reason
    return opened


def read_video(
    path: Path, config: Config, work: Callable[[Reader], T], *, device: str | None = None
) -> tuple[T, dict[str, bool]]:
    """Open a video and process it; start over, with other options, whenever the reader requests it.

    With the reader "auto", start over on the CPU if the GPU's decoder fails midway.

    Parameters
    ----------
    path : Path
    config : Config
    work : callable
        Processes a fresh Reader; its result counts if it returns.
    device : str, optional
        Where the pipeline runs, if one does: see `open_video`.

    Returns
    -------
    result
        What `work` returned.
    options : dict of bool
        careful, repair_time, decoding_time, synthetic_time and every_frame, as they were needed.

    Raises
    ------
    VideoError, ConfigError, MissingDependency, DeviceError
        As `open_video`; VideoError also if reading the file again does not help.
    """
    options = dict.fromkeys(("careful", "repair_time", "decoding_time", "synthetic_time", "every_frame"), False)
    name, fallback_reason = config.reader, ""
    while True:
        try:
            with open_video(
                path,
                reader=name,
                stream=config.stream,
                max_pixels=config.max_pixels,
                careful=options["careful"],
                repair_time=options["repair_time"],
                decoding_time=options["decoding_time"],
                synthetic_time=options["synthetic_time"],
                rate=config.rate,
                sampling=None if any(options.values()) else sampling_of(config),
                device=device,
                rotate=config.rotate,
            ) as reader:
                reader.health.fallback_reason = reader.health.fallback_reason or fallback_reason
                return work(reader), options
        except NotOnGPU as e:
            if name != "auto":
                raise
            name, fallback_reason = "av", e.detail
        except RestartNeeded as restart:
            if all(options[name] for name in restart.options):
                message = f"{path}: the reader repeatedly requests {', '.join(restart.options)}"
                raise VideoError(message, reason="unsupported") from None
            options |= restart.options


def sampling_of(config: Config) -> Sampling | None:
    """Return which frames a configuration samples; None: every frame.

    Parameters
    ----------
    config : Config

    Returns
    -------
    Sampling or None
    """
    return Sampling(config.fps, config.sampling == "fast") if config.fps else None
