"""The sound of a video for a copy of it: packets as they are where MP4 holds them, else as AAC, and in time."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av

from fervid.errors import VideoError
from fervid.video.readers.containers import is_file_error, open_container

__all__ = ["AudioPassthrough"]

#: What MP4 holds and players play.
_COPIED = {"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"}
_HIGHEST_HZ = 48_000
#: A step back by more than this is a new clock, as in pyav_clock.
_DISORDER_S = 1


class AudioPassthrough:
    """All audio streams of a file, handed over as the time of the pictures goes on. Use it with `with`.

    video_start_s is where the pictures begin on the file's own clock; delay_s, how long after time zero of the copy
    they do: the copy begins with whatever begins first.
    """

    def __init__(self, path: Path, video_start_s: float, max_pixels: int) -> None:
        self._path = path
        self._container = open_container(path, max_pixels)
        self._streams = [s for s in self._container.streams.audio if s.codec_context is not None]
        start = Fraction(video_start_s).limit_denominator(10_000_000)
        starts = [s.start_time * s.time_base for s in self._streams if s.start_time is not None]
        self._origin = min([start, *(Fraction(s.numerator, s.denominator) for s in starts)])
        self.delay_s = start - self._origin
        self._waiting: Any = None
        self._last: dict[int, int] = {}
        self._shift: dict[int, int] = {}
        self.damaged = False
        """Whether something could not be read, and was left out."""

    @property
    def kept(self) -> list[str]:
        """What becomes of each stream, in words."""
        names = [s.codec_context.name.removesuffix("float") for s in self._streams]
        return [f"{name} copied" if name in _COPIED else f"{name} as aac" for name in names]

    def join(self, out: av.container.OutputContainer) -> None:
        """Add the streams to a container whose header is not written yet."""
        self._out = out
        self._target: dict[int, Any] = {}
        self._resampler: dict[int, av.AudioResampler] = {}
        for stream, fate in zip(self._streams, self.kept):
            if fate.endswith("copied"):
                self._target[stream.index] = out.add_stream_from_template(stream)
                continue
            rate = min(stream.codec_context.sample_rate, _HIGHEST_HZ)
            layout = "mono" if stream.codec_context.channels == 1 else "stereo"
            target = out.add_stream("aac", rate=rate, layout=layout)
            self._target[stream.index] = target
            self._resampler[stream.index] = av.AudioResampler("fltp", layout, rate)
        self._packets = self._read()

    def copy_until(self, until_s: float | None) -> None:
        """Write all that is heard before a time of the copy; None: all that is left."""
        try:
            while (packet := next(self._packets, None) if self._waiting is None else self._waiting) is not None:
                self._waiting = None
                if until_s is not None and packet.dts * packet.time_base - self._origin > until_s:
                    self._waiting = packet
                    return
                self._write(packet)
            if until_s is None:
                for index, target in self._target.items():
                    if index in self._resampler:
                        self._out.mux(target.encode(None))
        except av.FFmpegError as e:
            if e.errno in (28, 122):  # no space, no quota: that is not the sound's fault
                raise
            message = f"{self._path}: its sound cannot be written as MP4 ({e}); leave it out with --mute"
            raise VideoError(message, reason="unsupported") from e

    def _read(self) -> Iterator[Any]:
        """Packets with a time that goes on; where the file's clock jumps back, what follows is moved behind."""
        if not self._streams:
            return
        try:
            for packet in self._container.demux(self._streams):
                if packet.dts is None or packet.pts is None or packet.is_corrupt:
                    self.damaged |= packet.is_corrupt
                    continue
                index, length = packet.stream.index, max(packet.duration or 0, 1)
                last = self._last.get(index)
                at = packet.dts + self._shift.get(index, 0)
                if last is not None and at < last - _DISORDER_S / packet.time_base:
                    self._shift[index] = self._shift.get(index, 0) + last - at
                    at = last
                if last is not None and at < last - length + 1:
                    continue
                shift = self._shift.get(index, 0)
                packet.dts, packet.pts = packet.dts + shift, packet.pts + shift
                self._last[index] = packet.dts + length
                yield packet
        except Exception as e:
            if not is_file_error(e):
                raise
            self.damaged = True  # what is left of a damaged file's sound stays away, as its pictures do

    def _write(self, packet: Any) -> None:
        target = self._target[packet.stream.index]
        origin = round(self._origin / packet.time_base)
        if packet.stream.index not in self._resampler:
            packet.dts, packet.pts = packet.dts - origin, packet.pts - origin
            packet.stream = target
            self._out.mux(packet)
            return
        try:
            frames = packet.decode()
        except Exception as e:
            if not is_file_error(e):
                raise
            self.damaged = True
            return
        for frame in frames:
            if frame.pts is not None:
                frame.pts -= origin
            for ready in self._resampler[packet.stream.index].resample(frame):
                self._out.mux(target.encode(ready))

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
