"""Clips whose geometry changes: each part has its own size, pixel shape and orientation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.helpers.clips import add_video, encode

_IN_BAND = {"preset": "veryfast", "bf": "2", "crf": "12"}
_OPTIONS = {"libx264": _IN_BAND, "libvpx": {"deadline": "realtime", "b": "2M"}, "mpeg2video": {}}


@dataclass(frozen=True)
class Part:
    """Frames of one stored size, whose pixels have one shape."""

    n: int
    size: tuple[int, int]
    pixel_shape: Fraction = Fraction(1)

    @property
    def displayed(self) -> tuple[int, int]:
        """The size at which they are displayed."""
        return max(1, round(self.size[0] * float(self.pixel_shape))), self.size[1]


def write_parts(
    path: Path,
    parts: Sequence[Part],
    draw: Callable[[int, int, int], np.ndarray],
    codec: str = "libx264",
    keyint: int = 250,
) -> Path:
    """Write parts one after the other, at 25 frames per second; `draw` takes a number and a stored size."""
    first, options = 0, dict(_OPTIONS[codec])
    if codec == "libx264":
        options["x264-params"] = f"repeat-headers=1:keyint={keyint}:scenecut=0"
    with av.open(path, "w") as out:
        stream = None
        for part in parts:
            if stream is None:
                stream = encoder = add_video(out, codec, size=part.size, options=options)
            else:
                encoder = av.CodecContext.create(codec, "w")
                encoder.width, encoder.height, encoder.pix_fmt = *part.size, "yuv420p"
                encoder.time_base, encoder.framerate, encoder.thread_count = Fraction(1, 25), Fraction(25), 1
                encoder.options = options
            if part.pixel_shape != 1:
                encoder.sample_aspect_ratio = part.pixel_shape
            numbers = range(first, first + part.n)
            for packet in encode(encoder, (draw(i, *part.size) for i in numbers), numbers):
                packet.stream = stream
                out.mux(packet)
            first += part.n
    return path
