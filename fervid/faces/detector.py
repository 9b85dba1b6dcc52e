"""What every face detector offers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

__all__ = ["NO_FACES", "Detections", "FaceDetector"]


@dataclass(frozen=True)
class Detections:
    """Faces found in a batch of n pictures, in the pictures' own pixels and in the order of the pictures.

    frame (m,) int64 into the batch; box_px (m, 4) float32; score (m,) float32; landmarks_px (m, 5, 2) float32: left
    eye, right eye, nose, left and right corner of the mouth, as seen in the picture.
    """

    frame: np.ndarray
    box_px: np.ndarray
    score: np.ndarray
    landmarks_px: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)


#: No face at all.
NO_FACES = Detections(
    frame=np.zeros(0, np.int64),
    box_px=np.zeros((0, 4), np.float32),
    score=np.zeros(0, np.float32),
    landmarks_px=np.zeros((0, 5, 2), np.float32),
)


class FaceDetector(Protocol):
    """Finds faces in a batch of pictures; another detector is one file in this folder.

    It may have a third method, `near(pictures, frame, box_px) -> Detections`, which searches around boxes only; without
    it adaptive.py asks for whole pictures.
    """

    name: str

    def detect(self, picture: np.ndarray, min_face_px: float) -> Detections:
        """Find the faces of at least min_face_px in pictures (n, h, w, 3) uint8 RGB; n may be 0."""

    def confirm(
        self, pictures: Sequence[np.ndarray], frame: np.ndarray, box_px: np.ndarray
    ) -> tuple[Detections, np.ndarray]:
        """Look only where faces are expected: boxes (m, 4) in pictures[frame] -> what is there, and if it is a face.

        The detections are those of the m boxes, in their order, moved to where the face is; the mask (m,) is bool.
        """
