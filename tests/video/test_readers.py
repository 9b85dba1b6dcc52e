"""One contract for every reader on clean files, and what the default reader does with all the others."""

import ctypes
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fervid.config import load_config
from fervid.errors import ConfigError, DeviceError, FervidError, MissingDependency, VideoError
from fervid.types import VideoInfo
from fervid.video.open import open_video, read_video
from fervid.video.reader import STILL_S, Health, NotOnGPU, Reader, RestartNeeded, full_range
from fervid.video.readers.pyav import PyAVReader
from fervid.video.readers.pyav_frame import PyAVFrame, Scalers
from tests.helpers.broken_clips import (
    bomb,
    concat_list,
    cut,
    hls_list,
    mutated,
    overwritten,
    patched,
    picture,
    pipe,
    random_bytes,
    without_frames,
    without_moov,
    wrote,
)
from tests.helpers.clips import (
    BLUE,
    HEIGHT,
    RED,
    SMALL,
    WIDTH,
    coloured,
    cover_attached,
    cover_first,
    draw,
    joined,
    read_cells,
    read_number,
    times,
    two_sizes,
    two_streams,
    with_audio,
    write_clip,
)

Builder = Callable[[Path], Path]

MS = Fraction(1, 1000)
#: A frame that is held for three seconds, a short one, and uneven ones.
UNEVEN = [0, 40, 80, 120, 3120, 3160, 3200, 3210, 3700, 4000]
NTSC = Fraction(30_000, 1001)
LONG = partial(write_clip, n=100)

#: Arguments of write_clip that make files which every reader has to read to the last frame.
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
#: Those that need no GPU; tests/cuda/test_gpu.py asks the others. torchcodec is not always installed: see `installed`.
READERS = ("av", "decord", "torchcodec")
EVERY = [(reader, name) for reader in READERS for name in CLEAN] + [("av", name) for name in CLEAN_AV]


@cache
def without_torchcodec() -> str:
    """Why torchcodec cannot be tried here, or nothing: it is an extra, and needs FFmpeg's shared libraries."""
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, OSError, RuntimeError) as e:
        return f"torchcodec: {str(e).splitlines()[0][:80]}"
    return ""


@pytest.fixture(autouse=True)
def installed(request: pytest.FixtureRequest) -> None:
    """Skip what is asked of a reader that is not there."""
    asked = getattr(request.node, "callspec", None)
    if asked and "torchcodec" in asked.params.values() and without_torchcodec():
        pytest.skip(without_torchcodec())


_FINE_JPEG = {"qmin": "1", "qmax": "1", "q": "1"}
#: Files in every pixel format that matters, encoded well enough to compare greys.
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


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Builder], Path]:
    """Build a file once for the whole session."""
    folder = tmp_path_factory.mktemp("clips")
    made: dict[str, Path] = {}

    def build(name: str, builder: Builder) -> Path:
        if name not in made:
            made[name] = builder(folder / name)
        return made[name]

    return build


@pytest.fixture(scope="session")
def clean(make) -> Callable[[str], Path]:
    """Give the path of a clip from one of the tables."""
    return lambda name: make(name, partial(write_clip, **(CLEAN | CLEAN_AV | PIXELS)[name]))


@dataclass
class Seen:
    """All that a reader told about one file."""

    info: VideoInfo
    health: Health
    end_s: float | None
    numbers: list[int | None]
    times: list[float]
    lumas: list[np.ndarray]
    restarts: dict[str, bool]

    @property
    def right(self) -> float:
        """The share of frames whose picture was shown at its own time at 25 frames a second."""
        return sum(n is not None and abs(n / 25 - t) < 0.001 for n, t in zip(self.numbers, self.times))


def watch(path: Path, start_s: float = 0.0, stop_s: float | None = None, **options) -> Seen:
    """Read a file as the pipeline does: from the start again, with the options that the reader asks for."""
    restarts: dict[str, bool] = {}
    for _ in range(3):
        try:
            with open_video(path, **options, **restarts) as video:
                frames = [(f.pts_s, f.luma().copy()) for f in video.frames(start_s, stop_s)]
            numbers = [_number(luma) for _, luma in frames]
            seen_times, lumas = [t for t, _ in frames], [luma for _, luma in frames]
            return Seen(video.info, video.health, video.end_s, numbers, seen_times, lumas, restarts)
        except RestartNeeded as e:
            assert not e.options.items() <= restarts.items(), "asked twice for the same"
            restarts |= e.options
    raise AssertionError("a reader may ask for a restart twice at most")


def _number(luma: np.ndarray) -> int | None:
    try:
        return read_number(luma)
    except ValueError:
        return None


# -- the contract: every reader, clean files ------------------------------------------------------------


