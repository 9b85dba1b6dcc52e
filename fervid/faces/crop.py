"""Cut faces out of frames: upright, aligned, and of the size that the classifier expects."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fervid.video.reader import full_range

__all__ = ["FaceAlignment", "crop_face", "square_boxes"]

#: Pillow's reducing_gap of a rough crop: its size when it is resampled, in sizes of the result.
_REDUCING_GAP = 2.0


@dataclass(frozen=True)
class FaceAlignment:
    """Where a crop lies on a face, so that it looks like the images on which the classifier was trained.

    Parameters
    ----------
    landmarks : tuple of (float, float)
        Where the five landmarks lie in a training image, x and y, in parts of its side.
    box : float
        Size of the detector's box in it: the root of width times height, in parts of its side.
    crop_scale : float
        Side of the crop, in sides of a training image.
    """

    landmarks: tuple[tuple[float, float], ...]
    box: float
    crop_scale: float

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> "FaceAlignment":
        """Read the alignment from the facts beside a model's weights.

        Parameters
        ----------
        facts : dict
            The value of "framing", with the keys "landmarks", "box" and "zoom".

        Returns
        -------
        FaceAlignment
        """
        return cls(tuple((x, y) for x, y in facts["landmarks"]), facts["box"], facts["zoom"])

    def to_facts(self) -> dict[str, Any]:
        """Write the alignment in the form that `from_facts` reads."""
        return {"landmarks": self.landmarks, "box": self.box, "zoom": self.crop_scale}

    def squares(self, box_px: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
        """Place the crops of faces.

        Position and rotation are those of the similarity transform that fits the landmarks best (least squares, Umeyama
        1991, in complex numbers). The side is the geometric mean of two estimates: that of the landmarks shrinks when a
        head turns, that of the box jitters.

        Parameters
        ----------
        box_px : ndarray, shape (m, 4)
        landmarks_px : ndarray, shape (m, 5, 2)

        Returns
        -------
        ndarray, shape (m, 4)
            Rotated squares: centre x, centre y, side, angle in radians.
        """
        model = np.array(self.landmarks) @ np.array([1, 1j])
        seen = landmarks_px[..., 0] + 1j * landmarks_px[..., 1]
        middle = seen.mean(1)
        mean = model.mean()  # multiply and sum: the last bits of a matrix product depend on the number of faces
        turn = ((seen - middle[:, None]) * np.conj(model - mean)).sum(1) / np.sum(np.abs(model - mean) ** 2)
        centre = middle + turn * (0.5 + 0.5j - mean)
        width, height = box_px[:, 2] - box_px[:, 0], box_px[:, 3] - box_px[:, 1]
        by_box = np.sqrt(np.maximum(width * height, 1)) / self.box
        side = self.crop_scale * np.sqrt(np.maximum(np.abs(turn), 1) * by_box)
        return np.stack([centre.real, centre.imag, side, np.angle(turn)], 1)


def square_boxes(box_px: np.ndarray) -> np.ndarray:
    """Place upright crops around boxes, with a margin of a tenth of the longer side.

    Parameters
    ----------
    box_px : ndarray, shape (m, 4)

    Returns
    -------
    ndarray, shape (m, 4)
        Squares, as `crop_face` takes them, with the angle 0.
    """
    low, high = box_px[:, :2].astype(np.float64), box_px[:, 2:].astype(np.float64)
    side = 1.1 * (high - low).max(1, keepdims=True)
    return np.concatenate([(low + high) / 2, side, np.zeros_like(side)], 1)


def crop_face(
    luma: np.ndarray,
    square: np.ndarray,
    size_px: int,
    scale: tuple[float, float] = (1.0, 1.0),
    *,
    limited: bool = False,
    rough: bool = False,
) -> np.ndarray:
    """Cut a rotated square out of a luma plane, with antialiasing.

    What lies outside the frame repeats its edge.

    Parameters
    ----------
    luma : ndarray, shape (H, W), uint8
    square : ndarray, shape (4,)
        One row of `FaceAlignment.squares`, in displayed pixels.
    size_px : int
        Side of the crop.
    scale : tuple of (float, float)
        Stored pixels per displayed pixel, horizontally and vertically. They differ for non-square pixels; the face in
        the crop has its displayed proportions.
    limited : bool
        Whether luma has the range 16..235, which is stretched to 0..255.
    rough : bool
        Whether a large face is first reduced by a whole number and stretched when it is small: three times as fast, and
        nearly the same.

    Returns
    -------
    ndarray, shape (size_px, size_px), uint8
    """
    from PIL import Image

    x, y, side, angle = square
    stretch = np.array(scale)
    centre = np.array([x, y]) * stretch
    across = np.array([math.cos(angle), math.sin(angle)]) * side * stretch
    down = np.array([-math.sin(angle), math.cos(angle)]) * side * stretch
    reach = (np.abs(across) + np.abs(down)) / 2
    low, high = np.floor(centre - reach).astype(int) - 1, np.ceil(centre + reach).astype(int) + 1
    pixels = _cut(luma, low, high)
    part = Image.fromarray(full_range(pixels) if limited and not rough else pixels)
    # first shrink, with antialiasing, to 1.5 pixels per pixel of the crop; then rotate
    shrink = np.maximum(side * stretch / (1.5 * size_px), 1)
    small = np.maximum(np.rint(part.size / shrink), 1).astype(int)
    gap = _REDUCING_GAP if rough else None
    part = part.resize((int(small[0]), int(small[1])), Image.Resampling.BILINEAR, reducing_gap=gap)
    if limited and rough:
        part = Image.fromarray(full_range(np.asarray(part)))
    ratio = small / (high - low)
    start = (centre - low - (across + down) / 2) * ratio
    (a, d), (b, e) = across * ratio / size_px, down * ratio / size_px
    rotated = part.transform(
        (size_px, size_px), Image.Transform.AFFINE, (a, b, start[0], d, e, start[1]), Image.Resampling.BILINEAR
    )
    return np.asarray(rotated)


def _cut(luma: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Cut the columns and rows from low to high (x, y) out of luma, whose edge is repeated outside."""
    size = np.array(luma.shape[::-1])
    first, last = np.clip(low, 0, size - 1), np.clip(high, 1, size)
    inside = luma[first[1] : last[1], first[0] : last[0]]
    before, after = np.maximum(first - low, 0), np.maximum(high - last, 0)
    if not (before.any() or after.any()):
        return inside
    columns, rows = high - low  # np.pad returns more where no part of the square lies inside
    return np.pad(inside, [(before[1], after[1]), (before[0], after[0])], "edge")[:rows, :columns]
