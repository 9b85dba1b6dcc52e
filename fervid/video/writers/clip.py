"""Write pictures with their times as an H.264 clip in MP4, by PyAV, with the sound of another file."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np

from fervid.errors import OutputError
from fervid.video.writers.audio import AudioPassthrough

__all__ = ["ClipWriter"]

_TICK = Fraction(1, 90_000)
_OPTIONS = {"preset": "veryfast", "crf": "20"}
_COLOURS = ("color_range", "colorspace", "color_primaries", "color_trc")


class ClipWriter:
    """Takes pictures in the order of time; all have the size of the first. Close it, or use it with `with`."""

    def __init__(
        self,
        path: Path,
        rate: float | Fraction,
        *,
        tick: Fraction = _TICK,
        threads: int = 1,
        sound: AudioPassthrough | None = None,
    ) -> None:
        """Begin a clip; `rate` is what it declares, in pictures a second: the times of the pictures decide.

        Times are kept as multiples of `tick` seconds. One encoder thread gives the same bytes everywhere; 0 threads are
        as many as there are cores. With `sound` the pictures come as late after it as they do in its file.
        """
        self._path, self._rate, self._tick = path, Fraction(rate).limit_denominator(1001), tick
        self._last: int | None = None
        self._threads, self._sound = threads, sound
        self._container = av.open(f"file:{path.absolute()}", "w", format="mp4")
        self._stream: av.VideoStream | None = None

    def write(self, picture: np.ndarray, pts_s: float) -> None:
        """Append a picture (h, w, 3) uint8 RGB; an odd side loses its last row or column, for H.264 has none."""
        height, width = (side - side % 2 for side in picture.shape[:2])
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), "rgb24")
        self.write_frame(frame, pts_s)

    def write_frame(self, frame: av.VideoFrame, pts_s: float, duration_s: float = 0.0) -> None:
        """Append a frame of even sides; its own time is not asked for."""
        if self._stream is None:
            self._stream = self._begin(frame)
        delay_s = self._sound.delay_s if self._sound else Fraction(0)
        frame.time_base, frame.pict_type = self._tick, av.video.frame.PictureType.NONE
        at = round(pts_s / self._tick + delay_s / self._tick)
        self._last = frame.pts = at if self._last is None else max(at, self._last + 1)
        frame.duration = round(duration_s / self._tick)
        if self._sound:
            self._sound.copy_until(pts_s + float(delay_s))
        self._container.mux(self._stream.encode(frame))

    def _begin(self, first: av.VideoFrame) -> av.VideoStream:
        if min(first.width, first.height) < 2:
            raise OutputError(f"{self._path}: pictures of {first.width}x{first.height} are too small for a clip")
        stream = self._container.add_stream("libx264", rate=self._rate, options=_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, "yuv420p"
        stream.codec_context.time_base = self._tick
        stream.codec_context.thread_count = self._threads
        if first.format.name != "rgb24":
            for name in _COLOURS:
                setattr(stream.codec_context, name, getattr(first, name))
        if self._sound:
            self._sound.join(self._container)
        return stream

    def close(self) -> None:
        """Finish the file."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
            if self._sound:
                self._sound.copy_until(None)
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self._container.close()
