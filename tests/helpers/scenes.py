"""Clips with still or moving faces, as bright squares on a dark background."""

from pathlib import Path

import av
import numpy as np

from tests.helpers.clips import add_video, encode
from tests.helpers.fakes import draw_faces

__all__ = ["SIZE", "scene", "write"]

#: Width and height of the clips.
SIZE = (128, 96)


def write(
    path: Path,
    images: list[np.ndarray],
    pts: list[int] | None = None,
    rate: int = 25,
    codec: str = "libx264",
) -> Path:
    """Write images as a clip; pts in units of 1 / rate s."""
    with av.open(path, "w") as out:
        stream = add_video(out, codec, rate, SIZE)
        out.mux(list(encode(stream, images, pts or range(len(images)), stream.codec_context.time_base)))
    return path


def scene(n: int, *corners: tuple[int, int], step: int = 0, bright: int = 250) -> list[np.ndarray]:
    """Draw n images with faces of 24 pixels that move right by `step` pixels per image."""
    moved = ([(x + step * i, y, x + 24 + step * i, y + 24) for x, y in corners] for i in range(n))
    return [draw_faces(*boxes, size=SIZE, bright=bright) for boxes in moved]
