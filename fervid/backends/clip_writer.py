"""Write pictures with their times as an H.264 clip in MP4, by PyAV."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np

from fervid.errors import OutputError

__all__ = ["ClipWriter"]

_TICK = Fraction(1, 90_000)
_OPTIONS = {"preset": "veryfast", "crf": "20"}


class ClipWriter:
    """Takes pictures in the order of time; all have the size of the first. Close it, or use it with `with`."""

    def __init__(self, path: Path, rate: float) -> None:
        """Begin a clip; `rate` is what it declares, in pictures a second: the times of the pictures decide."""
        self._path, self._rate, self._last = path, Fraction(rate).limit_denominator(1001), -1
        self._container = av.open(f"file:{path.absolute()}", "w", format="mp4")
        self._stream: av.VideoStream | None = None

    def write(self, picture: np.ndarray, pts_s: float) -> None:
        """Append a picture (h, w, 3) uint8 RGB; an odd side loses its last row or column, for H.264 has none."""
        height, width = (side - side % 2 for side in picture.shape[:2])
        if self._stream is None:
            self._stream = self._begin(width, height)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), "rgb24")
        frame.time_base = _TICK
        self._last = frame.pts = max(round(pts_s / _TICK), self._last + 1)
        self._container.mux(self._stream.encode(frame))

    def _begin(self, width: int, height: int) -> av.VideoStream:
        if min(width, height) < 2:
            raise OutputError(f"{self._path}: pictures of {width}x{height} are too small for a clip")
        stream = self._container.add_stream("libx264", rate=self._rate, options=_OPTIONS)
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.time_base = width, height, "yuv420p", _TICK
        stream.codec_context.thread_count = 1
        return stream

    def close(self) -> None:
        """Finish the file."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self._container.close()
