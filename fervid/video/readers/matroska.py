"""Read from a Matroska file what FFmpeg does not pass on: how a track stores its times (RFC 9559)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

__all__ = ["MatroskaTrack", "read_matroska_track"]

_SEGMENT, _TRACKS, _ENTRY = 0x18538067, 0x1654AE6B, 0xAE
_TYPE, _CODEC, _DEFAULT_DURATION, _CLUSTER = 0x83, 0x86, 0x23E383, 0x1F43B675
_VIDEO = 1
#: Elements are read no further than this: the tracks precede the clusters.
_MAX_ELEMENTS = 10_000
_MAX_VALUE = 1 << 16


@dataclass(frozen=True)
class MatroskaTrack:
    """How one track stores its times.

    Parameters
    ----------
    codec_id : str
        Such as "V_MPEG4/ISO/AVC"; "V_MS/VFW/FOURCC" stores decoding times. Empty if it is unknown.
    default_duration_ns : int or None
        How long a frame lasts; None if the track does not say.
    complete : bool
        Whether the file is as long as it says.
    """

    codec_id: str = ""
    default_duration_ns: int | None = None
    complete: bool = False

    @property
    def lasts_until_next(self) -> bool:
        """Whether a frame lasts until the next one: the track declares no duration (5.1.3.5.3)."""
        return bool(self.codec_id) and not self.default_duration_ns


def read_matroska_track(path: Path, order: int) -> MatroskaTrack:
    """Read the entry of one video track.

    Parameters
    ----------
    path : Path
        A Matroska or WebM file.
    order : int
        Its place among the video tracks, from 0.

    Returns
    -------
    MatroskaTrack
        Without a codec_id if the file has no such track, or is damaged before it.
    """
    with path.open("rb") as file:
        end = path.stat().st_size
        for kind, start, size, unknown in _elements(file, 0, end):
            if kind != _SEGMENT:
                continue
            for inner, at, length, _ in _elements(file, start, min(end, start + size)):
                if inner == _TRACKS:
                    entries = _elements(file, at, at + length)
                    tracks = [_entry(file, e, n) for k, e, n, _ in entries if k == _ENTRY]
                    complete = start + size <= end and not unknown
                    videos = [replace(track, complete=complete) for kind, track in tracks if kind == _VIDEO]
                    return videos[order] if order < len(videos) else MatroskaTrack()
                if inner == _CLUSTER:
                    break
    return MatroskaTrack()


def _entry(file: BinaryIO, start: int, size: int) -> tuple[int, MatroskaTrack]:
    kind, codec, duration = 0, "", None
    for name, at, length, _ in _elements(file, start, start + size):
        if name in (_TYPE, _CODEC, _DEFAULT_DURATION) and length <= _MAX_VALUE:
            file.seek(at)
            value = file.read(length)
            if name == _TYPE:
                kind = int.from_bytes(value)
            elif name == _CODEC:
                codec = value.rstrip(b"\0").decode("latin-1")
            else:
                duration = int.from_bytes(value)
    return kind, MatroskaTrack(codec, duration)


def _elements(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int, bool]]:
    """Yield the elements between two places: name, start and size of the content, whether the size is unknown."""
    for _ in range(_MAX_ELEMENTS):
        if start >= end:
            return
        file.seek(start)
        head = file.read(12)
        name_length = _length(head[:1])
        size_length = _length(head[name_length : name_length + 1])
        if not name_length or name_length > 4 or not size_length or len(head) < name_length + size_length:
            return
        name = int.from_bytes(head[:name_length])
        content = start + name_length + size_length
        all_ones = (1 << 7 * size_length) - 1
        size = int.from_bytes(head[name_length : name_length + size_length]) & all_ones
        yield name, content, end - content if size == all_ones else size, size == all_ones
        start = end if size == all_ones else content + size


def _length(first: bytes) -> int:
    """Return how many bytes a number has whose first byte this is (RFC 8794, 4); 0 if there is none."""
    return 9 - first[0].bit_length() if first and first[0] else 0
