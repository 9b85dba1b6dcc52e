"""Small clips, made by PyAV on demand, that carry the number of each frame in its pixels.

An image is a grid of 6 rows and 4 columns: one row of marks that shows which way is up, three rows of twelve bits, in
black and white, with the number and a checksum, and two rows of noise, so that files have bytes to damage and grey
levels to compare. Damaged clips, and files that are not videos, are in broken_clips.py.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from fervid.video.geometry import UPRIGHT, Orientation

WIDTH, HEIGHT = 128, 96
SMALL = (64, 48)
RED, BLUE = (200, 40, 40), (40, 40, 200)
_MARKS = (True, False, False, False)
_ROWS, _COLUMNS = 6, 4
_NUMBERS = 1024

#: Encoder options: fast and reproducible, with B-frames and a keyframe each second.
_OPTIONS = {
    "libx264": {"preset": "veryfast", "g": "25", "bf": "2"},
    "libx265": {"preset": "ultrafast", "g": "25", "x265-params": "log-level=none:pools=none:frame-threads=1"},
    "libvpx-vp9": {"cpu-used": "8", "deadline": "realtime", "g": "25"},
    "mpeg4": {"q": "3"},
}


# -- images ---------------------------------------------------------------------------------------------


def draw(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Draw the image of a number as (height, width) uint8, black 0 and white 255."""
    cells = np.array(_MARKS + _bits(number)).reshape(4, _COLUMNS)
    rows, columns = np.arange(height) * _ROWS // height, np.arange(width) * _COLUMNS // width
    image = cells[np.minimum(rows, 3)][:, columns].astype(np.uint8) * 255
    noisy = rows > 3
    noise = np.random.default_rng(number).integers(32, 224, (height // 8 + 1, width // 4 + 1), np.uint8)
    image[noisy] = noise.repeat(4, 0).repeat(4, 1)[: noisy.sum(), :width]
    return image


def read_number(image: np.ndarray) -> int:
    """Read the number from luma (h, w) or RGB (h, w, 3); ValueError unless the image is upright."""
    bits = tuple(bool(value > 127) for value in read_cells(image).ravel())
    number = sum(1 << i for i, bit in enumerate(bits[4:14]) if bit)
    if bits != _MARKS + _bits(number):
        raise ValueError("no number in this image")
    return number


def read_cells(image: np.ndarray) -> np.ndarray:
    """Average the middle of each black or white cell -> (4, 4) float."""
    grey = image.mean(2) if image.ndim == 3 else image
    height, width = grey.shape
    cells = np.zeros((4, _COLUMNS))
    for row, column in np.ndindex(*cells.shape):
        top, bottom = round((row + 0.3) * height / _ROWS), round((row + 0.7) * height / _ROWS)
        left, right = round((column + 0.3) * width / _COLUMNS), round((column + 0.7) * width / _COLUMNS)
        cells[row, column] = grey[top : max(bottom, top + 1), left : max(right, left + 1)].mean()
    return cells


def _bits(number: int) -> tuple[bool, ...]:
    check = number.bit_count() % 4
    return (*(bool(number >> i & 1) for i in range(10)), bool(check & 1), bool(check & 2))


# -- writing --------------------------------------------------------------------------------------------


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
    full_range: bool = False,
    rotation: int = 0,
    orientation: Orientation | None = None,
    declared: Orientation | None = None,
    sar: Fraction | None = None,
    options: dict[str, str] | None = None,
    mux: dict[str, str] | None = None,
) -> Path:
    """Write the frames numbered first .. first + n - 1, and return the path.

    `pts` are in units of `time_base`, by default 1 / rate. `size` is that of the upright image before `sar` stretches
    it; `rotation` is how far a player must rotate the stored frames, counter-clockwise, and `orientation` any of the
    eight ways to display them, which the file declares unless it has `declared` another. Without `full_range` the file
    declares no range. `options` are the encoder's, `mux` the container's.
    """
    time_base = time_base or 1 / Fraction(rate)
    display = orientation or Orientation(rotation // 90)
    with av.open(path, "w", options=mux or {}) as out:
        stream = add_video(out, codec, rate, size[::-1] if display.swaps_sides else size, pix_fmt, options)
        stream.codec_context.time_base = time_base
        stream.codec_context.color_range = 2 if full_range else 0
        if sar is not None:
            stream.codec_context.sample_aspect_ratio = sar
        if (declared or display) != UPRIGHT:
            stream.set_display_matrix(display_matrix(declared or display))
        numbers = range(first, first + n)
        images = (stored(draw(number, *size), display) for number in numbers)
        out.mux(list(encode(stream, images, pts or range(n), time_base)))
    return path


def stored(image: np.ndarray, display: Orientation) -> np.ndarray:
    """The stored frame that a player displays as this image."""
    back = np.rot90(image, -display.turns)
    return back[:, ::-1] if display.mirrored else back


def display_matrix(display: Orientation) -> list[int]:
    """The display matrix of an orientation, in 16.16 (the last column in 2.30) fixed-point numbers."""
    (a, c), (b, d) = display.matrix().tolist()
    return [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]


def times(
    *,
    n: int = 50,
    rate: int | Fraction = 25,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    **_: object,
) -> list[float]:
    """Return the times, in seconds since the first frame, of the frames that write_clip writes with these arguments."""
    pts = pts or range(n)
    return [float((at - pts[0]) * (time_base or 1 / Fraction(rate))) for at in pts]


def add_video(
    out: av.container.OutputContainer,
    codec: str = "libx264",
    rate: int | Fraction = 25,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
) -> av.VideoStream:
    """Add a video stream; its encoder has one thread, so that the bytes are the same every time."""
    stream = out.add_stream(codec, rate=rate, options=_OPTIONS.get(codec, {}) | (options or {}))
    stream.width, stream.height = size
    stream.pix_fmt = pix_fmt
    stream.codec_context.time_base = 1 / Fraction(rate)
    stream.codec_context.thread_count = 1
    return stream


def encode(
    encoder: av.VideoStream | av.VideoCodecContext,
    images: Iterable[np.ndarray],
    pts: Iterable[int],
    time_base: Fraction = Fraction(1, 25),
) -> Iterator[av.Packet]:
    """Encode images, grey (h, w) or RGB (h, w, 3), at these times, and flush the encoder."""
    color_range = 2 if encoder.color_range == 2 else 1
    for image, at in zip(images, pts):
        layout = "gray" if image.ndim == 2 else "rgb24"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), layout)
        frame = frame.reformat(format=encoder.pix_fmt, src_color_range=2, dst_color_range=color_range, threads=1)
        frame.pts, frame.time_base = at, time_base
        yield from encoder.encode(frame)
    yield from encoder.encode(None)


