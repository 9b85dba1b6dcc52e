"""One contract for all readers on undamaged files; what the registry, indexed readers and GPU readers add to it."""

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fervid.config import load_config
from fervid.errors import ConfigError, DeviceError, FervidError, MissingDependency, VideoError
from fervid.registry import READERS as READER_ROWS
from fervid.registry import Entry
from fervid.video.open import open_video, read_video
from fervid.video.reader import NotOnGPU, Reader, full_range
from fervid.video.readers.pyav import PyAVReader
from tests.helpers.broken_clips import cut, overwritten, without_frames, wrote
from tests.helpers.clips import (
    BLUE,
    HEIGHT,
    RED,
    WIDTH,
    coloured,
    draw,
    read_cells,
    read_number,
    times,
    two_sizes,
    with_audio,
    write_clip,
)
from tests.helpers.reader_clips import (
    BACK,
    CLEAN,
    CLEAN_AV,
    LONG,
    PIXELS,
    READERS,
    Builder,
    read,
    read_number_or_none,
    threads_and_files,
)

EVERY = [(reader, name) for reader in READERS for name in CLEAN] + [("av", name) for name in CLEAN_AV]


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


#: Some start at, or just before, a keyframe (at 1.0 s), where a seek that trusts the index lands too late.
WINDOWS = [(0, 0.1), (0.5, 1.2), (0.92, 1.1), (0.96, 1.04), (1.0, None), (1.7, 60), (1.96, None), (1.97, 2)]


@pytest.mark.parametrize(("reader", "name"), [e for e in EVERY if e[1] != "single.mp4"])
def test_a_window_gives_exactly_its_frames(reader, name, clean):
    everything = list(enumerate(times(**(CLEAN | CLEAN_AV)[name])))
    for start, stop in WINDOWS:
        with open_video(clean(name), reader=reader) as video:
            seen = [(read_number(f.luma()), f.pts_s) for f in video.frames(start, stop)]
        on_display = max(i for i, t in everything if t <= start + 1e-6)
        if not seen and start >= everything[-1][1]:
            continue  # after the end of the last frame
        expected = [(i, t) for i, t in everything[on_display:] if stop is None or t < stop - 1e-6]
        assert [i for i, _ in seen] == [i for i, _ in expected], (start, stop)
        assert [t for _, t in seen] == pytest.approx([t for _, t in expected], abs=0.001), (start, stop)
        assert video.health.reasons == [], (start, stop)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (64, 48), (32, 24), (91, 53), (256, 192), (37, 96)])
def test_rgb_has_the_requested_size(reader, size, clean):
    with open_video(clean("h264.mp4"), reader=reader) as video:
        for i, frame in enumerate(video.frames(0.0, 0.2)):
            rgb = frame.rgb(*size)
            assert (rgb.shape, rgb.dtype) == ((size[1], size[0], 3), np.uint8)
            assert rgb.flags.c_contiguous
            assert read_number(rgb) == i
            assert _cell_error(read_cells(rgb), i) < 12


@pytest.mark.parametrize("reader", READERS)
def test_rgb_has_red_first(reader, make):
    with open_video(make("coloured.mp4", coloured), reader=reader) as video:
        rgb = next(iter(video.frames())).rgb(64, 48)
    assert rgb[24, 16] == pytest.approx(RED, abs=30)
    assert rgb[24, 48] == pytest.approx(BLUE, abs=30)


