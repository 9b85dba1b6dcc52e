"""Cut faces out of frames: aligned, and of the size and the colours that the classifier expects.

Where a crop lies is an affine map (2, 3) from the unit square of the crop, x to the right and y down, to displayed
pixels. It is called a place.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fervid.video.reader import full_range

__all__ = [
    "FITS",
    "LUMA",
    "FaceAlignment",
    "add_colour",
    "colour_px",
    "crop_face",
    "luma_of",
    "square_boxes",
    "square_places",
]

#: How a crop follows the landmarks: a rotated square, or a parallelogram that brings three points to their places.
FITS = ("similarity", "affine")
#: Faces in crops of the fit "affine" are wider than in life by this factor: those of RAF-DB's aligned images, in which
#: the distance of the eyes is 1.13 times that of eyes and mouth, against 0.94 in FER2013.
STRETCH = 1.2
#: The most by which the affine map may pull a face in one direction, beyond the similarity with STRETCH. Profiles would
#: be pulled apart without limit; of frontal faces, 2% of FER2013 and none of RAF-DB are beyond it.
MOST_PULL = 1.45
#: Pillow's reducing_gap of a rough crop: its size when it is resampled, in sizes of the result.
_REDUCING_GAP = 2.0
#: The weights of red, green and blue in luma (ITU-R BT.601), in 256ths.
LUMA = (77, 150, 29)


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
    fit : str
        One of FITS. "similarity" rotates and scales a square by all landmarks and the box. "affine" brings the eyes and
        the middle of the mouth exactly to their places, as in RAF-DB's aligned images, unless that would distort the
        face: a profile gets the nearest similarity, stretched by STRETCH.

    Raises
    ------
    ValueError
        If the fit is unknown.
    """

    landmarks: tuple[tuple[float, float], ...]
    box: float
    crop_scale: float
    fit: str = "similarity"

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise ValueError(f"fit {self.fit!r}: expected {' or '.join(FITS)}")

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> "FaceAlignment":
        """Read the alignment from the facts beside a model's weights.

        Parameters
        ----------
        facts : dict
            The value of "framing", with the keys "landmarks", "box", "zoom" and optionally "fit".

        Returns
        -------
        FaceAlignment

        Raises
        ------
        ValueError
            If the fit is unknown.
        """
        landmarks = tuple((x, y) for x, y in facts["landmarks"])
        return cls(landmarks, facts["box"], facts["zoom"], facts.get("fit", FITS[0]))

    def to_facts(self) -> dict[str, Any]:
        """Write the alignment in the form that `from_facts` reads."""
        return {"landmarks": self.landmarks, "box": self.box, "zoom": self.crop_scale, "fit": self.fit}

    def places(self, box_px: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
        """Place the crops of faces. The place of a face does not depend on the others.

        Parameters
        ----------
        box_px : ndarray, shape (m, 4)
        landmarks_px : ndarray, shape (m, 5, 2)

        Returns
        -------
        ndarray, shape (m, 2, 3)
            Maps from the unit square of the crop to displayed pixels.
        """
        if self.fit == "affine":
            return self._parallelograms(landmarks_px.astype(np.float64))
        return square_places(self.squares(box_px, landmarks_px))

    def squares(self, box_px: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
        """Place the crops of the fit "similarity" as rotated squares.

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

    def _parallelograms(self, landmarks_px: np.ndarray) -> np.ndarray:
        """Place the crops of the fit "affine": landmarks (m, 5, 2) -> (m, 2, 3).

        Only single additions, products and roots: the last bits of a matrix product depend on the number of faces.
        """
        target = 0.5 + (_three_points(np.array(self.landmarks)) - 0.5) / self.crop_scale
        mean, seen = target.mean(0), _three_points(landmarks_px.astype(np.float64))
        middle = (seen[..., 0, :] + seen[..., 1, :] + seen[..., 2, :]) / 3
        offset = seen - middle[:, None]
        (x0, y0), (x1, y1), _ = (target - mean).tolist()
        across, down = ((offset[:, 0] * b - offset[:, 1] * a) / (x0 * y1 - x1 * y0) for a, b in ((y0, y1), (-x0, -x1)))
        natural = (target - mean) / (STRETCH, 1)
        turn, cos, sin = _fit_similarity(offset, natural)
        # what the exact map adds to the similarity: a linear map of singular values p + q and p - q
        (a, b), (c, d) = (
            (STRETCH * (v[:, 0] * cos + v[:, 1] * sin), v[:, 1] * cos - v[:, 0] * sin) for v in (across, down)
        )
        p, q = np.sqrt((a + d) ** 2 + (b - c) ** 2), np.sqrt((a - d) ** 2 + (b + c) ** 2)
        exact = (p + q < MOST_PULL * (p - q))[:, None]
        across = np.where(exact, across, turn / STRETCH)
        down = np.where(exact, down, np.stack([-turn[:, 1], turn[:, 0]], 1))
        return np.stack([across, down, middle - across * mean[0] - down * mean[1]], 2)


def _three_points(landmarks: np.ndarray) -> np.ndarray:
    """Reduce five landmarks (..., 5, 2) to the eyes and the middle of the mouth (..., 3, 2)."""
    mouth = (landmarks[..., 3, :] + landmarks[..., 4, :]) / 2
    return np.stack([landmarks[..., 0, :], landmarks[..., 1, :], mouth], -2)


def _fit_similarity(offset: np.ndarray, model: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit the similarity that brings points (m, 3, 2) nearest to those of a model (3, 2), both relative to their means.

    Give its inverse, from the model to the points: how the x axis of the model lies (m, 2), and the cosine and the sine
    of the rotation (m,). Points that do not resemble the model would make it large without limit: it is at most twice
    as large as their spread, and at least one pixel.
    """
    x, y, (u, v) = offset[..., 0].T, offset[..., 1].T, model.T.tolist()
    spread, cos, sin = np.zeros((3, len(offset)))
    for i in range(3):
        spread = spread + (x[i] * x[i] + y[i] * y[i])
        cos, sin = cos + (x[i] * u[i] + y[i] * v[i]), sin + (y[i] * u[i] - x[i] * v[i])
    length = np.sqrt(cos * cos + sin * sin)
    cos, sin = np.where(length > 0, cos, 1), np.where(length > 0, sin, 0)
    norm = np.where(length > 0, length, 1)
    cos, sin = cos / norm, sin / norm
    least = np.sqrt(spread * float((model**2).sum())) / 2
    scale = np.maximum(spread / np.maximum(np.maximum(length, least), 1e-12), 1)
    return np.stack([scale * cos, scale * sin], 1), cos, sin


def square_places(square: np.ndarray) -> np.ndarray:
    """Convert rotated squares to places.

    Parameters
    ----------
    square : ndarray, shape (m, 4)
        Centre x, centre y, side, angle in radians.

    Returns
    -------
    ndarray, shape (m, 2, 3)
    """
    place = np.zeros((len(square), 2, 3))
    for one, (x, y, side, angle) in zip(place, square.tolist()):
        across, down = math.cos(angle) * side, math.sin(angle) * side
        one[0] = across, -down, x - (across - down) / 2
        one[1] = down, across, y - (down + across) / 2
    return place


def square_boxes(box_px: np.ndarray) -> np.ndarray:
    """Place upright crops around boxes, with a margin of a tenth of the longer side.

    Parameters
    ----------
    box_px : ndarray, shape (m, 4)

    Returns
    -------
    ndarray, shape (m, 2, 3)
        Square places.
    """
    low, high = box_px[:, :2].astype(np.float64), box_px[:, 2:].astype(np.float64)
    side = 1.1 * (high - low).max(1, keepdims=True)
    return square_places(np.concatenate([(low + high) / 2, side, np.zeros_like(side)], 1))


def crop_face(
    image: np.ndarray,
    place: np.ndarray,
    size_px: int,
    scale: tuple[float, float] = (1.0, 1.0),
    *,
    limited: bool = False,
    rough: bool = False,
) -> np.ndarray:
    """Cut a parallelogram out of an image, with antialiasing.

    What lies outside the image repeats its edge.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, 3), uint8
        A luma plane, or RGB.
    place : ndarray, shape (2, 3)
        One of `FaceAlignment.places`: from the unit square of the crop to displayed pixels.
    size_px : int
        Side of the crop.
    scale : tuple of (float, float)
        Pixels of the image per displayed pixel, horizontally and vertically. They differ for non-square pixels; the
        face in the crop has its displayed proportions.
    limited : bool
        Whether luma has the range 16..235, which is stretched to 0..255.
    rough : bool
        Whether a large face is first reduced by a whole number and stretched when it is small: three times as fast, and
        nearly the same.

    Returns
    -------
    ndarray, shape (size_px, size_px) or (size_px, size_px, 3), uint8
    """
    from PIL import Image

    # plain numbers: for arrays of two, NumPy takes longer than Pillow for the crop
    x, y = (_Axis([factor * one for one in row], size_px) for row, factor in zip(place.tolist(), scale))
    pixels = _cut(image, (x.low, y.low), (x.high, y.high))
    part = Image.fromarray(full_range(pixels) if limited and not rough else pixels)
    # first shrink, with antialiasing; then rotate and stretch
    gap = _REDUCING_GAP if rough else None
    part = part.resize((x.small, y.small), Image.Resampling.BILINEAR, reducing_gap=gap)
    if limited and rough:
        part = Image.fromarray(full_range(np.asarray(part)))
    coefficients = (*x.coefficients, *y.coefficients)
    placed = part.transform((size_px, size_px), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    return np.asarray(placed)


class _Axis:
    """How a crop lies along x or y of an image, in its pixels.

    low and high are the ends of the region around it; small, the length to which that shrinks, 1.5 pixels per pixel of
    the crop; coefficients lead from a pixel of the crop to one of the shrunk region.
    """

    def __init__(self, row: list[float], size_px: int) -> None:
        across, down, start = row
        centre = start + (across + down) / 2
        reach = (abs(across) + abs(down)) / 2
        self.low, self.high = math.floor(centre - reach) - 1, math.ceil(centre + reach) + 1
        length = self.high - self.low
        self.small = max(round(length / max(math.hypot(across, down) / (1.5 * size_px), 1)), 1)
        ratio = self.small / length
        corner = (centre - self.low - (across + down) / 2) * ratio
        self.coefficients = across * ratio / size_px, down * ratio / size_px, corner


def colour_px(size_px: int) -> int:
    """Choose the side of the colours of a crop: half of its own, as in the 4:2:0 of videos and JPEG.

    Parameters
    ----------
    size_px : int

    Returns
    -------
    int
    """
    return (size_px + 1) // 2


def add_colour(luma: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Colour sharp grey crops by smaller ones of a small image, of which only the differences from grey are used.

    The mean luma is that of the colours, so that the video's colour matrix need not be known.

    Parameters
    ----------
    luma : ndarray, shape (..., S, S), uint8
    rgb : ndarray, shape (..., s, s, 3), uint8
        Crops of the same place.

    Returns
    -------
    ndarray, shape (..., S, S, 3), uint8
    """
    own, side, small = luma_of(rgb), luma.shape[-1], rgb.shape[-2]
    pixels = side**2 * small**2
    excess = own.sum((-2, -1), dtype=np.int64) * side**2 - luma.sum((-2, -1), dtype=np.int64) * small**2
    offset = ((excess + pixels // 2) // pixels).astype(np.int16)
    difference = rgb - (own.astype(np.int16) - offset[..., None, None])[..., None]
    nearest = np.arange(side) * small // side
    coloured = luma[..., None] + difference.take(nearest, -3).take(nearest, -2)
    return np.clip(coloured, 0, 255, out=coloured).astype(np.uint8)


def luma_of(rgb: np.ndarray) -> np.ndarray:
    """Compute the luma of colours; that of grey is the grey itself.

    Parameters
    ----------
    rgb : ndarray, shape (..., 3), uint8

    Returns
    -------
    ndarray, shape (...), uint8
    """
    red, green, blue = (rgb[..., i].astype(np.uint16) * np.uint16(weight) for i, weight in enumerate(LUMA))
    return ((red + green + blue + np.uint16(128)) >> np.uint16(8)).astype(np.uint8)


def _cut(image: np.ndarray, low: tuple[int, int], high: tuple[int, int]) -> np.ndarray:
    """Cut the columns and rows from low to high (x, y) out of an image, whose edge is repeated outside."""
    (left, top), (right, bottom), (height, width) = low, high, image.shape[:2]
    first_x, last_x = min(max(left, 0), width - 1), min(max(right, 1), width)
    first_y, last_y = min(max(top, 0), height - 1), min(max(bottom, 1), height)
    inside = image[first_y:last_y, first_x:last_x]
    pad_y, pad_x = (max(first_y - top, 0), max(bottom - last_y, 0)), (max(first_x - left, 0), max(right - last_x, 0))
    if not (any(pad_y) or any(pad_x)):
        return inside
    padded = np.pad(inside, [pad_y, pad_x, (0, 0)][: image.ndim], "edge")
    return padded[: bottom - top, : right - left]  # np.pad returns more where no part of the crop lies inside
