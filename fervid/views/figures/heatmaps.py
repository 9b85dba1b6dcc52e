"""Heatmaps of an explanation: beside the faces as a grid, or over the frames of a video as a clip."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fervid.errors import DataError, OutputError
from fervid.files import write_atomically
from fervid.views.figures.style import HEATMAP, PALETTE, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fervid.lab.evaluation.explain import Explained, ExplainedImage

__all__ = ["overlay", "write_clip", "write_explanation", "write_grid"]

#: Smallest length of the longer side of a clip, so that the labels are legible.
_MIN_SIDE_PX = 480
#: Most faces of a grid, evenly chosen, and most cells per row.
_MAX_FACES, _CELLS_PER_ROW = 48, 8


def write_explanation(images: Iterable["ExplainedImage"], out: Path) -> int:
    """Write an explanation as a grid or as a clip.

    Parameters
    ----------
    images : iterable of ExplainedImage
        Images or video frames with explained faces.
    out : Path
        A grid if it ends with .png, a clip if it ends with .mp4.

    Returns
    -------
    int
        The number of faces shown.

    Raises
    ------
    DataError
        If no face was found.
    OutputError
        If `out` has another suffix, cannot be written, or is a clip of images.
    """
    if out.suffix.lower() == ".png":
        return write_grid(images, out)
    if out.suffix.lower() == ".mp4":
        return write_clip(images, out)
    raise OutputError(f"{out}: expected a name that ends with .png (a grid) or .mp4 (a clip of a video)")


def write_clip(images: Iterable["ExplainedImage"], out: Path, rate: float = 25) -> int:
    """Write the frames of a video with heatmaps over the faces, each frame at its time.

    Parameters
    ----------
    images : iterable of ExplainedImage
        Video frames with explained faces.
    out : Path
        The clip.
    rate : float
        Nominal frames per second.

    Returns
    -------
    int
        The number of faces shown.

    Raises
    ------
    DataError
        If no face was found.
    OutputError
        If `out` cannot be written, or a frame has no time.
    """
    from fervid.video.writers.clip import ClipWriter

    shown = 0
    with write_atomically(out) as part, ClipWriter(part, rate) as clip:
        for image in images:
            if image.pts_s is None:
                raise OutputError(f"{out}: a clip needs a video; name a .png for images")
            clip.write(overlay(image), image.pts_s)
            shown += len(image.faces)
        if not shown:
            raise DataError(f"{out}: no face to draw")
    return shown


def overlay(explained: "ExplainedImage") -> np.ndarray:
    """Draw the heatmap of each face over the image, with the emotion and its probability.

    Parameters
    ----------
    explained : ExplainedImage
        An image or video frame with explained faces.

    Returns
    -------
    np.ndarray
        RGB, (h, w, 3) uint8; small images are enlarged by an integer factor.
    """
    scale = max(1, -(-_MIN_SIDE_PX // max(explained.image.shape[:2])))
    image = Image.fromarray(explained.image)
    image = image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)
    for face, place in zip(explained.faces, scale * explained.place_px):
        _draw_heatmap(image, face, place)
    for face, place in zip(explained.faces, scale * explained.place_px):
        _draw_label(image, face, place)
    return np.asarray(image)


def _draw_heatmap(image: Image.Image, face: "Explained", place: np.ndarray) -> None:
    """Draw the (last) heatmap of a face where its crop lies."""
    from matplotlib import colormaps

    heat = Image.fromarray(np.rint(face.heat[-1] * 255).astype(np.uint8))
    # from a pixel of the image to a pixel of the map
    inverse = np.linalg.inv(np.vstack([place, [0, 0, 1]]))[:2] * heat.width
    coefficients = tuple(float(one) for one in inverse.reshape(-1))
    placed = heat.transform(image.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    weight = np.asarray(placed, np.float32) / 255
    colour = Image.fromarray(colormaps[HEATMAP](weight, bytes=True)[..., :3])
    image.paste(colour, mask=Image.fromarray(np.rint(weight * 0.7 * 255).astype(np.uint8)))


def _draw_label(image: Image.Image, face: "Explained", place: np.ndarray) -> None:
    """Outline the crop in the colour of the emotion, and write the emotion above it."""
    across, down, start = place.T
    corners = [start, start + across, start + across + down, start + down]
    colour = PALETTE[face.emotion]
    draw = ImageDraw.Draw(image)
    draw.polygon([(float(a), float(b)) for a, b in corners], outline=colour, width=2)
    text, font = f"{face.emotion} {face.prob:.0%}", ImageFont.load_default(14)
    left, top = min(c[0] for c in corners), min(c[1] for c in corners) - 20
    corner = (float(np.clip(left, 2, image.width - 120)), float(np.clip(top, 2, image.height - 20)))
    draw.rectangle(draw.textbbox(corner, text, font=font), fill="black")
    draw.text(corner, text, fill="white", font=font)


def write_grid(images: Iterable["ExplainedImage"], out: Path) -> int:
    """Draw faces beside their heatmaps.

    Parameters
    ----------
    images : iterable of ExplainedImage
        Images or video frames with explained faces.
    out : Path
        The PNG.

    Returns
    -------
    int
        The number of faces shown; of more than 48, an even choice of 48.

    Raises
    ------
    DataError
        If no face was found.
    OutputError
        If `out` cannot be written.
    """
    faces = [face for image in images for face in image.faces]
    if not faces:
        raise DataError(f"{out}: no face to draw")
    if len(faces) > _MAX_FACES:
        faces = [faces[i] for i in np.linspace(0, len(faces) - 1, _MAX_FACES).round().astype(int)]
    cells = 1 + len(faces[0].stages)
    per_row = max(1, _CELLS_PER_ROW // cells)
    rows = -(-len(faces) // per_row)
    columns = cells * min(per_row, len(faces))
    figure = new_figure(1.75 * columns, 2.1 * rows)
    figure.set_layout_engine("none")  # the layout engine takes 15 seconds for a hundred cells
    for i, face in enumerate(faces):
        positions = [(i % per_row * cells + k, i // per_row) for k in range(cells)]
        boxes = [((x + 0.03) / columns, 1 - (y + 0.97) / rows, 0.94 / columns, 0.78 / rows) for x, y in positions]
        _draw_face([figure.add_axes(box) for box in boxes], face)
    save_figure(figure, out)
    return len(faces)


def _draw_face(cells: Sequence["Axes"], face: "Explained") -> None:
    for axes in cells:
        axes.set_axis_off()
        axes.imshow(face.crop.squeeze(2) if face.crop.shape[2] == 1 else face.crop, cmap="gray", vmin=0, vmax=255)
    cells[0].set_title(_short(face.name), fontsize=8)
    for axes, heat, stage in zip(cells[1:], face.heat, face.stages):
        axes.imshow(heat, cmap=HEATMAP, vmin=0, vmax=1, alpha=0.25 + 0.5 * heat)
        predicted = "" if face.predicted == face.emotion else f"\n(predicted: {face.predicted})"
        title = f"{face.emotion} {face.prob:.0%}{predicted}"
        axes.set_title(stage if len(face.stages) > 1 else title, fontsize=8)
    if len(face.stages) > 1:
        cells[0].set_title(f"{_short(face.name)}\n{face.emotion} {face.prob:.0%}", fontsize=8)


def _short(name: str) -> str:
    """Shorten a file name to fit above an image, with dollar signs escaped, which would start a formula."""
    text = "".join(c if c.isprintable() else "?" for c in name)
    return (text if len(text) <= 24 else f"{text[:10]}...{text[-11:]}").replace("$", r"\$")
