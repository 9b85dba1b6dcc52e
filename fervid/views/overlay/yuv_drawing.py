"""Paint on the planes of a frame (yuv420p, 8 bits) without converting it: small pictures, outlines, hidden faces."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

__all__ = ["Inks", "Planes", "Sprite", "hide", "outline", "paste"]

#: Luma (H, W) and two planes of chroma (H / 2, W / 2), uint8; H and W are even.
Planes = Sequence[np.ndarray]
#: A hidden face is so many flat tiles wide and high, each of one of 32 levels, and reaches this far beyond its box.
_TILES, _BEYOND = 4, 0.35


@dataclass(frozen=True)
class Sprite:
    """A small picture ready for a frame: y, a (h, w) and u, v, b (h / 2, w / 2), all uint16.

    y, u, v are inks times opacity, 0..65280; a and b are what shines through, 0..256: all fits into 16 bits.
    """

    y: np.ndarray
    u: np.ndarray
    v: np.ndarray
    a: np.ndarray
    b: np.ndarray


@dataclass(frozen=True)
class Inks:
    """RGB -> YUV as a video has it: ITU-R BT.709 or BT.601, of full or limited range."""

    bt709: bool
    full_range: bool

    def mix(self, rgb: np.ndarray) -> np.ndarray:
        """Convert (..., 3) RGB 0..255 -> (..., 3) YUV 0..255, float32."""
        red, blue = (0.2126, 0.0722) if self.bt709 else (0.299, 0.114)
        rgb = np.asarray(rgb, np.float32)
        y = red * rgb[..., 0] + (1 - red - blue) * rgb[..., 1] + blue * rgb[..., 2]
        u, v = (rgb[..., 2] - y) / (2 - 2 * blue), (rgb[..., 0] - y) / (2 - 2 * red)
        if self.full_range:
            return np.stack([y, u + 128, v + 128], -1)
        return np.stack([16 + y * 219 / 255, 128 + u * 224 / 255, 128 + v * 224 / 255], -1)

    def sprite(self, image: Image.Image) -> Sprite:
        """Convert an RGBA picture; odd sides gain a clear row or column."""
        rgba = np.asarray(image.convert("RGBA"), np.float32)
        rgba = np.pad(rgba, ((0, rgba.shape[0] % 2), (0, rgba.shape[1] % 2), (0, 0)))
        yuv, alpha = self.mix(rgba[..., :3]), rgba[..., 3] * (256 / 255)
        weight = np.maximum(alpha, 1e-3)
        chroma = _halved(yuv[..., 1:] * weight[..., None]) / _halved(weight)[..., None]
        half = _halved(alpha)
        inks = (yuv[..., 0] * alpha, chroma[..., 0] * half, chroma[..., 1] * half, 256 - alpha, 256 - half)
        return Sprite(*(np.floor(ink).astype(np.uint16) for ink in inks))


def _halved(plane: np.ndarray) -> np.ndarray:
    return (plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]) / 4


def paste(planes: Planes, sprite: Sprite, x: float, y: float) -> None:
    """Lay a sprite over a frame with its corner at x, y (pixels, made even); what is outside is cut off."""
    left, top = round(x / 2) * 2, round(y / 2) * 2
    parts = ((sprite.y, sprite.a, 1), (sprite.u, sprite.b, 2), (sprite.v, sprite.b, 2))
    for plane, (ink, through, scale) in zip(planes, parts):
        x0, y0 = left // scale, top // scale
        rows = slice(max(y0, 0), max(min(y0 + ink.shape[0], plane.shape[0]), 0))
        columns = slice(max(x0, 0), max(min(x0 + ink.shape[1], plane.shape[1]), 0))
        inner = (slice(rows.start - y0, rows.stop - y0), slice(columns.start - x0, columns.stop - x0))
        if rows.stop <= rows.start or columns.stop <= columns.start:
            continue
        plane[rows, columns] = (plane[rows, columns] * through[inner] + ink[inner]) >> 8


def outline(planes: Planes, box_px: np.ndarray, inks: tuple[np.ndarray, np.ndarray], thick: int) -> None:
    """Draw a box (x0, y0, x1, y1) in the first ink within a thin line of the second; `thick` pixels, made even."""
    thick = max(2, thick // 2 * 2)
    height, width = planes[0].shape
    for grow, ink, line in ((2, inks[1], thick + 4), (0, inks[0], thick)):
        x0, y0, x1, y1 = (round(float(v) / 2) * 2 for v in box_px)
        x0, y0, x1, y1 = x0 - grow, y0 - grow, x1 + grow, y1 + grow
        if x1 - x0 <= 2 * line or y1 - y0 <= 2 * line:
            continue
        bars = ((x0, y0, x1, y0 + line), (x0, y1 - line, x1, y1), (x0, y0, x0 + line, y1), (x1 - line, y0, x1, y1))
        for left, top, right, bottom in bars:
            left, right = np.clip((left, right), 0, width)
            top, bottom = np.clip((top, bottom), 0, height)
            for plane, value, scale in zip(planes, ink, (1, 2, 2)):
                plane[top // scale : bottom // scale, left // scale : right // scale] = np.uint8(round(float(value)))


def hide(planes: Planes, box_px: np.ndarray) -> None:
    """Replace a box (x0, y0, x1, y1), and what is near it, by a few flat tiles: nothing finer is left to restore.

    At most 4 x 4 means of 32 levels each remain of a face of any size.
    """
    size = box_px[2:] - box_px[:2]
    low, high = box_px[:2] - _BEYOND * size, box_px[2:] + _BEYOND * size
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
