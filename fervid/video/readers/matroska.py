"""Read from a Matroska file what FFmpeg does not pass on: how a track stores its times (RFC 9559)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO

__all__ = ["MatroskaTrack", "find_losses", "read_matroska_track"]

_SEGMENT, _TRACKS, _ENTRY = 0x18538067, 0x1654AE6B, 0xAE
_TYPE, _CODEC, _DEFAULT_DURATION, _CLUSTER = 0x83, 0x86, 0x23E383, 0x1F43B675
_VIDEO = 1
_CLUSTER_ID = _CLUSTER.to_bytes(4)
#: Elements are read no further than this: the tracks precede the clusters.
_MAX_ELEMENTS = 10_000
#: Every element that may stand in a segment or a cluster, with Void and CRC-32 (RFC 9559, 5.1; RFC 8794, 11.3).
_IN_SEGMENT = {0x114D9B74, 0x1549A966, _TRACKS, _CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, 0xEC, 0xBF}
_TIMESTAMP = 0xE7
_IN_CLUSTER = {_TIMESTAMP, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF, 0xEC, 0xBF}
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


def find_losses(path: Path) -> list[tuple[int, int]]:
    """Find damage that FFmpeg passes over without an error, when it goes on with the next cluster.

    Parameters
    ----------
    path : Path
        A Matroska or WebM file.

    Returns
    -------
    list of tuple
        For each stretch that cannot be parsed: the timestamps of the cluster in which it begins, and of the next one,
        in the unit of the file (milliseconds, as a rule). Empty for an undamaged file, and for one that is cut off.
    """
    losses: list[tuple[int, int]] = []
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        at, last, broken = data.find(_CLUSTER_ID), 0, False
        while 0 <= at < len(data):
            name, content, size = _element_at(data, at)
            whole = name in _IN_SEGMENT and (size is None or content + size <= len(data))
            if whole and name == _CLUSTER:
                end = len(data) if size is None else content + size
                timestamp, stop = _walk_cluster(data, content, end, open_ended=size is None)
                timestamp = last if timestamp is None else timestamp
                if broken:
                    losses.append((last, timestamp))
                broken, last = stop is None, timestamp
                at = stop if stop is not None else data.find(_CLUSTER_ID, content)
            elif whole and size is not None:
                at = content + size
            else:
                broken, at = True, data.find(_CLUSTER_ID, at + 1)
    return losses


def _walk_cluster(data: mmap, at: int, end: int, *, open_ended: bool) -> tuple[int | None, int | None]:
    """Walk the elements of a cluster -> its timestamp, and where it ends; None if an element cannot be parsed."""
    timestamp = None
    while at < end:
        name, content, size = _element_at(data, at)
        if open_ended and name in _IN_SEGMENT and name not in _IN_CLUSTER:
            return timestamp, at
        if name not in _IN_CLUSTER or size is None or content + size > end:
            return timestamp, None
        if name == _TIMESTAMP:
            timestamp = int.from_bytes(data[content : content + size])
        at = content + size
    return timestamp, at


def _element_at(data: mmap, at: int) -> tuple[int, int, int | None]:
    """Return the name, start of the content, and size of an element; name 0 if there is none, size None if unknown."""
    head = data[at : at + 12]
    name_length = _length(head[:1])
    size_length = _length(head[name_length : name_length + 1])
    if not name_length or name_length > 4 or not size_length or len(head) < name_length + size_length:
        return 0, at, None
    size = int.from_bytes(head[name_length : name_length + size_length]) & (1 << 7 * size_length) - 1
    unknown = size == (1 << 7 * size_length) - 1
    return int.from_bytes(head[:name_length]), at + name_length + size_length, None if unknown else size