@pytest.mark.parametrize(("reader", "name"), EVERY)
def test_every_frame_once_at_its_own_time(reader, name, clean):
    with open_video(clean(name), reader=reader) as video:
        seen = [(read_number(f.luma()), f.pts_s) for f in video.frames()]
    expected = times(**(CLEAN | CLEAN_AV)[name])
    assert [number for number, _ in seen] == list(range(len(expected)))
    assert [at for _, at in seen] == pytest.approx(expected, abs=0.001)
    assert video.health.reasons == []
    assert video.health.decoded == len(expected)
    assert (video.health.decode_errors, video.health.untimed, video.health.epochs) == (0, 0, 1)
    assert expected[-1] < video.end_s < expected[-1] + 0.7


#: Among them starts at, and just before, a key frame (at 1.0 s): there a seek that trusts the index lands too late.
WINDOWS = [(0, 0.1), (0.5, 1.2), (0.92, 1.1), (0.96, 1.04), (1.0, None), (1.7, 60), (1.96, None), (1.97, 2)]


@pytest.mark.parametrize(("reader", "name"), [e for e in EVERY if e[1] != "single.mp4"])
def test_a_window_gives_exactly_its_frames(reader, name, clean):
    everything = list(enumerate(times(**(CLEAN | CLEAN_AV)[name])))
    for start, stop in WINDOWS:
        with open_video(clean(name), reader=reader) as video:
            frames = [f for f in video.frames(start, stop) if f.pts_s >= start - 1e-6 or f.duration_s < STILL_S]
            seen = [(read_number(f.luma()), f.pts_s) for f in frames]
        expected = [(i, t) for i, t in everything if start <= t + 1e-6 and (stop is None or t < stop - 1e-6)]
        assert [i for i, _ in seen] == [i for i, _ in expected], (start, stop)
        assert [t for _, t in seen] == pytest.approx([t for _, t in expected], abs=0.001), (start, stop)
        assert video.health.reasons == [], (start, stop)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (64, 48), (32, 24), (91, 53), (256, 192), (37, 96)])
def test_picture_has_the_size_asked_for(reader, size, clean):
    with open_video(clean("h264.mp4"), reader=reader) as video:
        for i, frame in enumerate(video.frames(0.0, 0.2)):
            rgb = frame.rgb(*size)
            assert (rgb.shape, rgb.dtype) == ((size[1], size[0], 3), np.uint8)
            assert rgb.flags.c_contiguous
            assert read_number(rgb) == i
            assert _spread(read_cells(rgb), i) < 12


@pytest.mark.parametrize("reader", READERS)
def test_picture_is_rgb(reader, make):
    with open_video(make("coloured.mp4", coloured), reader=reader) as video:
        rgb = next(iter(video.frames())).rgb(64, 48)
    assert rgb[24, 16] == pytest.approx(RED, abs=30)
    assert rgb[24, 48] == pytest.approx(BLUE, abs=30)


