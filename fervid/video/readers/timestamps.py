"""When each frame is shown: times that never run back, durations that hold, an end that can be believed."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import av

from fervid.video.reader import Health, RestartNeeded

__all__ = ["MAX_GAP_S", "SkippedPacket", "StreamFrame", "TimedFrame", "TimestampNormalizer"]

#: A jump forward by more than this is a new clock, not a gap.
MAX_GAP_S = 3600
#: A step back by less than this is disorder; by more, a new clock (a concatenation).
_DISORDER_S = 1
#: A declared end further away than this behind the last frame is not believed.
_LONGEST_TAIL_S = 24 * 3600.0


class SkippedPacket(NamedTuple):
    """The place of a frame that was not decoded: its pts and duration in ticks, as a decoded one has them."""

    pts: int
    duration: int


StreamFrame = av.VideoFrame | SkippedPacket
#: A frame, its time and its duration, both in seconds.
TimedFrame = tuple[StreamFrame, float, float]


@dataclass(frozen=True)
class TimestampNormalizer:
    """The time of one open stream.

    origin: seconds at which second 0 begins; tick: seconds of a timestamp's unit; step: seconds from frame to frame;
    end_s: what the file declares, from the origin; exact: whether the stream itself declares it; synthetic: count
    frames rather than believe timestamps; abut: samples leave no gap (undamaged MP4).
    """

    origin: Fraction
    tick: Fraction
    step: Fraction
    end_s: float | None
    exact: bool
    synthetic: bool
    abut: bool
    health: Health

    def timed(self, source: Iterator[StreamFrame]) -> Iterator[TimedFrame]:
        """Give every frame a time that never runs back; frames without one are counted and left out."""
        if self.synthetic:
            yield from self._counted(source)
            return
        # whole numbers of the unit that tick, origin and step are multiples of: Fractions take ten times as long
        unit = math.lcm(self.tick.denominator, self.origin.denominator, self.step.denominator)
        tick, shift, step = int(self.tick * unit), -int(self.origin * unit), int(self.step * unit)
        last, last_duration, disorder, seen = None, 0, 0, 0
        for frame in source:
            seen += 1
            if frame.pts is None:
                self.health.untimed += 1
                continue
            time, duration = frame.pts * tick + shift, (frame.duration or 0) * tick
            if last is not None and not last - _DISORDER_S * unit <= time <= last + last_duration + MAX_GAP_S * unit:
                ahead = last + (last_duration or step) - time
                shift, time = shift + ahead, time + ahead
                self.health.epochs += 1
                self.health.degrade("time_jumps")
            elif last is not None and time < last:
                disorder += 1
                self.health.untimed += 1
                if disorder >= 3 and disorder > seen / 20:
                    raise RestartNeeded(synthetic_time=True)
                continue
            last, last_duration = time, duration
            if time >= 0:
                yield frame, time / unit, duration / unit
        if self.health.untimed > seen / 2:
            raise RestartNeeded(synthetic_time=True)

    def spans(self, timed: Iterator[TimedFrame]) -> Iterator[TimedFrame]:
        """Make durations hold: none reaches over the next frame, and where samples abut each reaches up to it.

        What a frame declares is not enough: in MP4 with B-frames it follows the order of decoding, in Matroska it is a
        default. Samples of an undamaged MP4 leave no gap (ISO/IEC 14496-12, 8.6.1.2), so a long one is a still.
        """
        before: TimedFrame | None = None
        for item in timed:
            if before is not None:
                apart = item[1] - before[1]
                abut = self.abut and not self.health.decode_errors
                yield before[0], before[1], apart if abut else min(before[2], apart)
            before = item
        if before is not None:
            left = (self.end_s or 0.0) - before[1]
            yield before[0], before[1], min(before[2], max(float(self.step), left))

    def _counted(self, source: Iterator[StreamFrame]) -> Iterator[TimedFrame]:
        self.health.degrade("synthetic_time")
        step = self.step
        for i, frame in enumerate(source):
            yield frame, float(i * step), float(step)

    def finish(self, last_end: float) -> float:
        """Compare where decoding ended with where the file says it ends; give the end of the timeline."""
        declared = self.end_s
        if declared is None or self.synthetic or self.health.epochs > 1:
            return last_end
        tolerance = max(0.3 if self.exact else 1.0, 2.5 * float(self.step))
        if last_end < declared - tolerance:
            self.health.degrade("truncated")
            return min(declared, last_end + _LONGEST_TAIL_S)
        return last_end
