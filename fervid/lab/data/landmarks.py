"""Find the landmarks of face images, and place the network's input on each face by them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fervid.faces.crop import FaceAlignment, crop_face
from fervid.faces.mtcnn import MTCNN
from fervid.files import write_atomically
from fervid.lab.data.datasets import FaceSet
from fervid.lab.data.face_alignment import detect_sample
from fervid.lab.data.images import as_channels

__all__ = ["Alignment", "FaceLandmarks", "align_faces", "crop_faces", "find_landmarks"]

#: Images whose median face is measured to see how they lie, and the least number of faces in them.
_SAMPLE, _MIN_FACES = 100, 10
#: Up to this mean distance of the median eyes and mouth from those of the model, in parts of the side, images lie as
#: the model has learned faces: RAF-DB's aligned ones do (0.006), FER2013's do not (0.07).
_IN_PLACE = 0.03
#: O-Net verifies its own answer this often, from the median face on; a face of FER2013 is found after one to three.
_ROUNDS = 3
#: Score of O-Net to move on from the median face, and the least score of landmarks that count.
_MOVES, _SURE = 0.5, 0.7
#: Most that a face is larger or smaller than the median one: beyond it landmarks are wrong, not the face.
_MOST_SCALE = 2.0
#: Images per call of O-Net, and per message of progress.
_BLOCK, _REPORTED = 512, 5120


@dataclass(frozen=True)
class FaceLandmarks:
    """The face in each of n images, in parts of the image's side.

    Parameters
    ----------
    box : np.ndarray
        (n, 4) float32, xyxy.
    points : np.ndarray
        (n, 5, 2) float32.
    score : np.ndarray
        (n,) float32, confidence of O-Net.
    """

    box: np.ndarray
    points: np.ndarray
    score: np.ndarray


@dataclass(frozen=True)
class Alignment:
    """How the faces of a set are placed.

    Parameters
    ----------
    faces : FaceSet
        With a placement, unless they lie in place or cannot be measured.
    in_place : bool
        Whether the images lie as the model has learned faces.
    found : int
        Number of faces that are placed by landmarks of their own; the others by the median.
    message : str
        The same in words.
    """

    faces: FaceSet
    in_place: bool
    found: int
    message: str


def align_faces(
    faces: FaceSet,
    alignment: FaceAlignment,
    *,
    always: bool = False,
    cache: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Alignment:
    """Place the network's input on each face by its landmarks, as the line does with faces in video.

    Images that lie as the model has learned faces, by the median of a sample, are left as they are. In others O-Net
    looks for the face where the median one is; a face that it does not find is placed by the median.

    Parameters
    ----------
    faces : FaceSet
    alignment : FaceAlignment
        That of the model.
    always : bool
        Whether to place images, too, that lie as the model has learned faces.
    cache : Path, optional
        Folder for landmarks, which take 2 ms per image.
    report : Callable
        Receives a line of progress every 5,120 images.

    Returns
    -------
    Alignment
    """
    sampled, sample = detect_sample(faces.image, _SAMPLE)
    if len(sample) < _MIN_FACES:
        words = f"as the images are: faces in {len(sample)} of {sampled} of them, at least {_MIN_FACES} are needed"
        return Alignment(faces, False, 0, words)
    start = np.median([face.box_px for face in sample], 0)
    points = np.median([face.landmarks_px for face in sample], 0)
    in_place = _distance(points, alignment) <= _IN_PLACE
    if in_place and not always:
        return Alignment(faces, True, 0, "as the images are: the faces are already where the model expects them")
    landmarks = _cached(faces, start, cache, report)
    placement, found = _place(landmarks, alignment, faces.size_px)
    words = f"by landmarks: found in {found.sum()} of {len(faces)} images ({found.mean():.0%}), the rest by the median"
    return Alignment(replace(faces, placement=placement), in_place, int(found.sum()), words)


def find_landmarks(
    image: np.ndarray, start: np.ndarray, report: Callable[[str], None] = lambda line: None
) -> FaceLandmarks:
    """Find one face per image with O-Net alone, near where it is expected; 2 ms per image.

    O-Net is shown the expected box, then the box that it has answered. Images are padded with their edge, so that a box
    may extend beyond them.

    Parameters
    ----------
    image : np.ndarray
        (n, S, S) or (n, S, S, 3), uint8.
    start : np.ndarray
        (4,), the expected box, xyxy, in parts of the side.
    report : Callable
        Receives a line of progress every 5,120 images.

    Returns
    -------
    FaceLandmarks
    """
    detector, side, pad = MTCNN(device="cpu"), image.shape[1], image.shape[1] // 4
    n = len(image)
    box, points, score = np.zeros((n, 4), np.float32), np.zeros((n, 5, 2), np.float32), np.zeros(n, np.float32)
    for first in range(0, n, _BLOCK):
        rows = slice(first, min(n, first + _BLOCK))
        shown = np.pad(as_channels(image[rows], 3), ((0, 0), (pad, pad), (pad, pad), (0, 0)), "edge")
        box[rows], points[rows], score[rows] = _confirm(detector, shown, start * side + pad)
        if rows.stop < n and rows.stop % _REPORTED == 0:
            report(f"landmarks of {rows.stop} of {n} images")
    return FaceLandmarks((box - pad) / side, (points - pad) / side, score)


def crop_faces(faces: FaceSet, size_px: int, channels: int) -> np.ndarray:
    """Cut the network's input out of images, as the line does.

    Parameters
    ----------
    faces : FaceSet
        With a placement.
    size_px : int
        Side of the crops.
    channels : int
        1, grey, or 3, RGB.

    Returns
    -------
    np.ndarray
        (n, size_px, size_px, channels) uint8.
    """
    crops = np.zeros((len(faces), size_px, size_px, channels), np.uint8)
    places = np.zeros((0, 2, 3)) if faces.placement is None else faces.placement.astype(float) * faces.size_px
    for i, place in enumerate(places):
        shown = as_channels(faces.image[i : i + 1], channels if faces.colour else 1)[0]
        crop = crop_face(shown if shown.shape[2] == 3 else shown[..., 0], place, size_px)
        crops[i] = crop if crop.ndim == 3 else crop[..., None]
    return crops


def _confirm(detector: MTCNN, images: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find a face in each of m images from one box (4,) on; give the best answers: boxes, landmarks and scores."""
    m = len(images)
    expected = np.tile(start.astype(np.float32), (m, 1))
    box, points, score = expected.copy(), np.zeros((m, 5, 2), np.float32), np.full(m, -1.0, np.float32)
    for _ in range(_ROUNDS):
        found, _ = detector.confirm(list(images), np.arange(m), expected)
        better = found.score > score
        box[better], points[better], score[better] = (
            found.box_px[better], found.landmarks_px[better], found.score[better]
        )  # fmt: skip
        expected = np.where((found.score > _MOVES)[:, None], found.box_px, expected).astype(np.float32)
    return box, points, score


