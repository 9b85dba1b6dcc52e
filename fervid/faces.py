"""Find the faces in each look and crop them -> FaceBatch. Full frames end here: only crops travel on."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fervid.batches import FaceBatch, FrameBatch, VideoInfo

__all__ = ["Detections", "FaceDetector", "Framing", "crop_face", "detect"]


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


class FaceDetector(Protocol):
    """Finds faces in a batch of pictures; another detector is one file in backends/."""

    name: str

    def detect(self, picture: np.ndarray, min_face_px: float) -> Detections:
        """Find the faces of at least min_face_px in pictures (n, h, w, 3) uint8 RGB; n may be 0."""


@dataclass(frozen=True)
class Framing:
    """How a crop is laid around a face box, so that it shows as much of the head as the pictures trained on did.

    A square of `side` times the longer side of the box, whose centre lies `down` box heights below that of the box.
    """

    side: float
    down: float

    def square(self, box_px: np.ndarray) -> np.ndarray:
        """Boxes (m, 4) -> squares (m, 4) in the same pixels."""
        x0, y0, x1, y1 = box_px.T
        half = self.side * np.maximum(x1 - x0, y1 - y0) / 2
        x, y = (x0 + x1) / 2, (y0 + y1) / 2 + self.down * (y1 - y0)
        return np.stack([x - half, y - half, x + half, y + half], 1)


def detect(
    frames: Iterable[FrameBatch], detector: FaceDetector, video: VideoInfo, *, framing: Framing, crop_px: int,
    min_face_px: float,
) -> Iterator[FaceBatch]:  # fmt: skip
    """Detect in the small pictures, crop from the full luma planes; boxes come out in displayed pixels of the video.

    min_face_px counts in the video's displayed pixels.
    """
    for batch in frames:
        height, width = batch.picture.shape[1:3]
        found = detector.detect(batch.picture, min_face_px * width / video.width_px)
        scale = np.array([video.width_px / width, video.height_px / height], np.float32)
        box = found.box_px * np.tile(scale, 2)
        square = framing.square(box) / np.array([video.width_px, video.height_px] * 2)
        crops = [crop_face(batch.luma[i], where, crop_px) for i, where in zip(found.frame, square)]
        yield FaceBatch(
            look_s=batch.pts_s,
            duration_s=batch.duration_s,
            pts_s=batch.pts_s[found.frame],
            box_px=box,
            score=found.score,
            landmarks_px=found.landmarks_px * scale,
            crop=np.stack(crops) if crops else np.zeros((0, crop_px, crop_px), np.uint8),
        )


def crop_face(luma: np.ndarray, box: np.ndarray, size_px: int) -> np.ndarray:
    """Cut a box (4,) in fractions of the frame out of luma (H, W) -> (size_px, size_px) uint8, antialiased.

    What lies outside the frame repeats its edge. Width and height scale apart: luma of non-square pixels comes out
    square.
    """
    from PIL import Image

    height, width = luma.shape
    x0, y0, x1, y1 = box * np.array([width, height, width, height])
    left, top, right, bottom = math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)
    columns = np.clip(np.arange(left, max(right, left + 1)), 0, width - 1)
    rows = np.clip(np.arange(top, max(bottom, top + 1)), 0, height - 1)
    inside = left >= 0 and top >= 0 and right <= width and bottom <= height
    part = luma[top:bottom, left:right] if inside else luma[np.ix_(rows, columns)]
    image = Image.fromarray(np.ascontiguousarray(part))
    where = (x0 - left, y0 - top, x1 - left, y1 - top)
    return np.asarray(image.resize((size_px, size_px), Image.Resampling.BILINEAR, box=where))
