"""The quality of a face reading, from the detection score, size, sharpness and pose of the face."""

import numpy as np

from fervid.faces.crop import luma_of

__all__ = ["quality"]

#: Sharpness from which a crop counts as sharp: contrast of its second differences over its own contrast.
_SHARP = 0.35
#: Larger crops are reduced to this side first, so that quality depends on the face, not on the classifier.
_SIDE_PX = 48
#: The lowest quality: every reading has a positive weight.
_LOWEST = 0.01


def quality(box_px: np.ndarray, score: np.ndarray, landmarks_px: np.ndarray, crop: np.ndarray) -> np.ndarray:
    """Estimate how far readings of faces can be trusted: the product of four factors, each 1 at its best.

    Score: (score - 0.5) / 0.5. Size: the height of the face over the side of the crop, or over 48 pixels if that is
    less, at most 1, since a smaller face is only enlarged. Sharpness: the standard deviation of the Laplacian of the
    crop at 48 pixels over that of the crop, up to 0.35 (after Pech-Pacheco et al. 2000, independent of contrast). Pose:
    distance of the nose from the middle of the eyes, in distances between the eyes: 0.1 is frontal and counts in full,
    0.6 is a profile and hardly counts.

    Parameters
    ----------
    box_px : ndarray, shape (m, 4)
    score : ndarray, shape (m,)
    landmarks_px : ndarray, shape (m, 5, 2)
    crop : ndarray, shape (m, S, S, C), uint8

    Returns
    -------
    ndarray, shape (m,), float32
        0.01 to 1.
    """
    height = box_px[:, 3] - box_px[:, 1]
    factors = (
        (score - 0.5) / 0.5,
        height / min(max(crop.shape[1], 1), _SIDE_PX),
        _sharpness(crop) / _SHARP,
        1.2 - 2 * _turn(landmarks_px.astype(np.float64)),
    )
    return np.prod([np.clip(factor, 0, 1) for factor in factors], axis=0).clip(_LOWEST).astype(np.float32)


def _sharpness(crop: np.ndarray) -> np.ndarray:
    """Standard deviation of the Laplacian of each crop over that of the crop."""
    if not len(crop) or min(crop.shape[1:3]) < 3:
        return np.ones(len(crop))
    luma = luma_of(crop) if crop.shape[3] == 3 else crop[..., 0]
    if luma.shape[1] > _SIDE_PX:
        luma = np.stack([_reduce(one) for one in luma])
    grey = luma.astype(np.float32)
    laplacian = (
        grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:] + grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] - 4 * grey[:, 1:-1, 1:-1]
    )
    return laplacian.std((1, 2)) / np.maximum(grey.std((1, 2)), 1)


def _reduce(luma: np.ndarray) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(luma).resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BOX))


def _turn(landmarks_px: np.ndarray) -> np.ndarray:
    """Distance of the nose from the middle of the eyes, along the line of the eyes, in distances between the eyes."""
    left, right, nose = (landmarks_px[:, i] for i in range(3))
    across = right - left
    width = np.maximum(np.linalg.norm(across, axis=1), 1e-6)
    return np.abs(((nose - (left + right) / 2) * across).sum(1)) / width**2
