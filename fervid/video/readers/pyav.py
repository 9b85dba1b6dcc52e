"""The default reader: PyAV, with every frame's time checked and damage survived."""

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, tee
from pathlib import Path
from typing import Any, Self

import av

from fervid.errors import VideoError
from fervid.runtime.profiling import stage
from fervid.types import VideoInfo
from fervid.video.reader import STILL_S, Health, RestartNeeded, Sampling
from fervid.video.readers.containers import choose_stream, duration_tag, is_file_error, open_container
from fervid.video.readers.frame_skipping import FrameSkipper, SkippedFrame, can_skip_frames
from fervid.video.readers.pyav_frame import PyAVFrame, Scalers
from fervid.video.readers.timestamps import MAX_GAP_S, SkippedPacket, StreamFrame, TimestampNormalizer

__all__ = ["PyAVReader"]

#: Containers in which a seek lands on a key frame and the index can be believed.
_SEEKABLE = {"mov", "matroska"}
#: Frame rates outside these (exclusive) are not believed.
_SLOWEST, _FASTEST = Fraction(1, 3600), 10_000
#: Codecs whose B-frames fast sampling leaves undeblocked. Not HEVC: some encoders make every frame a B-frame, and what
#: is left out in one frame goes on to all that refer to it.
_ROUGH = {"h264"}
_UNTIMED_AT_START = 64
_FAILURES_IN_A_ROW = 32


