"""A copy of a video that every browser plays: H.264 and AAC, upright, with square pixels and the timeline's clock."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.resampler import AudioResampler

from fervid.types import VideoInfo
from fervid.video.reader import Reader
from fervid.video.readers.containers import is_file_error, open_container

__all__ = ["MOST_LINES", "transcode"]

#: The copy has so many lines at the most: a page's player is not taller.
MOST_LINES = 720
_TICK = Fraction(1, 90_000)
_PICTURE = {"preset": "veryfast", "crf": "23", "g": "50"}
_SOUND_RATE, _SOUND_BITS = 48_000, 128_000
#: Sound that is off by fewer samples (20 ms) is not moved; a hole longer than this is a broken clock, not silence.
_OUT_OF_STEP, _LONGEST_SILENCE_S = 960, 3600


def transcode(reader: Reader, out: Path, *, max_pixels: int) -> None:
    """Write what a reader gives, sound included; second 0 of the timeline is second 0 of the copy.

    Begins anew when it is called anew (RestartNeeded). VideoError if there is no frame.
    """
    info = reader.info
    with av.open(f"file:{out.absolute()}", "w", format="mp4", options={"movflags": "+faststart"}) as target:
        picture = _add_video(target, info)
        sound = _Sound(info, target, max_pixels)
        try:
            last = -1
            for frame in reader.frames():
                sound.encode_until(frame.pts_s)
                shown = av.VideoFrame.from_ndarray(frame.rgb(picture.width, picture.height), "rgb24")
                shown.time_base = _TICK
                last = shown.pts = max(round(frame.pts_s / _TICK), last + 1)
                target.mux(picture.encode(shown))
            target.mux(picture.encode(None))
            sound.encode_until(reader.end_s or last * float(_TICK))
            sound.finish()
        finally:
            sound.close()


def _add_video(target: Any, info: VideoInfo) -> Any:
    shrink = min(1.0, MOST_LINES / min(info.width_px, info.height_px))
    stream = target.add_stream(
        "libx264", rate=Fraction(info.frame_rate or 25).limit_denominator(1001), options=_PICTURE
    )
    stream.width, stream.height = (max(2, 2 * round(side * shrink / 2)) for side in (info.width_px, info.height_px))
    stream.pix_fmt, stream.codec_context.time_base = "yuv420p", _TICK
    return stream


class _Sound:
    """The first sound track that can be decoded, on the timeline's clock: gaps become silence, what is early is cut."""

    def __init__(self, info: VideoInfo, target: Any, max_pixels: int) -> None:
        self._target, self._origin, self._written = target, info.start_s, 0
        self._source = open_container(info.path, max_pixels)
        found = [s for s in self._source.streams.audio if s.codec_context is not None]
        self._pieces: Iterator[tuple[float | None, np.ndarray]] = iter(())
        self._stream: Any = None
        if found:
            self._stream = target.add_stream("aac", rate=_SOUND_RATE, layout="stereo")
            self._stream.bit_rate = _SOUND_BITS
            self._pieces = self._decode(found[0])

    def _decode(self, stream: Any) -> Iterator[tuple[float | None, np.ndarray]]:
        """Give (seconds on the timeline's clock, samples (2, n) float32); a bad packet costs its own samples only."""
        resampler = AudioResampler("fltp", "stereo", _SOUND_RATE)
        for packet in self._source.demux(stream):
            try:
                frames = packet.decode()
            except Exception as e:
                if not is_file_error(e):
                    raise
                continue
            for frame in frames:
                at_s = None if frame.time is None else float(frame.time) - self._origin
                for part in resampler.resample(frame):
                    yield at_s, part.to_ndarray()
                    at_s = None

    def encode_until(self, end_s: float) -> None:
        """Encode the sound before end_s, as far as there is any."""
        while self._stream is not None and self._written < end_s * _SOUND_RATE:
            at_s, samples = next(self._pieces, (None, None))
            if samples is None:
                return
            late = 0 if at_s is None else round(at_s * _SOUND_RATE) - self._written
            if late > _OUT_OF_STEP and late < (end_s + _LONGEST_SILENCE_S) * _SOUND_RATE:
                samples = np.pad(samples, ((0, 0), (late, 0)))
            elif late < -_OUT_OF_STEP or (late < 0 and self._written == 0):
                samples = samples[:, -late:]
            self._encode(samples)

    def _encode(self, samples: np.ndarray) -> None:
        if not samples.shape[1]:
            return
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = _SOUND_RATE, self._written, Fraction(1, _SOUND_RATE)
        self._written += samples.shape[1]
        self._target.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write what the encoder still holds."""
        if self._written:
            self._target.mux(self._stream.encode(None))

    def close(self) -> None:
        """Let go of the source."""
        self._source.close()
