"""Open a container safely with PyAV, and choose its video stream."""

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from fervid.errors import ConfigError, VideoError
from fervid.video.file_types import is_animated_image, looks_like_image

__all__ = ["choose_stream", "duration_tag", "is_file_error", "open_container"]

#: Containers that hold frames themselves, and none that refers to other files (hls, concat, dash, sdp, image2, lavfi).
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,flv,mpeg,asf,mxf,ogg,h264,hevc,ivf,dv,gif,apng"
#: Those of images, which are videos if they have several frames.
_IMAGES = {"gif", "apng"}
_ATTACHED_PICTURE = 0x400
_DEFAULT = 0x1


def is_file_error(error: Exception) -> bool:
    """Report whether an error raised by PyAV is the file's fault: any but a real lack of memory.

    Fuzzing raised UnicodeDecodeError, IndexError, AttributeError, EOFError and OSError besides FFmpegError, and a
    MemoryError of FFmpeg's own for a few bytes that announce a billion samples.

    Parameters
    ----------
    error : Exception

    Returns
    -------
    bool
    """
    return not isinstance(error, MemoryError) or isinstance(error, av.FFmpegError)


def open_container(path: Path, max_pixels: int, hwaccel: Any = None) -> Any:
    """Open a regular file as a container of audio and video.

    Parameters
    ----------
    path : Path
    max_pixels : int
        The largest frame; it already applies while FFmpeg probes a stream by decoding a frame of it.
    hwaccel : av.codec.hwaccel.HWAccel, optional
        The device to decode on.

    Returns
    -------
    av.container.InputContainer

    Raises
    ------
    VideoError
        If the file cannot be read or is not a video; the message says what it is instead.
    """
    av.logging.set_level(None)  # debug logging deadlocks with decoder threads
    try:
        container = av.open(
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
        if not os.access(path, os.R_OK):  # FFmpeg raises PermissionError for some kinds of damage, too
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
        if is_animated_image(path):
            raise VideoError(
                f"{path}: an animated image that FFmpeg cannot decode, such as WebP; expected a video, a GIF or an "
                "animated PNG; convert it to MP4 or GIF",
                reason="unsupported",
            ) from e
        if looks_like_image(path):
            raise _image_error(path) from e
        raise VideoError(
            f"{path}: not a video container that fervid reads; expected MP4, MOV, MKV, WebM, AVI, "
            "MPEG-TS, MPEG, FLV, WMV, MXF, Ogg, raw H.264/HEVC, GIF or animated PNG",
            reason="not_media",
        ) from e
    if container.format.name in _IMAGES and not is_animated_image(path):
        container.close()
        raise _image_error(path)
    return container


def _image_error(path: Path) -> VideoError:
    return VideoError(f"{path} is an image; `fervid score` reads images", reason="not_media")


def _boxes(path: Path) -> list[bytes]:
    """List the names of an MP4's outermost boxes (ISO/IEC 14496-12, 4.2), as far as they follow one another."""
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


def choose_stream(container: Any, path: Path, index: int | None) -> Any:
    """Choose the video stream: the requested one; else a default stream before others, larger before smaller ones.

    Parameters
    ----------
    container : av.container.InputContainer
    path : Path
        For the messages.
    index : int or None
        The requested stream. Cover images do not count as video streams.

    Returns
    -------
    av.VideoStream

    Raises
    ------
    VideoError
        If the file has no video stream, or FFmpeg no decoder for it.
    ConfigError
        If the requested stream is not a video stream.
    """
    videos = [s for s in container.streams.video if not int(s.disposition) & _ATTACHED_PICTURE]
    if not videos:
        raise VideoError(f"{path}: no video stream in it", reason="no_video_stream")
    videos = [s for s in videos if s.codec_context is not None]
    if not videos:
        raise VideoError(f"{path}: no decoder for its video stream", reason="unsupported")
    if index is None:
        size = {s.index: s.codec_context.width * s.codec_context.height for s in videos}
        return max(videos, key=lambda s: (int(s.disposition) & _DEFAULT, size[s.index]))
    for stream in videos:
        if stream.index == index:
            return stream
    found = ", ".join(str(s.index) for s in videos)
    raise ConfigError(f"{path}: stream {index} is not a video stream; found {found}")


def duration_tag(metadata: dict[str, str]) -> Fraction | None:
    """Parse Matroska's DURATION tag of a stream, such as "00:00:04.200000000".

    Parameters
    ----------
    metadata : dict
        The stream's.

    Returns
    -------
    Fraction or None
        Seconds; None if there is no valid tag.
    """
    text = next((v for k, v in metadata.items() if k.upper().startswith("DURATION")), "")
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    except ValueError:
        return None
