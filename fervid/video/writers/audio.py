"""The audio of a video for an MP4 file made from it: copied where MP4 allows it, or encoded again on another clock."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np

from fervid.errors import VideoError
from fervid.video.readers.containers import is_file_error, open_container

__all__ = ["AudioPassthrough", "AudioSource", "AudioTranscode"]

#: Codecs that MP4 holds and players play.
_COPIED = {"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"}
_MAX_HZ = 48_000
#: A step backwards by more than this starts a new clock, as in readers.timestamps.
_DISORDER_S = 1
_BIT_RATE = 128_000
#: Transcoded audio that is off by fewer samples (20 ms) is not moved; a longer gap than this is a broken clock.
_OUT_OF_STEP, _MAX_SILENCE_S = 960, 3600


class AudioSource(ABC):
    """The audio of a file, written to a container step by step as the video's time advances. Use it with `with`.

    Parameters
    ----------
    path : Path
        The file with the audio.
    video_start_s : float
        Where the video begins on the file's own clock.
    max_pixels : int
        The largest frame of its video.

    Attributes
    ----------
    delay_s : Fraction
        How long after time zero of the output the video begins.
    damaged : bool
        Whether some audio could not be read, and was dropped.
    """

    def __init__(self, path: Path, video_start_s: float, max_pixels: int) -> None:
        self._path, self._video_start_s = path, video_start_s
        self._container = open_container(path, max_pixels)
        self._streams = [s for s in self._container.streams.audio if s.codec_context is not None]
        self.delay_s = Fraction(0)
        self.damaged = False

    @abstractmethod
    def add_streams(self, out: av.container.OutputContainer) -> None:
        """Add the streams to a container whose header has not been written yet.

        Parameters
        ----------
        out : av.container.OutputContainer
        """

    @abstractmethod
    def write_until(self, time_s: float) -> None:
        """Write the audio before a time of the output.

        Parameters
        ----------
        time_s : float

        Raises
        ------
        VideoError
            If MP4 cannot hold it.
        """

    @abstractmethod
    def finish(self) -> None:
        """Write the remaining audio, and flush the encoders."""

    def _decode(self, packet: Any) -> list[Any]:
        """Decode a packet; damage loses only its own samples."""
        try:
            return packet.decode()
        except Exception as e:
            if not is_file_error(e):
                raise
            self.damaged = True
            return []

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class AudioPassthrough(AudioSource):
    """All audio streams of a file, copied packet by packet where MP4 allows it, else encoded as AAC.

    The output begins with whatever begins first, audio or video.
    """

    def __init__(self, path: Path, video_start_s: float, max_pixels: int) -> None:
        super().__init__(path, video_start_s, max_pixels)
        start = Fraction(video_start_s).limit_denominator(10_000_000)
        starts = [s.start_time * s.time_base for s in self._streams if s.start_time is not None]
        self._origin = min([start, *(Fraction(s.numerator, s.denominator) for s in starts)])
        self.delay_s = start - self._origin
        self._pending: Any = None
        self._end: dict[int, int] = {}
        self._shift: dict[int, int] = {}

    @property
    def summary(self) -> list[str]:
        """How each stream is written, in words."""
        names = [s.codec_context.name.removesuffix("float") for s in self._streams]
        return [f"{name} copied" if name in _COPIED else f"{name} as aac" for name in names]

    def add_streams(self, out: av.container.OutputContainer) -> None:
        """Add the streams to a container whose header has not been written yet."""
        self._out = out
        self._targets: dict[int, Any] = {}
        self._resamplers: dict[int, av.AudioResampler] = {}
        for stream, written in zip(self._streams, self.summary):
            if written.endswith("copied"):
                self._targets[stream.index] = out.add_stream_from_template(stream)
                continue
            rate = min(stream.codec_context.sample_rate, _MAX_HZ)
            layout = "mono" if stream.codec_context.channels == 1 else "stereo"
            self._targets[stream.index] = out.add_stream("aac", rate=rate, layout=layout)
            self._resamplers[stream.index] = av.AudioResampler("fltp", layout, rate)
        self._packets = self._read()

    def write_until(self, time_s: float) -> None:
        """Write the audio before a time of the output."""
        self._write_packets(time_s)

    def finish(self) -> None:
        """Write the remaining audio, and flush the encoders."""
        self._write_packets(None)

    def _write_packets(self, until_s: float | None) -> None:
        try:
            while (packet := next(self._packets, None) if self._pending is None else self._pending) is not None:
                self._pending = None
                if until_s is not None and packet.dts * packet.time_base - self._origin > until_s:
                    self._pending = packet
                    return
                self._write(packet)
            if until_s is None:
                for index in self._resamplers:
                    self._out.mux(self._targets[index].encode(None))
        except av.FFmpegError as e:
            if e.errno in (28, 122):  # no space, no quota: not the fault of the audio
                raise
            message = f"{self._path}: its audio cannot be written to MP4 ({e}); omit it with --mute"
            raise VideoError(message, reason="unsupported") from e

    def _read(self) -> Iterator[Any]:
        """Yield packets in time; where the file's clock jumps back, what follows continues where it was."""
        if not self._streams:
            return
        try:
            for packet in self._container.demux(self._streams):
                if packet.dts is None or packet.pts is None or packet.is_corrupt:
                    self.damaged |= packet.is_corrupt
                    continue
                index, length = packet.stream.index, max(packet.duration or 0, 1)
                end = self._end.get(index)
                at = packet.dts + self._shift.get(index, 0)
                if end is not None and at < end - _DISORDER_S / packet.time_base:
                    self._shift[index] = self._shift.get(index, 0) + end - at
                    at = end
                if end is not None and at < end - length + 1:
                    continue
                shift = self._shift.get(index, 0)
                packet.dts, packet.pts = packet.dts + shift, packet.pts + shift
                self._end[index] = packet.dts + length
                yield packet
        except Exception as e:
            if not is_file_error(e):
                raise
            self.damaged = True  # the rest of a damaged file's audio is dropped, as its video is

    def _write(self, packet: Any) -> None:
        index, origin = packet.stream.index, round(self._origin / packet.time_base)
        if index not in self._resamplers:
            packet.dts, packet.pts = packet.dts - origin, packet.pts - origin
            packet.stream = self._targets[index]
            self._out.mux(packet)
            return
        for frame in self._decode(packet):
            if frame.pts is not None:
                frame.pts -= origin
            for resampled in self._resamplers[index].resample(frame):
                self._out.mux(self._targets[index].encode(resampled))


