"""Detect the faces of sampled frames and cut them out. Full frames end here: only crops and thumbnails travel on."""

from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from typing import Any, Protocol

import numpy as np

from fervid.faces.crop import FaceAlignment, add_detail, crop_face
from fervid.faces.detector import Detections, FaceDetector
from fervid.faces.quality import quality
from fervid.runtime.profiling import stage
from fervid.types import FaceBatch, FrameBatch, VideoInfo

__all__ = ["DetectionStrategy", "RecognitionCrops", "SampledFrames", "detect", "detect_all", "to_face_batch"]


class RecognitionCrops(Protocol):
    """Describes the second crop of each face, from which people are recognized (see `tracks.persons.Embedder`).

    Attributes
    ----------
    recognition_px : int
        Side of the crop.
    """

    recognition_px: int

    def places(self, box_px: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
        """Place the crops.

        Parameters
        ----------
        box_px : ndarray, shape (m, 4), float32
        landmarks_px : ndarray, shape (m, 5, 2), float32

        Returns
        -------
        ndarray, shape (m, 2, 3)
            As `crop_face` takes them.
        """


class SampledFrames(Protocol):
    """The part of a FrameBatch that `to_face_batch` needs, with the pixels on any device.

    Attributes
    ----------
    pts_s, duration_s : ndarray, shape (n,), float64
    image : array, shape (n, h, w, 3), uint8
    thumb : ndarray, shape (n, 18, 32, 3), uint8
    """

    @property
    def pts_s(self) -> np.ndarray: ...

    @property
    def duration_s(self) -> np.ndarray: ...

    @property
    def image(self) -> Any: ...

    @property
    def thumb(self) -> np.ndarray: ...


#: Cuts each face out of its frame: places (m, 2, 3), side in pixels, channels C -> (m, side, side, C) uint8.
Cut = Callable[[np.ndarray, int, int], np.ndarray]

#: Decides which sampled frames a detector searches: batches, detector, size of the smallest face relative to the width
#: of the image -> each batch with its detections.
DetectionStrategy = Callable[[Iterable[FrameBatch], FaceDetector, float], Generator[tuple[FrameBatch, Detections]]]


def detect_all(
    frames: Iterable[FrameBatch], detector: FaceDetector, min_face: float
) -> Generator[tuple[FrameBatch, Detections]]:
    """Search every sampled frame in full: the strategy "every". `keyframes.detect_keyframes` searches fewer.

    Parameters
    ----------
    frames : Iterable[FrameBatch]
    detector : FaceDetector
    min_face : float
        Size of the smallest face, relative to the width of the image.

    Yields
    ------
    FrameBatch
        The batches, in order.
    Detections
        The faces of the batch.
    """
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
    channels: int = 1,
    min_face_px: float,
    strategy: DetectionStrategy = detect_all,
    recognition: RecognitionCrops | None = None,
    rough: bool = False,
) -> Iterator[FaceBatch]:
    """Detect faces in the small images and cut them out of the full luma planes, to which the images give colours.

    Parameters
    ----------
    frames : Iterable[FrameBatch]
    detector : FaceDetector
    video : VideoInfo
    alignment : FaceAlignment
        Where the crops lie on the faces.
    crop_px : int
        Side of the crops.
    channels : int
        Of the crops: 1, grey, or 3, RGB.
    min_face_px : float
        Size of the smallest face, in displayed pixels of the video.
    strategy : DetectionStrategy
        Which sampled frames the detector searches.
    recognition : RecognitionCrops, optional
        Cut out a second crop of each face.
    rough : bool
        Whether crops are made three times as fast and slightly different (see `crop_face`).

    Yields
    ------
    FaceBatch
        One per batch of frames; boxes in displayed pixels of the video.
    """
    for batch, found in strategy(frames, detector, min_face_px / video.width_px):
        cut = partial(_cut_out, batch, found.frame, video, rough=rough)
        crops: dict[str, Any] = {"alignment": alignment, "crop_px": crop_px, "channels": channels}
        yield to_face_batch(batch, found, video, cut, **crops, recognition=recognition)


def _cut_out(
    batch: FrameBatch,
    frame: np.ndarray,
    video: VideoInfo,
    place: np.ndarray,
    side_px: int,
    channels: int,
    *,
    rough: bool,
) -> np.ndarray:
    crop = np.zeros((len(frame), side_px, side_px, channels), np.uint8)
    for i, index in enumerate(frame):
        luma, image = batch.luma[index], batch.image[index]
        grey = crop_face(luma, place[i], side_px, _scale(luma, video), limited=batch.limited[index], rough=rough)
        if channels == 1:
            crop[i, ..., 0] = grey
        else:
            crop[i] = add_detail(crop_face(image, place[i], side_px, _scale(image, video)), grey)
    return crop


def _scale(image: np.ndarray, video: VideoInfo) -> tuple[float, float]:
    return image.shape[1] / video.width_px, image.shape[0] / video.height_px


def to_face_batch(
    batch: SampledFrames,
    found: Detections,
    video: VideoInfo,
    cut: Cut,
    *,
    alignment: FaceAlignment,
    crop_px: int,
    channels: int = 1,
    recognition: RecognitionCrops | None = None,
) -> FaceBatch:
    """Scale detections to displayed pixels of the video and cut out their faces.

    Parameters
    ----------
    batch : SampledFrames
    found : Detections
        In pixels of `batch.image`.
    video : VideoInfo
    cut : callable
        Cuts one place per detection out of the frames.
    alignment, crop_px, channels, recognition
        As for `detect`.

    Returns
    -------
    FaceBatch
    """
    height, width = batch.image.shape[1:3]
    scale = np.array([video.width_px / width, video.height_px / height], np.float32)
    box, landmarks = found.box_px * np.tile(scale, 2), found.landmarks_px * scale
    with stage("crop"):
        crop = cut(alignment.places(box, landmarks), crop_px, channels)
        recognition_crop = np.zeros((len(found), 0, 0), np.uint8)
        if recognition:
            recognition_crop = cut(recognition.places(box, landmarks), recognition.recognition_px, 1)[..., 0]
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