# -- clips that need more than one encoder, or a patch --------------------------------------------------


def joined(*parts: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """Build several files and concatenate their bytes, as `cat` does."""

    def build(path: Path) -> Path:
        built = [part(path.with_stem(f"{path.stem}_{i}")) for i, part in enumerate(parts)]
        path.write_bytes(b"".join(one.read_bytes() for one in built))
        return path

    return build


def coloured(path: Path) -> Path:
    """Ten frames whose left half is red and whose right half is blue."""
    image = np.full((HEIGHT, WIDTH, 3), RED, np.uint8)
    image[:, WIDTH // 2 :] = BLUE
    with av.open(path, "w") as out:
        out.mux(list(encode(add_video(out), [image] * 10, range(10))))
    return path


def two_sizes(
    path: Path, first: tuple[int, int] = (WIDTH, HEIGHT), then: tuple[int, int] = SMALL, *, still: bool = False
) -> Path:
    """One stream of 25 frames of one size, then 25 of another; the times continue. `still`: without motion."""
    in_band = {"x264-params": "repeat-headers=1"}
    with av.open(path, "w") as out:
        stream = add_video(out, size=first, options=in_band)
        out.mux(list(encode(stream, (draw(0 if still else i, *first) for i in range(25)), range(25))))
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = *then, "yuv420p"
        encoder.time_base, encoder.thread_count = Fraction(1, 25), 1
        encoder.options = _OPTIONS["libx264"] | in_band
        for packet in encode(encoder, (draw(0 if still else i, *then) for i in range(25, 50)), range(25, 50)):
            packet.stream = stream
            out.mux(packet)
    return path


def two_streams(path: Path, default: int | None = None) -> Path:
    """Stream 0 is small and has the numbers from 100, stream 1 is large and has those from 0."""
    with av.open(path, "w") as out:
        streams = [add_video(out, size=SMALL), add_video(out)]
        if default is not None:
            streams[default].disposition = 1
        out.mux(list(encode(streams[0], (draw(100 + i, *SMALL) for i in range(50)), range(50))))
        out.mux(list(encode(streams[1], map(draw, range(50)), range(50))))
    return path


def with_audio(path: Path, audio_s: float = 4.0, video_start: int = 0, video: bool = True) -> Path:
    """50 frames from `video_start` / 25 s on, and silence from 0 s to `audio_s`."""
    with av.open(path, "w") as out:
        old = path.suffix in (".avi", ".wmv")
        stream = add_video(out, "mpeg4" if old else "libx264") if video else None
        rate = 44_100 if path.suffix == ".flv" else 48_000
        sound = out.add_stream("mp2" if old else "aac", rate=rate, layout="mono")
        packets = []
        if stream:
            packets += encode(stream, map(draw, range(50)), range(video_start, video_start + 50))
        for start in range(0, round(audio_s * rate), 1024):
            silence = np.zeros((1, 1024), np.int16 if old else np.float32)
            frame = av.AudioFrame.from_ndarray(silence, "s16" if old else "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            packets += sound.encode(frame)
        packets += sound.encode(None)
        out.mux(sorted(packets, key=lambda p: p.dts * p.time_base))
    return path


def cover_first(path: Path) -> Path:
    """An MP4 whose stream 0 is a cover image, larger than the video: the tags precede the track."""
    with av.open(path, "w") as out:
        cover = out.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt, cover.disposition = 512, 512, "yuvj420p", 0x400
        stream = add_video(out)
        out.mux(list(encode(cover, [np.full((512, 512), 90, np.uint8)], [0])))
        out.mux(list(encode(stream, map(draw, range(50)), range(50))))
    data = path.read_bytes()
    moov, end = box(data, b"moov", 0, len(data))
    trak, _ = box(data, b"trak", moov + 8, end)
    tags, tags_end = box(data, b"udta", moov + 8, end)
    path.write_bytes(data[:trak] + data[tags:tags_end] + data[trak:tags] + data[tags_end:])
    return path


def cover_attached(path: Path) -> Path:
    """A Matroska file with a cover image, larger than the video, as its attachment."""
    image = io.BytesIO()
    Image.new("L", (512, 512), 90).save(image, "JPEG")
    with av.open(path, "w") as out:
        stream = add_video(out)
        out.add_attachment("cover.jpg", "image/jpeg", image.getvalue())
        out.mux(list(encode(stream, map(draw, range(50)), range(50))))
    return path


def box(data: bytes, kind: bytes, start: int, end: int) -> tuple[int, int]:
    """Find the first MP4 box of a kind among those that follow one another from start to end."""
    while start < end:
        size = int.from_bytes(data[start : start + 4], "big")
        if data[start + 4 : start + 8] == kind:
            return start, start + size
        start += size
    raise ValueError(f"no box {kind!r}")