@pytest.mark.parametrize(
    ("reader", "name"), [("decord", "limited.mp4"), ("decord", "full_yuvj.mp4"), *(("av", n) for n in PIXELS)]
)
def test_luma_is_full_size_from_black_to_white(reader, name, clean):
    width, height = PIXELS[name].get("size", (WIDTH, HEIGHT))
    with open_video(clean(name), reader=reader) as video:
        for i, frame in enumerate(video.frames(0.0, 0.2)):
            luma, wanted = frame.luma(), draw(i, width, height)
            assert (luma.shape, luma.dtype) == ((height, width), np.uint8)
            stored, limited = frame.stored_luma()
            assert np.array_equal(full_range(stored) if limited else stored, luma)
            assert _spread(read_cells(luma), i) < 4
            noise = slice(height * 4 // 6 + 1, None)
            assert np.abs(luma[noise].astype(int) - wanted[noise]).mean() < 3
            assert _spread(read_cells(frame.rgb(64, 48)), i) < 12


def _spread(cells: np.ndarray, number: int) -> float:
    """How far the blackest black or the whitest white is off."""
    return float(np.abs(cells - read_cells(draw(number))).max())


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("rotation", [90, 180, 270])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_rotated_clip_stands_upright(reader, rotation, suffix, make):
    path = make(f"turned_{rotation}.{suffix}", partial(write_clip, n=10, rotation=rotation))
    with open_video(path, reader=reader) as video:
        assert (video.info.width_px, video.info.height_px) == (WIDTH, HEIGHT)
        assert video.info.rotation_deg == rotation
        for i, frame in enumerate(video.frames()):
            assert frame.luma().shape == (HEIGHT, WIDTH)
            assert read_number(frame.luma()) == i
            assert read_number(frame.rgb(64, 48)) == i
    assert i == 9


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_pixels_that_are_not_square(reader, suffix, make):
    path = make(f"wide.{suffix}", partial(write_clip, n=5, sar=Fraction(2)))
    with open_video(path, reader=reader) as video:
        frame = next(iter(video.frames()))
        assert (video.info.width_px, video.info.height_px) == (2 * WIDTH, HEIGHT)
        assert frame.luma().shape == (HEIGHT, WIDTH)
        assert frame.rgb(128, 48).shape == (48, 128, 3)


@pytest.mark.parametrize(("reader", "name"), EVERY)
def test_info_says_what_the_file_declares(reader, name, clean):
    arguments = (CLEAN | CLEAN_AV)[name]
    with open_video(clean(name), reader=reader) as video:
        info = video.info
    assert info.path == clean(name)
    assert (info.width_px, info.height_px) == arguments.get("size", (WIDTH, HEIGHT))
    assert (info.rotation_deg, info.stream) == (0, 0)
    assert isinstance(info.start_s, float)
    assert info.codec and info.container
    if "uneven" not in name and name != "single.mp4":
        assert info.frame_rate == pytest.approx(arguments.get("rate", 25), rel=0.001)
        assert isinstance(info.frame_rate, Fraction)
        length = float(arguments.get("n", 50) / Fraction(arguments.get("rate", 25)))
        assert info.duration_s == (None if "streamed" in name else pytest.approx(length, abs=0.25))


@pytest.mark.parametrize("reader", READERS)
def test_two_readings_are_the_same_bytes(reader, clean):
    def read() -> list[bytes]:
        with open_video(clean("h264.mp4"), reader=reader) as video:
            return [f.luma().tobytes() + f.rgb(100, 75).tobytes() for f in video.frames()]

    assert read() == read()


@pytest.mark.parametrize("reader", READERS)
def test_frames_outlive_the_step_to_the_next(reader, clean):
    """A picture that was taken is the caller's: the decoder does not paint over it."""
    with open_video(clean("h264.mp4"), reader=reader) as video:
        taken = [(f.luma(), f.rgb(64, 48)) for f in video.frames(0.0, 0.8)]
    assert [(read_number(luma), read_number(rgb)) for luma, rgb in taken] == [(i, i) for i in range(20)]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("frames_read", [0, 3, 1000])
def test_closing_lets_go_of_threads_and_files(reader, frames_read, clean):
    _read_some(clean("h264.mp4"), reader, 1000)  # what a library starts once, it may keep
    before = _threads_and_files()
    for _ in range(3):
        _read_some(clean("h264.mp4"), reader, frames_read)
    assert _threads_and_files() == before


def _read_some(path: Path, reader: str, n: int) -> None:
    with open_video(path, reader=reader) as video:
        for _ in zip(range(n), video.frames()):
            pass


def _threads_and_files() -> tuple[int, int]:
    return len(list(Path("/proc/self/task").iterdir())), len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("reader", READERS)
def test_a_refused_file_leaves_no_file_open(reader, make):
    text, sound = wrote("just a text\n" * 50), partial(with_audio, video=False)
    refused = [make("text.mp4", text), make("only_sound.mp4", sound), make("header.mp4", without_frames)]
    before = _threads_and_files()
    for path in refused:
        with pytest.raises(VideoError):
            watch(path, reader=reader)
    assert _threads_and_files() == before


def test_an_unknown_reader_is_named(clean):
    with pytest.raises(ConfigError, match="cv2"):
        open_video(clean("h264.mp4"), reader="cv2")


# -- the decoding table: files that are whole, but not simple -------------------------------------------


@pytest.mark.parametrize("name", ["from_100_s.mp4", "from_100_s.mkv", "from_100_s.ts"])
def test_start_is_kept_and_the_timeline_begins_at_zero(name, clean):
    seen = watch(clean(name))
    assert seen.info.start_s == pytest.approx(100.0, abs=0.001)
    assert seen.times[0] == 0.0
    assert seen.info.duration_s == pytest.approx(2.0, abs=0.1)


def test_an_mp4_without_b_frames_tells_how_long_each_frame_is_held(make):
    path = make("held.mp4", partial(write_clip, n=10, pts=UNEVEN, time_base=MS, options={"bf": "0"}))
    with open_video(path) as video:
        durations = [f.duration_s for f in video.frames()]
    assert durations[:-1] == pytest.approx(np.diff(UNEVEN) / 1000, abs=0.001)


@pytest.mark.parametrize("name", [*CLEAN, *CLEAN_AV])
def test_no_frame_claims_the_time_of_the_next(name, clean):
    """Behind B-frames, MP4's durations are those of the order of decoding: they belong to other frames."""
    with open_video(clean(name)) as video:
        spans = [(f.pts_s, f.pts_s + f.duration_s) for f in video.frames()]
    assert all(end <= next_start + 0.001 for (_, end), (next_start, _) in pairwise(spans))


@pytest.mark.parametrize(("suffix", "rate"), [("h264", 25), ("h264", 10), ("hevc", 50)])
def test_times_are_counted_where_a_raw_stream_has_none(suffix, rate, make):
    codec = "libx264" if suffix == "h264" else "libx265"
    path = make(f"raw_{rate}.{suffix}", partial(write_clip, rate=rate, codec=codec))
    with pytest.raises(RestartNeeded) as asked, open_video(path) as video:
        list(video.frames())
    assert asked.value.options == {"synthetic_time": True}
    seen = watch(path)
    assert seen.numbers == list(range(50))
    assert seen.times == pytest.approx([i / rate for i in range(50)], abs=0.001)
    assert seen.health.reasons == ["synthetic_time"]
    assert seen.end_s == pytest.approx(50 / rate, abs=0.1)
    assert watch(path, 10 / rate, 20 / rate).numbers == list(range(10, 20))


def test_times_are_counted_where_avi_has_them_in_disorder(make):
    seen = watch(make("b_frames.avi", write_clip))
    assert seen.restarts == {"synthetic_time": True}
    assert seen.numbers == list(range(50))
    assert seen.times == pytest.approx([i / 25 for i in range(50)], abs=0.001)
    assert seen.health.reasons == ["synthetic_time"]
    assert watch(make("b_frames.avi", write_clip), 0.52, 1.0).numbers == list(range(13, 25))


def test_frames_before_zero_have_no_time_and_are_counted(make):
    """Matroska, from -0.4 s: FFmpeg gives the first ten frames no time at all."""
    builder = partial(write_clip, pts=range(-10, 40), mux={"avoid_negative_ts": "disabled"})
    seen = watch(make("negative.mkv", builder))
    assert seen.numbers == list(range(10, 50))
    assert seen.times == pytest.approx([i / 25 for i in range(40)], abs=0.001)
    assert seen.health.untimed == 10
    assert seen.health.decoded == 50
    assert watch(make("negative.mkv", builder), 0.52, 1.0).numbers == list(range(23, 35))


def test_an_edit_list_is_honoured(make):
    seen = watch(make("edited.mp4", partial(write_clip, n=100, pts=range(-15, 85))))
    assert seen.numbers == list(range(15, 100))
    assert seen.times == pytest.approx([i / 25 for i in range(85)], abs=0.001)
    assert seen.health.reasons == []
    assert seen.info.duration_s == pytest.approx(3.4, abs=0.001)
    assert watch(make("edited.mp4", write_clip), 1.0, 2.0).numbers == list(range(40, 65))


BACK = joined(write_clip, partial(write_clip, first=50))
FAR_BACK = joined(partial(write_clip, pts=range(250, 300)), partial(write_clip, first=50))
FAR_FORWARD = joined(write_clip, partial(write_clip, first=50, pts=range(25 * 20_000, 25 * 20_000 + 50)))
THREE = joined(write_clip, partial(write_clip, first=50), partial(write_clip, first=100))


@pytest.mark.parametrize(
    ("name", "builder", "parts"),
    [("back.ts", BACK, 2), ("far_back.ts", FAR_BACK, 2), ("far_forward.ts", FAR_FORWARD, 2), ("three.ts", THREE, 3)],
)
def test_recordings_joined_together_follow_one_another(name, builder, parts, make):
    seen = watch(make(name, builder))
    assert seen.numbers == list(range(50 * parts))
    assert seen.times == pytest.approx([i / 25 for i in range(50 * parts)], abs=0.1)
    assert all(later > earlier for earlier, later in pairwise(seen.times))
    assert seen.health.epochs == parts
    assert "time_jumps" in seen.health.reasons
    assert set(seen.health.reasons) <= {"time_jumps", "damaged"}  # a join breaks the count of transport packets too
    assert seen.end_s == pytest.approx(2 * parts, abs=0.2)


def test_a_window_across_a_join(make):
    assert watch(make("back.ts", BACK), 1.5, 2.5).numbers == list(range(38, 63))


def test_a_gap_in_a_recording_stays_a_gap(make):
    builder = joined(write_clip, partial(write_clip, first=50, pts=range(250, 300)))
    seen = watch(make("gap.ts", builder))
    assert seen.numbers == list(range(100))
    assert seen.times[49] == pytest.approx(1.96, abs=0.001)
    assert seen.times[50] == pytest.approx(9.92, abs=0.001)
    assert seen.health.epochs == 1


@pytest.mark.parametrize("suffix", ["mkv", "ts", "mp4"])
def test_the_resolution_changes_in_mid_stream(suffix, make):
    path = make(f"two_sizes.{suffix}", two_sizes)
    seen = watch(path)
    assert seen.numbers == list(range(50))
    assert seen.health.reasons == []
    assert [luma.shape for luma in seen.lumas] == [(HEIGHT, WIDTH)] * 25 + [SMALL[::-1]] * 25
    with open_video(path) as video:
        assert [read_number(f.rgb(80, 60)) for f in video.frames()] == list(range(50))


@pytest.mark.parametrize(
    ("name", "builder", "stream"), [("cover.mp4", cover_first, 1), ("cover.mkv", cover_attached, 0)]
)
def test_a_cover_picture_is_not_the_video(name, builder, stream, make):
    seen = watch(make(name, builder))
    assert seen.info.stream == stream
    assert (seen.info.width_px, seen.info.height_px) == (WIDTH, HEIGHT)
    assert seen.numbers == list(range(50))


@pytest.mark.parametrize(
    ("name", "default", "first"),
    [("none.mkv", None, 0), ("small.mkv", 0, 100), ("small.mp4", 0, 100), ("large.mkv", 1, 0), ("large.mp4", 1, 0)],
)
def test_of_two_streams_the_default_one_else_the_largest(name, default, first, make):
    path = make(f"two_streams_{name}", partial(two_streams, default=default))
    assert watch(path).numbers == list(range(first, first + 50))
    for stream in (0, 1):
        seen = watch(path, stream=stream)
        assert seen.info.stream == stream
        assert seen.numbers == list(range(100 - 100 * stream, 150 - 100 * stream))
    with pytest.raises(ConfigError, match=r"0, 1"):
        open_video(path, stream=2)


def test_a_stream_of_sound_cannot_be_chosen(make):
    with pytest.raises(ConfigError, match="0"):
        open_video(make("sound.mp4", with_audio), stream=1)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
def test_sound_that_runs_on_is_no_truncation(suffix, make):
    seen = watch(make(f"sound.{suffix}", with_audio))
    assert seen.numbers == list(range(50))
    assert seen.health.reasons == []
    assert seen.end_s == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_time_begins_with_the_first_frame_not_with_the_sound(suffix, make):
    seen = watch(make(f"late.{suffix}", partial(with_audio, audio_s=2.5, video_start=12)))
    assert seen.numbers == list(range(50))
    assert seen.times == pytest.approx([i / 25 for i in range(50)], abs=0.001)
    assert seen.info.duration_s == pytest.approx(2.0, abs=0.1)
    assert seen.health.reasons == []


def test_a_file_that_declares_no_duration(clean):
    seen = watch(clean("streamed.mkv"))
    assert seen.info.duration_s is None
    assert seen.health.reasons == []
    assert seen.end_s == pytest.approx(2.0, abs=0.05)


# -- the decoding table: files that are cut off or damaged ----------------------------------------------

VP9 = partial(write_clip, n=100, codec="libvpx-vp9")
MPEG4 = partial(write_clip, n=100, codec="mpeg4")
FASTSTART = partial(write_clip, n=100, mux={"movflags": "faststart"})


@pytest.mark.parametrize(
    ("name", "builder"), [("cut.mkv", LONG), ("cut.webm", VP9), ("cut.mp4", FASTSTART), ("cut.avi", MPEG4)]
)
def test_a_file_that_was_cut_off_is_kept_up_to_there(name, builder, make):
    path = make(name, cut(builder, 0.5))
    seen = watch(path)
    assert seen.right >= 30
    assert seen.right >= len(seen.numbers) - 1
    assert seen.times[-1] < 2.4
    assert "truncated" in seen.health.reasons or name == "cut.avi"
    assert seen.health.reasons != []
    assert watch(path).numbers == seen.numbers


def test_a_stream_that_was_cut_off_within_a_packet_says_so(make):
    """A transport stream declares no end: all that can be noticed is that its last picture is not whole."""
    seen = watch(make("cut.ts", cut(LONG, 0.5)))
    assert seen.right >= 46
    assert seen.right == len(seen.numbers)
    assert seen.health.reasons == ["damaged"]


def test_looking_at_the_beginning_does_not_call_a_file_truncated(make):
    seen = watch(make("cut.mkv", cut(LONG, 0.5)), 0.0, 1.0)
    assert seen.numbers == list(range(25))
    assert seen.health.reasons == []


DAMAGED = {"mp4": LONG, "mkv": LONG, "ts": LONG, "webm": VP9, "avi": MPEG4}


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "webm"])
def test_damage_in_the_middle_costs_only_what_it_hit(suffix, make):
    path = make(f"damaged.{suffix}", overwritten(DAMAGED[suffix]))
    seen = watch(path)
    assert "damaged" in seen.health.reasons or suffix == "webm"  # FFmpeg skips to the next cluster in silence
    assert seen.right >= 67
    assert seen.right >= 0.9 * len(seen.numbers), "too many pictures at the wrong time"
    assert seen.numbers[:40] == list(range(40))
    assert seen.numbers[-20:] == list(range(80, 100))
    assert all(later > earlier for earlier, later in pairwise(seen.times))
    assert seen.end_s == pytest.approx(4.0, abs=0.1)
    assert seen.health.epochs == 1
    again = watch(path)
    assert [luma.tobytes() for luma in again.lumas] == [luma.tobytes() for luma in seen.lumas]


