"""Read segments of a video with PyAV: the packets to plan them from, and a reader that decodes one of them."""

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

#: Frames after a boundary that both of its segments decode, to check that they are the same.
_COMPARED = 8
#: How much further back to seek, in seconds, for a keyframe that was not found; at last, from the file's start.
_SEEK_BACK_S = (0, 1, 10)


def read_index(path: Path, stream: int | None, max_pixels: int) -> tuple[Index, int]:
    """Read all packets of a stream without decoding them.

    Parameters
    ----------
    path : Path
    stream : int or None
        The index of the video stream.
    max_pixels : int
        The largest frame.

    Returns
    -------
    index : Index
    n_packets : int
        How many packets hold data.

    Raises
    ------
    NotSplittable
        If the packets are damaged, or do not have the times of the displayed frames.
    VideoError
        If the file is not a readable video.
    """
    with open_container(path, max_pixels) as container:
        chosen = choose_stream(container, path, stream)
        pts, key = [], []
        try:
            for packet in container.demux(chosen):
                if not packet.size:
                    continue
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
    return Index(np.array(pts, np.int64), np.array(key, bool), tick), len(pts)


def read_duration(path: Path, max_pixels: int) -> float:
    """Read the duration that a container declares.

    Parameters
    ----------
    path : Path
    max_pixels : int
        The largest frame.

    Returns
    -------
    float
        Seconds; 0 if the container declares none, or if the file is not a readable video.
    """
    try:
        with open_container(check_file(path), max_pixels) as container:
            return float(Fraction(container.duration or 0, av.time_base))
    except VideoError:
        return 0.0


class SegmentReader(PyAVReader):
    """A reader of one segment. Damage and doubtful timestamps raise RestartNeeded: such a file is read as a whole.

    Parameters
    ----------
    path : Path
    stream : int or None
        The index of the video stream.
    max_pixels : int
        The largest frame.
    sampling : Sampling, optional
        Which frames will be sampled, so that others may be skipped.
    rotate : str, optional
        As for PyAVReader.

    Attributes
    ----------
    n_decoded, n_skipped : int
        The frames of the segment that were decoded, and those that were skipped.
    """

    def __init__(
        self,
        path: Path,
        *,
        stream: int | None,
        max_pixels: int,
        sampling: Sampling | None = None,
        rotate: str | None = None,
    ) -> None:
        options: dict[str, Any] = {"stream": stream, "max_pixels": max_pixels, "sampling": sampling, "rotate": rotate}
        super().__init__(path, careful=False, synthetic_time=False, **options)
        self.n_decoded = self.n_skipped = 0
        self._boundaries = _Boundary(math.inf), _Boundary(math.inf)

    def bounds_s(self, segment: Segment) -> tuple[float, float]:
        """Convert the start and the stop of a segment to seconds of the video.

        Parameters
        ----------
        segment : Segment

        Returns
        -------
        tuple of float
            Infinite where the segment is open.
        """
        start = -math.inf if segment.start is None else float(segment.start * self._tick - self._origin)
        return start, math.inf if segment.stop is None else float(segment.stop * self._tick - self._origin)

    def frames_of(self, segment: Segment) -> Iterator[PyAVFrame]:
        """Yield the frames from at least BEFORE_S (video.segments) before a segment to the end of the file.

        Stop the iteration when no more frames are needed and `tail_complete` is true.

        Parameters
        ----------
        segment : Segment

        Yields
        ------
        PyAVFrame or SkippedFrame
        """
        start_s, stop_s = self.bounds_s(segment)
        if segment.seek is None:
            source = self._frames_from_first()
        else:
            source = self._decode_sampled(self._packets_from(segment.seek))
        head, tail = self._boundaries = _Boundary(start_s), _Boundary(stop_s)
        last_end = 0.0
        for frame, pts_s, duration_s in self._timestamps.normalize(source):
            wrapped, skipped = self._wrap(frame, pts_s, duration_s), isinstance(frame, SkippedPacket)
            head.update(wrapped)
            tail.update(wrapped)
            if start_s <= pts_s < stop_s:
                self.n_decoded += not skipped
                self.n_skipped += skipped
                self.end_s = last_end = max(last_end, pts_s + (duration_s or float(self._timestamps.step)))
            yield wrapped
        if segment.stop is None:
            self.end_s = self._timestamps.end_of_video(last_end)

    @property
    def tail_complete(self) -> bool:
        """Whether `tail` covers all the frames that are compared."""
        return self._boundaries[1].left == 0

    @property
    def head(self) -> bytes:
        """A digest of the first frames of the segment."""
        return self._boundaries[0].digest

    @property
    def tail(self) -> bytes:
        """A digest of the first frames after the segment: the next segment's `head`, unless the split is not clean."""
        return self._boundaries[1].digest

    def _packets_from(self, keyframe: int) -> Iterator[Any]:
        """Return the packets from a keyframe on, wherever a seek lands: those before it are dropped."""
        for back_s in (*_SEEK_BACK_S, None):
            if back_s is None:
                self._reopen()
            else:
                with suppress(av.FFmpegError):
                    self._container.seek(int(keyframe - back_s / self._tick), stream=self._stream)
            packets = self._packets()
            for packet in packets:
                if packet is None or packet.pts is None or (packet.is_keyframe and packet.pts > keyframe):
                    break
                if packet.is_keyframe and packet.pts == keyframe:
                    return chain([packet], packets)
        raise RestartNeeded(careful=True)


class _Boundary:
    """A digest of the first decoded frames from a time on: their times, durations and luma."""

    def __init__(self, at_s: float) -> None:
        self.left, self._at_s, self._hash = _COMPARED, at_s, hashlib.sha256()

    def update(self, frame: PyAVFrame | SkippedFrame) -> None:
        if isinstance(frame, PyAVFrame) and self.left and -math.inf < self._at_s <= frame.pts_s:
            self.left -= 1
            self._hash.update(struct.pack("dd", frame.pts_s, frame.duration_s))
            self._hash.update(frame.luma().tobytes())

    @property
    def digest(self) -> bytes:
        return self._hash.digest()
