"""Normalise timestamps: times that never run backwards, reliable durations, and a plausible end."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import av

from fervid.video.reader import Health, RestartNeeded

__all__ = ["MAX_GAP_S", "SkippedPacket", "StreamFrame", "TimedFrame", "TimestampNormalizer"]

#: A jump forwards by more than this starts a new clock; a shorter one is a gap.
MAX_GAP_S = 3600
#: A step backwards by less than this is disorder; a longer one starts a new clock (a concatenation).
_DISORDER_S = 1
#: A declared end further behind the last frame than this is not trusted.
_MAX_TAIL_S = 24 * 3600.0


class SkippedPacket(NamedTuple):
    """Stands for a frame that was not decoded: its pts and duration in ticks, as a decoded frame has them."""

    pts: int
    duration: int


StreamFrame = av.VideoFrame | SkippedPacket
#: A frame, its time and its duration, both in seconds.
TimedFrame = tuple[StreamFrame, float, float]


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
    synthetic : bool
        Count frames instead of trusting timestamps.
    contiguous : bool
        Whether samples leave no gap between them (undamaged MP4).
    health : Health
        Counts what is found.
    """

    origin: Fraction
    tick: Fraction
    step: Fraction
    end_s: float | None
    exact_end: bool
    synthetic: bool
    contiguous: bool
    health: Health

    def normalize(self, frames: Iterator[StreamFrame]) -> Iterator[TimedFrame]:
        """Yield frames with times that never run backwards and reliable durations.

        Frames without a usable timestamp are counted and dropped; a new clock continues where the last one ended. No
        duration reaches beyond the next frame, and where samples are contiguous each reaches up to it. The declared
        durations are not enough: in MP4 with B-frames they follow decoding order, in Matroska they are a default.
        Samples of an undamaged MP4 leave no gap (ISO/IEC 14496-12, 8.6.1.2), so a long one is a still.

        Parameters
        ----------
        frames : iterator of StreamFrame
            In display order.

        Yields
        ------
        TimedFrame

        Raises
        ------
        RestartNeeded
            With synthetic_time, if too many timestamps are missing or out of order.
        """
        before: TimedFrame | None = None
        for current in self._count(frames) if self.synthetic else self._monotonic(frames):
            if before is not None:
                gap_s = current[1] - before[1]
                contiguous = self.contiguous and not self.health.decode_errors
                yield before[0], before[1], gap_s if contiguous else min(before[2], gap_s)
            before = current
        if before is not None:
            left_s = (self.end_s or 0.0) - before[1]
            yield before[0], before[1], min(before[2], max(float(self.step), left_s))

    def _monotonic(self, frames: Iterator[StreamFrame]) -> Iterator[TimedFrame]:
        # integers in a unit of which tick, origin and step are multiples: Fractions take ten times as long
        unit = math.lcm(self.tick.denominator, self.origin.denominator, self.step.denominator)
        tick, shift, step = int(self.tick * unit), -int(self.origin * unit), int(self.step * unit)
        last, last_duration, disorder, seen = None, 0, 0, 0
        for frame in frames:
            seen += 1
            if frame.pts is None:
                self.health.untimed += 1
                continue
            time, duration = frame.pts * tick + shift, (frame.duration or 0) * tick
            if last is not None and not last - _DISORDER_S * unit <= time <= last + last_duration + MAX_GAP_S * unit:
                jump = last + (last_duration or step) - time
                shift, time = shift + jump, time + jump
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

    def _count(self, frames: Iterator[StreamFrame]) -> Iterator[TimedFrame]:
        self.health.degrade("synthetic_time")
        for i, frame in enumerate(frames):
            yield frame, float(i * self.step), float(self.step)

    def end_of_video(self, last_end_s: float) -> float:
        """Compare the end of the last frame with the declared end; note a truncated file.

        Parameters
        ----------
        last_end_s : float
            When the last decoded frame ends, in seconds.

        Returns
        -------
        float
            The end of the video in seconds.
        """
        declared = self.end_s
        if declared is None or self.synthetic or self.health.epochs > 1:
            return last_end_s
        tolerance = max(0.3 if self.exact_end else 1.0, 2.5 * float(self.step))
        if last_end_s < declared - tolerance:
            self.health.degrade("truncated")
            return min(declared, last_end_s + _MAX_TAIL_S)
        return last_end_s
