"""A file on disk -> a Reader: frames in the order of display, with times that can be trusted.

A reader opens regular files only, through FFmpeg's `file:` protocol and a list of real containers, so that a playlist
that calls itself x.mp4 reaches neither another file nor the network.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from fervid.errors import VideoError
from fervid.types import VideoInfo

__all__ = ["STILL_S", "Frame", "Health", "NotOnGPU", "Reader", "RestartNeeded", "Sampling", "cell_of", "full_range"]

#: A frame that is on display for this many seconds or more is a still.
STILL_S = 1.0


class Frame(Protocol):
    """One decoded frame. Pixels are converted only when they are asked for."""

    pts_s: float
    duration_s: float
    """Seconds that the file says this frame is on display; 0 if it does not say."""

    def rgb(self, width_px: int, height_px: int) -> np.ndarray:
        """Give the displayed frame as RGB (height_px, width_px, 3) uint8, scaled by area."""

    def luma(self) -> np.ndarray:
        """Give the displayed frame's luma (H, W) uint8, 0 black to 255 white, at the stored resolution."""

    def luma_preview(self) -> np.ndarray | None:
        """Give every eighth row of the stored luma (H / 8, W) uint8, a copy; None where that would not be cheap."""

    def stored_luma(self) -> tuple[np.ndarray, bool]:
        """Give the same as the file has it, and whether it is limited: 16 black to 235 white (see full_range)."""


def full_range(luma: np.ndarray) -> np.ndarray:
    """Stretch limited luma 16..235 to 0..255 (ITU-R BT.601 / BT.709 quantisation); what lies outside is clipped."""
    stretched = bytearray(np.ascontiguousarray(luma)).translate(_FULL_RANGE)  # twice as fast as indexing a table
    return np.frombuffer(stretched, np.uint8).reshape(luma.shape)


_FULL_RANGE = np.clip(np.round((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8).tobytes()


@dataclass
class Health:
    """What went wrong while reading, counted; `reasons` names each kind once, in the order of appearance."""

    packets: int = 0
    decode_errors: int = 0
    decoded: int = 0
    skipped: int = 0
    """Frames that were not decoded, because nobody was to look at them and no other refers to them."""
    untimed: int = 0
    epochs: int = 1
    decoder: str = "cpu"
    """What decoded: cpu, or nvdec, the decoder of a GPU."""
    fallback_reason: str = ""
    """Why the reader auto decodes on the CPU for a line on a GPU."""
    reasons: list[str] = field(default_factory=list)

    def degrade(self, reason: str) -> None:
        """Note a reason once."""
        if reason not in self.reasons:
            self.reasons.append(reason)


@dataclass(frozen=True)
class Sampling:
    """What will be looked at: the first frame of each cell, 1 / fps of a second; if `fast`, any frame of each."""

    fps: float
    fast: bool = False

    def cell(self, pts_s: float) -> int:
        """The cell of a time."""
        return cell_of(pts_s, self.fps)


def cell_of(pts_s: float, fps: float) -> int:
    """Which 1 / fps of a second a time lies in."""
    return math.floor(pts_s * fps + 1e-6)


class NotOnGPU(VideoError):
    """The decoder of a GPU does not take this video; `why` says in a few words what it does not take."""

    def __init__(self, path: Path, why: str) -> None:
        self.why = why
        message = (
            f"{path}: the GPU's decoder does not take it ({why}); use --reader auto, which decodes on the CPU then"
        )
        super().__init__(message, reason="unsupported")


class RestartNeeded(Exception):
    """The file has to be read again from the start, with these options, for the result to be right."""

    def __init__(self, **options: bool) -> None:
        super().__init__(str(options))
        self.options = options


class Reader(Protocol):
    """An open video. Iterate `frames()` once; `health` and `end_s` are complete when it is exhausted."""

    info: VideoInfo
    health: Health
    end_s: float | None
    """Where the video ends by its own declaration or by its last frame, in seconds; None before that is known."""

    def frames(self, start_s: float = 0.0, stop_s: float | None = None) -> Iterator[Frame]:
        """Yield the frames with start_s <= pts_s < stop_s, and before them a still that is on display at start_s.

        RestartNeeded if the frames cannot be trusted.
        """

    def close(self) -> None:
        """Let go of the file and of every decoder thread."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...
