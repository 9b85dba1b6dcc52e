"""Draw on the planes of a frame (yuv420p, 8 bits) without converting it: sprites, boxes, redacted faces."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

__all__ = ["Planes", "Sprite", "YuvColours", "outline", "paste", "redact"]

#: Luma (H, W) and two planes of chroma (H / 2, W / 2), uint8; H and W are even.
Planes = Sequence[np.ndarray]
#: A redacted face is replaced by this many flat tiles across and down; the area exceeds its box by this share per side.
_TILES, _REDACT_MARGIN = 4, 0.35


@dataclass(frozen=True)
class Sprite:
    """A small image, ready to be pasted onto a frame.

    Parameters
    ----------
    y : np.ndarray
        Luma times opacity, 0..65280, (h, w) uint16.
    u, v : np.ndarray
        Chroma times opacity, 0..65280, (h / 2, w / 2) uint16.
    a, b : np.ndarray
        Transparency of luma, (h, w), and of chroma, (h / 2, w / 2), 0..256, uint16.
    """

    y: np.ndarray
    u: np.ndarray
    v: np.ndarray
    a: np.ndarray
    b: np.ndarray


@dataclass(frozen=True)
class YuvColours:
    """The conversion from RGB to the YUV of a video.

    Parameters
    ----------
    bt709 : bool
        ITU-R BT.709 rather than BT.601.
    full_range : bool
        Values 0..255 rather than 16..235 (luma) and 16..240 (chroma).
    """

    bt709: bool
    full_range: bool

    def convert(self, rgb: np.ndarray) -> np.ndarray:
        """Convert colours.

        Parameters
        ----------
        rgb : np.ndarray
            RGB 0..255, (..., 3).

        Returns
        -------
        np.ndarray
            YUV 0..255, (..., 3) float32.
        """
        red, blue = (0.2126, 0.0722) if self.bt709 else (0.299, 0.114)
        rgb = np.asarray(rgb, np.float32)
        y = red * rgb[..., 0] + (1 - red - blue) * rgb[..., 1] + blue * rgb[..., 2]
        u, v = (rgb[..., 2] - y) / (2 - 2 * blue), (rgb[..., 0] - y) / (2 - 2 * red)
        if self.full_range:
            return np.stack([y, u + 128, v + 128], -1)
        return np.stack([16 + y * 219 / 255, 128 + u * 224 / 255, 128 + v * 224 / 255], -1)

    def sprite(self, image: Image.Image) -> Sprite:
        """Convert an image to a sprite.

        Parameters
        ----------
        image : PIL.Image.Image
            RGBA; an odd side is padded with a transparent row or column.

        Returns
        -------
        Sprite
        """
        rgba = np.asarray(image.convert("RGBA"), np.float32)
        rgba = np.pad(rgba, ((0, rgba.shape[0] % 2), (0, rgba.shape[1] % 2), (0, 0)))
        yuv, alpha = self.convert(rgba[..., :3]), rgba[..., 3] * (256 / 255)
        weight = np.maximum(alpha, 1e-3)
        chroma = _halve(yuv[..., 1:] * weight[..., None]) / _halve(weight)[..., None]
        half = _halve(alpha)
        planes = (yuv[..., 0] * alpha, chroma[..., 0] * half, chroma[..., 1] * half, 256 - alpha, 256 - half)
        return Sprite(*(np.floor(plane).astype(np.uint16) for plane in planes))


def _halve(plane: np.ndarray) -> np.ndarray:
    return (plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]) / 4


def paste(planes: Planes, sprite: Sprite, x: float, y: float) -> None:
    """Blend a sprite into a frame, cropped at the edges of the frame.

    Parameters
    ----------
    planes : Planes
        The frame; changed in place.
    sprite : Sprite
    x, y : float
        The upper left corner in pixels, rounded to even numbers.
    """
    left, top = round(x / 2) * 2, round(y / 2) * 2
    parts = ((sprite.y, sprite.a, 1), (sprite.u, sprite.b, 2), (sprite.v, sprite.b, 2))
    for plane, (colour, transparency, scale) in zip(planes, parts):
        x0, y0 = left // scale, top // scale
        rows = slice(max(y0, 0), max(min(y0 + colour.shape[0], plane.shape[0]), 0))
        columns = slice(max(x0, 0), max(min(x0 + colour.shape[1], plane.shape[1]), 0))
        inner = (slice(rows.start - y0, rows.stop - y0), slice(columns.start - x0, columns.stop - x0))
        if rows.stop <= rows.start or columns.stop <= columns.start:
            continue
        plane[rows, columns] = (plane[rows, columns] * transparency[inner] + colour[inner]) >> 8


def outline(planes: Planes, box_px: np.ndarray, colours: tuple[np.ndarray, np.ndarray], thickness: int) -> None:
    """Draw the outline of a box.

    Parameters
    ----------
    planes : Planes
        The frame; changed in place.
    box_px : np.ndarray
        x0, y0, x1, y1 in pixels.
    colours : tuple of np.ndarray
        YUV of the line, and of the thin border on both of its sides.
    thickness : int
        Thickness of the line in pixels, rounded down to an even number of at least 2.
    """
    thickness = max(2, thickness // 2 * 2)
    height, width = planes[0].shape
    for grow, colour, line in ((2, colours[1], thickness + 4), (0, colours[0], thickness)):
        x0, y0, x1, y1 = (round(float(v) / 2) * 2 for v in box_px)
        x0, y0, x1, y1 = x0 - grow, y0 - grow, x1 + grow, y1 + grow
        if x1 - x0 <= 2 * line or y1 - y0 <= 2 * line:
            continue
        bars = ((x0, y0, x1, y0 + line), (x0, y1 - line, x1, y1), (x0, y0, x0 + line, y1), (x1 - line, y0, x1, y1))
        for left, top, right, bottom in bars:
            left, right = np.clip((left, right), 0, width)
            top, bottom = np.clip((top, bottom), 0, height)
            for plane, value, scale in zip(planes, colour, (1, 2, 2)):
                plane[top // scale : bottom // scale, left // scale : right // scale] = np.uint8(round(float(value)))


def redact(planes: Planes, box_px: np.ndarray) -> None:
    """Replace a box and its surroundings by a few flat tiles, so that no finer detail can be restored.

    At most 4 x 4 means of 32 levels each remain of a face of any size.

    Parameters
    ----------
    planes : Planes
        The frame; changed in place.
    box_px : np.ndarray
        x0, y0, x1, y1 in pixels.
    """
    size = box_px[2:] - box_px[:2]
    low, high = box_px[:2] - _REDACT_MARGIN * size, box_px[2:] + _REDACT_MARGIN * size
    for plane, scale in zip(planes, (1, 2, 2)):
        x0, y0 = np.clip(np.floor(low / 2) * 2 // scale, 0, plane.shape[::-1]).astype(int)
        x1, y1 = np.clip(np.ceil(high / 2) * 2 // scale, 0, plane.shape[::-1]).astype(int)
        if x1 <= x0 or y1 <= y0:
            continue
        rows = np.unique(np.linspace(0, y1 - y0, _TILES + 1).astype(int))
        columns = np.unique(np.linspace(0, x1 - x0, _TILES + 1).astype(int))
        area = plane[y0:y1, x0:x1]
        sums = np.add.reduceat(np.add.reduceat(area, rows[:-1], 0, dtype=np.int64), columns[:-1], 1)
        tall, wide = np.diff(rows), np.diff(columns)
        means = np.minimum((sums // (tall[:, None] * wide) + 4) // 8 * 8, 255)
        area[:] = means.astype(np.uint8).repeat(tall, 0).repeat(wide, 1)