def test_damage_in_avi_is_noticed(make):
    """AVI has no times: after a loss FFmpeg counts on, and all one can say is that something is missing."""
    seen = watch(make("damaged.avi", overwritten(MPEG4)))
    assert "damaged" in seen.health.reasons
    assert len(seen.numbers) > 67
    assert seen.numbers[-1] == 99


def test_damage_asks_for_a_careful_reading(make):
    path = make("damaged.mp4", overwritten(LONG))
    with pytest.raises(RestartNeeded) as asked, open_video(path) as video:
        list(video.frames())
    assert asked.value.options == {"careful": True}
    with open_video(path, careful=True) as video:
        assert len(list(video.frames())) >= 67
    assert video.health.decode_errors > 0


def test_damage_at_the_start_does_not_shift_the_times(make):
    seen = watch(make("damaged_start.mp4", overwritten(LONG, 0.002, 0.1)))
    assert "damaged" in seen.health.reasons
    assert seen.right >= 70
    assert seen.right >= 0.9 * len(seen.numbers)


def test_damage_where_times_are_counted(make):
    """A raw stream tells neither that something is missing nor when the rest was: it is read all the same."""
    seen = watch(make("damaged.h264", overwritten(LONG)))
    assert "synthetic_time" in seen.health.reasons
    assert seen.numbers[:40] == list(range(40))
    assert seen.numbers[-20:] == list(range(80, 100))


