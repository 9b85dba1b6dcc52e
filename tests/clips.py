"""Small clips, made by PyAV as they are needed, that carry the number of each frame in their pixels.

A picture is a grid of 6 rows and 4 columns: a row of marks that tells which way is up, three rows of twelve bits, black
or white, that hold the number and a checksum, and two rows of noise that give the encoder something to spend bytes on.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags

WIDTH, HEIGHT = 128, 96
_MARKS = (True, False, False, False)
_ROWS, _COLUMNS = 6, 4
_NUMBERS = 1024


def draw(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Give the picture of one number as (height, width) uint8, black 0 and white 255."""
    cells = np.array(_MARKS + _bits(number)).reshape(4, _COLUMNS)
    rows, columns = np.arange(height) * _ROWS // height, np.arange(width) * _COLUMNS // width
    picture = cells[np.minimum(rows, 3)][:, columns].astype(np.uint8) * 255
    noisy = rows > 3
    noise = np.random.default_rng(number).integers(64, 192, ((noisy.sum() + 3) // 4, (width + 3) // 4), np.uint8)
    picture[noisy] = noise.repeat(4, 0).repeat(4, 1)[: noisy.sum(), :width]
    return picture


def read_number(picture: np.ndarray) -> int:
    """Read the number from luma (h, w) or RGB (h, w, 3) of any size; ValueError if it is not a whole, upright picture."""
    grey = picture.mean(2) if picture.ndim == 3 else picture
    height, width = grey.shape
    cells = np.zeros((4, _COLUMNS))
    for row, column in np.ndindex(4, _COLUMNS):
        top, left = (row + 0.3) * height / _ROWS, (column + 0.3) * width / _COLUMNS
        bottom, right = (row + 0.7) * height / _ROWS, (column + 0.7) * width / _COLUMNS
        cells[row, column] = grey[round(top) : max(round(bottom), round(top) + 1),
                                  round(left) : max(round(right), round(left) + 1)].mean()  # fmt: skip
    bits = tuple(bool(b) for b in cells.ravel() > 127)
    number = sum(1 << i for i, bit in enumerate(bits[4:14]) if bit)
    if bits != _MARKS + _bits(number):
        raise ValueError(f"no number in this picture: {cells.round()}")
    return number


def _bits(number: int) -> tuple[bool, ...]:
    if not 0 <= number < _NUMBERS:
        raise ValueError(f"numbers run from 0 to {_NUMBERS - 1}, not {number}")
    check = number.bit_count() % 4
    return tuple(bool(number >> i & 1) for i in range(10)) + (bool(check & 1), bool(check & 2))


def write_clip(
    path: Path,
    *,
    n: int = 50,
    first: int = 0,
    rate: int | Fraction = 25,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    rotation: int = 0,
    sar: Fraction | None = None,
    options: dict[str, str] | None = None,
    container: str | None = None,
    mux: dict[str, str] | None = None,
) -> Path:
    """Write frames first..first+n-1 and give back the path.

    `pts` are in units of `time_base`, which is 1/rate unless told; `size` is that of the displayed picture before `sar`;
    `rotation` is what the file asks the player to turn counter-clockwise; `mux` are options of the container.
    """
    time_base = time_base or 1 / Fraction(rate)
    with av.open(path, "w", format=container, options=mux or {}) as out:
        stream = add_video(out, codec, rate, size, pix_fmt, rotation=rotation, time_base=time_base, options=options)
        if sar is not None:
            stream.codec_context.sample_aspect_ratio = sar
        out.mux(list(encode(stream, range(first, first + n), pts or range(n), time_base, size, rotation)))
    return path


def add_video(
    out: av.container.OutputContainer,
    codec: str,
    rate: int | Fraction,
    size: tuple[int, int],
    pix_fmt: str = "yuv420p",
    *,
    rotation: int = 0,
    time_base: Fraction | None = None,
    options: dict[str, str] | None = None,
) -> av.VideoStream:
    """Add a video stream whose encoder runs on one thread, so that a test makes the same bytes everywhere."""
    stream = out.add_stream(codec, rate=rate, options=_DEFAULTS.get(codec, {}) | (options or {}))
    stream.width, stream.height = size if rotation % 180 == 0 else size[::-1]
    stream.pix_fmt = pix_fmt
    stream.codec_context.time_base = time_base or 1 / Fraction(rate)
    stream.codec_context.thread_count = 1
    if rotation:
        stream.set_display_rotation(rotation)
    return stream


_DEFAULTS = {
    "libx264": {"preset": "veryfast", "g": "25", "bf": "2"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"},
    "libvpx-vp9": {"cpu-used": "8", "deadline": "realtime"},
    "mpeg4": {"q": "3"},
}


def encode(
    stream: av.VideoStream,
    numbers: Iterable[int],
    pts: Iterable[int],
    time_base: Fraction,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    rotation: int = 0,
) -> Iterable[av.Packet]:
    """Encode the pictures of these numbers and flush the encoder."""
    for number, at in zip(numbers, pts):
        grey = np.rot90(draw(number, *size), -rotation // 90)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(grey), "gray")
        frame = frame.reformat(format=stream.pix_fmt, dst_color_range=2 if "yuvj" in stream.pix_fmt else 0)
        frame.pts, frame.time_base = at, time_base
        yield from stream.encode(frame)
    yield from stream.encode(None)