class AudioTranscode(AudioSource):
    """The first audio stream that can be decoded, as AAC in stereo on the timeline's clock.

    Time zero of the output is second 0 of the timeline: earlier audio is cut off, and gaps become silence.
    """

    def __init__(self, path: Path, video_start_s: float, max_pixels: int) -> None:
        super().__init__(path, video_start_s, max_pixels)
        self._written = 0
        self._chunks: Iterator[tuple[float | None, np.ndarray]] = iter(())
        self._target: Any = None

    def add_streams(self, out: av.container.OutputContainer) -> None:
        """Add the stream to a container whose header has not been written yet."""
        if self._streams:
            self._out = out
            self._target = out.add_stream("aac", rate=_MAX_HZ, layout="stereo")
            self._target.bit_rate = _BIT_RATE
            self._chunks = self._read(self._streams[0])

    def _read(self, stream: Any) -> Iterator[tuple[float | None, np.ndarray]]:
        """Yield (seconds on the timeline's clock or None, samples (2, n) float32)."""
        resampler = av.AudioResampler("fltp", "stereo", _MAX_HZ)
        for packet in self._container.demux(stream):
            for frame in self._decode(packet):
                at_s = None if frame.time is None else float(frame.time) - self._video_start_s
                for resampled in resampler.resample(frame):
                    yield at_s, resampled.to_ndarray()
                    at_s = None

    def write_until(self, time_s: float) -> None:
        """Write the audio before a time of the output."""
        while self._target is not None and self._written < time_s * _MAX_HZ:
            at_s, samples = next(self._chunks, (None, None))
            if samples is None:
                return
            late = 0 if at_s is None else round(at_s * _MAX_HZ) - self._written
            if late > _OUT_OF_STEP and late < (time_s + _MAX_SILENCE_S) * _MAX_HZ:
                samples = np.pad(samples, ((0, 0), (late, 0)))
            elif late < -_OUT_OF_STEP or (late < 0 and self._written == 0):
                samples = samples[:, -late:]
            self._encode(samples)

    def _encode(self, samples: np.ndarray) -> None:
        if not samples.shape[1]:
            return
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = _MAX_HZ, self._written, Fraction(1, _MAX_HZ)
        self._written += samples.shape[1]
        self._out.mux(self._target.encode(frame))

    def finish(self) -> None:
        """Flush the encoder; audio after the last `write_until` is not written."""
        if self._written:
            self._out.mux(self._target.encode(None))
