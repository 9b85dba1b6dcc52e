"""Pictures with one woman's face pasted in: Eileen Collins, from scikit-image, at several sizes and places."""

import numpy as np
import skimage.data
from PIL import Image

__all__ = ["paste", "portraits"]


def paste(*places: tuple[int, int, int], height_px: int = 288) -> np.ndarray:
    """A plain picture (height_px, 480, 3) with her face at each (x, y, side), pixels; it may lie partly outside."""
    picture = Image.fromarray(np.full((height_px, 480, 3), (90, 110, 130), np.uint8))
    portrait = Image.fromarray(skimage.data.astronaut()[:256, 96:352])
    for x, y, side in places:
        picture.paste(portrait.resize((side, side), Image.Resampling.BILINEAR), (x, y))
    return np.asarray(picture)


def portraits(height_px: int = 288) -> np.ndarray:
    """Five pictures: alone, too large for one, two of her, a picture without her, one partly out of the picture."""
    shown = (((30, 40, 150),), ((100, -50, 420),), ((0, 150, 75), (150, 20, 250)), (), ((325, 30, 260),))
    return np.stack([paste(*places, height_px=height_px) for places in shown])
