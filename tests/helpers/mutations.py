"""Intact clips in many containers and codecs, and seven reproducible ways to damage them."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from tests.helpers.clips import add_video, encode
from tests.helpers.fakes import draw_faces

__all__ = ["MUTATIONS", "SEEDS", "SIZE", "mutate", "write_seed"]

SIZE = (96, 80)
_H264 = {"g": "8", "bf": "2", "crf": "30"}

#: File name -> codec, encoder options, muxer options.
SEEDS: dict[str, tuple[str, dict, dict]] = {
    "h264.mp4": ("libx264", _H264, {}),
    "fragments.mp4": ("libx264", _H264, {"movflags": "frag_keyframe+empty_moov"}),
    "hevc.mp4": ("libx265", {"x265-params": "log-level=none:pools=none:frame-threads=1:keyint=8"}, {}),
    "mpeg4.mov": ("mpeg4", {"q": "12"}, {}),
    "prores.mov": ("prores", {}, {}),
    "h264.mkv": ("libx264", _H264, {}),
    "av1.mkv": ("libsvtav1", {"preset": "12", "crf": "50", "svtav1-params": "lp=1"}, {}),
    "vp9.webm": ("libvpx-vp9", {"cpu-used": "8", "deadline": "realtime", "g": "8"}, {}),
    "vp8.webm": ("libvpx", {"cpu-used": "8", "deadline": "realtime", "g": "8"}, {}),
    "h264.ts": ("libx264", _H264, {}),
    "mpeg2.ts": ("mpeg2video", {"q": "12"}, {}),
    "mpeg4.avi": ("mpeg4", {"q": "12"}, {}),
    "mjpeg.avi": ("mjpeg", {"q": "20"}, {}),
    "flv1.flv": ("flv", {"q": "12"}, {}),
    "mpeg2.mpg": ("mpeg2video", {"q": "12"}, {}),
    "wmv2.wmv": ("wmv2", {"q": "12"}, {}),
    "mpeg2.mxf": ("mpeg2video", {"q": "12"}, {}),
    "raw.h264": ("libx264", _H264, {}),
}  # fmt: skip

Rng = np.random.Generator
#: Names of boxes, chunks and elements.
_NAMES = re.compile(rb"[a-zA-Z][a-zA-Z0-9 ]{3}")
_EXTREMES = (0, 1, 7, 8, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x0FFFFFFF)


def write_seed(path: Path, name: str, n: int = 20) -> Path:
    """Write a clip of SEEDS: a face that moves over noise."""
    codec, options, mux = SEEDS[name]
    os.environ.setdefault("SVT_LOG", "0")  # silences the AV1 encoder
    with av.open(path, "w", options=mux) as out:
        pix_fmt = {"prores": "yuv422p10le", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        stream = add_video(out, codec, 25, SIZE, pix_fmt, options)
        stream.codec_context.color_range = 2 if codec == "mjpeg" else 0
        out.mux(list(encode(stream, (_image(i) for i in range(n)), range(n))))
    return path


def _image(i: int) -> np.ndarray:
    noise = np.random.default_rng(i).integers(0, 40, (SIZE[1] // 4, SIZE[0] // 4), np.uint8).repeat(4, 0).repeat(4, 1)
    return np.maximum(draw_faces((8 + i, 8, 48 + i, 56), size=SIZE), noise)


# -- mutations -------------------------------------------------------------------------------------------


def mutate(data: bytes, other: bytes, seed: int) -> tuple[str, bytes]:
    """Damage a file by the mutation that the seed selects, and return its name and the bytes.

    `other` is the file to splice from.
    """
    names = list(MUTATIONS)
    name = names[seed % len(names)]
    return name, bytes(MUTATIONS[name](bytearray(data), other, np.random.default_rng(seed)))


def _flip(data: bytearray, _: bytes, rng: Rng) -> bytearray:
    """Replace some bytes, every second time only near the beginning, where the headers are."""
    reach = len(data) if rng.random() < 0.5 else min(len(data), 600)
    for at in rng.integers(reach, size=int(2 ** rng.uniform(0, 7))):
        data[at] = int(rng.integers(256))
    return data


def _truncate(data: bytearray, _: bytes, rng: Rng) -> bytearray:
    """Remove the end, the beginning or a part in between."""
    start, stop = sorted(int(at) for at in rng.integers(len(data) + 1, size=2))
    return (data[:stop], data[start:], data[:start] + data[stop:])[int(rng.integers(3))]


def _splice(data: bytearray, other: bytes, rng: Rng) -> bytearray:
    """Insert a part of another file, or replace a part with one."""
    start, stop = sorted(int(at) for at in rng.integers(len(other) + 1, size=2))
    at = int(rng.integers(len(data)))
    end = at if rng.random() < 0.3 else at + stop - start
    data[at:end] = other[start:stop]
    return data


def _lengths(data: bytearray, _: bytes, rng: Rng) -> bytearray:
    """Falsify the lengths of one to four boxes (before the name), chunks (after it) or elements."""
    names = [match.start() for match in _NAMES.finditer(data)]
    for _n in range(int(rng.integers(1, 5))):
        near_name = int(rng.choice(names)) + int(rng.choice([-4, 4, 8, 12])) if names and rng.random() < 0.7 else -1
        at = near_name if 0 <= near_name < len(data) - 4 else int(rng.integers(min(len(data) - 4, 800)))
        value = int(rng.choice(_EXTREMES)) if rng.random() < 0.7 else int.from_bytes(data[at : at + 4]) ^ 1
        width = int(rng.choice([1, 2, 4, 4]))
        order = "big" if rng.random() < 0.7 else "little"
        data[at : at + width] = (value & (256**width - 1)).to_bytes(width, order)
    return data


def _runs(data: bytearray, _: bytes, rng: Rng) -> bytearray:
    """Fill stretches with zeros, ones or another byte, as a bad disk does."""
    for _n in range(int(rng.integers(1, 4))):
        at, length = int(rng.integers(len(data))), int(2 ** rng.uniform(2, 13))
        byte = int(rng.choice([0, 0, 255, int(rng.integers(256))]))
        stop = min(len(data), at + length)
        data[at:stop] = bytes([byte]) * (stop - at)
    return data


def _flood(data: bytearray, _: bytes, rng: Rng) -> bytearray:
    """Repeat a header, or a part of one, up to a thousand times."""
    start = int(rng.integers(min(len(data), 2000))) if rng.random() < 0.7 else 0
    part = data[start : start + int(2 ** rng.uniform(3, 10))]
    times = min(int(2 ** rng.uniform(3, 10)), 100_000 // max(len(part), 1) + 1)
    return data[:start] + part * times + data[start:]


def _shuffle(data: bytearray, _: bytes, rng: Rng) -> bytearray:
    """Swap blocks of the file."""
    size = int(2 ** rng.uniform(6, 11))
    blocks = [data[i : i + size] for i in range(0, len(data), size)]
    for _n in range(int(rng.integers(1, 4))):
        i, j = (int(k) for k in rng.integers(len(blocks), size=2))
        blocks[i], blocks[j] = blocks[j], blocks[i]
    return bytearray(b"".join(blocks))


MUTATIONS: dict[str, Callable[[bytearray, bytes, Rng], bytearray]] = {
    "flip": _flip,
    "truncate": _truncate,
    "splice": _splice,
    "lengths": _lengths,
    "runs": _runs,
    "flood": _flood,
    "shuffle": _shuffle,
}