def test_a_picture_that_outgrows_the_limit_is_not_decoded(make):
    builder = partial(two_sizes, first=SMALL, then=(WIDTH, HEIGHT))
    seen = watch(make("outgrows.mkv", builder), max_pixels=5000)
    assert seen.numbers == list(range(25))
    assert seen.health.reasons != []


@pytest.mark.parametrize("matrix", [3, 10, 14, 17, 255])
def test_colours_that_nobody_can_convert_are_taken_for_plain_ones(matrix, make):
    """swscale refuses frames that name a colour matrix that it lacks: damage in a header, or BT.2020-CL and ICtCp."""
    with open_video(make("h264.mp4", write_clip)) as video:
        frame = next(iter(video.frames()))
        plain = frame.rgb(64, 48)
        frame._frame.colorspace = matrix
        odd = PyAVFrame(frame._frame, 0.0, 0.0, Scalers())
        assert np.array_equal(odd.rgb(64, 48), plain) and read_number(odd.luma()) == 0


DAY_S = 86_400


def test_a_lost_first_frame_of_another_age_does_not_stretch_the_timeline(make):
    """FLV: the first packet is broken, and by its clock the others come 23 days later."""

    def build(path: Path) -> Path:
        pts = [0, *range(50_000_000, 50_000_049)]
        data = bytearray(write_clip(path, codec="flv", pts=pts).read_bytes())
        tag = data.index(b"\x09", 13 + 11 + int.from_bytes(data[14:17]))
        data[tag + 12 : tag + 200] = bytes(188)
        return wrote(bytes(data))(path)

    seen = watch(make("age.flv", build))
    assert seen.health.decode_errors and seen.end_s < 60


