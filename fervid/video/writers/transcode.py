"""Copy a video so that every browser plays it: H.264 and AAC, upright, with square pixels, on the timeline's clock."""

from pathlib import Path

from fervid.video.reader import Reader
from fervid.video.writers.audio import AudioTranscode
from fervid.video.writers.clip import ClipWriter

__all__ = ["MAX_LINES", "transcode"]

#: The shorter side of the copy is at most this long: the player of a page is not larger.
MAX_LINES = 720
_ENCODER = {"preset": "veryfast", "crf": "23", "g": "50"}


def transcode(reader: Reader, out: Path, *, max_pixels: int) -> None:
    """Write the frames of a reader, and the audio of its file; second 0 of the timeline is second 0 of the copy.

    Parameters
    ----------
    reader : Reader
        If it raises RestartNeeded, call this again: the copy is written from the start.
    out : Path
        Where the MP4 file goes.
    max_pixels : int
        The largest frame.

    Raises
    ------
    VideoError
        If there is no frame.
    """
    info = reader.info
    scale = min(1.0, MAX_LINES / min(info.width_px, info.height_px))
    width, height = (max(2, 2 * round(side * scale / 2)) for side in (info.width_px, info.height_px))
    with (
        AudioTranscode(info.path, info.start_s, max_pixels) as audio,
        ClipWriter(out, info.frame_rate or 25, threads=0, audio=audio, encoder=_ENCODER, faststart=True) as clip,
    ):
        last_s = 0.0
        for frame in reader.frames():
            last_s = frame.pts_s
            clip.write(frame.rgb(width, height), last_s)
        audio.write_until(reader.end_s or last_s)
