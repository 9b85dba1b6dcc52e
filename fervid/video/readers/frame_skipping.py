"""Skip the decoding of frames that will not be sampled; they keep their places in time.

packets -> FrameSkipper.setting, one by one -> decoder -> FrameSkipper.restore: the decoded frames, and a SkippedPacket
in the place of each skipped one -> TimestampNormalizer

A frame may be skipped if no other frame refers to it, which the decoder knows, and if it is not the first of its cell
(see fervid.video.reader.Sampling), which the packets show: an earlier frame of that cell has been read before it. If
the pixels of a skipped frame are requested nevertheless, the video is read again with every frame: the samples are the
same in any case.
"""

import math
from collections.abc import Iterator
from fractions import Fraction
from heapq import heappop, heappush
from typing import Any, NoReturn

import av

from fervid.video.reader import INSTANT_S, Health, RestartNeeded, Sampling
from fervid.video.readers.timestamps import MAX_GAP_S, SkippedPacket, StreamFrame

__all__ = ["FrameSkipper", "SkippedFrame", "can_skip_frames"]

#: Decoders that know to which frames no other refers, and containers whose packets carry the time of display.
_CODECS = {"h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video"}
_CONTAINERS = {"mov", "matroska", "mpegts", "mpeg", "flv"}
#: A packet this far behind another belongs to another clock (see TimestampNormalizer): from there on, skip nothing.
_BACK_S = 1
#: Frames from this long before the start on are decoded: the last of them is on display there.
_BEFORE_S = 1.0
#: Cells that are remembered: frames are at most 16 places away from display order (H.264 and HEVC, annexes A).
_CELLS = 64


def can_skip_frames(stream: Any, container: str, first: av.VideoFrame) -> bool:
    """Report whether frames of a stream may be skipped.

    Parameters
    ----------
    stream : av.VideoStream
    container : str
        FFmpeg's name.
    first : av.VideoFrame
        Its first frame; an interlaced one may come in two packets, with a field in each.

    Returns
    -------
    bool
    """
    supported = stream.codec_context.name in _CODECS and container in _CONTAINERS
    return supported and bool(stream.time_base) and not first.interlaced_frame


class SkippedFrame:
    """A Frame that was not decoded: requesting its pixels raises RestartNeeded(every_frame=True).

    Parameters
    ----------
    pts_s, duration_s : float
        Seconds.
    """

    def __init__(self, pts_s: float, duration_s: float) -> None:
        self.pts_s, self.duration_s = pts_s, duration_s

    def rgb(self, width_px: int, height_px: int) -> NoReturn:
        """Request that every frame be decoded."""
        raise RestartNeeded(every_frame=True)

    canvas = rgb

    @property
    def size_px(self) -> NoReturn:
        """Request that every frame be decoded."""
        raise RestartNeeded(every_frame=True)

    def luma(self) -> NoReturn:
        """Request that every frame be decoded."""
        raise RestartNeeded(every_frame=True)

    luma_preview = stored_luma = luma


