"""What kind of file one is, by its first bytes."""

import re
import stat
from pathlib import Path
from typing import BinaryIO

__all__ = ["is_animated_image", "looks_like_image", "looks_like_video"]

_HEAD_BYTES = 4096
#: Types of the first box of QuickTime and MP4 files (ISO/IEC 14496-12).
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
#: Brands of audio files and still images.
_OTHER_BRANDS = (b"M4A ", b"M4B ", b"M4P ", b"heic", b"heix", b"heif", b"mif1", b"avif", b"crx ", b"jp2 ", b"jxl ")
#: Matroska, FLV, ASF, IVF, MPEG program and video streams, MXF, DV.
_MAGIC = (
    b"\x1a\x45\xdf\xa3", b"FLV\x01", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"DKIF", b"\x00\x00\x01\xba",
    b"\x00\x00\x01\xb3", b"\x06\x0e\x2b\x34\x02\x05\x01\x01", b"\x1f\x07\x00\x3f",
)  # fmt: skip
#: Raw H.264 and HEVC streams begin with a parameter set or an access unit delimiter (Annex B of either standard).
_ANNEX_B = re.compile(rb"\x00{2,3}\x01([\x67\x27\x47\x09]|[\x40\x42\x46]\x01)", re.S)
_OGG_VIDEO = (b"\x80theora", b"BBCD", b"OVP80", b"video\x00")
#: Offset of the first sync byte and packet size of MPEG transport streams, M2TS, and streams with error correction.
_TRANSPORT_STREAMS = ((0, 188), (4, 192), (0, 204))
#: PNG, JPEG, GIF, TIFF.
_IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")


#: The signature of PNG, the flag of animations in the header of WebP, and the parts of a GIF (GIF89a, appendix A).
_PNG = b"\x89PNG\r\n\x1a\n"
_WEBP_ANIMATION = 0x02
_GIF_EXTENSION, _GIF_IMAGE, _GIF_COLOURS = 0x21, 0x2C, 0x80


def looks_like_video(path: Path) -> bool:
    """Return whether a regular file begins like one of the containers that fervid reads, or is an animated image.

    Parameters
    ----------
    path : Path
        File to test. Pipes and devices are not opened.

    Returns
    -------
    bool
        False as well if the file cannot be read.
    """
    head = _head(path)
    return _begins_like_video(head) or (_begins_like_image(head) and is_animated_image(path))


def _begins_like_video(head: bytes) -> bool:
    if head[4:8] in _BOXES:
        return not (head[4:8] == b"ftyp" and head[8:12] in _OTHER_BRANDS)
    if head[:4] == b"RIFF":
        return head[8:12] == b"AVI "
    if head[:4] == b"OggS":
        return any(mark in head for mark in _OGG_VIDEO)
    for start, step in _TRANSPORT_STREAMS:
        if len(head) > start + 2 * step and head[start : start + 3 * step : step] == b"GGG":
            return True
    return head.startswith(_MAGIC) or bool(_ANNEX_B.match(head))


def looks_like_image(path: Path) -> bool:
    """Return whether a regular file begins like a PNG, JPEG, GIF, TIFF or WebP image.

    Parameters
    ----------
    path : Path
        As for `looks_like_video`.

    Returns
    -------
    bool
        False as well if the file cannot be read.
    """
    return _begins_like_image(_head(path))


def _begins_like_image(head: bytes) -> bool:
    return head.startswith(_IMAGES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def is_animated_image(path: Path) -> bool:
    """Return whether a regular file is a GIF, PNG or WebP of several frames.

    Parameters
    ----------
    path : Path
        As for `looks_like_video`.

    Returns
    -------
    bool
        False as well if the file cannot be read.
    """
    head = _head(path)
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X":
        return len(head) > 20 and bool(head[20] & _WEBP_ANIMATION)
    try:
        if head.startswith(_PNG):
            with path.open("rb") as file:
                return _has_animation_chunk(file)
        if head.startswith(b"GIF8"):
            with path.open("rb") as file:
                return _has_two_images(file)
    except (OSError, ValueError, IndexError):  # it ends early
        pass
    return False


def _has_animation_chunk(file: BinaryIO) -> bool:
    """Find acTL, with two frames or more, before the pixels (PNG, third edition, 11.3.6)."""
    file.seek(len(_PNG))
    while len(head := file.read(12)) == 12 and head[4:8] != b"IDAT":
        if head[4:8] == b"acTL":
            return int.from_bytes(head[8:12]) > 1
        file.seek(int.from_bytes(head[:4]), 1)
    return False


def _has_two_images(file: BinaryIO) -> bool:
    """Count the images of a GIF without decoding them."""
    flags = file.read(13)[10]
    file.seek(3 * 2 ** (1 + flags % 8) if flags & _GIF_COLOURS else 0, 1)
    images = 0
    while kind := file.read(1):
        if kind[0] == _GIF_IMAGE:
            images += 1
            if images == 2:
                return True
            flags = file.read(9)[8]
            file.seek(1 + (3 * 2 ** (1 + flags % 8) if flags & _GIF_COLOURS else 0), 1)
        elif kind[0] == _GIF_EXTENSION:
            file.seek(1, 1)
        else:
            return False
        while (length := file.read(1)[0]) > 0:
            file.seek(length, 1)
    return False


def _head(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return b""
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except (OSError, ValueError):
        return b""
