"""Readers that open any frame by its number: a library's pixels at the times of the container's packets.

Only the frames that are sampled are decoded. Such libraries are wrong, without an error, on edit lists, damaged files
and changes of resolution: everything but the pixels comes from PyAV, and a file on which the two disagree is refused.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import av
import numpy as np

from fervid.errors import VideoError
from fervid.video.reader import INSTANT_S, Health, RestartNeeded
from fervid.video.readers.containers import choose_stream, open_container
from fervid.video.readers.frame_geometry import GeometryTracker
from fervid.video.readers.pyav import PyAVReader
from fervid.video.readers.pyav_frame import PyAVFrame, Scalers

__all__ = ["IndexedFrame", "IndexedReader", "resize_image"]

P = TypeVar("P")

#: Frames of one time, in seconds, are compared with PyAV's: so many keyframes, of this size, which may differ by this
#: much of 255 on average.
_SAME_TIME_S, _COMPARED, _COMPARED_PX, _MOST_APART = 0.001, 4, 32, 12.0


class IndexedFrame:
    """A frame by its number, decoded when its pixels are requested; subclasses convert them.

    Parameters
    ----------
    reader : IndexedReader
        Decodes the frame.
    number : int
        From 0, in display order.
    pts_s, duration_s : float
        Seconds.
    """

    def __init__(self, reader: Any, number: int, pts_s: float, duration_s: float) -> None:
        self.pts_s, self.duration_s = pts_s, duration_s
        self._reader, self._number = reader, number
        self.size_px = (reader.info.width_px, reader.info.height_px)

    def _pixels(self) -> Any:
        return self._reader.pixels(self._number)

    def luma_preview(self) -> None:
        """Return None: a preview would cost a decoded frame."""
        return


def resize_image(rgb: np.ndarray, width_px: int, height_px: int) -> np.ndarray:
    """Resize an image by area.

    Parameters
    ----------
    rgb : ndarray, shape (H, W, 3), uint8
    width_px, height_px : int

    Returns
    -------
    ndarray, shape (height_px, width_px, 3), uint8
    """
    from PIL import Image

    return np.asarray(Image.fromarray(rgb).resize((width_px, height_px), Image.Resampling.BOX))


class IndexedReader(ABC, Generic[P]):
    """A Reader of frames by number. P is what the library gives as a frame's pixels.

    Parameters
    ----------
    path : Path
    stream : int or None
        The index of the video stream.
    max_pixels : int
        The largest frame.

    Raises
    ------
    VideoError
        With the reason "unsupported" where the library's frames would not be those of the container.
    """

    library = ""
    #: Containers in which the library gives every frame at its own number.
    safe: tuple[str, ...] = ()

    def __init__(self, path: Path, *, stream: int | None, max_pixels: int) -> None:
        self._path = path
        try:
            with PyAVReader(path, stream=stream, max_pixels=max_pixels, careful=False, synthetic_time=False) as trusted:
                self.info, clock = trusted.info, trusted.health.clock
                self._times = trusted.frame_times()
                reasons = trusted.health.reasons
        except RestartNeeded:
            raise self._unsupported("it is damaged or its timestamps are") from None
        if clock != "timestamps":
            raise self._unsupported("its packets have no times of display")
        if self.info.container not in self.safe:
            raise self._unsupported(f"it loses frames of {self.info.container}")
        if reasons:
            raise self._unsupported(", ".join(reasons))
        if self.info.hdr:
            raise self._unsupported("it has a high dynamic range")
        try:
            shown = self._keyframes(max_pixels)
        except av.FFmpegError:
            raise self._unsupported("it is damaged") from None
        self.health = Health()
        self.end_s: float | None = None
        self._last: tuple[int, P] | None = None
        self._decoder: Any = None
        try:
            self._decoder = self._open()
            count = len(self._decoder)
        except VideoError:
            raise
        except Exception as e:  # noqa: BLE001 - such libraries raise bare RuntimeErrors and their own
            raise self._unsupported(f"{self.library}: {_first_line(e)}") from None
        if count != len(self._times):
            raise self._unsupported(f"{self.library} counts {count} frames, the container {len(self._times)}")
        for pts_s, rgb in shown:
            self._compare(pts_s, rgb)

    def _keyframes(self, max_pixels: int) -> list[tuple[float, np.ndarray]]:
        """Decode the keyframes with PyAV, check their size, and return times and small images of the first ones."""
        shown: list[tuple[float, np.ndarray]] = []
        with open_container(self._path, max_pixels) as container:
            stream, scalers = choose_stream(container, self._path, self.info.stream), Scalers()
            stream.codec_context.skip_frame = "NONKEY"
            tracker, tick = GeometryTracker(stream), Fraction(stream.time_base)
            for frame in container.decode(stream):
                tracker.stamp(frame)
                found = PyAVFrame(frame, float((frame.pts or 0) * tick) - self.info.start_s, 0.0, scalers)
                if found.size_px != (self.info.width_px, self.info.height_px):
                    raise self._unsupported(f"at {found.pts_s:.1f} s its frames change their size or their shape")
                if len(shown) < _COMPARED:
                    shown.append((found.pts_s, found.rgb(_COMPARED_PX, _COMPARED_PX)))
        return shown

    def _compare(self, pts_s: float, expected: np.ndarray) -> None:
        """Compare the library's frame at a time with PyAV's."""
        number = int(np.argmin([abs(at - pts_s) for at, _ in self._times]))
        if abs(self._times[number][0] - pts_s) > _SAME_TIME_S:
            return
        given = self._frame(number, *self._times[number]).rgb(_COMPARED_PX, _COMPARED_PX)
        off = np.abs(np.asarray(given.cpu() if hasattr(given, "cpu") else given, int) - expected).mean()
        if off > _MOST_APART:
            raise self._unsupported(
                f"its frame at {pts_s:.1f} s is displayed differently: orientation, range or colours"
            )

    @abstractmethod
    def _open(self) -> Any:
        """Open the file at `_path`, whose `info` is known -> the library's decoder; its length is the frame count."""

    @abstractmethod
    def _decode(self, number: int) -> P:
        """Decode one frame, displayed upright."""

    @abstractmethod
    def _frame(self, number: int, pts_s: float, duration_s: float) -> Any:
        """Make a Frame that calls `pixels` when its own pixels are requested."""

    def frames(self, start_s: float = 0.0, stop_s: float | None = None) -> Iterator[Any]:
        """Yield the frames with start_s <= pts_s < stop_s, preceded by the one on display at start_s.

        Parameters
        ----------
        start_s : float
        stop_s : float or None
            None: to the end.

        Yields
        ------
        Frame
        """
        end_s = 0.0
        for number, (pts_s, duration_s) in enumerate(self._times):
            shown = pts_s >= start_s or pts_s + duration_s > start_s + INSTANT_S
            if shown and (stop_s is None or pts_s < stop_s):
                self.health.decoded += 1
                end_s = pts_s + duration_s
                yield self._frame(number, pts_s, duration_s)
        self.end_s = end_s if stop_s is None else min(end_s, stop_s)

    def pixels(self, number: int) -> P:
        """Decode one frame, displayed upright; the last one is kept.

        Parameters
        ----------
        number : int
            From 0, in display order.

        Returns
        -------
        P

        Raises
        ------
        VideoError
            With the reason "unsupported" if the library cannot decode it.
        """
        if self._last is None or self._last[0] != number:
            try:
                self._last = (number, self._decode(number))
            except VideoError:
                raise
            except Exception as e:  # noqa: BLE001 - as above
                raise self._unsupported(f"frame {number}: {_first_line(e)}") from None
        return self._last[1]

    def close(self) -> None:
        """Release the decoder."""
        self._decoder = self._last = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _unsupported(self, why: str) -> VideoError:
        message = f"{self._path}: {self.library} does not read this file correctly ({why}); use --reader av"
        return VideoError(message, reason="unsupported")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]
