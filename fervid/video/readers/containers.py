"""Open a container safely with PyAV, and choose its video stream."""

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from fervid.errors import ConfigError, VideoError

__all__ = ["choose_stream", "duration_tag", "is_file_error", "open_container"]

#: Containers that hold frames, and nothing that points to other files (no hls, concat, dash, sdp, image2, lavfi).
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,flv,mpeg,asf,mxf,ogg,h264,hevc,ivf,dv"
_ATTACHED_PICTURE = 0x400
_DEFAULT = 0x1


def is_file_error(error: Exception) -> bool:
    """Whether an error from PyAV is the file's fault: all but a real lack of memory.

    Fuzzing raised UnicodeDecodeError, IndexError, AttributeError, EOFError and OSError beside FFmpegError, and FFmpeg's
    own MemoryError for a few bytes that promise a billion samples.
    """
    return not isinstance(error, MemoryError) or isinstance(error, av.FFmpegError)


def open_container(path: Path, max_pixels: int, hwaccel: Any = None) -> Any:
    """Open a regular file as a container, or say in a VideoError what it is instead.

    max_pixels holds already while FFmpeg probes: it decodes a frame to learn about a stream. `hwaccel` (HWAccel) names
    a device to decode on.
    """
    av.logging.set_level(None)  # debug logging beside decoder threads deadlocks (FACTS)
    try:
        return av.open(
            f"file:{path.absolute()}",
            metadata_errors="replace",
            hwaccel=hwaccel,
            options={
                "format_whitelist": _CONTAINERS,
                "protocol_whitelist": "file",
                "max_pixels": str(max_pixels),
            },
        )
    except Exception as e:
        if not is_file_error(e):
            raise
        if not os.access(path, os.R_OK):  # FFmpeg raises PermissionError for some damage, too
            raise VideoError(f"{path}: no permission to read it", reason="unreadable") from None
        try:
            boxes = _boxes(path)
        except OSError as unread:
            raise VideoError(f"{path}: cannot be read ({unread.strerror})", reason="unreadable") from e
        if boxes[:1] == [b"ftyp"] and b"moov" not in boxes:
            raise VideoError(
                f"{path}: an MP4 without its index (moov): the recording was cut off before it was finished",
                reason="no_moov",
            ) from e
        raise VideoError(
            f"{path}: not a video container that fervid reads ({type(e).__name__}); expected MP4, MOV, MKV, WebM, AVI, "
            "MPEG-TS, MPEG, FLV, WMV, MXF, Ogg or raw H.264/HEVC",
            reason="not_media",
        ) from e


def _boxes(path: Path) -> list[bytes]:
    """Names of an MP4's outermost boxes (ISO/IEC 14496-12, 4.2), as far as they follow one another."""
    names: list[bytes] = []
    end = path.stat().st_size
    with path.open("rb") as file:
        while len(head := file.read(16)) >= 8 and len(names) < 1000:
            size = int.from_bytes(head[:4])
            if size == 1:
                size = int.from_bytes(head[8:16])
            names.append(head[4:8])
            if size < 8 or file.tell() - len(head) + size > end:
                break
            file.seek(size - len(head), 1)
    return names


def choose_stream(container: Any, path: Path, wanted: int | None) -> Any:
    """The stream asked for; else among real video streams a default one before others, a larger before a smaller."""
    videos = [s for s in container.streams.video if not int(s.disposition) & _ATTACHED_PICTURE]
    if not videos:
        raise VideoError(f"{path}: no video stream in it", reason="no_video_stream")
    videos = [s for s in videos if s.codec_context is not None]
    if not videos:
        raise VideoError(f"{path}: no decoder for its video stream", reason="unsupported")
    if wanted is None:
        size = {s.index: s.codec_context.width * s.codec_context.height for s in videos}
        return max(videos, key=lambda s: (int(s.disposition) & _DEFAULT, size[s.index]))
    for stream in videos:
        if stream.index == wanted:
            return stream
    found = ", ".join(str(s.index) for s in videos)
    raise ConfigError(f"{path}: stream {wanted} is not a video stream; found {found}")


def duration_tag(metadata: dict[str, str]) -> Fraction | None:
    """Matroska's per-stream DURATION tag, "00:00:04.200000000" -> seconds."""
    text = next((v for k, v in metadata.items() if k.upper().startswith("DURATION")), "")
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    except ValueError:
        return None
