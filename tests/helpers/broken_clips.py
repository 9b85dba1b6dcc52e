"""Clips that are truncated or damaged, and files that are named like videos but are not."""

import os
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from PIL import Image

from tests.helpers.clips import add_video, box, draw, write_clip

Builder = Callable[[Path], Path]


# -- damage to a good clip ------------------------------------------------------------------------------


def cut(build: Builder, keep: float) -> Builder:
    """Keep the first part of a file's bytes."""

    def cut_off(path: Path) -> Path:
        data = build(path).read_bytes()
        path.write_bytes(data[: round(len(data) * keep)])
        return path

    return cut_off


def overwritten(build: Builder, start: float = 0.45, stop: float = 0.55) -> Builder:
    """Overwrite a stretch of a file with random bytes."""

    def overwrite(path: Path) -> Path:
        data = bytearray(build(path).read_bytes())
        i, j = round(len(data) * start), round(len(data) * stop)
        data[i:j] = np.random.default_rng(0).bytes(j - i)
        path.write_bytes(data)
        return path

    return overwrite


def patched(build: Builder, box_name: bytes, offset: int, value: bytes) -> Builder:
    """Overwrite the field at an offset from the last occurrence of the name of a box or chunk."""

    def patch(path: Path) -> Path:
        data = bytearray(build(path).read_bytes())
        at = data.rindex(box_name) + offset
        data[at : at + len(value)] = value
        path.write_bytes(data)
        return path

    return patch


def mutated(data: bytes, seed: int) -> bytes:
    """Change, set or remove a few bytes, most of them in the headers at either end."""
    rng, changed = np.random.default_rng(seed), bytearray(data)
    reach = len(changed) if rng.random() < 0.3 else min(len(changed), 1200)
    for _ in range(rng.integers(1, 12)):
        at = int(rng.integers(reach)) - (reach if seed % 2 else 0)
        if rng.random() < 0.3:
            changed[at : at + 4] = b"\xff\xff\xff\xff" if rng.random() < 0.5 else b""
        else:
            changed[at] = int(rng.integers(256))
    return bytes(changed)


def without_moov(path: Path) -> Path:
    """An MP4 as a recorder leaves it when it loses power: frames, and no index."""
    data = write_clip(path).read_bytes()
    path.write_bytes(data[: box(data, b"moov", 0, len(data))[0]])
    return path


def without_frames(path: Path) -> Path:
    """A complete header that declares a video stream, and no frame."""
    mux = {"movflags": "frag_keyframe+empty_moov"} if path.suffix == ".mp4" else {}
    with av.open(path, "w", options=mux) as out:
        stream = add_video(out, "libx264" if path.suffix == ".mp4" else "mpeg4")
        if path.suffix == ".mp4":
            frame = av.VideoFrame.from_ndarray(draw(0), "gray").reformat(format="yuv420p")
            frame.pts = 0
            out.mux([*stream.encode(frame), *stream.encode(None)])
        else:
            out.start_encoding()
    if path.suffix == ".mp4":
        data = path.read_bytes()
        path.write_bytes(data[: box(data, b"moov", 0, len(data))[1]])
    return path


# -- not videos ---------------------------------------------------------------------------------------


def wrote(content: bytes | str) -> Builder:
    """A file with this content."""

    def write(path: Path) -> Path:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def random_bytes(path: Path) -> Path:
    return wrote(np.random.default_rng(0).bytes(50_000))(path)


def png_image(path: Path) -> Path:
    """A PNG, under any name."""
    Image.fromarray(draw(7)).save(path, "PNG")
    return path


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def concat_list(path: Path) -> Path:
    """An ffconcat playlist that refers to a good clip in its folder."""
    write_clip(path.with_name("target.mp4"), n=5)
    return wrote("ffconcat version 1.0\nfile target.mp4\n")(path)


def hls_list(path: Path) -> Path:
    """An HLS playlist that refers to a good clip in its folder."""
    write_clip(path.with_name("target.ts"), n=5)
    return wrote("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\ntarget.ts\n#EXT-X-ENDLIST\n")(path)


# -- a decompression bomb: a few hundred bytes that decode to 16384x8192 ------------------------------------


def bomb(path: Path) -> Path:
    """One H.264 frame of 16384x8192: raw, or in the container that the suffix names."""
    data = b"".join(b"\0\0\0\1" + unit for unit in (_sps(1024, 512), _pps(), _slice()))
    if path.suffix == ".h264":
        return wrote(data)(path)
    with av.open(path, "w") as out:
        stream = out.add_mux_stream("h264", rate=25, width=16384, height=8192, pix_fmt="yuv420p")
        packet = av.Packet(data)
        packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, 0, 0, True
        out.mux(packet)
    return path


def _sps(columns: int, rows: int) -> bytes:
    """H.264 7.3.2.1: a baseline sequence, whose frames have so many macroblocks."""
    return b"\x67" + _pack("01000010 11000000 00111110", 0, 0, 2, 1, "0", columns - 1, rows - 1, "1100")


def _pps() -> bytes:
    """H.264 7.3.2.2: one slice group, CAVLC."""
    return b"\x68" + _pack(0, 0, "00", 0, 0, 0, "000", 0, 0, 0, "000")


def _slice() -> bytes:
    """H.264 7.3.3: the header of an I slice at macroblock 0, then noise."""
    return b"\x65" + _pack(0, 7, 0, "0000", 0, "00", 0) + b"\x9a" * 200


def _pack(*fields: int | str) -> bytes:
    """Concatenate bits as written and numbers as Exp-Golomb codes (H.264 9.1), and end with the stop bit."""
    bits = ""
    for field in fields:
        code = field.replace(" ", "") if isinstance(field, str) else f"{field + 1:b}"
        bits += code if isinstance(field, str) else "0" * (len(code) - 1) + code
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")
