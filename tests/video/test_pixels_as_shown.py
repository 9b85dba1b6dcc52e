"""Pixels as a player shows them: grey, high dynamic range, transparency, and every pixel format."""

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from fervid.video.open import open_video
from fervid.video.readers.pyav_frame import PyAVFrame, Scalers, planes_of
from fervid.video.tone_mapping import HLG, PQ, luma_table, tone_map
from tests.helpers.clips import add_video, encode
from tests.helpers.hdr_clips import to_hdr, write_hdr

SIZE = (96, 64)
#: What cameras, screen recorders, editors and archives write.
FORMATS = [
    f"yuv{layout}p{depth}" for layout in ("420", "422", "444") for depth in ("", "9le", "10le", "12le", "14le", "16le")
] + [
    "yuv410p", "yuv411p", "yuv440p", "yuvj420p", "yuvj422p", "yuvj444p", "nv12", "nv16", "nv21", "p010le", "p016le",
    "p210le", "yuyv422", "uyvy422", "yuva420p", "yuva422p", "yuva444p10le", "gray", "gray10le", "gray12le", "gray16le",
    "ya8", "ya16le", "rgb24", "bgr24", "rgba", "bgra", "argb", "bgr0", "0rgb", "rgb48le", "rgba64le", "gbrp",
    "gbrp10le", "gbrp12le", "gbrap", "gbrpf32le", "x2rgb10le", "y210le", "v30xle", "vuya", "xyz12le",
]  # fmt: skip


def _ramp(width: int = SIZE[0], height: int = SIZE[1]) -> np.ndarray:
    """Black at the left to white at the right."""
    return np.tile(np.linspace(0, 255, width).round().astype(np.uint8), (height, 1))


def _colours(width: int = SIZE[0], height: int = SIZE[1]) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(40, 220, width), np.linspace(60, 200, height))
    return np.stack([x, y, (x + y) / 2], 2).astype(np.uint8)


def _frame(image: np.ndarray, pixels: str) -> PyAVFrame:
    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
    return PyAVFrame(VideoReformatter().reformat(rgb, format=pixels, threads=1), 0.0, 0.04, Scalers())


@pytest.mark.parametrize("size", [SIZE, (95, 63), (1, 1), (3, 5)])
@pytest.mark.parametrize("pixels", FORMATS)
def test_every_pixel_format_is_what_was_drawn(pixels, size):
    if pixels not in av.video.format.names:
        pytest.skip("not in this FFmpeg")
    grey, colours = _ramp(*size), _colours(*size)
    shown = _frame(np.repeat(grey[..., None], 3, 2), pixels).luma()
    assert (shown.shape, shown.dtype) == (grey.shape, np.uint8)
    assert np.abs(shown.astype(int) - grey).max() <= 3
    rgb = _frame(colours, pixels).rgb(*size)
    assert rgb.shape == colours.shape
    if not pixels.startswith(("gray", "ya")) and min(size) > 8:
        assert np.abs(rgb[4:-4, 4:-4].astype(int) - colours[4:-4, 4:-4]).mean() < 6


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "ffv1"), ("avi", "rawvideo"), ("mov", "png")])
@pytest.mark.parametrize("tagged", [0, 1, 2])
def test_grey_has_the_full_range_whatever_the_file_declares(suffix, codec, tagged, tmp_path):
    ramp = _ramp(512, 64)
    with av.open(tmp_path / f"ramp.{suffix}", "w") as out:
        stream = add_video(out, codec, size=(512, 64), pix_fmt="gray")
        stream.codec_context.color_range = tagged
        for i in range(3):
            frame = av.VideoFrame.from_ndarray(ramp, "gray")
            frame.pts, frame.color_range = i, tagged
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with open_video(tmp_path / f"ramp.{suffix}") as video:
        frame = next(iter(video.frames()))
        assert np.array_equal(frame.luma(), ramp)
        assert np.abs(frame.rgb(512, 64)[..., 1].astype(int) - ramp).max() <= 2


