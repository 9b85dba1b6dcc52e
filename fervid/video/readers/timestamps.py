"""Normalise timestamps: times that never run backwards, reliable durations, and a plausible end.

Where a frame has no timestamp of its own, its time is in the decoding times. A decoder that delays its output by D
packets gives the n-th displayed frame when it is fed packet n + D, and that packet is decoded when this frame is shown:
so `frame.dts`, which is the decoding time of the packet that released the frame, is the time of display. This holds
for AVI and for Matroska's VfW tracks, which store decoding times only; and where several frames share one stamp
(transport and program streams), the decoding times of the packets between two stamps are interpolated.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import av

from fervid.video.reader import INSTANT_S, MAX_HOLD_S, STILL_S, Health, RestartNeeded

__all__ = [
    "MAX_GAP_S",
    "SkippedPacket",
    "StampedFrame",
    "StreamFrame",
    "TimedFrame",
    "TimestampNormalizer",
    "interpolate_decoding_times",
    "stamp_frames",
]

#: A jump forwards by more than this starts a new clock; a shorter one is a frame that stays on display.
MAX_GAP_S = MAX_HOLD_S
#: The same where the container itself says that a frame lasts until the next one.
_MAX_STILL_S = 12 * 3600
#: A step backwards by less than this is disorder; a longer one starts a new clock (a concatenation).
_DISORDER_S = 1
#: A declared end further behind the last frame than this is not trusted.
_MAX_TAIL_S = 24 * 3600.0
#: What was lost explains a gap that begins or ends this close to it.
_LOSS_S = Fraction(1, 2)
#: The end of the video and the declared one may differ by this share before they contradict each other.
_TOLERANCE = 0.02
#: An interval of interpolated decoding times may be this many times as long as the one before it; else it has a gap.
_MAX_STRETCH = 8


class SkippedPacket(NamedTuple):
    """Stands for a frame that was not decoded: its pts and duration in ticks, as a decoded frame has them."""

    pts: int
    duration: int


StreamFrame = av.VideoFrame | SkippedPacket
#: A StreamFrame and its timestamp in ticks, if it has one.
StampedFrame = tuple[Any, int | None]
#: A frame, its time and its duration, both in seconds.
TimedFrame = tuple[StreamFrame, float, float]


def interpolate_decoding_times(packets: Iterable[Any]) -> Iterator[Any]:
    """Give each packet between two that have a decoding time one of its own.

    Parameters
    ----------
    packets : iterable of av.Packet or None
        In file order; None and empty packets flush the decoder. A decoding time that repeats counts as missing.

    Yields
    ------
    av.Packet or None
        The same packets; those before the first decoding time keep none.
    """
    waiting: deque[Any] = deque()
    last, step = None, 0.0
    for packet in packets:
        if packet is not None and packet.size and (packet.dts is None or packet.dts == last):
            waiting.append(packet)
            continue
        if packet is not None and packet.size:
            if last is not None and waiting:
                even = (packet.dts - last) / (len(waiting) + 1)
                step = even if even > 0 and (not step or even < _MAX_STRETCH * step) else step
            yield from _counted_on(waiting, last, step)
            last = packet.dts
        else:
            yield from _counted_on(waiting, last, step)
        yield packet
    yield from _counted_on(waiting, last, step)


def _counted_on(waiting: "deque[Any]", last: int | None, step: float) -> Iterator[Any]:
    for i in range(len(waiting)):
        packet = waiting.popleft()
        packet.dts = None if last is None else last + round((i + 1) * (step or packet.duration or 0))
        yield packet


def stamp_frames(
    frames: Iterable[Any], *, tick: Fraction, decoding: bool, health: Health, length_s: float = 0.0
) -> Iterator[StampedFrame]:
    """Find the timestamps of frames that do not all have one.

    Parameters
    ----------
    frames : iterable of av.VideoFrame
        In display order, decoded from packets that have decoding times.
    tick : Fraction
        The unit of their timestamps, in seconds.
    decoding : bool
        Use the decoding times alone, as the timestamps are not those of the display.
    health : Health
        Counts the frames without a usable timestamp of their own, if they should have one.
    length_s : float, optional
        How long the video is, if that is known: the last frames, which no packet releases, begin before its end.

    Yields
    ------
    StampedFrame
    """
    last, step, offset, anchor, disorder = None, 0, 0, None, _DISORDER_S / tick
    first, frames = None, iter(frames)
    for frame in frames:
        if decoding and length_s and first is not None and last is not None and frame.dts is None:
            flushed = [frame, *frames]
            left = first + length_s / tick - last
            if 0 < left < len(flushed) * step:
                step = left / (len(flushed) + 1)
            yield from ((one, last + round((i + 1) * step)) for i, one in enumerate(flushed))
            return
        pts, dts = None if decoding or frame.pts == anchor else frame.pts, frame.dts
        if pts is not None:
            anchor, offset = pts, pts - dts if dts is not None else offset
        if pts is not None and (last is None or pts > last or last - pts > disorder):
            stamp = pts
        elif dts is not None:
            # a stamp that belongs to another frame may lie behind: then the clock waits
            stamp = dts + offset if last is None or decoding else max(dts + offset, last + max(1, step // 8))
        else:  # the decoder is flushed
            stamp = None if last is None else last + step
        health.untimed += not decoding and stamp != pts
        if last is not None and stamp is not None and stamp > last:
            step = stamp - last
        last = stamp if stamp is not None else last
        first = last if first is None else first
        yield frame, stamp


class _Normalized(NamedTuple):
    """A frame, its time and its own duration in seconds, and whether something was lost just before it."""

    frame: StreamFrame
    time_s: float
    duration_s: float
    after_loss: bool


@dataclass(frozen=True)
class TimestampNormalizer:
    """The times of one open stream.

    Parameters
    ----------
    origin : Fraction
        Where second 0 is on the stream's clock, in seconds.
    tick : Fraction
        The unit of its timestamps, in seconds.
    step : Fraction
        Seconds from frame to frame.
    end_s : float or None
        The end that the file declares, in seconds from the origin.
    exact_end : bool
        Whether the stream declares that end, not only its container.
    length_s : float
        The length that the container declares, if the stream is the only one in it; else 0.
    declares : bool
        Whether the file states that end; in other containers FFmpeg estimates it.
    slack_s : float
        By how much the end may exceed the declared one at least.
    synthetic : bool
        Count frames instead of trusting timestamps.
    counted_as_stated : bool
        Whether frames are counted at a rate that the user stated.
    contiguous : bool
        Whether the container says that a frame lasts until the next one, however late that is.
    lead_s : float
        By how much decoding begins earlier than display, and ends earlier, on the clock of decoding times.
    counted_end : bool
        Whether that end is the number of chunks in the index.
    holds_to_end : bool
        Whether the last frame lasts until the declared end, as the file is complete.
    health : Health
        Counts what is found.
    losses : deque of int
        Timestamps, in ticks, near which something could not be read or decoded; the reader appends to it.
    on_gap : callable
        Called when the first frame is found that stays for a second or longer; it may raise RestartNeeded.
    others_end_s : callable
        Returns where the other streams end, in seconds from the origin; called if only the container declares an end,
        and the video ends before it.
    """

    origin: Fraction
    tick: Fraction
    step: Fraction
    end_s: float | None
    exact_end: bool
    length_s: float
    declares: bool
    slack_s: float
    synthetic: bool
    counted_as_stated: bool
    contiguous: bool
    lead_s: float
    counted_end: bool
    holds_to_end: bool
    health: Health
    losses: "deque[int]" = field(default_factory=deque)
    on_gap: Callable[[], None] = lambda: None
    others_end_s: Callable[[], float] = lambda: 0.0

    def normalize(self, frames: Iterator[StampedFrame]) -> Iterator[TimedFrame]:
        """Yield frames with times that never run backwards, each displayed until the next one.

        Frames without a usable timestamp are counted and dropped; a new clock continues where the last one ended. A
        player shows a frame until the next one comes: so do samples of an MP4, which leave no gap (ISO/IEC 14496-12,
        8.6.1.2), blocks of a Matroska file without DefaultDuration (RFC 9559, 5.1.3.5.3), and empty chunks in AVI;
        other containers have no durations, or have those of the average rate. Only where something could not be read
        or decoded does a frame last for its own duration, and what follows is missing.

        Parameters
        ----------
        frames : iterator of StampedFrame
            In display order.

        Yields
        ------
        TimedFrame

        Raises
        ------
        RestartNeeded
            With repair_time if timestamps are missing or repeat, with decoding_time if they are out of order.
        """
        before, gap_s, step_s, long_s = None, math.inf, float(self.step), STILL_S
        for current in self._count(frames) if self.synthetic else self._monotonic(frames):
            if before is not None:
                gap_s = current.time_s - before.time_s
                if gap_s >= long_s:
                    self.on_gap()
                    long_s = math.inf
                lasts_s = min(before.duration_s or step_s, gap_s) if current.after_loss else gap_s
                yield before.frame, before.time_s, lasts_s
            before = current
        if before is not None:
            yield before.frame, before.time_s, self._last_duration(before, gap_s)

    def _last_duration(self, last: _Normalized, gap_s: float) -> float:
        """Return how long the last frame lasts: as declared, but no longer than the video; else as the one before."""
        step_s = float(self.step)
        left_s = (self.end_s or 0.0) - last.time_s
        if self.holds_to_end and left_s > step_s + self.lead_s and self.health.epochs == 1:
            if not self.counted_end and left_s > max(_TOLERANCE * (self.end_s or 0.0), 2.5 * step_s):
                self.health.degrade("duration_mismatch")
            return min(left_s, _MAX_TAIL_S)
        if last.duration_s:
            return min(last.duration_s, MAX_HOLD_S if self.end_s is None else max(step_s, left_s))
        return min(step_s, gap_s, left_s if left_s > INSTANT_S else math.inf)

    def _monotonic(self, frames: Iterator[StampedFrame]) -> Iterator[_Normalized]:
        # integers in a unit of which tick, origin and step are multiples: Fractions take ten times as long
        unit = math.lcm(self.tick.denominator, self.origin.denominator, self.step.denominator)
        tick, shift, step = int(self.tick * unit), -int(self.origin * unit), int(self.step * unit)
        last, last_stamp, last_duration, disorder, repeats, seen = None, 0, 0, 0, 0, 0
        for frame, stamp in frames:
            seen += 1
            if stamp is None:
                self.health.untimed += 1
                if last is not None and self.health.clock == "timestamps":
                    raise RestartNeeded(repair_time=True)
                continue
            time, duration = stamp * tick + shift, (frame.duration or 0) * tick
            lost = last is not None and self._is_lost(last_stamp, stamp)
            longest = (_MAX_STILL_S if self.contiguous and not lost else MAX_GAP_S) * unit
            if last is not None and not last - _DISORDER_S * unit <= time <= last + last_duration + longest:
                jump = last + (last_duration or step) - time
                shift, time, lost = shift + jump, time + jump, False
                self.health.epochs += 1
                self.health.degrade("time_jumps")
            elif last is not None and time <= last:
                disorder, repeats = disorder + (time < last), repeats + (time == last)
                self.health.untimed += time < last
                if disorder >= 3 and disorder > seen / 20:
                    decoding = self.health.clock == "decoding times"
                    raise RestartNeeded(**{"synthetic_time" if decoding else "decoding_time": True})
                if repeats >= 3 and repeats > seen / 20 and self.health.clock == "timestamps":
                    raise RestartNeeded(repair_time=True)
                continue
            last, last_stamp, last_duration = time, stamp, duration
            if time >= 0:
                yield _Normalized(frame, time / unit, duration / unit, lost)

    def _is_lost(self, stamp: int, following: int) -> bool:
        """Report whether something was lost between two frames; forget what was lost before them."""
        margin = int(_LOSS_S / self.tick)
        while self.losses and self.losses[0] < stamp - margin:
            self.losses.popleft()
        return any(stamp - margin <= at <= following + margin for at in self.losses)

    def _count(self, frames: Iterator[StampedFrame]) -> Iterator[_Normalized]:
        if not self.counted_as_stated:
            self.health.degrade("synthetic_time")
        for i, (frame, _) in enumerate(frames):
            yield _Normalized(frame, float(i * self.step), float(self.step), False)

    def end_of_video(self, last_end_s: float, tail_s: float = 0.0) -> float:
        """Compare the end of the last frame with the declared end; note a truncated file, and a contradiction.

        Parameters
        ----------
        last_end_s : float
            When the last decoded frame ends, in seconds.
        tail_s : float
            How long the last four frames are displayed together, in seconds: at most so much later than decoding does
            their display end.

        Returns
        -------
        float
            The end of the video in seconds.
        """
        declared = self.end_s
        if declared is None or self.health.epochs > 1:
            return last_end_s
        step = 2.5 * float(self.step) + self.lead_s
        tolerance = max(0.3 if self.exact_end else 1.0, step)
        if last_end_s < declared - tolerance:
            if self.synthetic:
                self.health.degrade("duration_mismatch")
                return last_end_s
            if not self.exact_end and self.others_end_s() >= declared - tolerance:
                return last_end_s  # the sound goes on: the file is complete
            self.health.degrade("truncated")
            return min(declared, last_end_s + _MAX_TAIL_S)
        allowed = max(_TOLERANCE * declared, step, self.slack_s and max(self.slack_s, tail_s))
        # some containers count their length from the first frame on, some from 0
        shorter = last_end_s + max(0.0, float(self.origin)) < self.length_s - allowed
        if self.declares and (last_end_s > declared + allowed or shorter):
            self.health.degrade("duration_mismatch")
        return last_end_s
