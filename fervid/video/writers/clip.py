"""Write frames with their times, and the audio of another file, as H.264 in MP4 by PyAV."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np

from fervid.errors import OutputError
from fervid.video.writers.audio import AudioSource

__all__ = ["ClipWriter"]

_TICK = Fraction(1, 90_000)
_ENCODER = {"preset": "veryfast", "crf": "20"}
_COLOURS = ("color_range", "colorspace", "color_primaries", "color_trc")


class ClipWriter:
    """Encode frames in the order of time; all have the size of the first. Close it, or use it with `with`.

    Parameters
    ----------
    path : Path
        Where the MP4 file goes.
    rate : float or Fraction
        The frame rate that the file declares; the times of the frames decide.
    tick : Fraction
        Times are rounded to multiples of this many seconds.
    threads : int
        One encoder thread gives the same bytes everywhere; 0 uses as many as there are cores.
    audio : AudioSource, optional
        Audio to be written with the frames, which are delayed by its `delay_s`.
    encoder : mapping, optional
        Options of libx264.
    faststart : bool
        Put the index before the data, so that playback starts before all is loaded.
    """

    def __init__(
        self,
        path: Path,
        rate: float | Fraction,
        *,
        tick: Fraction = _TICK,
        threads: int = 1,
        audio: AudioSource | None = None,
        encoder: Mapping[str, str] | None = None,
        faststart: bool = False,
    ) -> None:
        self._path, self._rate, self._tick = path, Fraction(rate).limit_denominator(1001), tick
        self._last: int | None = None
        self._threads, self._audio, self._encoder = threads, audio, dict(encoder or _ENCODER)
        options = {"movflags": "+faststart"} if faststart else {}
        self._container = av.open(f"file:{path.absolute()}", "w", format="mp4", options=options)
        self._stream: av.VideoStream | None = None

    def write(self, image: np.ndarray, pts_s: float) -> None:
        """Append an image; of an odd side, which H.264 does not support, the last row or column is dropped.

        Parameters
        ----------
        image : ndarray, shape (h, w, 3), uint8
            RGB.
        pts_s : float
            Seconds.

        Raises
        ------
        OutputError
            If it is smaller than 2x2.
        """
        height, width = (side - side % 2 for side in image.shape[:2])
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), "rgb24")
        self.write_frame(frame, pts_s)

    def write_frame(self, frame: av.VideoFrame, pts_s: float, duration_s: float = 0.0) -> None:
        """Append a frame.

        Parameters
        ----------
        frame : av.VideoFrame
            Of even sides; its own time is ignored.
        pts_s, duration_s : float
            Seconds; a duration of 0 is not declared.

        Raises
        ------
        OutputError
            If it is smaller than 2x2.
        """
        if self._stream is None:
            self._stream = self._add_streams(frame)
        delay_s = self._audio.delay_s if self._audio else Fraction(0)
        frame.time_base, frame.pict_type = self._tick, av.video.frame.PictureType.NONE
        at = round(pts_s / self._tick + delay_s / self._tick)
        self._last = frame.pts = at if self._last is None else max(at, self._last + 1)
        frame.duration = round(duration_s / self._tick)
        if self._audio:
            self._audio.write_until(pts_s + float(delay_s))
        self._container.mux(self._stream.encode(frame))

    def _add_streams(self, first: av.VideoFrame) -> av.VideoStream:
        if min(first.width, first.height) < 2:
            raise OutputError(f"{self._path}: frames of {first.width}x{first.height} are too small for a clip")
        stream = self._container.add_stream("libx264", rate=self._rate, options=self._encoder)
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, "yuv420p"
        stream.codec_context.time_base = self._tick
        stream.codec_context.thread_count = self._threads
        if first.format.name != "rgb24":
            for name in _COLOURS:
                setattr(stream.codec_context, name, getattr(first, name))
        if self._audio:
            self._audio.add_streams(self._container)
        return stream

    def close(self) -> None:
        """Write what the encoders still hold, and finish the file."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
            if self._audio:
                self._audio.finish()
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self._container.close()
