"""Heat maps laid over the frames of a video, as a clip."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fervid.errors import DataError, OutputError
from fervid.parts import write_atomically
from fervid.views.figures import HEAT, PALETTE, write_grid

if TYPE_CHECKING:
    from fervid.lab.explain import Explained, Look

__all__ = ["overlay", "write_clip", "write_explanation"]

#: A clip is no smaller than this on its longer side, so that the words on it can be read.
_LEAST_PX = 480


def write_explanation(looks: Iterable["Look"], out: Path) -> int:
    """Draw looks as the suffix of `out` says: .png a grid, .mp4 a clip. Gives the number of faces shown."""
    if out.suffix.lower() == ".png":
        return write_grid(looks, out)
    if out.suffix.lower() == ".mp4":
        return write_clip(looks, out)
    raise OutputError(f"{out}: expected a name that ends with .png (a grid) or .mp4 (an overlay clip of a video)")


def write_clip(looks: Iterable["Look"], out: Path, rate: float = 25) -> int:
    """Write the looks at a video with heat over its faces, at their own times. Gives the number of faces shown."""
    from fervid.backends.clip_writer import ClipWriter

    shown = 0
    with write_atomically(out) as part, ClipWriter(part, rate) as clip:
        for look in looks:
            if look.pts_s is None:
                raise OutputError(f"{out}: an overlay clip is of a video; for pictures name a .png")
            clip.write(overlay(look), look.pts_s)
            shown += len(look.faces)
        if not shown:
            raise DataError(f"{out}: no face to draw")
    return shown


def overlay(look: "Look") -> np.ndarray:
    """Lay the heat of each face over its place in the picture, with the emotion -> (h, w, 3) uint8 RGB."""
    large = max(1, -(-_LEAST_PX // max(look.picture.shape[:2])))
    image = Image.fromarray(look.picture)
    image = image.resize((image.width * large, image.height * large), Image.Resampling.BICUBIC)
    for face, square in zip(look.faces, look.square_px):
        _lay(image, face, square * [large, large, large, 1])
    for face, square in zip(look.faces, look.square_px):
        _write(image, face, square * [large, large, large, 1])
    return np.asarray(image)


def _lay(image: Image.Image, face: "Explained", square: np.ndarray) -> None:
    """Paint the (last) heat map of a face into its tilted square: centre x, centre y, side, angle."""
    from matplotlib import colormaps

    x, y, side, angle = square
    heat = Image.fromarray(np.rint(face.heat[-1] * 255).astype(np.uint8))
    # from a pixel of the picture to a place in the map: back by the angle, and from the side to the map's
    cos, sin = np.cos(angle) * heat.width / side, np.sin(angle) * heat.width / side
    half = heat.width / 2
    inverse = (cos, sin, half - cos * x - sin * y, -sin, cos, half + sin * x - cos * y)
    placed = np.asarray(
        heat.transform(image.size, Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR), np.float32
    ) / 255  # fmt: skip
    colour = Image.fromarray(colormaps[HEAT](placed, bytes=True)[..., :3])
    image.paste(colour, mask=Image.fromarray(np.rint(placed * 0.7 * 255).astype(np.uint8)))


def _write(image: Image.Image, face: "Explained", square: np.ndarray) -> None:
    """Outline the square in the emotion's colour, and name the emotion above it."""
    x, y, side, angle = square
    across = np.array([np.cos(angle), np.sin(angle)]) * side / 2
    down = across[::-1] * [-1, 1]
    middle, colour = np.array([x, y]), PALETTE[face.emotion]
    corners = [middle - across - down, middle + across - down, middle + across + down, middle - across + down]
    draw = ImageDraw.Draw(image)
    draw.polygon([(float(a), float(b)) for a, b in corners], outline=colour, width=2)
    text, font = f"{face.emotion} {face.prob:.0%}", ImageFont.load_default(14)
    left, top = min(c[0] for c in corners), min(c[1] for c in corners) - 20
    place = (float(np.clip(left, 2, image.width - 120)), float(np.clip(top, 2, image.height - 20)))
    draw.rectangle(draw.textbbox(place, text, font=font), fill="black")
    draw.text(place, text, fill="white", font=font)
