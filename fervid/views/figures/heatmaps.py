"""Heat maps laid over the frames of a video, as a clip."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fervid.errors import DataError, OutputError
from fervid.files import write_atomically
from fervid.views.figures.style import HEAT, PALETTE, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fervid.lab.evaluation.explain import Explained, ExplainedImage

__all__ = ["overlay", "write_clip", "write_explanation", "write_grid"]

#: A clip is no smaller than this on its longer side, so that the words on it can be read.
_LEAST_PX = 480


def write_explanation(looks: Iterable["ExplainedImage"], out: Path) -> int:
    """Draw looks as the suffix of `out` says: .png a grid, .mp4 a clip. Gives the number of faces shown."""
    if out.suffix.lower() == ".png":
        return write_grid(looks, out)
    if out.suffix.lower() == ".mp4":
        return write_clip(looks, out)
    raise OutputError(f"{out}: expected a name that ends with .png (a grid) or .mp4 (an overlay clip of a video)")


def write_clip(looks: Iterable["ExplainedImage"], out: Path, rate: float = 25) -> int:
    """Write the looks at a video with heat over its faces, at their own times. Gives the number of faces shown."""
    from fervid.video.writers.clip import ClipWriter

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


def overlay(look: "ExplainedImage") -> np.ndarray:
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
    placed = (
        np.asarray(heat.transform(image.size, Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR), np.float32)
        / 255
    )
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


#: A grid shows so many faces at the most, evenly chosen, and so many maps to a row.
_MOST_FACES, _MAPS_A_ROW = 48, 8


def write_grid(looks: Iterable["ExplainedImage"], out: Path) -> int:
    """Draw faces beside their heat maps as one PNG; of more than 48 an even choice. Gives how many are shown."""
    faces = [face for look in looks for face in look.faces]
    if not faces:
        raise DataError(f"{out}: no face to draw")
    if len(faces) > _MOST_FACES:
        faces = [faces[i] for i in np.linspace(0, len(faces) - 1, _MOST_FACES).round().astype(int)]
    wide = 1 + len(faces[0].stages)
    beside = max(1, _MAPS_A_ROW // wide)
    rows = -(-len(faces) // beside)
    columns = wide * min(beside, len(faces))
    figure = new_figure(1.75 * columns, 2.1 * rows)
    figure.set_layout_engine("none")  # to solve for the place of a hundred cells takes a quarter of a minute
    for i, face in enumerate(faces):
        places = [(i % beside * wide + k, i // beside) for k in range(wide)]
        boxes = [((x + 0.03) / columns, 1 - (y + 0.97) / rows, 0.94 / columns, 0.78 / rows) for x, y in places]
        _draw_face([figure.add_axes(box) for box in boxes], face)
    save_figure(figure, out)
    return len(faces)


def _draw_face(cells: Sequence["Axes"], face: "Explained") -> None:
    for axes in cells:
        axes.set_axis_off()
        axes.imshow(face.crop, cmap="gray", vmin=0, vmax=255)
    cells[0].set_title(_short(face.name), fontsize=8)
    for axes, heat, stage in zip(cells[1:], face.heat, face.stages):
        axes.imshow(heat, cmap=HEAT, vmin=0, vmax=1, alpha=0.25 + 0.5 * heat)
        called = "" if face.predicted == face.emotion else f"\n(called {face.predicted})"
        answer = f"{face.emotion} {face.prob:.0%}{called}"
        axes.set_title(stage if len(face.stages) > 1 else answer, fontsize=8)
    if len(face.stages) > 1:
        cells[0].set_title(f"{_short(face.name)}\n{face.emotion} {face.prob:.0%}", fontsize=8)


def _short(name: str) -> str:
    """A file name that fits over a picture; a dollar sign would begin mathematics."""
    text = "".join(c if c.isprintable() else "?" for c in name)
    return (text if len(text) <= 24 else f"{text[:10]}...{text[-11:]}").replace("$", r"\$")
