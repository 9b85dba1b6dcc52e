"""How faces lie in the pictures that a model learned from: the line frames its crops alike (faces.Framing)."""

import numpy as np
from PIL import Image

from fervid.faces.crop import FaceAlignment
from fervid.faces.mtcnn import MTCNN
from fervid.lab.data.pictures import Face, main_faces

__all__ = ["FER2013_ALIGNMENT", "alignment_of", "describe_alignment", "measure_alignment"]

#: Where MTCNN's landmarks and box lie in a picture of FER2013: medians over training pictures, enlarged four times
#: (`python -m tests.benchmarks.framing`, which also tells how accuracy depends on the zoom).
FER2013_ALIGNMENT = FaceAlignment(
    landmarks=((0.320, 0.391), (0.694, 0.388), (0.504, 0.606), (0.355, 0.790), (0.663, 0.786)), box=0.921, zoom=1.0
)
#: Pictures that are looked at, and faces that it takes: a median of 500 is known to about 0.002 of a picture's side.
_TRIED, _ENOUGH = 500, 50
#: The same for telling that pictures are framed otherwise; and how much otherwise faces may be in size (times) and
#: place (parts of the side) without a word.
_GLANCE, _FEW, _SIZE, _PLACE = 100, 30, 1.18, 0.08
#: Pictures are shrunk to this side: main_faces surrounds small ones with a margin, which boxes may reach into.
_SIDE_PX = 128


def measure_alignment(image: np.ndarray) -> tuple[FaceAlignment, str]:
    """Measure how MTCNN's faces lie in training pictures (n, s, s) uint8 -> the framing, and what it comes from.

    Where fewer than 50 faces are found (drawings, crops too tight for a detector) it is FER2013's, and that is said.
    """
    needed = f"at least {_ENOUGH} are needed to measure it"
    if len(image) < _ENOUGH:
        return FER2013_ALIGNMENT, f"FER2013's: only {len(image)} training pictures, {needed}"
    tried, found = _find(image, _TRIED)
    if len(found) < _ENOUGH:
        return FER2013_ALIGNMENT, f"FER2013's: faces in {len(found)} of {tried} training pictures, {needed}"
    return _medians(found), f"measured on the faces found in {len(found)} of {tried} training pictures"


def describe_alignment(image: np.ndarray, expected: FaceAlignment) -> str | None:
    """Say how otherwise than `expected` the faces lie in pictures (n, s, s) uint8; None: alike, or nobody can tell."""
    if len(image) < _FEW or len(found := _find(image, _GLANCE)[1]) < _FEW:
        return None
    (middle, size), (known, known_size) = _lie(_medians(found)), _lie(expected)
    larger, away = size / known_size, abs(middle - known)
    if 1 / _SIZE <= larger <= _SIZE and away <= _PLACE:
        return None
    return f"faces are {larger:.2f} times as large, {away:.0%} of the side from where the model learned them"


def _lie(framing: FaceAlignment) -> tuple[complex, float]:
    """The middle of the landmarks in the crop, and how far they spread."""
    points = 0.5 + 0.5j + (np.array(framing.landmarks) @ np.array([1, 1j]) - (0.5 + 0.5j)) / framing.zoom
    return complex(points.mean()), float(points.std())


def _find(image: np.ndarray, at_most: int) -> tuple[int, list[Face]]:
    """Look for faces in some of the pictures -> how many, and the faces, in parts of the picture's side."""
    chosen = image[np.random.default_rng(0).permutation(len(image))[:at_most]]
    side = min(image.shape[1], _SIDE_PX)
    shown = [
        np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BOX).convert("RGB")) for one in chosen
    ]
    faces = [face for face in main_faces(shown, MTCNN(device="cpu")) if face is not None]
    return len(chosen), [Face(face.box_px / side, face.landmarks_px / side, face.score) for face in faces]


def _medians(found: list[Face]) -> FaceAlignment:
    return alignment_of(np.stack([face.box_px for face in found]), np.stack([face.landmarks_px for face in found]))


def alignment_of(box: np.ndarray, landmarks: np.ndarray) -> FaceAlignment:
    """Give the medians of boxes (m, 4) and landmarks (m, 5, 2), both in parts of the picture's side."""
    size = np.sqrt((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]))
    middle = np.median(landmarks.astype(float), axis=0).round(3)
    return FaceAlignment(tuple(map(tuple, middle.tolist())), round(float(np.median(size)), 3), 1.0)
