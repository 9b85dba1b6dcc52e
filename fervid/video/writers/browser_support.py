"""What web browsers can play of a video file, judged by its codecs and container."""

from dataclasses import dataclass
from pathlib import Path

from fervid.config import MAX_PIXELS
from fervid.video.readers.containers import choose_stream, open_container

__all__ = ["BrowserSupport", "browser_support"]

#: Codecs that every current browser plays, and others, by FFmpeg's name -> the common name.
_SUPPORTED = {"h264": "H.264", "vp8": "VP8", "vp9": "VP9", "av1": "AV1"}
_OTHERS = {
    "hevc": "HEVC (H.265)", "mpeg4": "MPEG-4 part 2 (DivX, Xvid)", "mpeg2video": "MPEG-2", "mpeg1video": "MPEG-1",
    "msmpeg4v3": "MS MPEG-4", "wmv3": "WMV 9", "vc1": "VC-1", "prores": "ProRes", "mjpeg": "Motion JPEG",
    "theora": "Theora", "dvvideo": "DV", "ffv1": "FFV1", "rawvideo": "uncompressed video", "flv1": "Sorenson H.263",
}  # fmt: skip
_DECODERS = {"libdav1d": "av1", "libaom-av1": "av1", "libvpx": "vp8", "libvpx-vp9": "vp9"}
#: Eight bits, 4:2:0: what hardware and browsers decode of H.264.
_H264_PIXELS = {"yuv420p", "yuvj420p"}
_AUDIO = {"aac", "mp3", "mp3float", "opus", "libopus", "vorbis", "libvorbis", "flac"}
_WEBM = {"vp8", "vp9", "av1"}


@dataclass(frozen=True)
class BrowserSupport:
    """What browsers cannot play of a file.

    Attributes
    ----------
    unsupported : str
        The codec or container that they do not play; "" if all play the video.
    unsupported_audio : str
        The audio codec that they do not play; "" if there is none.
    """

    unsupported: str
    unsupported_audio: str


def browser_support(path: Path, *, stream: int | None = None, max_pixels: int = MAX_PIXELS) -> BrowserSupport:
    """Report what browsers can play of a file, without decoding it.

    Parameters
    ----------
    path : Path
    stream : int, optional
        The index of the video stream that was processed.
    max_pixels : int
        The largest frame.

    Returns
    -------
    BrowserSupport

    Raises
    ------
    VideoError
        If the file is not a readable video.
    ConfigError
        If `stream` is not a video stream.
    """
    with open_container(path, max_pixels) as container:
        video = choose_stream(container, path, stream)
        context = video.codec_context
        codec = _DECODERS.get(context.name, context.name)
        unsupported = _unsupported(codec, context.pix_fmt or "", container.format.name)
        if not unsupported and video.index != choose_stream(container, path, None).index:
            unsupported = f"its video stream {video.index}: a browser shows another one"
        audio = [s.codec_context.name for s in container.streams.audio if s.codec_context is not None]
        unsupported_audio = audio[0].upper() if audio and audio[0] not in _AUDIO else ""
        return BrowserSupport(unsupported, unsupported_audio)


def _unsupported(codec: str, pixels: str, container: str) -> str:
    if codec not in _SUPPORTED:
        return f"its codec, {_OTHERS.get(codec, codec)}"
    if codec == "h264" and pixels not in _H264_PIXELS:
        return f"its codec, H.264 with pixels of {pixels}"
    if "mp4" in container or ("webm" in container and codec in _WEBM):
        return ""
    return f"its container, {container.split(',')[0]} (the codec, {_SUPPORTED[codec]}, would do)"
