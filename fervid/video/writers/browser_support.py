"""What a web browser can play of a video file, told by its codecs and container."""

from dataclasses import dataclass
from pathlib import Path

from fervid.config import MAX_PIXELS
from fervid.video.readers.containers import choose_stream, open_container

__all__ = ["BrowserSupport", "browser_support"]

#: FFmpeg's decoders by the name that people know the codec by. The first four play in every current browser.
_PLAYS = {"h264": "H.264", "vp8": "VP8", "vp9": "VP9", "av1": "AV1"}
_NAMES = {
    "hevc": "HEVC (H.265)", "mpeg4": "MPEG-4 part 2 (DivX, Xvid)", "mpeg2video": "MPEG-2", "mpeg1video": "MPEG-1",
    "msmpeg4v3": "MS MPEG-4", "wmv3": "WMV 9", "vc1": "VC-1", "prores": "ProRes", "mjpeg": "Motion JPEG",
    "theora": "Theora", "dvvideo": "DV", "ffv1": "FFV1", "rawvideo": "uncompressed video", "flv1": "Sorenson H.263",
}  # fmt: skip
_DECODERS = {"libdav1d": "av1", "libaom-av1": "av1", "libvpx": "vp8", "libvpx-vp9": "vp9"}
#: Eight bits, four to two to zero: what hardware and browsers decode of H.264.
_H264_PIXELS = {"yuv420p", "yuvj420p"}
_SOUND = {"aac", "mp3", "mp3float", "opus", "libopus", "vorbis", "libvorbis", "flac"}
_OPEN_CODECS = {"vp8", "vp9", "av1"}


@dataclass(frozen=True)
class BrowserSupport:
    """Whether browsers play a file: `trouble` is what they cannot ("" if all play it), `mute` whose sound they lack."""

    trouble: str
    mute: str


def browser_support(path: Path, *, stream: int | None = None, max_pixels: int = MAX_PIXELS) -> BrowserSupport:
    """Look into a file without decoding it; VideoError as open_video."""
    with open_container(path, max_pixels) as container:
        video = choose_stream(container, path, stream)
        context = video.codec_context
        codec = _DECODERS.get(context.name, context.name)
        trouble = _trouble(codec, context.pix_fmt or "", container.format.name)
        if not trouble and video.index != choose_stream(container, path, None).index:
            trouble = f"its video stream {video.index}: a browser shows another one"
        sounds = [s.codec_context.name for s in container.streams.audio if s.codec_context is not None]
        mute = sounds[0].upper() if sounds and sounds[0] not in _SOUND else ""
        return BrowserSupport(trouble, mute)


def _trouble(codec: str, pixels: str, container: str) -> str:
    if codec not in _PLAYS:
        return f"its codec, {_NAMES.get(codec, codec)}"
    if codec == "h264" and pixels not in _H264_PIXELS:
        return f"its codec, H.264 with pixels of {pixels}"
    if "mp4" in container or ("webm" in container and codec in _OPEN_CODECS):
        return ""
    return f"its container, {container.split(',')[0]} (the codec, {_PLAYS[codec]}, would do)"
