"""What a face and its surroundings look like, in a few pixels: enough to distinguish two persons."""

import numpy as np

from fervid.faces.crop import square_boxes

__all__ = ["APPEARANCE_PX", "face_in", "likeness", "places"]

#: Side of an appearance, and of what it shows, in sides of `square_boxes`: hair, clothes and background distinguish
#: people better than the face does, and do not depend on how the classifier's crops are aligned.
APPEARANCE_PX, _AROUND = 12, 1.8
#: The part of an appearance that the face itself fills.
_FACE = slice(3, 9)


def places(box_px: np.ndarray) -> np.ndarray:
    """Place the crops that become appearances.

    Parameters
    ----------
    box_px : ndarray, shape (m, 4)

    Returns
    -------
    ndarray, shape (m, 2, 3)
        As `crop_face` takes them.
    """
    middle, half = (box_px[:, :2] + box_px[:, 2:]) / 2, (box_px[:, 2:] - box_px[:, :2]) / 2 * _AROUND
    return square_boxes(np.concatenate([middle - half, middle + half], 1))


def face_in(appearance: np.ndarray) -> np.ndarray:
    """Cut the face out of an appearance, without hair, clothes and background.

    Parameters
    ----------
    appearance : ndarray, shape (12, 12, 3), uint8

    Returns
    -------
    ndarray, shape (6, 6, 3), uint8
        A view of it.
    """
    return appearance[_FACE, _FACE]


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Correlate two appearances.

    Parameters
    ----------
    one, other : ndarray, uint8
        Of one shape.

    Returns
    -------
    float
        -1 to 1; 0 if one of them is flat.
    """
    a, b = (image.astype(np.float64) - image.mean() for image in (one, other))
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0