def test_an_absurd_frame_rate_makes_no_absurd_timeline(make):
    """An AVI whose header says one frame in 68 years would become a table of 10^11 seconds."""
    path = make("slow.avi", patched(MPEG4, b"strh", 28, b"\xff\xff\xff\x7f\1\0\0\0"))
    try:
        seen = watch(path)
    except VideoError:
        return
    assert seen.end_s < DAY_S
    assert seen.info.duration_s is None or seen.info.duration_s < DAY_S
    assert seen.health.reasons != []


@pytest.mark.parametrize("name", ["h264.mp4", "faststart.mp4", "fragmented.mp4", "h264.mkv", "h264.ts", "mpeg4.avi"])
def test_whatever_a_file_holds_it_is_read_or_refused(name, clean, tmp_path):
    good, path = clean(name).read_bytes(), tmp_path / name
    outcomes = set()
    for seed in range(30):
        path.write_bytes(mutated(good, seed))
        try:
            seen = watch(path)
        except VideoError as e:
            outcomes.add(e.reason)
            continue
        outcomes.add(tuple(seen.health.reasons))
        assert all(0 <= earlier <= later for earlier, later in pairwise(seen.times)), seed
        assert seen.times[-1:] <= [seen.end_s], seed
        assert seen.end_s < DAY_S, seed
    assert len(outcomes) > 1, "these mutations do nothing"


# -- files that must be refused -------------------------------------------------------------------------

#: The kind of an ASF stream: video.
ASF_VIDEO = bytes.fromhex("c0ef19bc4d5bcf11a8fd00805f5c442b")

