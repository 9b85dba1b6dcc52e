"""Read from an AVI file what FFmpeg does not pass on: the stated rate, and the number of chunks, empty ones included.

Chunks have no times: the n-th chunk of a stream is n / rate seconds after its start, and an empty one repeats the frame
before it (AVI RIFF file reference, Microsoft).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

__all__ = ["AviStream", "read_avi_stream"]

_MAX_CHUNKS = 10_000
_ENTRY, _PALETTE = 16, b"pc"


@dataclass(frozen=True)
class AviStream:
    """How one stream stores its times.

    Parameters
    ----------
    has_rate : bool
        Whether the header states a rate; FFmpeg assumes 25 where it does not.
    length : int
        The declared number of chunks; 0 if it is unknown.
    chunks : int or None
        The number of chunks in the index; None if the file has no index, because it is cut off or very large.
    """

    has_rate: bool = True
    length: int = 0
    chunks: int | None = None


def read_avi_stream(path: Path, number: int) -> AviStream:
    """Read the header of one stream, and count its chunks.

    Parameters
    ----------
    path : Path
        An AVI file.
    number : int
        The stream, from 0.

    Returns
    -------
    AviStream
        Without knowledge if the file is damaged.
    """
    stream, end = AviStream(), path.stat().st_size
    with path.open("rb") as file:
        for name, start, size in _chunks(file, 12, end):
            if name == b"LIST" and _read(file, start, 4) == b"hdrl":
                streams = [c for c in _chunks(file, start + 4, start + size) if _read(file, c[1], 4) == b"strl"]
                if number < len(streams):
                    stream = _header(file, *streams[number][1:])
            elif name == b"idx1" and start + size <= end:
                index = _read(file, start, size)
                ours, names = f"{number:02d}".encode(), range(0, len(index) - _ENTRY + 1, _ENTRY)
                found = sum(index[i : i + 2] == ours and index[i + 2 : i + 4] != _PALETTE for i in names)
                stream = replace(stream, chunks=found)
            elif name == b"RIFF":  # a large file goes on in other lists, which have indices of their own
                return replace(stream, chunks=None)
    return stream


def _header(file: BinaryIO, start: int, size: int) -> AviStream:
    for name, at, length in _chunks(file, start + 4, start + size):
        if name == b"strh" and length >= 36:
            scale, rate, _, chunks = struct.unpack("<4I", _read(file, at + 20, 16))
            return AviStream(bool(scale and rate), chunks)
    return AviStream()


def _chunks(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the chunks between two places: name, start of the content, size of it."""
    for _ in range(_MAX_CHUNKS):
        head = _read(file, start, 8)
        if start >= end or len(head) < 8:
            return
        size = int.from_bytes(head[4:], "little")
        yield head[:4], start + 8, size
        start += 8 + size + size % 2


def _read(file: BinaryIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)