def test_transparent_parts_are_black():
    rgba = np.dstack([_colours(), np.full(SIZE[::-1], 255, np.uint8)])
    rgba[:, :48, 3], rgba[:, 48:60, 3] = 0, 128
    for pixels in ("rgba", "yuva444p", "gbrap"):
        frame = av.VideoFrame.from_ndarray(rgba, "rgba").reformat(format=pixels)
        shown = PyAVFrame(frame, 0.0, 0.04, Scalers())
        assert shown.luma()[:, :47].max() <= 2
        assert shown.rgb(*SIZE)[:, :46].max() <= 3
        half = rgba[..., :3].astype(int) // 2
        assert np.abs(shown.rgb(*SIZE)[:, 50:58].astype(int) - half[:, 50:58]).mean() < 4
        assert np.abs(shown.rgb(*SIZE)[:, 64:].astype(int) - rgba[:, 64:, :3]).mean() < 5
        assert planes_of(shown.canvas(*SIZE))[0][:, :46].max() <= 18


# -- high dynamic range ---------------------------------------------------------------------------------


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_hdr_made_from_sdr_looks_like_sdr(transfer):
    """Three quarters of the light of white are 0.75 ** (1 / 2.4) * 255 = 226."""
    image = np.random.default_rng(0).integers(60, 226, (40, 50, 3), np.uint8)
    shown = tone_map(to_hdr(image, transfer), transfer, 9)
    assert np.abs(shown.astype(int) - image).max() <= 3
    white = tone_map(to_hdr(np.full((1, 1, 3), 255, np.uint8), transfer), transfer, 9)
    assert 235 < white.min() == white.max() <= 255


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_brighter_light_is_never_darker_and_highlights_keep_detail(transfer):
    table = luma_table(transfer).astype(int)
    assert (table[0], table[-1]) == (0, 255)
    assert (np.diff(table) >= 0).all()
    above = table[table > 242]
    assert len(np.unique(above)) >= 10, "highlights above white are not clipped"


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_the_luma_of_skin_is_that_of_sdr(transfer):
    skin = np.array([[[200, 140, 110], [230, 180, 150], [150, 90, 70], [90, 55, 40], [225, 190, 170]]], np.uint8)
    coded = to_hdr(skin, transfer) @ np.array([0.2627, 0.6780, 0.0593])
    luma = luma_table(transfer)[coded.astype(int) >> 4]
    assert np.abs(luma - skin @ np.array([0.2126, 0.7152, 0.0722])).max() < 5


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("transfer", "name"), [(PQ, "pq"), (HLG, "hlg")])
def test_an_hdr_film_is_shown_as_sdr_everywhere(transfer, name, full, tmp_path):
    image = _colours(128, 96)
    path = write_hdr(tmp_path / "hdr.mkv", [image] * 3, transfer, full=full)
    with open_video(path) as video:
        assert video.info.hdr == name
        frame = next(iter(video.frames()))
        assert np.abs(frame.rgb(128, 96).astype(int) - image).mean() < 4
        expected = image @ np.array([0.2126, 0.7152, 0.0722])
        assert np.abs(frame.luma() - expected).mean() < 4
        canvas = frame.canvas(128, 96)
    assert (canvas.color_trc, canvas.colorspace, canvas.color_primaries) == (1, 1, 1)
    assert np.abs(canvas.to_ndarray(format="rgb24").astype(int) - image).mean() < 5


def test_an_sdr_film_is_not_mapped(tmp_path: Path):
    with av.open(tmp_path / "sdr.mkv", "w") as out:
        out.mux(list(encode(add_video(out, "ffv1", size=SIZE), [_ramp()] * 2, range(2))))
    with open_video(tmp_path / "sdr.mkv") as video:
        assert video.info.hdr == ""
        assert np.abs(next(iter(video.frames())).luma().astype(int) - _ramp()).max() <= 1
