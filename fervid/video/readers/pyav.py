"""The default reader: PyAV, with every timestamp checked and damage survived."""

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
from fervid.video.geometry import ORIENTATIONS
from fervid.video.reader import STILL_S, Health, RestartNeeded, Sampling
from fervid.video.readers.containers import choose_stream, duration_tag, is_file_error, open_container
from fervid.video.readers.frame_geometry import GeometryTracker, geometry_of
from fervid.video.readers.frame_skipping import FrameSkipper, SkippedFrame, can_skip_frames
from fervid.video.readers.pyav_frame import PyAVFrame, Scalers
from fervid.video.readers.timestamps import MAX_GAP_S, SkippedPacket, StreamFrame, TimestampNormalizer
from fervid.video.tone_mapping import TRANSFERS

__all__ = ["PyAVReader"]

#: Containers in which a seek lands on a keyframe and the index can be trusted.
_SEEKABLE = {"mov", "matroska"}
#: Frame rates outside these limits (exclusive) are not trusted.
_MIN_RATE, _MAX_RATE = Fraction(1, 3600), 10_000
#: Codecs whose B-frames are decoded without the deblocking filter in fast sampling. Not HEVC: some encoders make every
#: frame a B-frame, and what is omitted in one frame affects all that refer to it.
_SKIP_DEBLOCKING = {"h264"}
_MAX_UNTIMED_AT_START = 64
_MAX_FAILURES_IN_A_ROW = 32


