"""Frames that nobody will look at are left out of decoding, and keep their places in time.

packets -> setting, one by one -> decoder -> frames, and SkippedPacket in the place of those that it left out -> Clock

A frame may be left out if no other refers to it, which the decoder knows, and if it is not the first of its cell (see
video.Sampling), which the packets tell: one of that cell that is shown before it has been read before it. Should this
lead anybody to look at a frame that was left out, the video is read again with every frame: so the looks are the same.
"""

import math
from collections.abc import Iterator
from fractions import Fraction
from heapq import heappop, heappush
from typing import Any, NoReturn

import av

from fervid.video.reader import Health, RestartNeeded, Sampling
from fervid.video.readers.timestamps import MAX_GAP_S, SkippedPacket, StreamFrame

__all__ = ["FrameSkipper", "SkippedFrame", "can_skip_frames"]

#: Decoders that know to which frames no other refers, and containers whose packets carry the time of display.
_CODECS = {"h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video"}
_CONTAINERS = {"mov", "matroska", "mpegts", "mpeg", "flv"}
#: A packet this far behind another is of another clock (Clock.timed): from there on every frame is decoded.
_BACK_S = 1
#: Cells that are remembered: frames are 16 places at most from the order of display (H.264 and HEVC, annexes A).
_CELLS = 64


def can_skip_frames(stream: Any, container: str, first: av.VideoFrame) -> bool:
    """Whether a stream is understood well enough; an interlaced frame may come in two packets, a field in each."""
    known = stream.codec_context.name in _CODECS and container in _CONTAINERS
    return known and bool(stream.time_base) and not first.interlaced_frame


class SkippedFrame:
    """A Frame (video.py) that was left out: RestartNeeded for whoever asks for its pixels."""

    def __init__(self, pts_s: float, duration_s: float) -> None:
        self.pts_s, self.duration_s = pts_s, duration_s

    def rgb(self, width_px: int, height_px: int) -> NoReturn:
        """Ask for every frame."""
        raise RestartNeeded(every_frame=True)

    canvas = rgb

    def luma(self) -> NoReturn:
        """Ask for every frame."""
        raise RestartNeeded(every_frame=True)

    luma_preview = stored_luma = luma


class FrameSkipper:
    """Says packet by packet what a decoder may leave out, and puts SkippedPacket where it did.

    `origin` is where second 0 begins, in seconds of the stream; `start_s` is where looking begins.
    """

    def __init__(
        self, stream: Any, sampling: Sampling, origin: Fraction, health: Health, *, start_s: float = 0.0
    ) -> None:
        self._stream, self._sampling, self._start_s, self._health = stream, sampling, start_s, health
        tick = Fraction(stream.time_base)
        self._least, self._most = math.ceil(-_BACK_S / tick), math.floor(MAX_GAP_S / tick)
        # pts * tick - origin in whole numbers: Fractions take ten times as long, and this is asked for every packet
        self._scale, self._zero = tick.numerator * origin.denominator, origin.numerator * tick.denominator
        self._unit = tick.denominator * origin.denominator
        self._first: dict[int, int] = {}
        self._latest: int | None = None
        self._one_clock = True
        self._waiting: list[SkippedPacket] = []

    def setting(self, packet: Any) -> str:
        """The decoder's skip_frame for this packet. Ask for each, in the order of the file."""
        if not self._spares(packet):
            return "DEFAULT"
        heappush(self._waiting, SkippedPacket(packet.pts, packet.duration or 0))
        return "NONREF"

    def _spares(self, packet: Any) -> bool:
        """Whether nobody will look at the frame of this packet."""
        if packet is None or not packet.size:
            return False
        if self._stream.codec_context.name == "hevc" and _layer(packet, self._stream.codec_context.extradata):
            raise RestartNeeded(every_frame=True)
        if not self._one_clock or packet.pts is None or packet.is_discard:
            return False
        pts, latest = packet.pts, packet.pts if self._latest is None else self._latest
        self._latest = max(pts, latest)
        self._one_clock = not self._jumps(latest, pts)
        pts_s = (pts * self._scale - self._zero) / self._unit
        unwanted = pts_s < self._start_s or self._comes_later(pts, self._sampling.cell(pts_s))
        return unwanted and self._one_clock and pts < latest  # shown before another that was read before it: a B-frame

    def _comes_later(self, pts: int, cell: int) -> bool:
        """Whether what will be looked at in this cell has been read: a frame that is shown before or, if fast, any."""
        first = self._first.get(cell)
        self._first[cell] = pts if first is None else min(first, pts)
        if len(self._first) > _CELLS:
            del self._first[next(iter(self._first))]
        return first is not None and (self._sampling.fast or first < pts)

    def in_place(self, frames: Iterator[av.VideoFrame]) -> Iterator[StreamFrame]:
        """Pass on what is decoded, in the order of display, and between it what was left out."""
        before: int | None = None
        for frame in frames:
            if frame.pts is not None:
                jump = before is not None and self._jumps(before, frame.pts)
                if frame.interlaced_frame or (before is not None and frame.pts < before and not jump):
                    raise RestartNeeded(every_frame=True)
                yield from self._passed(None if jump else frame.pts)
                before = frame.pts
            yield frame
        yield from self._passed(None)

    def _passed(self, pts: int | None) -> Iterator[SkippedPacket]:
        """What is shown before pts (None: all), now that it is known not to have been decoded."""
        while self._waiting and (pts is None or self._waiting[0].pts < pts):
            self._health.skipped += 1
            yield heappop(self._waiting)
        if self._waiting and self._waiting[0].pts == pts:
            heappop(self._waiting)  # the decoder knew better: others refer to it

    def _jumps(self, before: int, pts: int) -> bool:
        return not self._least <= pts - before <= self._most


def _layer(packet: Any, extradata: bytes | None) -> int:
    """The temporal layer of an HEVC packet: it stands in each unit's header (ITU-T H.265, 7.3.1.2).

    Where there is more than one, FFmpeg's "NONREF" is too much: it leaves out what no frame of its own layer refers to.
    """
    head = bytes(memoryview(packet)[:6])
    start = 3 if head[:3] == b"\0\0\1" else 4
    if extradata and extradata[0] == 1:  # units begin with their lengths (ISO/IEC 14496-15, 8.3.3.1)
        start = (extradata[21] & 3) + 1 if len(extradata) > 21 else 4
    return max(0, (head[start + 1] & 7) - 1) if len(head) > start + 1 else 0
