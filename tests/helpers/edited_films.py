"""Films edited from parts of videos, with hard cuts at known times: real faces in shots whose order is known."""

from collections.abc import Sequence
from pathlib import Path

import av

SAMPLES = Path(__file__).parents[2] / "sample_videos"
RATE = 30

#: A video, and the seconds from and to which it is used.
Part = tuple[Path, float, float]


def splice(out: Path, parts: Sequence[Part], size: tuple[int, int] = (640, 360)) -> list[tuple[float, float]]:
    """Write the parts one after another, at up to 30 frames per second -> when each begins and ends."""
    begin, spans = 0, []
    with av.open(str(out), "w") as target:
        stream = target.add_stream("libx264", rate=RATE, options={"crf": "18", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for path, start_s, stop_s in parts:
            last = begin - 1
            with av.open(str(path)) as source:
                for frame in source.decode(video=0):
                    at = begin + round((frame.time - start_s) * RATE)
                    if start_s <= frame.time < stop_s and at > last:
                        shown = frame.reformat(*size, "yuv420p")
                        shown.pts, shown.time_base, shown.pict_type = at, 1 / stream.codec_context.framerate, 0
                        target.mux(stream.encode(shown))
                        last = at
            spans.append((begin / RATE, (last + 1) / RATE))
            begin = last + 1
        target.mux(stream.encode())
    return spans
