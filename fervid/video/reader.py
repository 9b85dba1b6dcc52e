"""What a video reader gives: frames in display order, with times that can be trusted.

A reader opens regular files only, through FFmpeg's `file:` protocol and a list of containers that hold frames
themselves, so that a playlist named x.mp4 reaches neither another file nor the network.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from fervid.errors import VideoError
from fervid.types import VideoInfo

__all__ = [
    "INSTANT_S",
    "MAX_HOLD_S",
    "STILL_S",
    "Frame",
    "Health",
    "NotOnGPU",
    "Reader",
    "RestartNeeded",
    "Sampling",
    "TimeOnly",
    "cell_of",
    "full_range",
]

#: A frame that is displayed for this many seconds or longer is a still.
STILL_S = 1.0
#: Two times this close are the same: floating point.
INSTANT_S = 1e-6
#: Where a container has no durations (ASF, FLV, MPEG-TS and others), a frame is displayed until the next one, but for
#: at most this many seconds: a longer gap starts a new clock.
MAX_HOLD_S = 3600


class Frame(Protocol):
    """One decoded frame, whose pixels are converted on request.

    Attributes
    ----------
    pts_s : float
        When it is displayed, in seconds since the first frame.
    duration_s : float
        For how long, until the next frame unless frames are missing there; 0 if that is unknown.
    size_px : tuple of int
        Width and height at which it is displayed; they may differ from frame to frame.
    """

    pts_s: float
    duration_s: float

    @property
    def size_px(self) -> tuple[int, int]: ...

    def rgb(self, width_px: int, height_px: int) -> np.ndarray:
        """Convert the displayed frame to RGB, resized by area.

        Parameters
        ----------
        width_px, height_px : int

        Returns
        -------
        ndarray, shape (height_px, width_px, 3), uint8
            A tensor if the frame is on a GPU.
        """

    def luma(self) -> np.ndarray:
        """Return the luma of the displayed frame at the stored resolution.

        Returns
        -------
        ndarray, shape (H, W), uint8
            0 black to 255 white.
        """

    def luma_preview(self) -> np.ndarray | None:
        """Copy every eighth row of the stored luma.

        Returns
        -------
        ndarray, shape (H / 8, W), uint8, or None
            None where that would be expensive.
        """

    def stored_luma(self) -> tuple[np.ndarray, bool]:
        """Return the luma of the displayed frame as it is stored.

        Returns
        -------
        luma : ndarray, shape (H, W), uint8
            A tensor if the frame is on a GPU.
        limited : bool
            Whether its range is 16 black to 235 white; `full_range` stretches it.
        """


def full_range(luma: np.ndarray) -> np.ndarray:
    """Stretch limited luma 16..235 to 0..255 (ITU-R BT.601 / BT.709 quantisation) and clip values outside it.

    Parameters
    ----------
    luma : ndarray, uint8
        Of any shape.

    Returns
    -------
    ndarray, uint8
        Of the same shape.
    """
    stretched = bytearray(np.ascontiguousarray(luma)).translate(_FULL_RANGE)  # twice as fast as indexing a table
    return np.frombuffer(stretched, np.uint8).reshape(luma.shape)


_FULL_RANGE = np.clip(np.round((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8).tobytes()


@dataclass(frozen=True)
class TimeOnly:
    """A frame that was not decoded and need not be sampled: its time on display counts, its pixels do not.

    Parameters
    ----------
    pts_s, duration_s : float
        As for Frame.
    """

    pts_s: float
    duration_s: float


@dataclass
class Health:
    """Counters of what was read and of what went wrong.

    Attributes
    ----------
    packets, decode_errors, decoded : int
        Packets read, errors while decoding them, frames decoded.
    skipped : int
        Frames that were not decoded, because they are not sampled and no other frame refers to them.
    untimed : int
        Frames without a usable timestamp.
    epochs : int
        Clocks in the file: 1, and one more for each jump in time.
    clock : str
        Where the times come from: "timestamps", "decoding times", "interpolated" (between timestamps) or "counted".
    decoder : str
        "cpu", or "nvdec" (the decoder of a GPU).
    fallback_reason : str
        Why the reader "auto" decodes on the CPU although the pipeline runs on a GPU; else empty.
    reasons : list of str
        Each kind of problem once, in the order of appearance.
    """

    packets: int = 0
    decode_errors: int = 0
    decoded: int = 0
    skipped: int = 0
    untimed: int = 0
    epochs: int = 1
    clock: str = "timestamps"
    decoder: str = "cpu"
    fallback_reason: str = ""
    reasons: list[str] = field(default_factory=list)

    def degrade(self, reason: str) -> None:
        """Record a reason once.

        Parameters
        ----------
        reason : str
            For example "damaged" or "truncated".
        """
        if reason not in self.reasons:
            self.reasons.append(reason)


@dataclass(frozen=True)
class Sampling:
    """Which frames will be sampled, so that a reader may skip others.

    Parameters
    ----------
    fps : float
        Samples per second; time is divided into cells of 1 / fps seconds.
    fast : bool
        Whether any frame of a cell will do; by default it must be the first.
    """

    fps: float
    fast: bool = False

    def cell(self, pts_s: float) -> int:
        """Return the number of the cell that contains a time.

        Parameters
        ----------
        pts_s : float
            Seconds.

        Returns
        -------
        int
        """
        return cell_of(pts_s, self.fps)


def cell_of(pts_s: float, fps: float) -> int:
    """Return the number of the 1 / fps of a second that contains a time.

    Parameters
    ----------
    pts_s : float
        Seconds.
    fps : float
        Samples per second.

    Returns
    -------
    int
    """
    return math.floor(pts_s * fps + 1e-6)


class NotOnGPU(VideoError):
    """The decoder of a GPU does not support this video.

    Parameters
    ----------
    path : Path
        The video.
    detail : str
        What is not supported, in a few words.
    """

    def __init__(self, path: Path, detail: str) -> None:
        self.detail = detail
        super().__init__(
            f"{path}: the GPU's decoder does not support it ({detail}); use --reader auto, which falls back to the CPU",
            reason="unsupported",
        )


class RestartNeeded(Exception):
    """The file must be read again from the start, with these options, for a correct result.

    Parameters
    ----------
    **options : bool
        careful, repair_time, decoding_time, synthetic_time or every_frame: see fervid.video.open.
    """

    def __init__(self, **options: bool) -> None:
        super().__init__(str(options))
        self.options = options


class Reader(Protocol):
    """An open video. Iterate over `frames()` once; `health` and `end_s` are complete when it is exhausted.

    Attributes
    ----------
    info : VideoInfo
        What the file declares.
    health : Health
        What was read, and what went wrong.
    end_s : float or None
        Where the video ends, by its own declaration or by its last frame, in seconds; None before that is known.
    """

    info: VideoInfo
    health: Health
    end_s: float | None

    def frames(self, start_s: float = 0.0, stop_s: float | None = None) -> Iterator[Frame]:
        """Yield the frames with start_s <= pts_s < stop_s, preceded by the one on display at start_s.

        Parameters
        ----------
        start_s : float
        stop_s : float or None
            None: to the end.

        Yields
        ------
        Frame
            In display order.

        Raises
        ------
        RestartNeeded
            If the frames cannot be trusted.
        """

    def close(self) -> None:
        """Release the file and all decoder threads."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...
