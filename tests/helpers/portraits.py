"""Images with a pasted face, that of Eileen Collins from scikit-image, at several sizes and places."""

import numpy as np
import skimage.data
from PIL import Image

__all__ = ["paste", "portraits"]


def paste(*places: tuple[int, int, int], height_px: int = 288) -> np.ndarray:
    """Make a plain image (height_px, 480, 3) with her face at each (x, y, side) in pixels, maybe partly outside."""
    image = Image.fromarray(np.full((height_px, 480, 3), (90, 110, 130), np.uint8))
    portrait = Image.fromarray(skimage.data.astronaut()[:256, 96:352])
    for x, y, side in places:
        image.paste(portrait.resize((side, side), Image.Resampling.BILINEAR), (x, y))
    return np.asarray(image)


def portraits(height_px: int = 288) -> np.ndarray:
    """Make five images: one face, one larger than the image, two faces, no face, and one partly outside."""
    places = (((30, 40, 150),), ((100, -50, 420),), ((0, 150, 75), (150, 20, 250)), (), ((325, 30, 260),))
    return np.stack([paste(*faces, height_px=height_px) for faces in places])
