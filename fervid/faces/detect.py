"""Detect the faces of sampled frames and cut them out. Full frames end here: only crops and thumbnails travel on."""

from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from itertools import groupby
from typing import Any, Protocol

import numpy as np

from fervid.faces import appearance
from fervid.faces.crop import FaceAlignment, add_colour, colour_px, crop_face
from fervid.faces.detector import Detections, FaceDetector
from fervid.faces.quality import quality
from fervid.runtime.profiling import stage
from fervid.types import FaceBatch, FrameBatch

__all__ = [
    "DetectionStrategy",
    "MinFace",
    "RecognitionCrops",
    "SampledFrames",
    "detect",
    "detect_all",
    "to_face_batch",
]


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
    size_px : tuple of int
        Width and height at which all of them are displayed.
    """

    @property
    def pts_s(self) -> np.ndarray: ...

    @property
    def duration_s(self) -> np.ndarray: ...

    @property
    def image(self) -> Any: ...

    @property
    def thumb(self) -> np.ndarray: ...

    @property
    def size_px(self) -> tuple[int, int]: ...


class Cut(Protocol):
    """Cuts each face out of its frame."""

    def __call__(self, place: np.ndarray, side_px: int, channels: int, *, detail: bool = True) -> np.ndarray:
        """Cut out crops.

        Parameters
        ----------
        place : ndarray, shape (m, 2, 3)
            As `crop_face` takes them.
        side_px : int
        channels : int
        detail : bool
            Whether luma is that of the full plane; else three channels are cut out of the small image.

        Returns
        -------
        ndarray, shape (m, side_px, side_px, channels), uint8
        """


Searched = Generator[tuple[FrameBatch, Detections]]

#: Decides which sampled frames a detector searches: batches of one displayed size, detector, size of the smallest face
#: relative to the width of the image -> each batch with its detections.
DetectionStrategy = Callable[[Iterable[FrameBatch], FaceDetector, float], Searched]

#: Size of the smallest face, relative to the width of the frame, for the displayed size of the frame.
MinFace = Callable[[tuple[int, int]], float]


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
    *,
    alignment: FaceAlignment,
    crop_px: int,
    channels: int = 1,
    min_face: MinFace,
    strategy: DetectionStrategy = detect_all,
    recognition: RecognitionCrops | None = None,
    rough: bool = False,
    ahead: Callable[[Searched], Searched] = lambda searched: searched,
) -> Iterator[FaceBatch]:
    """Detect faces in the small images and cut them out of the full luma planes, to which the images give colours.

    Parameters
    ----------
    frames : Iterable[FrameBatch]
    detector : FaceDetector
    alignment : FaceAlignment
        Where the crops lie on the faces.
    crop_px : int
        Side of the crops.
    channels : int
        Of the crops: 1, grey, or 3, RGB.
    min_face : callable
        Size of the smallest face, relative to the width of the frame, for the displayed size of the frame.
    strategy : DetectionStrategy
        Which sampled frames the detector searches; it starts again wherever the displayed size changes.
    recognition : RecognitionCrops, optional
        Cut out a second crop of each face.
    rough : bool
        Whether crops are made three times as fast and slightly different (see `crop_face`).
    ahead : callable
        Lets the search run ahead of the crops, on a thread of its own.

    Yields
    ------
    FaceBatch
        One per batch of frames; boxes in displayed pixels of each frame.
    """
    crops: dict[str, Any] = {"alignment": alignment, "crop_px": crop_px, "channels": channels}
    for batch, found in ahead(_search(frames, detector, min_face, strategy)):
        cut = partial(_cut_out, batch, found.frame, rough=rough)
        yield to_face_batch(batch, found, cut, **crops, recognition=recognition)


def _search(
    frames: Iterable[FrameBatch], detector: FaceDetector, min_face: MinFace, strategy: DetectionStrategy
) -> Searched:
    for size_px, run in groupby(frames, lambda batch: batch.size_px):
        yield from strategy(run, detector, min_face(size_px))


def _cut_out(
    batch: FrameBatch,
    frame: np.ndarray,
    place: np.ndarray,
    side_px: int,
    channels: int,
    *,
    rough: bool,
    detail: bool = True,
) -> np.ndarray:
    crop = np.zeros((len(frame), side_px, side_px, channels), np.uint8)
    for i, index in enumerate(frame):
        luma, image, size_px = batch.luma[index], batch.image[index], batch.size_px
        if not detail:
            crop[i] = crop_face(image, place[i], side_px, _scale(image, size_px))
            continue
        grey: dict[str, Any] = {"limited": batch.limited[index], "rough": rough}
        if channels == 1:
            crop[i, ..., 0] = crop_face(luma, place[i], side_px, _scale(luma, size_px), **grey)
        elif image.shape[:2] == luma.shape:
            crop[i] = crop_face(image, place[i], side_px, _scale(image, size_px), rough=rough)
        else:
            small = crop_face(image, place[i], colour_px(side_px), _scale(image, size_px), rough=rough)
            crop[i] = add_colour(crop_face(luma, place[i], side_px, _scale(luma, size_px), **grey), small)
    return crop


def _scale(image: np.ndarray, size_px: tuple[int, int]) -> tuple[float, float]:
    return image.shape[1] / size_px[0], image.shape[0] / size_px[1]


def to_face_batch(
    batch: SampledFrames,
    found: Detections,
    cut: Cut,
    *,
    alignment: FaceAlignment,
    crop_px: int,
    channels: int = 1,
    recognition: RecognitionCrops | None = None,
) -> FaceBatch:
    """Scale detections to displayed pixels of their frames and cut out their faces.

    Parameters
    ----------
    batch : SampledFrames
    found : Detections
        In pixels of `batch.image`.
    cut : callable
        Cuts one place per detection out of the frames.
    alignment, crop_px, channels, recognition
        As for `detect`.

    Returns
    -------
    FaceBatch
    """
    height, width = batch.image.shape[1:3]
    scale = np.array([batch.size_px[0] / width, batch.size_px[1] / height], np.float32)
    box, landmarks = found.box_px * np.tile(scale, 2), found.landmarks_px * scale
    with stage("crop"):
        crop = cut(alignment.places(box, landmarks), crop_px, channels)
        recognition_crop = np.zeros((len(found), 0, 0), np.uint8)
        if recognition:
            recognition_crop = cut(recognition.places(box, landmarks), recognition.recognition_px, 1)[..., 0]
        seen = cut(appearance.places(box), appearance.APPEARANCE_PX, 3, detail=False)
    with stage("shots"):
        thumb = batch.thumb
    return FaceBatch(
        sampled_s=batch.pts_s,
        duration_s=batch.duration_s,
        thumb=thumb,
        pts_s=batch.pts_s[found.frame],
        frame_px=np.tile(np.array(batch.size_px, np.int32), (len(found), 1)),
        box_px=box,
        score=found.score,
        landmarks_px=landmarks,
        quality=quality(box, found.score, landmarks, crop),
        crop=crop,
        appearance=seen,
        recognition_crop=recognition_crop,
        prob=np.zeros((len(found), 0), np.float32),
    )
