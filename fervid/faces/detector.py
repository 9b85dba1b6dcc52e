"""The protocol of face detectors, and what they return."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

__all__ = ["NO_FACES", "Detections", "FaceDetector", "check_images"]


@dataclass(frozen=True)
class Detections:
    """The faces of n images, in the pixels of these images and in their order.

    Parameters
    ----------
    frame : ndarray, shape (m,), int64
        Index of the image in which a face lies.
    box_px : ndarray, shape (m, 4), float32
        x0, y0, x1, y1.
    score : ndarray, shape (m,), float32
    landmarks_px : ndarray, shape (m, 5, 2), float32
        Left eye, right eye, nose, left and right corner of the mouth, as seen in the image.
    """

    frame: np.ndarray
    box_px: np.ndarray
    score: np.ndarray
    landmarks_px: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)


#: The result of a search that finds no face.
NO_FACES = Detections(
    frame=np.zeros(0, np.int64),
    box_px=np.zeros((0, 4), np.float32),
    score=np.zeros(0, np.float32),
    landmarks_px=np.zeros((0, 5, 2), np.float32),
)


class FaceDetector(Protocol):
    """Finds faces in images. A new detector is one module in this folder and one row in `registry.DETECTORS`.

    A detector may have a third method, `detect_near(images, frame, box_px) -> Detections`, which searches around boxes
    only; without it, `keyframes.detect_keyframes` searches the whole image instead.

    Attributes
    ----------
    name : str
        Key of the detector in the registry.
    """

    name: str

    def detect(self, images: np.ndarray, min_face_px: float) -> Detections:
        """Find all faces.

        Parameters
        ----------
        images : ndarray, shape (n, h, w, 3), uint8
            RGB; n may be 0.
        min_face_px : float
            Size of the smallest face to find.

        Returns
        -------
        Detections
        """

    def confirm(
        self, images: Sequence[np.ndarray], frame: np.ndarray, box_px: np.ndarray
    ) -> tuple[Detections, np.ndarray]:
        """Verify that faces are where they are expected.

        Parameters
        ----------
        images : sequence of ndarray, shape (h, w, 3), uint8
        frame : ndarray, shape (m,), int64
            Index of the image of each box.
        box_px : ndarray, shape (m, 4), float32
            Where a face is expected.

        Returns
        -------
        Detections
            One per expected box, in the same order, moved to where the face is.
        ndarray, shape (m,), bool
            Whether there is a face.
        """


def check_images(images: np.ndarray, min_face_px: float) -> None:
    """Check the arguments of `FaceDetector.detect`.

    Parameters
    ----------
    images : ndarray
    min_face_px : float

    Raises
    ------
    ValueError
        If an argument has another shape, type or range.
    """
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or not min_face_px > 0:
        raise ValueError(
            "expected images uint8 (n, h, w, 3) and min_face_px > 0, "
            f"found {images.dtype} {images.shape} and {min_face_px}"
        )
