"""How far a reading of a face can be trusted: its detection score, size, sharpness and pose -> 0..1."""

import numpy as np

__all__ = ["quality"]

#: The contrast of a crop's second differences, in parts of the crop's own, from which it counts as sharp.
_SHARP = 0.35
#: No reading counts for nothing.
_LEAST = 0.01


def quality(box_px: np.ndarray, score: np.ndarray, landmarks_px: np.ndarray, crop: np.ndarray) -> np.ndarray:
    """Faces, as in a FaceBatch -> (m,) float32, the product of four parts, each 1 at its best.

    Score: (score - 0.5) / 0.5. Size: the face's height over the crop's side, up to 1: a smaller face is only enlarged.
    Sharpness: the deviation of the crop's Laplacian over that of the crop, up to 0.35 (Pech-Pacheco 2000, made blind
    to contrast). Pose: how far the nose lies off the middle of the eyes, in eye distances: 0.1 is frontal and counts in
    full, 0.6 is a profile and hardly counts.
    """
    height = box_px[:, 3] - box_px[:, 1]
    parts = (
        (score - 0.5) / 0.5,
        height / max(crop.shape[1], 1),
        _sharpness(crop) / _SHARP,
        1.2 - 2 * _turned(landmarks_px.astype(np.float64)),
    )
    return np.prod([np.clip(part, 0, 1) for part in parts], axis=0).clip(_LEAST).astype(np.float32)


def _sharpness(crop: np.ndarray) -> np.ndarray:
    if not len(crop) or min(crop.shape[1:]) < 3:
        return np.ones(len(crop))
    grey = crop.astype(np.float32)
    bent = grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:] + grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] - 4 * grey[:, 1:-1, 1:-1]
    return bent.std((1, 2)) / np.maximum(grey.std((1, 2)), 1)


def _turned(landmarks_px: np.ndarray) -> np.ndarray:
    left, right, nose = (landmarks_px[:, i] for i in range(3))
    across = right - left
    width = np.maximum(np.linalg.norm(across, axis=1), 1e-6)
    return np.abs(((nose - (left + right) / 2) * across).sum(1)) / width**2