class PyAVReader:
    """A Reader over one video stream. Opening decodes the first frame: it alone tells rotation and time zero."""

    def __init__(
        self,
        path: Path,
        *,
        stream: int | None,
        max_pixels: int,
        careful: bool,
        synthetic_time: bool,
        sampling: Sampling | None = None,
    ) -> None:
        self._path, self._wanted, self._max_pixels = path, stream, max_pixels
        self._careful, self._synthetic, self._sampling = careful, synthetic_time, sampling
        self.health, self._scalers = Health(), Scalers()
        self.end_s: float | None = None
        self._container = self._open()
        try:
            self._prepare()
            self._tick = Fraction(self._stream.time_base or Fraction(1, 90_000))
            if self._tick > MAX_GAP_S and not synthetic_time:
                raise RestartNeeded(synthetic_time=True)
            self._rate = self._declared_rate()
            opening, again = tee(self._packets())
            decoding = self._decode(opening)
            head = self._head(decoding)
            self._origin = self._time_zero(head[-1])
            self._clock = self._wind(self._declared_end())
            self._opened: tuple[Iterator[StreamFrame], Iterator[Any]] = chain(head, decoding), again
            self.info = self._describe(head[-1])
            if not can_skip_frames(self._stream, self.info.container, head[-1]):
                if self._fast and self.info.codec in _ROUGH:
                    raise RestartNeeded(every_frame=True)
                self._sampling = None
        except BaseException:
            self.close()
            raise

    def frames(self, start_s: float = 0.0, stop_s: float | None = None) -> Iterator[Any]:
        """Yield the frames (PyAVFrame, Unseen) with start_s <= pts_s < stop_s, in the order of display."""
        source = self._from(start_s)
        last_end = 0.0
        for frame, pts_s, duration_s in self._clock.spans(self._clock.timed(source)):
            if stop_s is not None and pts_s >= stop_s:
                last_end = stop_s
                break
            last_end = max(last_end, pts_s + (duration_s or float(self._clock.step)))
            begun = pts_s >= start_s or (duration_s >= STILL_S and pts_s + duration_s > start_s)
            if begun and not self._is_spare(frame, duration_s):
                yield self._wrapped(frame, pts_s, duration_s)
        else:
            last_end = self._clock.finish(last_end)
        self.end_s = last_end if stop_s is None else min(last_end, stop_s)

    def _from(self, start_s: float) -> Iterator[StreamFrame]:
        """Decode from a little before start_s, or from the start."""
        if start_s > 0 and not self._synthetic and self._seek(start_s):
            return self._sifted(self._packets(), start_s)
        return self._from_first(start_s)

    def _from_first(self, start_s: float = 0.0) -> Iterator[StreamFrame]:
        """Go on where opening ended; or begin again, now that time zero is known, if frames may be left out."""
        frames, packets = self._opened
        self._opened = iter(()), iter(())  # of the two that are left, one would keep every packet for the other
        if self._sampling is None:
            return frames
        self._stream.codec_context.flush_buffers()
        self.health.packets = self.health.decoded = 0
        return self._sifted(packets, start_s)

    def _sifted(self, packets: Iterator[Any], start_s: float = 0.0) -> Iterator[StreamFrame]:
        """Decode what may be looked at."""
        if self._sampling is None:
            return self._decode(packets)
        sieve = FrameSkipper(self._stream, self._sampling, self._origin, self.health, start_s=start_s)
        return sieve.in_place(self._decode(packets, sieve))

    @property
    def _fast(self) -> bool:
        return self._sampling is not None and self._sampling.fast

    def _is_spare(self, frame: StreamFrame, duration_s: float) -> bool:
        """Whether a frame was left out and another will do: not for a still, which is looked at in each second."""
        return self._fast and isinstance(frame, SkippedPacket) and duration_s < STILL_S

    def frame_times(self) -> list[tuple[float, float]]:
        """Give (pts_s, duration_s) of every displayed frame from the packets alone; this uses the reader up."""
        self._container.seek(0)
        packets = [p for p in self._container.demux(self._stream) if p.pts is not None and not p.is_discard]
        times = sorted((p.pts * self._tick - self._origin, (p.duration or 0) * self._tick) for p in packets)
        return [(float(t), float(d)) for t, d in times]

    @property
    def time_base(self) -> Fraction:
        """Seconds of which all pts_s are multiples, as long as the clock does not jump."""
        return self._clock.step if self._synthetic else self._tick

    def close(self) -> None:
        """Close the container; safe to call twice."""
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _wrapped(self, frame: Any, pts_s: float, duration_s: float) -> Any:
        left_out = isinstance(frame, SkippedPacket)
        return SkippedFrame(pts_s, duration_s) if left_out else PyAVFrame(frame, pts_s, duration_s, self._scalers)

    # -- opening ---------------------------------------------------------------------------------------------------

    def _open(self) -> Any:
        return open_container(self._path, self._max_pixels)

    def _prepare(self) -> None:
        """Choose the stream and set its decoder up; huge frames are refused before anything is decoded."""
        self._stream = choose_stream(self._container, self._path, self._wanted)
        context = self._stream.codec_context
        if context.width * context.height > self._max_pixels:
            raise VideoError(
                f"{self._path}: frames of {context.width}x{context.height} are more than {self._max_pixels} pixels; "
                "raise --max-pixels if this is meant",
                reason="too_large",
            )
        context.options = {"max_pixels": str(self._max_pixels)}
        if self._fast and context.name in _ROUGH:
            context.options |= {"skip_loop_filter": "bidir"}
        context.thread_type = "AUTO"
        context.thread_count = 1 if self._careful else max(1, min(4, len(os.sched_getaffinity(0)) - 1))

    def _declared_rate(self) -> Fraction | None:
        """The stream's frame rate, if it can be believed. Without times, average_rate is only the demuxer's default."""
        stream = self._stream
        rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
        for rate in rates if stream.start_time is not None else (stream.guessed_rate,):
            if rate and _SLOWEST < Fraction(rate.numerator, rate.denominator) < _FASTEST:
                return Fraction(rate.numerator, rate.denominator)
        return None

    def _head(self, frames: Iterator[av.VideoFrame]) -> list[av.VideoFrame]:
        """Decode up to the first frame that has a time (any frame, when times are synthetic)."""
        head: list[av.VideoFrame] = []
        for frame in frames:
            head.append(frame)
            if self._synthetic or frame.pts is not None:
                return head
            if len(head) == _UNTIMED_AT_START:
                break
        if not head:
            raise VideoError(f"{self._path}: not one frame could be decoded", reason="no_frames")
        raise RestartNeeded(synthetic_time=True)

    def _time_zero(self, first: av.VideoFrame) -> Fraction:
        """Seconds at which second 0 begins: the first frame, or the declared start when damage took that frame."""
        if self._synthetic or first.pts is None:
            return Fraction(0)
        declared = self._stream.start_time
        if self.health.decode_errors and declared is not None and 0 < (first.pts - declared) * self._tick <= MAX_GAP_S:
            return declared * self._tick
        return first.pts * self._tick

    def _wind(self, end_s: float | None) -> TimestampNormalizer:
        stream = self._stream
        return TimestampNormalizer(
            origin=self._origin,
            tick=self._tick,
            step=1 / self._rate if self._rate else Fraction(1, 25),
            end_s=end_s,
            exact=stream.duration is not None or bool(duration_tag(stream.metadata)),
            synthetic=self._synthetic,
            abut=self._container_name() == "mov",
            health=self.health,
        )

    def _describe(self, first: av.VideoFrame) -> VideoInfo:
        width = max(1, round(first.width * float(self._stream.sample_aspect_ratio or 1)))
        height = first.height
        rotation = round(first.rotation / 90) * 90 % 360
        if rotation % 180:
            width, height = height, width
        end = self._clock.end_s
        return VideoInfo(
            path=self._path,
            container=self._container_name(),
            codec=self._stream.codec_context.name,
            width_px=width,
            height_px=height,
            rotation_deg=rotation,
            frame_rate=self._rate,
            duration_s=None if end is None else round(end, 6),
            start_s=float(self._origin),
            stream=self._stream.index,
        )

    def _declared_end(self) -> float | None:
        """Seconds from time zero to the end that the stream (else the container) declares."""
        ends: list[Fraction] = []
        if self._stream.duration:
            ends.append(((self._stream.start_time or 0) + self._stream.duration) * self._tick)
        elif tag := duration_tag(self._stream.metadata):
            ends.append(tag)
        if self._container.duration:
            ends.append(Fraction((self._container.start_time or 0) + self._container.duration, av.time_base))
        if not ends or self._tick > MAX_GAP_S:
            return None
        return max(0.0, float(min(ends) - self._origin))

    # -- decoding --------------------------------------------------------------------------------------------------

    def _packets(self) -> Iterator[Any]:
        """Demux; when the demuxer stumbles, ask it again until it fails many times in a row."""
        failures = 0
        while failures < _FAILURES_IN_A_ROW:
            try:
                for packet in self._container.demux(self._stream):
                    failures = 0
                    yield packet
                return
            except Exception as e:
                if not is_file_error(e):
                    raise
                failures += 1
                self._damage()
        yield None

    def _decode(self, packets: Iterator[Any], sieve: FrameSkipper | None = None) -> Iterator[av.VideoFrame]:
        """Decode packet by packet: one bad packet costs its own frames only."""
        for packet in packets:
            self.health.packets += packet is not None and packet.size > 0
            if packet is not None and packet.is_corrupt:
                self._damage()
            if sieve:
                self._stream.codec_context.skip_frame = sieve.setting(packet)
            try:
                with stage("decode"):
                    frames = self._stream.codec_context.decode(packet)
            except Exception as e:
                if not is_file_error(e):
                    raise
                self._damage()
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self._damage()
                    continue
                self.health.decoded += 1
                yield frame

    def _damage(self) -> None:
        if not self._careful:
            raise RestartNeeded(careful=True)
        self.health.decode_errors += 1
        self.health.degrade("damaged")

    def _seek(self, start_s: float) -> bool:
        """Go to one key frame before start_s, so that open groups of pictures decode; False: decode from the start.

        Some seeks land too late (fragmented MP4, Matroska before its first index entry): then the file is opened again.
        """
        if self._container_name() not in _SEEKABLE:
            return False
        target = int((self._origin + Fraction(start_s)) / self._tick)
        with contextlib.suppress(av.FFmpegError, StopIteration):
            if (landed := self._land(target)) is not None:
                earlier = self._land(landed - 1)
                if earlier is not None and earlier <= target:
                    self._container.seek(earlier, stream=self._stream)
                    return True
        self._container.close()
        self._container = self._open()
        self._prepare()
        return True

    def _land(self, target: int) -> int | None:
        """Seek, and give the time of the packet there."""
        self._container.seek(target, stream=self._stream)
        return next(self._container.demux(self._stream)).pts

    def _container_name(self) -> str:
        return self._container.format.name.split(",")[0]
