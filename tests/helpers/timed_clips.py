"""Small clips with any timestamps, as recorders and older programs store them; frames are numbered as in clips.py."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av

from tests.helpers.clips import HEIGHT, WIDTH, draw, encode

TICK = Fraction(1, 90_000)
_OPTIONS = {
    "libx264": {"preset": "ultrafast", "g": "25", "x264-params": "annexb=1"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
    "mpeg4": {"g": "25"},
}
_DECODERS = {"libx264": "h264", "libvpx": "vp8"}


def coded(
    pts: Sequence[int], time_base: Fraction, codec: str = "libx264", *, first: int = 0, **options: str
) -> list[av.Packet]:
    """Encode one numbered frame per timestamp; decoding starts at 0 or before, as the encoder says."""
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height = WIDTH, HEIGHT
    encoder.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    encoder.time_base, encoder.framerate, encoder.thread_count = time_base, Fraction(25), 1
    encoder.options = _OPTIONS.get(codec, {}) | options
    images = (draw(first + i) for i in range(len(pts)))
    return list(encode(encoder, images, pts, time_base))


def muxed(
    path: Path,
    packets: Sequence[av.Packet],
    time_base: Fraction,
    codec: str = "libx264",
    *,
    rate: int | None = None,
    mux: dict[str, str] | None = None,
    durations: bool = True,
) -> Path:
    """Write packets as they are, into the container that the suffix names; a stream declares a rate or none."""
    with av.open(path, "w", options=mux or {}) as out:
        stream = out.add_mux_stream(_DECODERS.get(codec, codec), rate=rate, width=WIDTH, height=HEIGHT)
        stream.time_base = time_base
        for packet in packets:
            packet.stream, packet.time_base = stream, time_base
            if not durations:
                packet.duration = 0
            out.mux(packet)
    return path


def sharing_stamps(packets: Sequence[av.Packet], n: int) -> list[av.Packet]:
    """Join every n frames to one packet, which has the timestamps of its first: one PES packet with several frames."""
    joined = []
    for i in range(0, len(packets), n):
        group = packets[i : i + n]
        packet = av.Packet(b"".join(map(bytes, group)))
        packet.pts, packet.dts, packet.is_keyframe = group[0].pts, group[0].dts, group[0].is_keyframe
        joined.append(packet)
    return joined


# -- AVI, chunk by chunk ----------------------------------------------------------------------------------


def avi(
    path: Path, chunks: Sequence[bytes], fourcc: bytes, *, scale: int = 1, rate: int = 25, n: int | None = None
) -> Path:
    """Write an AVI whose chunks may be empty: these repeat the frame before. `n` is the declared number of chunks."""
    n = len(chunks) if n is None else n
    micros = min(1_000_000 * scale // rate, 2**32 - 1) if rate else 0
    avih = struct.pack("<14I", micros, 0, 0, 0x10, n, 0, 1, 0, WIDTH, HEIGHT, 0, 0, 0, 0)
    strh = (
        b"vids" + fourcc + struct.pack("<IHHIIIIIIIIhhhh", 0, 0, 0, 0, scale, rate, 0, n, 0, 0, 0, 0, 0, WIDTH, HEIGHT)
    )
    strf = struct.pack("<IiiHH4sIiiII", 40, WIDTH, HEIGHT, 1, 24, fourcc, WIDTH * HEIGHT * 3, 0, 0, 0, 0)
    header = _list(b"hdrl", _chunk(b"avih", avih), _list(b"strl", _chunk(b"strh", strh), _chunk(b"strf", strf)))
    movie, index, offset = [], [], 4
    for data in chunks:
        movie.append(_chunk(b"00dc", data))
        index.append(b"00dc" + struct.pack("<III", 0x10 if not index else 0, offset, len(data)))
        offset += len(movie[-1])
    content = b"AVI " + header + _list(b"movi", *movie) + _chunk(b"idx1", b"".join(index))
    path.write_bytes(b"RIFF" + struct.pack("<I", len(content)) + content)
    return path


def spread(packets: Sequence[av.Packet]) -> list[bytes]:
    """Put each packet into the chunk of its decoding time, and empty chunks between them."""
    begin = min(packet.dts for packet in packets)
    chunks = [b""] * (max(packet.dts for packet in packets) - begin + 1)
    for packet in packets:
        chunks[packet.dts - begin] = bytes(packet)
    return chunks


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _list(name: bytes, *chunks: bytes) -> bytes:
    return _chunk(b"LIST", name + b"".join(chunks))


# -- Matroska, element by element -------------------------------------------------------------------------


def vfw_mkv(path: Path, packets: Sequence[av.Packet], duration_ms: float, default_ns: int = 0) -> Path:
    """Write H.264 as a VfW track, whose blocks have the times of decoding only, in milliseconds from 0."""
    begin = min(packet.dts for packet in packets)
    bitmap = struct.pack("<IiiHH4sIiiII", 40, WIDTH, HEIGHT, 1, 24, b"H264", WIDTH * HEIGHT * 3, 0, 0, 0, 0)
    size = _element(0xE0, _number(0xB0, WIDTH), _number(0xBA, HEIGHT))
    default = _number(0x23E383, default_ns) if default_ns else b""
    codec = _element(0x86, b"V_MS/VFW/FOURCC") + _element(0x63A2, bitmap)
    track = _element(0xAE, _number(0xD7, 1), _number(0x73C5, 1), _number(0x83, 1), codec, default, size)
    clusters: list[tuple[int, list[bytes]]] = []
    for packet in packets:
        at = packet.dts - begin
        if packet.is_keyframe or at - clusters[-1][0] > 5000:
            clusters.append((at, [_number(0xE7, at)]))
        head = b"\x81" + struct.pack(">hB", at - clusters[-1][0], 0x80 if packet.is_keyframe else 0)
        clusters[-1][1].append(_element(0xA3, head + bytes(packet)))
    versions = _number(0x4286, 1) + _number(0x42F7, 1) + _number(0x42F2, 4) + _number(0x42F3, 8)
    head = _element(0x1A45DFA3, versions, _element(0x4282, b"matroska"), _number(0x4287, 2), _number(0x4285, 2))
    info = _element(0x1549A966, _number(0x2AD7B1, 1_000_000), _element(0x4489, struct.pack(">d", duration_ms)))
    blocks = b"".join(_element(0x1F43B675, *parts) for _, parts in clusters)
    path.write_bytes(head + _element(0x18538067, info, _element(0x1654AE6B, track), blocks))
    return path


def _element(name: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return name.to_bytes((name.bit_length() + 7) // 8) + struct.pack(">Q", len(content) | 1 << 56) + content


def _number(name: int, value: int) -> bytes:
    return _element(name, value.to_bytes(max(1, (value.bit_length() + 7) // 8)))