class PyAVReader:
    """A Reader of one video stream. Opening it decodes the first frame, which alone reveals rotation and time zero.

    Parameters
    ----------
    path : Path
    stream : int or None
        The index of the video stream; None chooses one.
    max_pixels : int
        The largest frame.
    careful, synthetic_time : bool
        See fervid.video.open.open_video.
    sampling : Sampling, optional
        Which frames will be sampled, so that others may be skipped.
    rotate : str, optional
        A key of geometry.ORIENTATIONS that takes precedence over the orientation in the file.

    Raises
    ------
    VideoError
        If the file is not a readable video.
    ConfigError
        If `stream` is not a video stream.
    RestartNeeded
        If the file must be opened with other options.
    """

    def __init__(
        self,
        path: Path,
        *,
        stream: int | None,
        max_pixels: int,
        careful: bool,
        synthetic_time: bool,
        sampling: Sampling | None = None,
        rotate: str | None = None,
    ) -> None:
        self._path, self._stream_index, self._max_pixels = path, stream, max_pixels
        self._careful, self._synthetic, self._sampling = careful, synthetic_time, sampling
        self._rotate = ORIENTATIONS[rotate] if rotate else None
        self.health, self._scalers = Health(), Scalers()
        self.end_s: float | None = None
        self._container = self._open()
        try:
            self._prepare()
            self._tick = Fraction(self._stream.time_base or Fraction(1, 90_000))
            if self._tick > MAX_GAP_S and not synthetic_time:
                raise RestartNeeded(synthetic_time=True)
            self._rate = self._declared_rate()
            packets, replay = tee(self._packets())
            decoded = self._decode(packets)
            head = self._head(decoded)
            self._origin = self._time_zero(head[-1])
            self._timestamps = self._normalizer(self._declared_end())
            self._opened: tuple[Iterator[StreamFrame], Iterator[Any]] = chain(head, decoded), replay
            self.info = self._describe(head[-1])
            if not can_skip_frames(self._stream, self.info.container, head[-1]):
                if self._fast and self.info.codec in _SKIP_DEBLOCKING:
                    raise RestartNeeded(every_frame=True)
                self._sampling = None
        except BaseException:
            self.close()
            raise

    def frames(self, start_s: float = 0.0, stop_s: float | None = None) -> Iterator[Any]:
        """Yield the frames with start_s <= pts_s < stop_s, preceded by a still that is on display at start_s.

        Parameters
        ----------
        start_s : float
        stop_s : float or None
            None: to the end.

        Yields
        ------
        PyAVFrame or SkippedFrame
            In display order.

        Raises
        ------
        RestartNeeded
            If the file must be read again with other options.
        """
        last_end = 0.0
        for frame, pts_s, duration_s in self._timestamps.normalize(self._frames_from(start_s)):
            if stop_s is not None and pts_s >= stop_s:
                last_end = stop_s
                break
            last_end = max(last_end, pts_s + (duration_s or float(self._timestamps.step)))
            visible = pts_s >= start_s or (duration_s >= STILL_S and pts_s + duration_s > start_s)
            if visible and not self._is_redundant(frame, duration_s):
                yield self._wrap(frame, pts_s, duration_s)
        else:
            last_end = self._timestamps.end_of_video(last_end)
        self.end_s = last_end if stop_s is None else min(last_end, stop_s)

    def _frames_from(self, start_s: float) -> Iterator[StreamFrame]:
        """Decode from shortly before start_s, or from the first frame."""
        if start_s > 0 and not self._synthetic and self._seek(start_s):
            return self._decode_sampled(self._packets(), start_s)
        return self._frames_from_first(start_s)

    def _frames_from_first(self, start_s: float = 0.0) -> Iterator[StreamFrame]:
        """Continue after the frames decoded while opening; or decode again, now that time zero is known, and skip."""
        frames, packets = self._opened
        self._opened = iter(()), iter(())  # else the one that is not used would buffer every packet of the other
        if self._sampling is None:
            return frames
        self._stream.codec_context.flush_buffers()
        self.health.packets = self.health.decoded = 0
        return self._decode_sampled(packets, start_s)

    def _decode_sampled(self, packets: Iterator[Any], start_s: float = 0.0) -> Iterator[StreamFrame]:
        """Decode the frames that may be sampled."""
        if self._sampling is None:
            return self._decode(packets)
        skipper = FrameSkipper(self._stream, self._sampling, self._origin, self.health, start_s=start_s)
        return skipper.restore(self._decode(packets, skipper))

    @property
    def _fast(self) -> bool:
        return self._sampling is not None and self._sampling.fast

    def _is_redundant(self, frame: StreamFrame, duration_s: float) -> bool:
        """Report whether a frame was skipped and another will do; a still is sampled again in each second."""
        return self._fast and isinstance(frame, SkippedPacket) and duration_s < STILL_S

    def frame_times(self) -> list[tuple[float, float]]:
        """Read the times of all displayed frames from the packets alone. The reader cannot be used afterwards.

        Returns
        -------
        list of tuple
            (pts_s, duration_s) of each.
        """
        self._container.seek(0)
        packets = [p for p in self._container.demux(self._stream) if p.pts is not None and not p.is_discard]
        times = sorted((p.pts * self._tick - self._origin, (p.duration or 0) * self._tick) for p in packets)
        return [(float(t), float(d)) for t, d in times]

    @property
    def time_base(self) -> Fraction:
        """The seconds of which all pts_s are multiples, as long as the clock does not jump."""
        return self._timestamps.step if self._synthetic else self._tick

    def close(self) -> None:
        """Close the container; it may be called twice."""
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _wrap(self, frame: Any, pts_s: float, duration_s: float) -> Any:
        if isinstance(frame, SkippedPacket):
            return SkippedFrame(pts_s, duration_s)
        return PyAVFrame(frame, pts_s, duration_s, self._scalers)

    # -- opening ---------------------------------------------------------------------------------------------------

    def _open(self) -> Any:
        return open_container(self._path, self._max_pixels)

    def _prepare(self) -> None:
        """Choose the stream and set up its decoder; reject huge frames before anything is decoded."""
        self._stream = choose_stream(self._container, self._path, self._stream_index)
        context = self._stream.codec_context
        if context.width * context.height > self._max_pixels:
            raise VideoError(
                f"{self._path}: frames of {context.width}x{context.height} are more than {self._max_pixels} pixels; "
                "raise --max-pixels if this is meant",
                reason="too_large",
            )
        context.options = {"max_pixels": str(self._max_pixels)}
        if self._fast and context.name in _SKIP_DEBLOCKING:
            context.options |= {"skip_loop_filter": "bidir"}
        self._geometry = GeometryTracker(self._stream, self._rotate)
        context.thread_type = "AUTO"
        context.thread_count = 1 if self._careful else max(1, min(4, len(os.sched_getaffinity(0)) - 1))

    def _declared_rate(self) -> Fraction | None:
        """Return the stream's frame rate, if plausible; without times, average_rate is only the demuxer's default."""
        stream = self._stream
        rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
        for rate in rates if stream.start_time is not None else (stream.guessed_rate,):
            if rate and _MIN_RATE < Fraction(rate.numerator, rate.denominator) < _MAX_RATE:
                return Fraction(rate.numerator, rate.denominator)
        return None

    def _head(self, frames: Iterator[av.VideoFrame]) -> list[av.VideoFrame]:
        """Decode up to the first frame that has a timestamp (any frame if times are synthetic)."""
        head: list[av.VideoFrame] = []
        for frame in frames:
            head.append(frame)
            if self._synthetic or frame.pts is not None:
                return head
            if len(head) == _MAX_UNTIMED_AT_START:
                break
        if not head:
            raise VideoError(f"{self._path}: no frame could be decoded", reason="no_frames")
        raise RestartNeeded(synthetic_time=True)

    def _time_zero(self, first: av.VideoFrame) -> Fraction:
        """Return where second 0 is on the stream's clock: the first frame, or the declared start if damage took it."""
        if self._synthetic or first.pts is None:
            return Fraction(0)
        declared = self._stream.start_time
        if self.health.decode_errors and declared is not None and 0 < (first.pts - declared) * self._tick <= MAX_GAP_S:
            return declared * self._tick
        return first.pts * self._tick

    def _normalizer(self, end_s: float | None) -> TimestampNormalizer:
        stream = self._stream
        return TimestampNormalizer(
            origin=self._origin,
            tick=self._tick,
            step=1 / self._rate if self._rate else Fraction(1, 25),
            end_s=end_s,
            exact_end=stream.duration is not None or bool(duration_tag(stream.metadata)),
            synthetic=self._synthetic,
            contiguous=self._container_name() == "mov",
            health=self.health,
        )

    def _describe(self, first: av.VideoFrame) -> VideoInfo:
        geometry = geometry_of(first)
        width, height = geometry.displayed(first.width, first.height)
        end = self._timestamps.end_s
        return VideoInfo(
            path=self._path,
            container=self._container_name(),
            codec=self._stream.codec_context.name,
            width_px=width,
            height_px=height,
            rotation_deg=geometry.orientation.rotation_deg,
            mirrored=geometry.orientation.mirrored,
            odd_matrix=not geometry.exact,
            hdr=TRANSFERS.get(int(first.color_trc), ""),
            frame_rate=self._rate,
            duration_s=None if end is None else round(end, 6),
            start_s=float(self._origin),
            stream=self._stream.index,
            origin_s=self._origin_on_file_clock(),
        )

    def _origin_on_file_clock(self) -> float:
        """Return the time of second 0 as players show it: counted from the first timestamp of any stream."""
        start = self._container.start_time
        if start is None or self._synthetic:
            return 0.0
        return round(float(self._origin - Fraction(start, av.time_base)), 6)

    def _declared_end(self) -> float | None:
        """Return the end that the stream (else the container) declares, in seconds from time zero."""
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
        """Demux; after an error, try again until the demuxer fails many times in a row."""
        failures = 0
        while failures < _MAX_FAILURES_IN_A_ROW:
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

    def _decode(self, packets: Iterator[Any], skipper: FrameSkipper | None = None) -> Iterator[av.VideoFrame]:
        """Decode packet by packet: a bad packet loses only its own frames."""
        for packet in packets:
            self.health.packets += packet is not None and packet.size > 0
            if packet is not None and packet.is_corrupt:
                self._damage()
            if skipper:
                self._stream.codec_context.skip_frame = skipper.setting(packet)
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
                self._geometry.stamp(frame)
                yield frame

    def _damage(self) -> None:
        if not self._careful:
            raise RestartNeeded(careful=True)
        self.health.decode_errors += 1
        self.health.degrade("damaged")

    def _seek(self, start_s: float) -> bool:
        """Seek one keyframe before start_s, so that open groups of pictures decode; False: decode from the start.

        Some seeks land too late (fragmented MP4, Matroska before its first index entry): then the file is reopened.
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
        self._reopen()
        return True

    def _reopen(self) -> None:
        self._container.close()
        self._container = self._open()
        self._prepare()

    def _land(self, target: int) -> int | None:
        """Seek, and return the timestamp of the packet there."""
        self._container.seek(target, stream=self._stream)
        return next(self._container.demux(self._stream)).pts

    def _container_name(self) -> str:
        return self._container.format.name.split(",")[0]
