"""Measure how faces lie in training images, so that the line aligns its crops in the same way."""

import numpy as np
from PIL import Image

from fervid.faces.crop import FaceAlignment
from fervid.faces.mtcnn import MTCNN
from fervid.lab.data.images import Face, main_faces

__all__ = [
    "FER2013_ALIGNMENT",
    "RAFDB_ALIGNMENT",
    "alignment_of",
    "describe_alignment",
    "detect_sample",
    "measure_alignment",
]

#: Where MTCNN's landmarks and box lie in an image of FER2013: medians over training images, enlarged four times
#: (`python -m tests.benchmarks.framing`, which also measures how accuracy depends on the scale).
FER2013_ALIGNMENT = FaceAlignment(
    landmarks=((0.320, 0.391), (0.694, 0.388), (0.504, 0.606), (0.355, 0.790), (0.663, 0.786)),
    box=0.921,
    crop_scale=1.0,
)
#: Where they lie in an aligned image of RAF-DB (Li et al. 2017), an affine map of the face; the box is larger than the
#: image.
RAFDB_ALIGNMENT = FaceAlignment(
    landmarks=((0.260, 0.340), (0.728, 0.338), (0.485, 0.555), (0.285, 0.756), (0.702, 0.753)),
    box=1.157,
    crop_scale=1.0,
    fit="affine",
)
#: Images to measure, and the least number of faces in them: a median of 500 is precise to about 0.002 of the side.
_IMAGES, _MIN_FACES = 500, 50
#: The same for the check of an evaluation set; and the ratio in size and the distance in position (of the side) up to
#: which an alignment counts as the same.
_IMAGES_CHECKED, _MIN_FACES_CHECKED, _SIZE_RATIO, _DISTANCE = 100, 30, 1.18, 0.08
#: Side to which images are downscaled: main_faces pads small images with a margin into which boxes may extend.
_SIDE_PX = 128


def measure_alignment(image: np.ndarray) -> tuple[FaceAlignment, str]:
    """Measure where MTCNN finds the faces in training images.

    Parameters
    ----------
    image : np.ndarray
        (n, s, s) or (n, s, s, 3), uint8.

    Returns
    -------
    alignment : FaceAlignment
        That of FER2013 where fewer than 50 faces are found (drawings, or crops too tight for a detector).
    origin : str
        What it was measured on, for the user.
    """
    needed = f"at least {_MIN_FACES} are needed to measure it"
    if len(image) < _MIN_FACES:
        return FER2013_ALIGNMENT, f"that of FER2013; only {len(image)} training images, {needed}"
    n_images, faces = detect_sample(image, _IMAGES)
    if len(faces) < _MIN_FACES:
        return FER2013_ALIGNMENT, f"that of FER2013; faces in {len(faces)} of {n_images} training images, {needed}"
    return _medians(faces), f"measured on the faces found in {len(faces)} of {n_images} training images"


def describe_alignment(image: np.ndarray, expected: FaceAlignment) -> str | None:
    """Describe how faces are aligned differently from `expected`.

    Parameters
    ----------
    image : np.ndarray
        (n, s, s) or (n, s, s, 3), uint8.
    expected : FaceAlignment
        That of the model's training images.

    Returns
    -------
    str or None
        None if they are aligned in the same way, or if too few faces are found.
    """
    if len(image) < _MIN_FACES_CHECKED or len(faces := detect_sample(image, _IMAGES_CHECKED)[1]) < _MIN_FACES_CHECKED:
        return None
    (centre, size), (expected_centre, expected_size) = _centre_and_size(_medians(faces)), _centre_and_size(expected)
    ratio, distance = size / expected_size, abs(centre - expected_centre)
    if 1 / _SIZE_RATIO <= ratio <= _SIZE_RATIO and distance <= _DISTANCE:
        return None
    return f"faces are {ratio:.2f} times as large, {distance:.0%} of the side from where the model learned them"


def _centre_and_size(alignment: FaceAlignment) -> tuple[complex, float]:
    """Give the mean and the standard deviation of the landmarks in the crop."""
    points = 0.5 + 0.5j + (np.array(alignment.landmarks) @ np.array([1, 1j]) - (0.5 + 0.5j)) / alignment.crop_scale
    return complex(points.mean()), float(points.std())


def detect_sample(image: np.ndarray, at_most: int) -> tuple[int, list[Face]]:
    """Detect faces in a sample of images.

    Parameters
    ----------
    image : np.ndarray
        (n, s, s) or (n, s, s, 3), uint8.
    at_most : int
        Size of the sample.

    Returns
    -------
    n : int
        Size of the sample.
    faces : list of Face
        In parts of the image's side.
    """
    chosen = image[np.random.default_rng(0).permutation(len(image))[:at_most]]
    side = min(image.shape[1], _SIDE_PX)
    resized = [
        np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BOX).convert("RGB")) for one in chosen
    ]
    faces = [face for face in main_faces(resized, MTCNN(device="cpu")) if face is not None]
    return len(chosen), [Face(face.box_px / side, face.landmarks_px / side, face.score) for face in faces]


def _medians(faces: list[Face]) -> FaceAlignment:
    return alignment_of(np.stack([face.box_px for face in faces]), np.stack([face.landmarks_px for face in faces]))


def alignment_of(box: np.ndarray, landmarks: np.ndarray) -> FaceAlignment:
    """Compute the median alignment of faces.

    Parameters
    ----------
    box : np.ndarray
        (m, 4), xyxy, in units of the image's side.
    landmarks : np.ndarray
        (m, 5, 2), in the same units.

    Returns
    -------
    FaceAlignment
    """
    size = np.sqrt((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]))
    median = np.median(landmarks.astype(float), axis=0).round(3)
    return FaceAlignment(tuple(map(tuple, median.tolist())), round(float(np.median(size)), 3), 1.0)