REFUSED: dict[str, tuple[Builder, str]] = {
    "empty.mp4": (wrote(b""), "empty_file"),
    "text.mp4": (wrote("just a text\n" * 50), "not_media"),
    "text.txt": (wrote("just a text\n" * 50), "not_media"),
    "random.mp4": (random_bytes, "not_media"),
    "random.ts": (random_bytes, "not_media"),
    "picture.mp4": (picture, "not_media"),
    "concat.mp4": (concat_list, "not_media"),
    "hls.mp4": (hls_list, "not_media"),
    "hls.m3u8": (hls_list, "not_media"),
    "session.mp4": (wrote("v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"), "not_media"),
    "unfinished.mp4": (without_moov, "no_moov"),
    "unfinished.mov": (without_moov, "no_moov"),
    "only_sound.mp4": (partial(with_audio, video=False), "no_video_stream"),
    "only_sound.mkv": (partial(with_audio, video=False), "no_video_stream"),
    "header.mp4": (without_frames, "no_frames"),
    "header.avi": (without_frames, "no_frames"),
    "codec.mp4": (patched(write_clip, b"stsd", 16, b"zzzz"), "unsupported"),
    "endless.mp4": (wrote(b"\0\0\0\1free" + b"\xff" * 50), "not_media"),  # a box of 2^64 bytes
    "leap.mp4": (wrote(b"\0\0\0\1free\x7f" + b"\xf0" * 50), "not_media"),  # one that ends behind every file
    "stream.wmv": (patched(partial(write_clip, codec="wmv2"), ASF_VIDEO, 4, b"\0"), "not_media"),  # EPERM, it says
    "pipe.mp4": (pipe, "not_a_file"),
    "bomb.mp4": (bomb, "too_large"),
    "bomb.mkv": (bomb, "too_large"),
    "bomb.h264": (bomb, "too_large"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_video_is_refused_with_its_reason(reader, name, make):
    builder, reason = REFUSED[name]
    path = make(name, builder)
    with pytest.raises(VideoError) as refused:
        watch(path, reader=reader)
    assert refused.value.reason == reason
    assert name in str(refused.value)


@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_asks_for_absurd_memory_is_to_blame_itself(reader, make):
    """PyAV raises MemoryError for a table of 2^28 entries in a file of 20 kB: the machine is not short of memory."""
    path = make("greedy.mp4", patched(write_clip, b"stts", 8, b"\x0f\xff\xff\xff"))
    with pytest.raises(VideoError):
        watch(path, reader=reader)


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused_with_its_reason(reader, tmp_path):
    no_file = {tmp_path / "none.mp4": "missing", tmp_path: "not_a_file", Path("/dev/null"): "not_a_file"}
    for path, reason in no_file.items():
        with pytest.raises(VideoError) as refused:
            open_video(path, reader=reader)
        assert refused.value.reason == reason


@pytest.mark.parametrize("reader", READERS)
def test_the_limit_on_pixels_is_inclusive(reader, clean):
    assert len(watch(clean("h264.mp4"), reader=reader, max_pixels=WIDTH * HEIGHT).numbers) == 50
    with pytest.raises(VideoError) as refused:
        open_video(clean("h264.mp4"), reader=reader, max_pixels=WIDTH * HEIGHT - 1)
    assert refused.value.reason == "too_large"


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "h264"])
def test_a_bomb_is_refused_before_it_unfolds(suffix, tmp_path):
    """Opening must not cost the 400 MB that FFmpeg's own look at the first frame costs."""
    path = bomb(tmp_path / f"bomb.{suffix}")
    Path("/proc/self/clear_refs").write_text("5")  # reset the high-water mark of this process
    before = _peak_memory()
    with pytest.raises(VideoError):
        open_video(path)
    assert _peak_memory() - before < 150_000_000


def _peak_memory() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@pytest.fixture
def opened() -> Iterator[Callable[[Path], Callable[[], bool]]]:
    """Watch a file; the watch tells whether anybody has opened it since (inotify, Linux)."""
    libc = ctypes.CDLL(None, use_errno=True)
    inotify = libc.inotify_init1(os.O_NONBLOCK)

    def watch_file(path: Path) -> Callable[[], bool]:
        assert libc.inotify_add_watch(inotify, os.fsencode(path), 0x20) > 0  # IN_OPEN

        def was_opened() -> bool:
            try:
                return len(os.read(inotify, 4096)) > 0
            except BlockingIOError:
                return False

        return was_opened

    yield watch_file
    os.close(inotify)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("name", "builder", "target"),
    [
        ("list.mp4", concat_list, "target.mp4"),
        ("list.mkv", concat_list, "target.mp4"),
        ("hls.mp4", hls_list, "target.ts"),
        ("hls.m3u8", hls_list, "target.ts"),
    ],
)
def test_a_playlist_never_reaches_another_file(reader, name, builder, target, tmp_path, opened):
    path = builder(tmp_path / name)
    was_opened = opened(tmp_path / target)
    with pytest.raises(VideoError):
        open_video(path, reader=reader)
    assert not was_opened()
    (tmp_path / target).read_bytes()
    assert was_opened(), "this watch would have seen nothing"


NAMES = ["12:30 x.mp4", "http:x.mp4", "file:x.mp4", "-x.mp4", "ä b\n.mp4", "%d.mp4", "x.mp4?a=1#b", "pipe:0"]


BYTES = os.fsdecode(b"\xff\xfe.mp4")  # no text in any encoding; decord cannot take it


