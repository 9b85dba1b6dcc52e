"""Insert the display orientation of H.264 and HEVC, a supplemental message (SEI 47), into encoded frames."""

from collections.abc import Callable
from pathlib import Path

import av

from fervid.video.geometry import Orientation
from tests.helpers.clips import add_video, draw, encode, stored

_LIBRARIES = {"h264": "libx264", "hevc": "libx265"}


def write_with_sei(
    path: Path, codec: str, display: Callable[[int], Orientation], *, n: int = 50, size: tuple[int, int] = (128, 96)
) -> Path:
    """Write numbered frames, of which each keyframe (every 25th) carries the orientation `display(number)`.

    The stored frames of a group of pictures must be displayed in one way: `display` gives it for its first number.
    """
    with av.open(path, "w") as out:
        first = display(0)
        options = {"x264-params": "scenecut=0:keyint=25:min-keyint=25"} if codec == "h264" else {"x265-params": _HEVC}
        stream = add_video(out, _LIBRARIES[codec], size=size[::-1] if first.swaps_sides else size, options=options)
        images = (stored(draw(i, *size), display(i // 25 * 25)) for i in range(n))
        for packet in encode(stream, images, range(n)):
            number = packet.pts
            if packet.is_keyframe and number is not None and number % 25 == 0:
                packet = _with_unit(packet, codec, _orientation_unit(codec, display(number)))
                packet.stream = stream
            out.mux(packet)
    return path


_HEVC = "log-level=none:pools=none:frame-threads=1:keyint=25:min-keyint=25:scenecut=0:bframes=2:open-gop=0"


def _orientation_unit(codec: str, display: Orientation) -> bytes:
    """The message as a NAL unit with a start code (ITU-T H.264, D.1.25; ITU-T H.265, D.2.17)."""
    flips, turns = (int(display.mirrored), 0), display.turns
    bits = f"0{flips[0]}{flips[1]}{turns * 0x4000:016b}"
    bits += "0100" if codec == "h264" else "1"  # valid until the next sequence; no extension
    bits += "1" + "0" * (-len(bits) - 1 & 7)
    payload = int(bits, 2).to_bytes(len(bits) // 8, "big")
    head = b"\x06" if codec == "h264" else bytes([39 << 1, 1])
    return b"\0\0\0\1" + head + _escaped(bytes([47, len(payload)]) + payload + b"\x80")


def _escaped(data: bytes) -> bytes:
    """Insert the bytes that keep a payload from looking like a start code."""
    out, zeros = bytearray(), 0
    for value in data:
        if zeros >= 2 and value <= 3:
            out.append(3)
            zeros = 0
        out.append(value)
        zeros = zeros + 1 if value == 0 else 0
    return bytes(out)


def _with_unit(packet: av.Packet, codec: str, unit: bytes) -> av.Packet:
    """Insert a unit before the first slice of a packet."""
    data, at = bytes(packet), 0
    while True:
        at = data.index(b"\0\0\1", at)
        kind = data[at + 3] & 31 if codec == "h264" else data[at + 3] >> 1 & 63
        if kind in (1, 5) if codec == "h264" else kind < 32:
            break
        at += 3
    at -= at > 0 and data[at - 1] == 0
    new = av.Packet(data[:at] + unit + data[at:])
    new.pts, new.dts, new.time_base, new.duration = packet.pts, packet.dts, packet.time_base, packet.duration
    new.is_keyframe = packet.is_keyframe
    return new
