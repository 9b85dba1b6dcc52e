"""Pieces of a video by PyAV: the packets to plan them from, and a reader that decodes one of them."""

import hashlib
import math
import struct
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np

from fervid.errors import VideoError
from fervid.files import check_file
from fervid.video.reader import RestartNeeded, Sampling
from fervid.video.readers.containers import choose_stream, is_file_error, open_container
from fervid.video.readers.frame_skipping import SkippedFrame
from fervid.video.readers.pyav import PyAVReader
from fervid.video.readers.pyav_frame import PyAVFrame
from fervid.video.readers.timestamps import SkippedPacket
from fervid.video.segments import Index, NotSplittable, Segment

__all__ = ["SegmentReader", "read_duration", "read_index"]

#: Frames from a border on that both of its sides decode, to see that they are the same.
_COMPARED = 8
#: How much further back to look for a key frame that a seek did not find, in seconds; at last the file's start.
_BACK_S = (0, 1, 10)


def read_index(path: Path, stream: int | None, max_pixels: int) -> tuple[Index, int]:
    """Read all packets of a stream without decoding them -> the index, and how many packets hold data."""
    with open_container(path, max_pixels) as container:
        chosen = choose_stream(container, path, stream)
        pts, key, full = [], [], 0
        try:
            for packet in container.demux(chosen):
                if not packet.size:
                    continue
                full += 1
                if packet.is_corrupt:
                    raise NotSplittable("it is damaged")
                if packet.pts is None:
                    raise NotSplittable("frames without timestamps")
                if packet.is_discard:
                    raise NotSplittable("an edit list that hides frames")
                pts.append(packet.pts)
                key.append(packet.is_keyframe)
        except Exception as e:
            if isinstance(e, NotSplittable) or not is_file_error(e):
                raise
            raise NotSplittable("it is damaged") from e
        tick = Fraction(chosen.time_base or Fraction(1, 90_000))
    return Index(np.array(pts, np.int64), np.array(key, bool), tick), full


def read_duration(path: Path, max_pixels: int) -> float:
    """How long a container says that it is, in seconds; 0 for what does not say, or is none."""
    try:
        with open_container(check_file(path), max_pixels) as container:
            return float(Fraction(container.duration or 0, av.time_base))
    except VideoError:
        return 0.0


class SegmentReader(PyAVReader):
    """A reader of one piece. Damage and doubtful timestamps raise RestartNeeded: such a file is read whole.

    `n_decoded` and `n_skipped` count the frames of the segment, decoded and not; read frames until `tail_complete`.
    """

    def __init__(self, path: Path, *, stream: int | None, max_pixels: int, sampling: Sampling | None = None) -> None:
        file: dict[str, Any] = {"stream": stream, "max_pixels": max_pixels}
        super().__init__(path, **file, careful=False, synthetic_time=False, sampling=sampling)
        self.n_decoded = self.n_skipped = 0
        self._borders = _Border(math.inf), _Border(math.inf)

    def bounds_s(self, piece: Segment) -> tuple[float, float]:
        """Where a piece starts and stops, in seconds of the video."""
        start = -math.inf if piece.start is None else float(piece.start * self._tick - self._origin)
        return start, math.inf if piece.stop is None else float(piece.stop * self._tick - self._origin)

    def frames_of(self, piece: Segment) -> Iterator[PyAVFrame]:
        """Yield the frames from pieces.BEFORE_S before the piece on, at least, until nobody asks for more."""
        start_s, stop_s = self.bounds_s(piece)
        seek = piece.seek
        source = self._from_first() if seek is None else self._sifted(self._packets_from(seek))
        head, tail = self._borders = _Border(start_s), _Border(stop_s)
        last_end = 0.0
        for frame, pts_s, duration_s in self._clock.spans(self._clock.timed(source)):
            shown, left_out = self._wrapped(frame, pts_s, duration_s), isinstance(frame, SkippedPacket)
            head.take(shown)
            tail.take(shown)
            if start_s <= pts_s < stop_s:
                self.n_decoded += not left_out
                self.n_skipped += left_out
                self.end_s = last_end = max(last_end, pts_s + (duration_s or float(self._clock.step)))
            if not self._is_spare(frame, duration_s):
                yield shown
        if piece.stop is None:
            self.end_s = self._clock.finish(last_end)

    @property
    def tail_complete(self) -> bool:
        """Whether `tail` is complete."""
        return self._borders[1].left == 0

    @property
    def head(self) -> bytes:
        """A digest of the first frames of the piece."""
        return self._borders[0].digest

    @property
    def tail(self) -> bytes:
        """A digest of the first frames behind it: the next one's head, or the cut was not a clean one."""
        return self._borders[1].digest

    def _packets_from(self, key: int) -> Iterator[Any]:
        """The packets from a key frame on, wherever a seek lands: those before it are left out."""
        for back_s in (*_BACK_S, None):
            if back_s is None:
                self._reopen()
            else:
                with suppress(av.FFmpegError):
                    self._container.seek(int(key - back_s / self._tick), stream=self._stream)
            packets = self._packets()
            for packet in packets:
                if packet is None or packet.pts is None or (packet.is_keyframe and packet.pts > key):
                    break
                if packet.is_keyframe and packet.pts == key:
                    return chain([packet], packets)
        raise RestartNeeded(careful=True)

    def _reopen(self) -> None:
        self._container.close()
        self._container = open_container(self._path, self._max_pixels)
        self._prepare()


class _Border:
    """A digest of the first decoded frames from a time on: when they are shown, for how long, and their luma."""

    def __init__(self, at_s: float) -> None:
        self.left, self._at_s, self._hash = _COMPARED, at_s, hashlib.sha256()

    def take(self, frame: PyAVFrame | SkippedFrame) -> None:
        if isinstance(frame, PyAVFrame) and self.left and -math.inf < self._at_s <= frame.pts_s:
            self.left -= 1
            self._hash.update(struct.pack("dd", frame.pts_s, frame.duration_s))
            self._hash.update(frame.luma().tobytes())

    @property
    def digest(self) -> bytes:
        return self._hash.digest()
