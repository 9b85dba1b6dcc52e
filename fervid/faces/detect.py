"""Find the faces in each look and crop them -> FaceBatch. Full frames end here: crops and thumbnails travel on."""

from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from typing import Any, Protocol

import numpy as np

from fervid.faces.crop import FaceAlignment, crop_face
from fervid.faces.detector import Detections, FaceDetector
from fervid.faces.quality import quality
from fervid.runtime.profiling import stage
from fervid.types import FaceBatch, FrameBatch, VideoInfo

__all__ = ["DetectionStrategy", "RecognitionCrops", "detect", "detect_all", "to_face_batch"]


class RecognitionCrops(Protocol):
    """How faces are cut out a second time, to tell people apart by: see persons.Embedder."""

    recognition_px: int

    def squares(self, box_px: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
        """Boxes (m, 4) and landmarks (m, 5, 2) -> tilted squares (m, 4), as crop_face takes them."""


class Searched(Protocol):
    """n looks, wherever their pixels lie: times as in FrameBatch, picture (n, h, w, 3), thumb (n, 18, 32, 3)."""

    @property
    def pts_s(self) -> np.ndarray: ...

    @property
    def duration_s(self) -> np.ndarray: ...

    @property
    def image(self) -> Any: ...

    @property
    def thumb(self) -> np.ndarray: ...


#: Cuts each face's tilted square (m, 4) out of its frame, at a side in pixels -> (m, side, side) uint8.
Cut = Callable[[np.ndarray, int], np.ndarray]

#: How a detector is led through the looks: batches, detector, smallest face in parts of the picture's width -> each
#: batch with its detections.
DetectionStrategy = Callable[[Iterable[FrameBatch], FaceDetector, float], Generator[tuple[FrameBatch, Detections]]]


def detect_all(
    frames: Iterable[FrameBatch], detector: FaceDetector, min_face: float
) -> Generator[tuple[FrameBatch, Detections]]:
    """Search every look in full -> each batch with its detections; `adaptive.between_keys` does with less."""
    for batch in frames:
        with stage("detect"):
            found = detector.detect(batch.image, min_face * batch.image.shape[2])
        yield batch, found


def detect(
    frames: Iterable[FrameBatch],
    detector: FaceDetector,
    video: VideoInfo,
    *,
    alignment: FaceAlignment,
    crop_px: int,
    min_face_px: float,
    find: DetectionStrategy = detect_all,
    recognition: RecognitionCrops | None = None,
    rough: bool = False,
) -> Iterator[FaceBatch]:
    """Detect in the small pictures, crop from the full luma planes; boxes come out in displayed pixels of the video.

    min_face_px counts in the video's displayed pixels; `find` says in which looks the detector searches;
    `recognition` asks for a second crop of each face, for persons.py; `rough` crops are quicker (see crop_face).
    """
    for batch, found in find(frames, detector, min_face_px / video.width_px):
        cut = partial(_cut_out, batch, found.frame, video, rough=rough)
        yield to_face_batch(batch, found, video, cut, alignment=alignment, crop_px=crop_px, recognition=recognition)


def _cut_out(
    batch: FrameBatch,
    frame: np.ndarray,
    video: VideoInfo,
    square: np.ndarray,
    side_px: int,
    *,
    rough: bool,
) -> np.ndarray:
    crop = np.zeros((len(frame), side_px, side_px), np.uint8)
    for i, look in enumerate(frame):
        luma = batch.luma[look]
        stored = luma.shape[1] / video.width_px, luma.shape[0] / video.height_px
        crop[i] = crop_face(luma, square[i], side_px, stored, limited=batch.limited[look], rough=rough)
    return crop


def to_face_batch(
    batch: Searched,
    found: Detections,
    video: VideoInfo,
    cut: Cut,
    *,
    alignment: FaceAlignment,
    crop_px: int,
    recognition: RecognitionCrops | None = None,
) -> FaceBatch:
    """Bring detections to displayed pixels of the video and have their faces cut out; the options are detect's."""
    height, width = batch.image.shape[1:3]
    scale = np.array([video.width_px / width, video.height_px / height], np.float32)
    box, landmarks = found.box_px * np.tile(scale, 2), found.landmarks_px * scale
    with stage("crop"):
        crop = cut(alignment.squares(box, landmarks), crop_px)
        recognition_crop = np.zeros((len(found), 0, 0), np.uint8)
        if recognition:
            recognition_crop = cut(recognition.squares(box, landmarks), recognition.recognition_px)
    with stage("shots"):
        thumb = batch.thumb
    return FaceBatch(
        sampled_s=batch.pts_s,
        duration_s=batch.duration_s,
        thumb=thumb,
        pts_s=batch.pts_s[found.frame],
        box_px=box,
        score=found.score,
        landmarks_px=landmarks,
        quality=quality(box, found.score, landmarks, crop),
        crop=crop,
        recognition_crop=recognition_crop,
        prob=np.zeros((len(found), 0), np.float32),
    )