@pytest.mark.parametrize(
    ("reader", "name"), [("av", BYTES), *((r, n) for r in READERS for n in NAMES)], ids=lambda v: ascii(v)[1:-1]
)
def test_any_file_name_is_only_a_name(reader, name, clean, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(clean("h264.mp4").read_bytes())
    monkeypatch.chdir(tmp_path)
    for path in (Path(name), tmp_path / name):
        with open_video(path, reader=reader) as video:
            assert len(list(video.frames())) == 50


# -- what readers by number must not be asked to read ---------------------------------------------------

NOT_BY_NUMBER: dict[str, Builder] = {
    "h264.ts": write_clip,
    "mpeg2.mpg": partial(write_clip, codec="mpeg2video"),
    "mpeg4_b.avi": partial(write_clip, codec="mpeg4", options={"bf": "2"}),
    "streamed.mkv": partial(write_clip, mux={"live": "1"}),
    "raw_25.h264": write_clip,
    "b_frames.avi": write_clip,
    "edited.mp4": partial(write_clip, n=100, pts=range(-15, 85)),
    "negative.mkv": partial(write_clip, pts=range(-10, 40), mux={"avoid_negative_ts": "disabled"}),
    "back.ts": BACK,
    "cut.mkv": cut(LONG, 0.5),
    "damaged.mp4": overwritten(LONG),
    "damaged.ts": overwritten(LONG),
    "two_sizes.mkv": two_sizes,
}


@pytest.mark.parametrize("reader", ["decord", "torchcodec"])
@pytest.mark.parametrize("name", NOT_BY_NUMBER)
def test_readers_by_number_refuse_what_they_would_get_wrong(reader, name, make):
    """Right frames at right times, or an error that names the reader to use: never a wrong result."""
    path = make(name, NOT_BY_NUMBER[name])
    truth = watch(path)
    try:
        with open_video(path, reader=reader) as video:
            seen = [(_number(f.luma()), f.pts_s) for f in video.frames()]
    except FervidError as e:
        assert "av" in str(e)
    else:
        assert [n for n, _ in seen] == truth.numbers
        assert [t for _, t in seen] == pytest.approx(truth.times, abs=0.001)
        assert set(video.health.reasons) >= set(truth.health.reasons) - {"synthetic_time"}


# -- readers for a GPU, as far as they can be asked without one ------------------------------------------


def test_nvdec_needs_a_gpu_and_auto_does_not(clean):
    with pytest.raises(ConfigError, match="--device cuda"):
        open_video(clean("h264.mp4"), reader="nvdec", device="cpu")
    for reader, device in (("auto", "cpu"), ("auto", None), ("nvdec", None)):
        with open_video(clean("h264.mp4"), reader=reader, device=device) as video:
            assert len(list(video.frames())) == 50
            assert (video.health.decoder, video.health.fallback_reason) == ("cpu", "")


def test_auto_turns_to_the_cpu_and_says_why(clean, monkeypatch):
    def refuse(path: Path, device: str, **_: object) -> None:
        assert device == "cuda:0"
        raise NotOnGPU(path, "ffv1 in yuv444p")

    monkeypatch.setattr("fervid.video.readers.nvdec.NvdecReader", refuse)
    with open_video(clean("h264.mp4"), reader="auto", device="cuda:0") as video:
        assert len(list(video.frames())) == 50
        assert (video.health.decoder, video.health.fallback_reason) == ("cpu", "ffv1 in yuv444p")
    with pytest.raises(VideoError, match=r"ffv1 in yuv444p.*--reader auto"):
        open_video(clean("h264.mp4"), reader="nvdec", device="cuda:0")


@pytest.mark.parametrize("error", [MissingDependency("needs FFmpeg 8"), DeviceError("FFmpeg cannot decode on cuda:0")])
def test_auto_needs_no_decoder_on_the_gpu(clean, monkeypatch, error):
    def refuse(path: Path, device: str, **_: object) -> None:
        raise error

    monkeypatch.setattr("fervid.video.readers.nvdec.NvdecReader", refuse)
    with open_video(clean("h264.mp4"), reader="auto", device="cuda:0") as video:
        assert video.health.fallback_reason == str(error)
    with pytest.raises(type(error)):
        open_video(clean("h264.mp4"), reader="nvdec", device="cuda:0")


class _GivesUp(PyAVReader):
    """A GPU's decoder that stops taking the video after ten frames."""

    def __init__(self, path: Path, device: str, **file: Any) -> None:
        super().__init__(path, **file)

    def frames(self, start_s: float = 0.0, stop_s: float | None = None) -> Iterator[Any]:
        yield from islice(super().frames(start_s, stop_s), 10)
        raise NotOnGPU(self._path, "at 0.4 s it changes to yuv444p")


def test_auto_begins_again_on_the_cpu_where_the_gpu_gives_up(clean, monkeypatch):
    monkeypatch.setattr("fervid.video.readers.nvdec.NvdecReader", _GivesUp)

    def work(reader: Reader) -> tuple[int, str, str]:
        return len(list(reader.frames())), reader.health.decoder, reader.health.fallback_reason

    found, _ = read_video(clean("h264.mp4"), load_config(reader="auto"), work, device="cuda:0")
    assert found == (50, "cpu", "at 0.4 s it changes to yuv444p")
    with pytest.raises(NotOnGPU, match="yuv444p"):
        read_video(clean("h264.mp4"), load_config(reader="nvdec"), work, device="cuda:0")
