"""MTCNN's arithmetic of scales and boxes (Zhang et al. 2016, arXiv 1604.02878), as facenet-pytorch computes it.

On tensors of any device: `faces.mtcnn` uses it for NumPy arrays, through `on_arrays`, and `cuda.mtcnn` on a GPU. Some
sides of boxes include their last pixel, others do not, as in `facenet_pytorch/models/utils/detect_face.py` 2.5.3.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "CELL",
    "FACTOR",
    "STRIDE",
    "THRESHOLDS",
    "cell_boxes",
    "move_edges",
    "on_arrays",
    "pixel_boxes",
    "place_landmarks",
    "pyramid_scales",
    "to_squares",
]

#: Receptive field of a P-Net output, and the step to the next, in pixels of its pyramid level.
CELL, STRIDE = 12, 2
#: Scores to pass P-, R- and O-Net, and the scale from one pyramid level to the next.
THRESHOLDS, FACTOR = (0.6, 0.7, 0.7), 0.709


def pyramid_scales(height: int, width: int, min_face_px: float, factor: float) -> Iterator[float]:
    """Yield the scales of the image pyramid, from the one at which a cell sees the smallest face.

    Parameters
    ----------
    height, width : int
        Size of the image.
    min_face_px : float
    factor : float
        Ratio of a scale to the one before, below 1.

    Yields
    ------
    float
        Until the scaled image is smaller than a cell.
    """
    scale = CELL / min_face_px
    shorter = min(height, width) * scale
    while shorter >= CELL:
        yield scale
        scale, shorter = scale * factor, shorter * factor


def cell_boxes(x: Tensor, y: Tensor, scale: float) -> Tensor:
    """Locate P-Net cells of one pyramid level in the image.

    Parameters
    ----------
    x, y : Tensor, shape (m,)
        Column and row of each cell.
    scale : float
        Scale of the level.

    Returns
    -------
    Tensor, shape (m, 4), float32
    """
    corner = STRIDE * torch.stack((x, y), 1).float()
    return torch.cat(((corner + 1).div(scale).floor_(), (corner + CELL).div(scale).floor_()), 1)


def move_edges(box: Tensor, offset: Tensor, *, inclusive: bool = True) -> Tensor:
    """Apply the box offsets that a network predicts.

    Parameters
    ----------
    box : Tensor, shape (m, 4)
    offset : Tensor, shape (m, 4)
        Of each edge, in sides of the box.
    inclusive : bool
        Whether sides include their last pixel.

    Returns
    -------
    Tensor, shape (m, 4)
    """
    side = box[:, 2:] - box[:, :2] + float(inclusive)
    return box + offset * side.repeat(1, 2)


def to_squares(box: Tensor) -> Tensor:
    """Extend each box (m, 4) about its centre to a square with its longer side.

    Parameters
    ----------
    box : Tensor, shape (m, 4)

    Returns
    -------
    Tensor, shape (m, 4)
    """
    side = box[:, 2:] - box[:, :2]
    longest = side.amax(1, keepdim=True)
    corner = box[:, :2] + side * 0.5 - longest * 0.5
    return torch.cat((corner, corner + longest), 1)


def pixel_boxes(box: Tensor, *, width: int, height: int) -> Tensor:
    """Convert boxes to the pixels that they cover in an image.

    Parameters
    ----------
    box : Tensor, shape (m, 4)
    width, height : int
        Size of the image.

    Returns
    -------
    Tensor, shape (m, 4), int64
        x0, y0, x1, y1 without the last pixel; x0 >= x1 or y0 >= y1 if the box lies outside the image.
    """
    inner = box.trunc().long()
    low = (inner[:, :2] - 1).clamp(min=0)
    return torch.cat((low, torch.minimum(inner[:, 2:], inner.new_tensor((width, height)))), 1)


def place_landmarks(box: Tensor, landmarks: Tensor) -> Tensor:
    """Convert the landmarks that O-Net predicts to pixels.

    Parameters
    ----------
    box : Tensor, shape (m, 4)
        As O-Net saw it.
    landmarks : Tensor, shape (m, 10)
        Five x, then five y, in sides of the box.

    Returns
    -------
    Tensor, shape (m, 5, 2)
    """
    corner, side = box[:, None, :2], box[:, None, 2:] - box[:, None, :2] + 1
    return side * landmarks.view(len(landmarks), 2, 5).mT + corner - 1


def on_arrays(function: Callable[..., Tensor]) -> Callable[..., np.ndarray]:
    """Make a function of tensors take and return NumPy arrays.

    Parameters
    ----------
    function : callable
        Its positional arguments are tensors.

    Returns
    -------
    callable
    """

    def call(*arrays: np.ndarray, **options: bool | int) -> np.ndarray:
        return function(*map(torch.from_numpy, arrays), **options).numpy()

    return call
