"""Animated GIF and PNG are videos; still images are not, and animated WebP has a message that says why not."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fervid.errors import VideoError
from fervid.jobs.inputs import find_videos
from fervid.video.file_types import is_animated_image, looks_like_video
from fervid.video.open import open_video
from tests.helpers.hypothesis_settings import steady
from tests.helpers.reader_clips import read

#: Muxer, encoder and pixel format of each suffix.
KINDS = {
    "gif": ("gif", "gif", "rgb8"), "png": ("apng", "apng", "rgb24"), "webp": ("webp", "libwebp_anim", "yuv420p"),
}  # fmt: skip


def write(path: Path, delays_cs: Sequence[int]) -> Path:
    """Write one grey frame of 64x48 per delay, in hundredths of a second."""
    muxer, encoder, pixels = KINDS[path.suffix[1:]]
    with av.open(path, "w", format=muxer) as out:
        stream = out.add_stream(encoder, rate=100)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        stream.time_base = stream.codec_context.time_base = Fraction(1, 100)
        for n, at in enumerate([0, *accumulate(delays_cs)][:-1]):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 + n * 9, np.uint8), format="rgb24")
            frame = frame.reformat(format=pixels)
            frame.pts, frame.duration, frame.time_base = at, delays_cs[n], Fraction(1, 100)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", ["gif", "png"])
def test_frames_have_the_times_of_their_delays(suffix: str, tmp_path: Path) -> None:
    delays = [10, 30, 5, 100, 20, 7, 50]
    path = write(tmp_path / f"a.{suffix}", delays)
    seen = read(path)
    assert seen.times == pytest.approx([0, *np.cumsum(delays)[:-1] / 100], abs=0.001)
    with open_video(path) as video:
        levels = [round(float(frame.luma().mean())) for frame in video.frames()]
    assert levels == sorted(levels) and len(set(levels)) == len(delays)


@steady
@given(st.lists(st.integers(2, 300), min_size=2, max_size=8), st.sampled_from(["gif", "png"]))
def test_any_delays(tmp_path_factory: pytest.TempPathFactory, delays: list[int], suffix: str) -> None:
    path = write(tmp_path_factory.mktemp("any") / f"a.{suffix}", delays)
    assert is_animated_image(path)
    assert read(path).times == pytest.approx([0, *np.cumsum(delays)[:-1] / 100], abs=0.001)


@pytest.mark.parametrize("suffix", ["gif", "png"])
def test_a_single_frame_is_an_image(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"a.{suffix}", [10])
    assert not is_animated_image(path) and not looks_like_video(path)
    with pytest.raises(VideoError, match="is an image; `fervid score` reads images") as error, open_video(path):
        pass
    assert error.value.reason == "not_media"


def test_animated_webp_says_why_it_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.webp", [10] * 5)
    assert is_animated_image(path)
    with pytest.raises(VideoError, match="an animated image that FFmpeg cannot decode, such as WebP") as error:
        open_video(path)
    assert error.value.reason == "unsupported"


def test_folders_contain_animated_images_and_no_still_ones(tmp_path: Path) -> None:
    for suffix in KINDS:
        write(tmp_path / f"moving.{suffix}", [10] * 3)
        write(tmp_path / f"still.{suffix}", [10])
    found = [item.path.name for item in find_videos([tmp_path], out=tmp_path / "out")]
    assert found == ["moving.gif", "moving.png", "moving.webp"]


def test_damaged_images_are_refused_or_read_in_part(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    for suffix in ("gif", "png"):
        data = write(tmp_path / f"a.{suffix}", [10] * 4).read_bytes()
        for n in random.integers(8, len(data), 25):
            path = tmp_path / f"b.{suffix}"
            for broken in (data[:n], data[:n] + bytes([data[n] ^ 0x5A]) + data[n + 1 :]):
                path.write_bytes(broken)
                assert looks_like_video(path) in (True, False)
                try:
                    read(path)
                except VideoError as e:
                    assert str(path) in str(e)


def test_huge_images_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.gif", [10] * 3).read_bytes())
    data[6:10] = b"\xff\xff\xff\xff"
    (tmp_path / "a.gif").write_bytes(data)
    with pytest.raises(VideoError) as error:
        read(tmp_path / "a.gif")
    assert error.value.reason in ("too_large", "no_frames")
