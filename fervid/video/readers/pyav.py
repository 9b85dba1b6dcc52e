"""The default reader: PyAV, with every timestamp checked and damage survived."""

import contextlib
import os
from collections import deque
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
from fervid.video.reader import INSTANT_S, STILL_S, Health, RestartNeeded, Sampling, TimeOnly
from fervid.video.readers.avi import AviStream, read_avi_stream
from fervid.video.readers.containers import choose_stream, duration_tag, is_file_error, open_container
from fervid.video.readers.frame_geometry import GeometryTracker, geometry_of
from fervid.video.readers.frame_skipping import FrameSkipper, SkippedFrame, can_skip_frames
from fervid.video.readers.matroska import MatroskaTrack, find_losses, read_matroska_track
from fervid.video.readers.pyav_frame import PyAVFrame, Scalers
from fervid.video.readers.timestamps import (
    MAX_GAP_S,
    SkippedPacket,
    StampedFrame,
    TimestampNormalizer,
    interpolate_decoding_times,
    stamp_frames,
)
from fervid.video.tone_mapping import TRANSFERS

__all__ = ["PyAVReader"]

#: Containers in which a seek lands on a keyframe and the index can be trusted.
_SEEKABLE = {"mov", "matroska"}
#: Frame rates outside these limits (exclusive) are not trusted.
_MIN_RATE, _MAX_RATE = Fraction(1, 3600), 10_000
#: Codecs whose B-frames are decoded without the deblocking filter in fast sampling. Not HEVC: some encoders make every
#: frame a B-frame, and what is omitted in one frame affects all that refer to it.
_SKIP_DEBLOCKING = {"h264"}
#: Codecs of which FFmpeg does not know the order of display before it has decoded them.
_REORDERED = {"h264", "hevc", "vvc"}
#: Containers that state how long they are. IVF states its number of frames, which FFmpeg takes for a duration.
_DECLARE_END = {"mov", "matroska", "avi", "asf", "flv", "mxf"}
#: Containers whose declared length may count from before the first frame, and by how much at most: a fragmented MP4 has
#: no edit list that removes the delay of B-frames, in others an empty edit counts; FLV counts from 0.
_MAX_LEAD_S = {"mov": 1, "flv": 10}
#: A stretch of lost clusters is marked at least this often.
_LOSS_STEP_S = Fraction(1, 2)
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
    careful, synthetic_time, repair_time, decoding_time : bool
        See fervid.video.open.open_video.
    rate : float, optional
        Frames per second of a file without timestamps.
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
        repair_time: bool = False,
        decoding_time: bool = False,
        rate: float | None = None,
        sampling: Sampling | None = None,
        rotate: str | None = None,
    ) -> None:
        self._path, self._stream_index, self._max_pixels = path, stream, max_pixels
        self._careful, self._synthetic, self._sampling = careful, synthetic_time, sampling
        self._repair, self._decoding, self._stated_rate = repair_time, decoding_time, rate
        self._losses: deque[int] = deque()
        self._last_packet_time: int | None = None
        self._rotate = ORIENTATIONS[rotate] if rotate else None
        self.health, self._scalers = Health(), Scalers()
        self.end_s: float | None = None
        self._container = self._open()
        try:
            self._prepare()
            self._tick = Fraction(self._stream.time_base or Fraction(1, 90_000))
            self._choose_clock()
            self._rate = self._declared_rate()
            packets, replay = tee(self._packets())
            decoded = self._stamped(packets)
            head = self._head(decoded)
            first, stamp = head[-1]
            self._origin = self._time_zero(stamp)
            self._timestamps = self._normalizer(self._declared_end())
            self._opened: tuple[Iterator[StampedFrame], Iterator[Any]] = chain(head, decoded), replay
            self.info = self._describe(first)
            if self._own_clock or not can_skip_frames(self._stream, self.info.container, first):
                if self._fast and self.info.codec in _SKIP_DEBLOCKING:
                    raise RestartNeeded(every_frame=True)
                self._sampling = None
        except BaseException:
            self.close()
            raise

    def frames(self, start_s: float = 0.0, stop_s: float | None = None) -> Iterator[Any]:
        """Yield the frames with start_s <= pts_s < stop_s, preceded by the one on display at start_s.

        Parameters
        ----------
        start_s : float
        stop_s : float or None
            None: to the end.

        Yields
        ------
        PyAVFrame, SkippedFrame or TimeOnly
            In display order.

        Raises
        ------
        RestartNeeded
            If the file must be read again with other options.
        """
        last_end, tail_s = 0.0, deque([0.0], maxlen=4)
        for frame, pts_s, duration_s in self._timestamps.normalize(self._frames_from(start_s)):
            if stop_s is not None and pts_s >= stop_s:
                last_end = stop_s
                break
            last_end = max(last_end, pts_s + (duration_s or float(self._timestamps.step)))
            tail_s.append(duration_s)
            if pts_s >= start_s or pts_s + duration_s > start_s + INSTANT_S:
                yield self._wrap(frame, pts_s, duration_s)
        else:
            last_end = self._timestamps.end_of_video(last_end, sum(tail_s))
        self.end_s = last_end if stop_s is None else min(last_end, stop_s)

    def _frames_from(self, start_s: float) -> Iterator[StampedFrame]:
        """Decode from shortly before start_s, or from the first frame."""
        if start_s > 0 and not self._own_clock and self._seek(start_s):
            return self._decode_sampled(self._packets(), start_s)
        return self._frames_from_first(start_s)

    def _frames_from_first(self, start_s: float = 0.0) -> Iterator[StampedFrame]:
        """Continue after the frames decoded while opening; or decode again, now that time zero is known, and skip."""
        frames, packets = self._opened
        self._opened = iter(()), iter(())  # else the one that is not used would buffer every packet of the other
        if self._sampling is None:
            return frames
        self._stream.codec_context.flush_buffers()
        self.health.packets = self.health.decoded = 0
        return self._decode_sampled(packets, start_s)

    def _decode_sampled(self, packets: Iterator[Any], start_s: float = 0.0) -> Iterator[StampedFrame]:
        """Decode the frames that may be sampled."""
        if self._sampling is None:
            return self._stamped(packets)
        skipper = FrameSkipper(self._stream, self._sampling, self._origin, self.health, start_s=start_s)
        return ((frame, frame.pts) for frame in skipper.restore(self._decode(packets, skipper)))

    def _stamped(self, packets: Iterator[Any]) -> Iterator[StampedFrame]:
        """Decode every frame, with its timestamp in ticks; None if it has none."""
        if not (self._repair or self._decoding):
            return ((frame, frame.pts) for frame in self._decode(packets))
        frames = self._decode(interpolate_decoding_times(packets))
        length_s = (self._declared_end() or 0.0) if self._decoding else 0.0
        return stamp_frames(frames, tick=self._tick, decoding=self._decoding, health=self.health, length_s=length_s)

    @property
    def _own_clock(self) -> bool:
        """Whether times are found frame by frame, from the first one on, instead of read from the packets."""
        return self._synthetic or self._repair or self._decoding

    def _choose_clock(self) -> None:
        """Use decoding times where the container stores no others, and FFmpeg cannot derive those of display."""
        container, context = self._container_name(), self._stream.codec_context
        order = [stream.index for stream in self._container.streams.video].index(self._stream.index)
        self._matroska = read_matroska_track(self._path, order) if container == "matroska" else MatroskaTrack()
        if container == "matroska" and self._careful:
            for begin, end in find_losses(self._path):
                self._damage(begin)
                self._losses.extend(range(begin, end + 1, max(1, int(_LOSS_STEP_S / self._tick))))
        self._avi = read_avi_stream(self._path, self._stream.index) if container == "avi" else AviStream()
        absurd = self._tick > MAX_GAP_S or (container == "avi" and self._tick * _MAX_RATE < 1)
        if (absurd or not self._avi.has_rate) and not self._synthetic:
            raise RestartNeeded(synthetic_time=True)
        decoding_only = container == "avi" or self._matroska.codec_id == "V_MS/VFW/FOURCC"
        if decoding_only and (context.name in _REORDERED or context.has_b_frames) and not self._synthetic:
            self._decoding, self._repair = True, False
        if self._synthetic:
            self.health.clock = "counted"
        elif self._decoding:
            self.health.clock = "decoding times"
        elif self._repair:
            self.health.clock = "interpolated"

    @property
    def _fast(self) -> bool:
        return self._sampling is not None and self._sampling.fast

    def frame_times(self) -> list[tuple[float, float]]:
        """Read the times of all displayed frames from the packets alone. The reader cannot be used afterwards.

        Returns
        -------
        list of tuple
            (pts_s, duration_s) of each.

        Raises
        ------
        RestartNeeded
            If timestamps are missing, repeat, or jump.
        """
        self._container.seek(0)
        packets = [p for p in self._container.demux(self._stream) if p.size and not p.is_discard]
        if any(packet.pts is None for packet in packets):
            raise RestartNeeded(repair_time=True)
        ordered = sorted((packet.pts, packet.duration or 0) for packet in packets)
        frames = [(SkippedPacket(*one), one[0]) for one in ordered if one[0] * self._tick >= self._origin]
        times = [(pts_s, duration_s) for _, pts_s, duration_s in self._timestamps.normalize(iter(frames))]
        if self.health.epochs > 1 or len(times) < len(frames):
            raise RestartNeeded(repair_time=True)
        self._timestamps.end_of_video(sum(times[-1]) if times else 0.0, sum(duration_s for _, duration_s in times[-4:]))
        return times

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
            # in fast sampling another frame will do, except for a still, which is sampled again in each second
            return (TimeOnly if self._fast and duration_s < STILL_S else SkippedFrame)(pts_s, duration_s)
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
        if self._synthetic and self._stated_rate:
            return Fraction(self._stated_rate).limit_denominator(1001)
        stream = self._stream
        rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
        for rate in rates if stream.start_time is not None else (stream.guessed_rate,):
            if rate and _MIN_RATE < Fraction(rate.numerator, rate.denominator) < _MAX_RATE:
                return Fraction(rate.numerator, rate.denominator)
        return None

    def _head(self, frames: Iterator[StampedFrame]) -> list[StampedFrame]:
        """Decode up to the first frame that has a timestamp (any frame if times are synthetic)."""
        head: list[StampedFrame] = []
        for frame, stamp in frames:
            head.append((frame, stamp))
            if self._synthetic or stamp is not None:
                return head
            if len(head) == _MAX_UNTIMED_AT_START:
                break
        if not head:
            raise VideoError(f"{self._path}: no frame could be decoded", reason="no_frames")
        if self._repair or self._decoding or all(frame.dts is None for frame, _ in head):
            raise RestartNeeded(synthetic_time=True)
        raise RestartNeeded(repair_time=True)

    def _time_zero(self, first: int | None) -> Fraction:
        """Return where second 0 is on the stream's clock: the first frame, or the declared start if damage took it."""
        if self._synthetic or first is None:
            return Fraction(0)
        declared = self._stream.start_time
        if self.health.decode_errors and declared is not None and 0 < (first - declared) * self._tick <= MAX_GAP_S:
            return declared * self._tick
        return first * self._tick

    def _normalizer(self, end_s: float | None) -> TimestampNormalizer:
        stream = self._stream
        return TimestampNormalizer(
            origin=self._origin,
            tick=self._tick,
            step=1 / self._rate if self._rate else Fraction(1, 25),
            end_s=end_s,
            # FFmpeg gives each stream of an ASF the length of the file
            exact_end=(stream.duration is not None and self._container_name() != "asf")
            or bool(duration_tag(stream.metadata)),
            length_s=(self._container.duration or 0) / av.time_base if len(self._container.streams) == 1 else 0.0,
            declares=self._container_name() in _DECLARE_END,
            # MP4 declares how long decoding takes: with uneven B-frames, display takes longer
            slack_s=1.0 if self._container_name() == "mov" and stream.codec_context.has_b_frames else 0.0,
            synthetic=self._synthetic,
            counted_as_stated=self._stated_rate is not None,
            contiguous=self._container_name() in ("mov", "avi") or self._matroska.lasts_until_next,
            lead_s=self._lead(),
            counted_end=self._avi.chunks is not None,
            holds_to_end=self._avi.chunks is not None or (self._matroska.lasts_until_next and self._matroska.complete),
            health=self.health,
            losses=self._losses,
            on_gap=self._check_structure,
            others_end_s=self._others_end,
        )

    def _lead(self) -> float:
        """Return by how much decoding begins before display on the clock of the declared end."""
        start = (self._stream.start_time or 0) * self._tick
        if self._decoding:
            return float(self._origin - start)
        return max(0.0, float(min(start, _MAX_LEAD_S.get(self._container_name(), 0))))

    def _others_end(self) -> float:
        """Read where the other video and audio streams end, in seconds from time zero; 0 if there are none."""
        end = Fraction(0)
        with self._open() as container, contextlib.suppress(av.FFmpegError):
            streams = [s for s in (*container.streams.video, *container.streams.audio) if s.index != self._stream.index]
            for packet in container.demux(streams) if streams else ():
                if packet.size and packet.pts is not None and packet.time_base:
                    end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
        return float(end - self._origin)

    def _check_structure(self) -> None:
        """Look for damage that FFmpeg passes over in silence: a cluster of Matroska is missing, and a frame stays."""
        if self._container_name() != "matroska" or self._careful:
            return
        if find_losses(self._path):
            raise RestartNeeded(careful=True)

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
        return 0.0 if self._synthetic else round(float(self._origin - Fraction(start or 0, av.time_base)), 6)

    def _declared_end(self) -> float | None:
        """Return the end that the stream (else the container) declares, in seconds from time zero."""
        ends: list[Fraction] = []
        cut_off = False
        if self._avi.chunks:
            if abs(self._avi.length - self._avi.chunks) > max(2, self._avi.chunks / 50):
                self.health.degrade("duration_mismatch")
            ends.append(self._avi.chunks * self._tick)
        elif cut_off := self._avi.chunks is None and self._avi.length > 0:
            ends.append(self._avi.length * self._tick)
        elif self._stream.duration:
            # ASF states when the file ends, not how long a stream lasts
            start = 0 if self._container_name() == "asf" else self._stream.start_time or 0
            ends.append((start + self._stream.duration) * self._tick)
        elif tag := duration_tag(self._stream.metadata):
            ends.append(tag)
        if self._container.duration and not cut_off:  # FFmpeg shortens it to the size of the file
            ends.append(Fraction((self._container.start_time or 0) + self._container.duration, av.time_base))
        if not ends or self._tick > MAX_GAP_S or (self._synthetic and not self._avi.has_rate):
            return None
        # decoding times begin earlier than those of display, and the declared length counts from there
        begin = (self._stream.start_time or 0) * self._tick if self._decoding else self._origin
        return max(0.0, float(min(ends) - begin))

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
                self._damage(self._last_packet_time)
        yield None

    def _decode(self, packets: Iterator[Any], skipper: FrameSkipper | None = None) -> Iterator[av.VideoFrame]:
        """Decode packet by packet: a bad packet loses only its own frames."""
        for packet in packets:
            self.health.packets += packet is not None and packet.size > 0
            if packet is not None and packet.size:
                self._last_packet_time = packet.pts if packet.pts is not None else packet.dts
            if packet is not None and packet.is_corrupt:
                self._damage(self._last_packet_time)
            if skipper:
                self._stream.codec_context.skip_frame = skipper.setting(packet)
            try:
                with stage("decode"):
                    frames = self._stream.codec_context.decode(packet)
            except Exception as e:
                if not is_file_error(e):
                    raise
                self._damage(self._last_packet_time)
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self._damage(frame.pts if frame.pts is not None else frame.dts)
                    continue
                self.health.decoded += 1
                self._geometry.stamp(frame)
                yield frame

    def _damage(self, at: int | None) -> None:
        """Note that something was lost near a timestamp."""
        if not self._careful:
            raise RestartNeeded(careful=True)
        if at is not None:
            self._losses.append(at)
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