@pytest.mark.parametrize(
    ("reader", "name"), [("decord", "limited.mp4"), ("decord", "full_yuvj.mp4"), *(("av", n) for n in PIXELS)]
)
def test_luma_has_the_stored_size_and_full_range(reader, name, clean):
    width, height = PIXELS[name].get("size", (WIDTH, HEIGHT))
    with open_video(clean(name), reader=reader) as video:
        for i, frame in enumerate(video.frames(0.0, 0.2)):
            luma, wanted = frame.luma(), draw(i, width, height)
            assert (luma.shape, luma.dtype) == ((height, width), np.uint8)
            stored, limited = frame.stored_luma()
            assert np.array_equal(full_range(stored) if limited else stored, luma)
            assert _cell_error(read_cells(luma), i) < 4
            noise = slice(height * 4 // 6 + 1, None)
            assert np.abs(luma[noise].astype(int) - wanted[noise]).mean() < 3
            assert _cell_error(read_cells(frame.rgb(64, 48)), i) < 12


def _cell_error(cells: np.ndarray, number: int) -> float:
    """The largest error of a black or a white cell."""
    return float(np.abs(cells - read_cells(draw(number))).max())


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("rotation", [90, 180, 270])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_rotated_clips_are_upright(reader, rotation, suffix, make):
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
def test_info_is_what_the_file_declares(reader, name, clean):
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
def test_reading_twice_gives_the_same_bytes(reader, clean):
    def read() -> list[bytes]:
        with open_video(clean("h264.mp4"), reader=reader) as video:
            return [f.luma().tobytes() + f.rgb(100, 75).tobytes() for f in video.frames()]

    assert read() == read()


@pytest.mark.parametrize("reader", READERS)
def test_pixels_outlive_the_step_to_the_next_frame(reader, clean):
    """Pixels belong to the caller: the decoder does not overwrite them."""
    with open_video(clean("h264.mp4"), reader=reader) as video:
        taken = [(f.luma(), f.rgb(64, 48)) for f in video.frames(0.0, 0.8)]
    assert [(read_number(luma), read_number(rgb)) for luma, rgb in taken] == [(i, i) for i in range(20)]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("frames_read", [0, 3, 1000])
def test_closing_releases_threads_and_files(reader, frames_read, clean):
    _read_some(clean("h264.mp4"), reader, 1000)  # a library may keep what it starts once
    before = threads_and_files()
    for _ in range(3):
        _read_some(clean("h264.mp4"), reader, frames_read)
    assert threads_and_files() == before


def _read_some(path: Path, reader: str, n: int) -> None:
    with open_video(path, reader=reader) as video:
        for _ in zip(range(n), video.frames()):
            pass


@pytest.mark.parametrize("reader", READERS)
def test_a_refused_file_leaves_no_file_open(reader, make):
    text, sound = wrote("just a text\n" * 50), partial(with_audio, video=False)
    refused = [make("text.mp4", text), make("only_sound.mp4", sound), make("header.mp4", without_frames)]
    before = threads_and_files()
    for path in refused:
        with pytest.raises(VideoError):
            read(path, reader=reader)
    assert threads_and_files() == before


def test_a_reader_is_one_row_of_the_registry(clean, monkeypatch):
    monkeypatch.setitem(READER_ROWS, "toy", Entry(f"{__name__}:_ToyReader", takes=("stream",)))
    config = load_config(reader="toy")
    found, _ = read_video(clean("h264.mp4"), config, lambda reader: (type(reader), len(list(reader.frames()))))
    assert found == (_ToyReader, 50)


class _ToyReader(PyAVReader):
    """A reader that takes fewer options than the others."""

    def __init__(self, path: Path, stream: int | None) -> None:
        super().__init__(path, stream=stream, max_pixels=10**6, careful=False, synthetic_time=False)


def test_an_unknown_reader_is_named(clean):
    with pytest.raises(ConfigError, match="cv2"):
        open_video(clean("h264.mp4"), reader="cv2")


# -- what indexed readers must refuse -------------------------------------------------------------------

NOT_INDEXED: dict[str, Builder] = {
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
@pytest.mark.parametrize("name", NOT_INDEXED)
def test_indexed_readers_refuse_what_they_would_read_wrongly(reader, name, make):
    """The right frames at the right times, or an error that names the reader to use: never a wrong result."""
    path = make(name, NOT_INDEXED[name])
    truth = read(path)
    try:
        with open_video(path, reader=reader) as video:
            seen = [(read_number_or_none(f.luma()), f.pts_s) for f in video.frames()]
    except FervidError as e:
        assert "av" in str(e)
    else:
        assert [n for n, _ in seen] == truth.numbers
        assert [t for _, t in seen] == pytest.approx(truth.times, abs=0.001)
        assert set(video.health.reasons) >= set(truth.health.reasons) - {"synthetic_time"}


# -- readers for a GPU, as far as they can be tested without one ----------------------------------------


def test_nvdec_needs_a_gpu_and_auto_does_not(clean):
    with pytest.raises(ConfigError, match="--device cuda"):
        open_video(clean("h264.mp4"), reader="nvdec", device="cpu")
    for reader, device in (("auto", "cpu"), ("auto", None), ("nvdec", None)):
        with open_video(clean("h264.mp4"), reader=reader, device=device) as video:
            assert len(list(video.frames())) == 50
            assert (video.health.decoder, video.health.fallback_reason) == ("cpu", "")


def test_auto_falls_back_to_the_cpu_and_reports_why(clean, monkeypatch):
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
def test_auto_does_not_need_a_decoder_on_the_gpu(clean, monkeypatch, error):
    def refuse(path: Path, device: str, **_: object) -> None:
        raise error

    monkeypatch.setattr("fervid.video.readers.nvdec.NvdecReader", refuse)
    with open_video(clean("h264.mp4"), reader="auto", device="cuda:0") as video:
        assert video.health.fallback_reason == str(error)
    with pytest.raises(type(error)):
        open_video(clean("h264.mp4"), reader="nvdec", device="cuda:0")


class _FailsMidway(PyAVReader):
    """A GPU's decoder that fails after ten frames."""

    def __init__(self, path: Path, device: str, **file: Any) -> None:
        super().__init__(path, **file)

    def frames(self, start_s: float = 0.0, stop_s: float | None = None) -> Iterator[Any]:
        yield from islice(super().frames(start_s, stop_s), 10)
        raise NotOnGPU(self._path, "at 0.4 s it changes to yuv444p")


def test_auto_starts_over_on_the_cpu_where_the_gpu_fails(clean, monkeypatch):
    monkeypatch.setattr("fervid.video.readers.nvdec.NvdecReader", _FailsMidway)

    def work(reader: Reader) -> tuple[int, str, str]:
        return len(list(reader.frames())), reader.health.decoder, reader.health.fallback_reason

    found, _ = read_video(clean("h264.mp4"), load_config(reader="auto"), work, device="cuda:0")
    assert found == (50, "cpu", "at 0.4 s it changes to yuv444p")
    with pytest.raises(NotOnGPU, match="yuv444p"):
        read_video(clean("h264.mp4"), load_config(reader="nvdec"), work, device="cuda:0")