def _cached(faces: FaceSet, start: np.ndarray, folder: Path | None, report: Callable[[str], None]) -> FaceLandmarks:
    """Find landmarks, or read those of an earlier run on the same faces."""
    path = folder / f"landmarks-{faces.fingerprint[:16]}.npz" if folder is not None else None
    if path is not None and path.is_file():
        with np.load(path) as stored:
            return FaceLandmarks(stored["box"], stored["points"], stored["score"])
    found = find_landmarks(faces.image, start, lambda line: report(f"{faces.name}: {line}"))
    if path is not None:
        with write_atomically(path) as part, part.open("wb") as file:
            np.savez(file, box=found.box, points=found.points, score=found.score)
    return found


def _place(found: FaceLandmarks, alignment: FaceAlignment, side_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Place faces: maps (n, 2, 3) float32 from the input to the image, and which are by landmarks of their own (n,)."""
    sure = found.score > _SURE
    own = alignment.places(found.box * side_px, found.points * side_px) / side_px
    if not sure.any():
        return np.repeat(np.eye(2, 3, dtype=np.float32)[None], len(own), 0), sure
    median = np.median(found.box[sure], 0)[None] * side_px, np.median(found.points[sure], 0)[None] * side_px
    (usual,) = alignment.places(*median) / side_px
    scale = np.sqrt(np.maximum(np.linalg.det(own[:, :, :2]), 0) / np.linalg.det(usual[:, :2]))
    sure &= (scale > 1 / _MOST_SCALE) & (scale < _MOST_SCALE)
    return np.where(sure[:, None, None], own, usual).astype(np.float32), sure


def _distance(points: np.ndarray, alignment: FaceAlignment) -> float:
    """Mean distance of eyes and mouth from those in the crops of a model, in parts of the side.

    Nose and mouth corners (of landmarks (5, 2)) differ more between people than between data sets.
    """
    model = 0.5 + (np.array(alignment.landmarks) - 0.5) / alignment.crop_scale
    offset = points - model
    three = np.stack([offset[0], offset[1], (offset[3] + offset[4]) / 2])
    return float(np.linalg.norm(three, axis=1).mean())
