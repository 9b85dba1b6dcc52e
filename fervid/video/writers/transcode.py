"""Copy a video so that every browser plays it: H.264 and AAC, upright, with square pixels, on the timeline's clock."""

from pathlib import Path

import numpy as np

from fervid.video.geometry import LargerFrame, fit
from fervid.video.reader import Reader
from fervid.video.writers.audio import AudioTranscode
from fervid.video.writers.clip import ClipWriter

__all__ = ["MAX_LINES", "transcode"]

#: The shorter side of the copy is at most this long: the player of a page is not larger.
MAX_LINES = 720
_ENCODER = {"preset": "veryfast", "crf": "23", "g": "50"}


def transcode(
    reader: Reader, out: Path, *, max_pixels: int, largest_px: tuple[int, int] | None = None
) -> list[tuple[float, list[float]]]:
    """Write the frames of a reader, and the audio of its file; second 0 of the timeline is second 0 of the copy.

    Parameters
    ----------
    reader : Reader
        If it raises RestartNeeded, call this again: the copy is written from the start.
    out : Path
        Where the MP4 file goes.
    max_pixels : int
        The largest frame.
    largest_px : tuple of int, optional
        Displayed size of the largest frame, by default of the first one. The others are fitted into it.

    Returns
    -------
    list of (float, list of float)
        From which time on frames have which place in the copy: x, y, width and height as fractions.

    Raises
    ------
    LargerFrame
        If there is a larger frame.
    VideoError
        If there is no frame.
    """
    info = reader.info
    largest_px = largest_px or (info.width_px, info.height_px)
    scale = min(1.0, MAX_LINES / min(largest_px))
    window = max(2, 2 * round(largest_px[0] * scale / 2)), max(2, 2 * round(largest_px[1] * scale / 2))
    places: list[tuple[float, list[float]]] = []
    with (
        AudioTranscode(info.path, info.start_s, max_pixels) as audio,
        ClipWriter(out, info.frame_rate or 25, threads=0, audio=audio, encoder=_ENCODER, faststart=True) as clip,
    ):
        last_s, frames = 0.0, reader.frames()
        for frame in frames:
            LargerFrame.check(frame, frames, largest_px)
            place, last_s = fit(frame.size_px, window), frame.pts_s
            image = frame.rgb(place.width, place.height)
            if (place.width, place.height) != window:
                black = np.zeros((window[1], window[0], 3), np.uint8)
                black[place.y : place.y + place.height, place.x : place.x + place.width] = image
                image = black
            clip.write(image, last_s)
            within = place.within(window).ravel().tolist()
            if not places or places[-1][1] != within:
                places.append((last_s, within))
        audio.write_until(reader.end_s or last_s)
    return places