class FrameSkipper:
    """Decide packet by packet what a decoder may skip, and put a SkippedPacket in the place of each skipped frame.

    Parameters
    ----------
    stream : av.VideoStream
    sampling : Sampling
    origin : Fraction
        Where second 0 is on the stream's clock, in seconds.
    health : Health
        Counts the skipped frames.
    start_s : float
        Nothing before this time is sampled; what is on display at this time is.
    """

    def __init__(
        self, stream: Any, sampling: Sampling, origin: Fraction, health: Health, *, start_s: float = 0.0
    ) -> None:
        self._stream, self._sampling, self._start_s, self._health = stream, sampling, start_s, health
        tick = Fraction(stream.time_base)
        self._least, self._most = math.ceil(-_BACK_S / tick), math.floor(MAX_GAP_S / tick)
        # pts * tick - origin in integers, once per packet: Fractions take ten times as long
        self._scale, self._zero = tick.numerator * origin.denominator, origin.numerator * tick.denominator
        self._unit = tick.denominator * origin.denominator
        self._first: dict[int, int] = {}
        self._latest: int | None = None
        self._one_clock = True
        self._pending: list[SkippedPacket] = []

    def setting(self, packet: Any) -> str:
        """Return the decoder's `skip_frame` for a packet. Call this for every packet, in file order.

        Parameters
        ----------
        packet : av.Packet or None
            None flushes the decoder.

        Returns
        -------
        str
            "DEFAULT", or "NONREF" to skip the frame if no other refers to it.
        """
        if not self._is_unwanted(packet):
            return "DEFAULT"
        heappush(self._pending, SkippedPacket(packet.pts, packet.duration or 0))
        return "NONREF"

    def _is_unwanted(self, packet: Any) -> bool:
        """Report whether the frame of this packet will certainly not be sampled."""
        if packet is None or not packet.size:
            return False
        if self._stream.codec_context.name == "hevc" and _temporal_layer(packet, self._stream.codec_context.extradata):
            raise RestartNeeded(every_frame=True)
        if not self._one_clock or packet.pts is None or packet.is_discard:
            return False
        pts, latest = packet.pts, packet.pts if self._latest is None else self._latest
        self._latest = max(pts, latest)
        self._one_clock = not self._jumps(latest, pts)
        pts_s = (pts * self._scale - self._zero) / self._unit
        # at the start of a part, the frame on display is sampled, whatever its place in its cell
        before, sampled = self._start_s - pts_s, self._has_sample(pts, self._sampling.cell(pts_s))
        unwanted = before > _BEFORE_S or (before < -INSTANT_S and sampled)
        # a frame that is displayed before another one that was read before it is a B-frame
        return unwanted and self._one_clock and pts < latest

    def _has_sample(self, pts: int, cell: int) -> bool:
        """Report whether the sample of this cell has been read: an earlier frame or, if fast, any frame."""
        first = self._first.get(cell)
        self._first[cell] = pts if first is None else min(first, pts)
        if len(self._first) > _CELLS:
            del self._first[next(iter(self._first))]
        return first is not None and (self._sampling.fast or first < pts)

    def restore(self, frames: Iterator[av.VideoFrame]) -> Iterator[StreamFrame]:
        """Put the skipped frames back in their places.

        Parameters
        ----------
        frames : iterator of av.VideoFrame
            What the decoder gives, in display order.

        Yields
        ------
        StreamFrame

        Raises
        ------
        RestartNeeded
            If the decoder's frames are not those that the packets announced.
        """
        before: int | None = None
        for frame in frames:
            if frame.pts is not None:
                jump = before is not None and self._jumps(before, frame.pts)
                if frame.interlaced_frame or (before is not None and frame.pts < before and not jump):
                    raise RestartNeeded(every_frame=True)
                yield from self._skipped_before(None if jump else frame.pts)
                before = frame.pts
            yield frame
        yield from self._skipped_before(None)

    def _skipped_before(self, pts: int | None) -> Iterator[SkippedPacket]:
        """Yield the frames displayed before pts (None: all), now that they are known not to have been decoded."""
        while self._pending and (pts is None or self._pending[0].pts < pts):
            self._health.skipped += 1
            yield heappop(self._pending)
        if self._pending and self._pending[0].pts == pts:
            heappop(self._pending)  # other frames refer to it, and it was decoded

    def _jumps(self, before: int, pts: int) -> bool:
        return not self._least <= pts - before <= self._most


def _temporal_layer(packet: Any, extradata: bytes | None) -> int:
    """Read the temporal layer of an HEVC packet from the header of its first unit (ITU-T H.265, 7.3.1.2).

    Where there is more than one layer, FFmpeg's "NONREF" skips too much: all that no frame of its own layer refers to.
    """
    head = bytes(memoryview(packet)[:6])
    start = 3 if head[:3] == b"\0\0\1" else 4
    if extradata and extradata[0] == 1:  # units begin with their lengths (ISO/IEC 14496-15, 8.3.3.1)
        start = (extradata[21] & 3) + 1 if len(extradata) > 21 else 4
    return max(0, (head[start + 1] & 7) - 1) if len(head) > start + 1 else 0
