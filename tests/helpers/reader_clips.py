"""Clips for the tests of readers, and all that a reader gives for a file."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from pathlib import Path

import numpy as np

from fervid.types import VideoInfo
from fervid.video.open import open_video
from fervid.video.reader import Health, RestartNeeded
from tests.helpers.clips import joined, read_number, write_clip

Builder = Callable[[Path], Path]

MS = Fraction(1, 1000)
#: Timestamps of a frame that is displayed for three seconds, of a short one, and of uneven ones.
UNEVEN = [0, 40, 80, 120, 3120, 3160, 3200, 3210, 3700, 4000]
NTSC = Fraction(30_000, 1001)
LONG = partial(write_clip, n=100)

#: Arguments of write_clip for files that every reader must read to the last frame.
CLEAN: dict[str, dict] = {
    "h264.mp4": {},
    "h264.mkv": {},
    "hevc.mp4": {"codec": "libx265"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "mpeg4.avi": {"codec": "mpeg4"},
    "ntsc.mp4": {"rate": NTSC},
    "ntsc.mkv": {"rate": NTSC},
    "uneven.mp4": {"n": len(UNEVEN), "pts": UNEVEN, "time_base": MS},
    "uneven.mkv": {"n": len(UNEVEN), "pts": UNEVEN, "time_base": MS},
    "faststart.mp4": {"mux": {"movflags": "faststart"}},
    "odd_size.mp4": {"size": (130, 98)},
    "single.mp4": {"n": 1},
}  # fmt: skip
#: As above, for the default reader alone.
CLEAN_AV: dict[str, dict] = {
    "h264.ts": {},
    "open_gop.ts": {"options": {"x264-params": "open-gop=1", "bf": "3"}},
    "open_gop.mp4": {"options": {"x264-params": "open-gop=1", "bf": "3"}},
    "flv.flv": {"codec": "flv"},
    "mpeg2.mpg": {"codec": "mpeg2video"},
    "mpeg4_b.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "fragmented.mp4": {"mux": {"movflags": "frag_keyframe+empty_moov"}},
    "streamed.mkv": {"mux": {"live": "1"}},
    "one_key_frame.mkv": {"n": 100, "options": {"g": "1000"}},
    "interlaced.mp4": {"options": {"flags": "+ildct+ilme"}},
    "from_100_s.mp4": {"pts": range(2500, 2550)},
    "from_100_s.mkv": {"pts": range(2500, 2550)},
    "from_100_s.ts": {"pts": range(2500, 2550)},
    "below_zero.ts": {"pts": range(-10, 40), "mux": {"avoid_negative_ts": "disabled", "mpegts_copyts": "1"}},
    "uneven.ts": {"n": len(UNEVEN), "pts": UNEVEN, "time_base": MS},
}  # fmt: skip
#: The readers that need no GPU (tests/cuda has the others). torchcodec is optional: see the fixture `installed`.
READERS = ("av", "decord", "torchcodec")
VP9 = partial(write_clip, n=100, codec="libvpx-vp9")
MPEG4 = partial(write_clip, n=100, codec="mpeg4")
BACK = joined(write_clip, partial(write_clip, first=50))

_FINE_JPEG = {"qmin": "1", "qmax": "1", "q": "1"}
#: Files in all relevant pixel formats, of a quality that allows grey levels to be compared.
PIXELS: dict[str, dict] = {
    "limited.mp4": {"options": {"crf": "8"}},
    "full_yuvj.mp4": {"pix_fmt": "yuvj420p", "full_range": True, "options": {"crf": "8"}},
    "full_tagged.webm": {"codec": "libvpx-vp9", "full_range": True, "options": {"crf": "5", "b": "0"}},
    "limited.webm": {"codec": "libvpx-vp9", "options": {"crf": "5", "b": "0"}},
    "ten_bit.mp4": {"pix_fmt": "yuv420p10le", "options": {"crf": "8"}},
    "ten_bit_full.mp4": {"pix_fmt": "yuv420p10le", "full_range": True, "options": {"crf": "8"}},
    "yuv422p10.mov": {"codec": "prores", "pix_fmt": "yuv422p10le"},
    "yuv444p.mp4": {"pix_fmt": "yuv444p", "options": {"crf": "8"}},
    "yuv444p_full.mkv": {"codec": "ffv1", "pix_fmt": "yuv444p", "full_range": True},
    "h264_gray_full.mp4": {"pix_fmt": "gray", "full_range": True, "options": {"crf": "8"}},
    "h264_rgb.mp4": {"codec": "libx264rgb", "pix_fmt": "rgb24", "options": {"crf": "8"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "full_range": True, "options": _FINE_JPEG},
    "ffv1_bgr0.mkv": {"codec": "ffv1", "pix_fmt": "bgr0"},
    "ffv1_yuv420p.mkv": {"codec": "ffv1", "pix_fmt": "yuv420p"},
    "png_rgb.mov": {"codec": "png", "pix_fmt": "rgb24"},
    "png_gray.mov": {"codec": "png", "pix_fmt": "gray"},
    "raw_bgr24.avi": {"codec": "rawvideo", "pix_fmt": "bgr24"},
    "odd_width.mkv": {"codec": "ffv1", "pix_fmt": "yuv420p", "size": (131, 97)},
}  # fmt: skip


@cache
def without_torchcodec() -> str:
    """Why torchcodec cannot be tested here, or "": it is optional, and needs FFmpeg's shared libraries."""
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, OSError, RuntimeError) as e:
        return f"torchcodec: {str(e).splitlines()[0][:80]}"
    return ""


@dataclass
class Seen:
    """All that a reader gave for one file."""

    info: VideoInfo
    health: Health
    end_s: float | None
    numbers: list[int | None]
    times: list[float]
    lumas: list[np.ndarray]
    restarts: dict[str, bool]

    @property
    def n_correct(self) -> int:
        """The number of frames with the right image at the right time, at 25 frames per second."""
        return sum(n is not None and abs(n / 25 - t) < 0.001 for n, t in zip(self.numbers, self.times))


def read(path: Path, start_s: float = 0.0, stop_s: float | None = None, **options) -> Seen:
    """Read a file as the pipeline does: start over with the options that the reader requests."""
    restarts: dict[str, bool] = {}
    for _ in range(3):
        try:
            with open_video(path, **options, **restarts) as video:
                frames = [(f.pts_s, f.luma().copy()) for f in video.frames(start_s, stop_s)]
            numbers = [read_number_or_none(luma) for _, luma in frames]
            seen_times, lumas = [t for t, _ in frames], [luma for _, luma in frames]
            return Seen(video.info, video.health, video.end_s, numbers, seen_times, lumas, restarts)
        except RestartNeeded as e:
            assert not e.options.items() <= restarts.items(), "requested twice"
            restarts |= e.options
    raise AssertionError("a reader may request at most two restarts")


def read_number_or_none(luma: np.ndarray) -> int | None:
    """Read the number of a frame; None if it cannot be read."""
    try:
        return read_number(luma)
    except ValueError:
        return None


def threads_and_files() -> tuple[int, int]:
    """How many threads and open files this process has."""
    return len(list(Path("/proc/self/task").iterdir())), len(list(Path("/proc/self/fd").iterdir()))
