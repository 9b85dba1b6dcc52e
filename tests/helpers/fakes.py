"""Fakes of the models and the reader, which compute plausible results from pixels, and builders of small batches.

A face is a bright square on a dark background; its brightness is its detection score and determines its emotions.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from scipy import ndimage

from fervid.faces.crop import FaceAlignment, square_boxes
from fervid.faces.detector import Detections
from fervid.types import EmotionBatch, FaceBatch, ShotBatch, VideoInfo, concatenate
from fervid.video.reader import Health

T = TypeVar("T")
Box = tuple[float, float, float, float]

LABELS = ("happiness", "anger", "neutral")  # deliberately in another order than EMOTIONS
MARKS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
DARK, DIM = 20, 100
#: A crop shows its square box unchanged.
PLAIN = FaceAlignment(landmarks=tuple(map(tuple, MARKS.tolist())), box=1.0, crop_scale=1.0)
#: The fit "affine" with the medians of RAF-DB's aligned images, of 112 pixels.
_RAFDB = ((29.1, 38.1), (81.5, 37.9), (54.3, 62.2), (31.9, 84.7), (78.6, 84.3))
AFFINE = FaceAlignment(tuple((x / 112, y / 112) for x, y in _RAFDB), box=1.0, crop_scale=1.0, fit="affine")


# -- the models -----------------------------------------------------------------------------------------


class FakeDetector:
    """Detects every bright patch as a face, with the brightness of its centre as score, one image at a time."""

    name = "bright-squares"

    def detect(self, images: np.ndarray, min_face_px: float) -> Detections:
        """Find the patches brighter than DIM of at least min_face_px."""
        found = [(i, *face) for i, one in enumerate(images) for face in _patches(one[..., 1], min_face_px)]
        box = np.array([box for _, box, _ in found], np.float32).reshape(-1, 4)
        return Detections(
            frame=np.array([i for i, _, _ in found], np.int64),
            box_px=box,
            score=np.array([score for *_, score in found], np.float32),
            landmarks_px=box[:, None, :2] + MARKS * (box[:, None, 2:] - box[:, None, :2]),
        )

    def confirm(
        self, images: Sequence[np.ndarray], frame: np.ndarray, box_px: np.ndarray
    ) -> tuple[Detections, np.ndarray]:
        """Find the patch at the centre of each box, of any size."""
        box, score = box_px.copy(), np.zeros(len(frame), np.float32)
        for i, (image, (x, y)) in enumerate(zip((images[k] for k in frame), (box[:, :2] + box[:, 2:]) / 2)):
            for (x0, y0, x1, y1), bright in _patches(image[..., 1], 0):
                if x0 <= x < x1 and y0 <= y < y1:
                    box[i], score[i] = (x0, y0, x1, y1), bright
        landmarks = box[:, None, :2] + MARKS * (box[:, None, 2:] - box[:, None, :2])
        return Detections(frame, box, score, landmarks), score > 0


def _patches(grey: np.ndarray, least_px: float) -> Iterator[tuple[Box, float]]:
    patches, _ = ndimage.label(grey > DIM)
    for rows, columns in ndimage.find_objects(patches):
        if min(rows.stop - rows.start, columns.stop - columns.start) >= least_px:
            middle = grey[(rows.start + rows.stop) // 2, (columns.start + columns.stop) // 2]
            yield (columns.start, rows.start, columns.stop, rows.stop), float(middle) / 255


class FakeEmbedder:
    """Identifies people by the brightness of their crops, 40 levels per person, and counts the crops."""

    name, sha256, recognition_px, threshold = "fake", "0" * 64, 4, 0.3

    def __init__(self) -> None:
        self.seen = 0

    def places(self, box_px: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
        """Return square boxes, not rotated."""
        return square_boxes(box_px)

    def embed(self, recognition_crop: np.ndarray) -> np.ndarray:
        """Return one axis per person."""
        self.seen += len(recognition_crop)
        return np.eye(8, dtype=np.float32)[(recognition_crop.mean((1, 2)) / 40).round().astype(int)]


class FakeClassifier:
    """Predicts 0.5 for neutral; of the rest, the more happiness the brighter the crop, and anger for dark crops."""

    name = "brightness"
    labels = LABELS
    crop_px = 8
    channels = 1
    alignment = PLAIN

    def __init__(self, batch_size: int = 4) -> None:
        self.batch_size = batch_size

    def predict(self, crop: np.ndarray) -> np.ndarray:
        """Classify crops (m, 8, 8, 1) one by one -> (m, 3)."""
        bright = np.array([one.mean() / 510 for one in crop])
        return np.stack([bright, 0.5 - bright, np.full(len(crop), 0.5)], 1).astype(np.float32)


# -- the reader -----------------------------------------------------------------------------------------


@dataclass
class FakeFrame:
    """A frame at a time. Without an image it fails when its pixels are requested."""

    pts_s: float
    duration_s: float = 0.0
    image: np.ndarray | None = None
    displayed_px: tuple[int, int] | None = None

    @property
    def size_px(self) -> tuple[int, int]:
        """Return the displayed size, by default that of the image."""
        return self.displayed_px or ((64, 48) if self.image is None else self.image.shape[::-1])

    def rgb(self, width_px: int, height_px: int) -> np.ndarray:
        """Resize to the nearest pixels, as RGB."""
        luma = self.luma()
        rows = np.arange(height_px) * len(luma) // height_px
        columns = np.arange(width_px) * luma.shape[1] // width_px
        return np.repeat(luma[np.ix_(rows, columns)][:, :, None], 3, 2)

    def luma(self) -> np.ndarray:
        """Return the image."""
        assert self.image is not None, f"the pixels of the frame at {self.pts_s} s were converted unnecessarily"
        return self.image

    def luma_preview(self) -> np.ndarray | None:
        """Return every eighth row."""
        return self.luma()[::8].copy()

    def stored_luma(self) -> tuple[np.ndarray, bool]:
        """Return the image, at full range."""
        return self.luma(), False


@dataclass
class FakeReader:
    """A Reader over frames in a list."""

    info: VideoInfo
    all_frames: Sequence[FakeFrame]
    health: Health = field(default_factory=Health)
    end_s: float | None = None
    closed: bool = False

    def frames(self, start_s: float = 0.0, stop_s: float | None = None) -> Iterator[FakeFrame]:
        """Yield the frames in [start_s, stop_s)."""
        for frame in self.all_frames:
            if start_s <= frame.pts_s and (stop_s is None or frame.pts_s < stop_s):
                self.health.decoded += 1
                self.end_s = frame.pts_s + frame.duration_s
                yield frame

    def close(self) -> None:
        """Record that the reader was closed."""
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def video(width_px: int = 64, height_px: int = 48, **other: Any) -> VideoInfo:
    """Make a VideoInfo of this size."""
    plain = VideoInfo(Path("fake.mp4"), "mp4", "h264", width_px, height_px, 0, None, None, 0.0, 0)
    return replace(plain, **other)


def at_rate(rate: int | Fraction, seconds: float, image: np.ndarray | None = None) -> list[FakeFrame]:
    """Make the frames of a video of constant rate."""
    step = 1 / Fraction(rate)
    return [FakeFrame(float(i * step), float(step), image) for i in range(round(seconds / step))]


def draw_faces(*boxes: Box, size: tuple[int, int] = (64, 48), bright: int = 250) -> np.ndarray:
    """Draw a dark image (h, w) with a bright patch in each box (x0, y0, x1, y1)."""
    image = np.full(size[::-1], DARK, np.uint8)
    for x0, y0, x1, y1 in boxes:
        image[int(y0) : int(y1), int(x0) : int(x1)] = bright
    return image


# -- batches --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Face:
    """One face in one sampled frame."""

    box: Box = (10, 10, 30, 40)
    score: float = 1.0
    track: int = 0
    prob: tuple[float, ...] = (0.5, 0.3, 0.2)
    person: int | None = None
    """Seeds what it looks like to the tracker; None: flat, like nothing."""


@dataclass(frozen=True)
class Seen:
    """One sampled frame and its faces."""

    pts_s: float
    faces: tuple[Face, ...] = ()
    duration_s: float = 0.24
    shot: int = 0
    frame_px: tuple[int, int] = (200, 100)


def face_batch(samples: Sequence[Seen], thumb: np.ndarray | None = None) -> FaceBatch:
    """Make a FaceBatch; the brightness of each crop is the mean of its box's coordinates, so that crops differ.

    Thumbnails (n, 18, 32, 3) are grey by default.
    """
    columns = _columns(samples)
    del columns["shot"]
    grey = np.full((len(samples), 18, 32, 3), 128, np.uint8)
    return FaceBatch(**columns, thumb=grey if thumb is None else thumb)


def shot_batch(samples: Sequence[Seen]) -> ShotBatch:
    """Make a ShotBatch."""
    return ShotBatch(**_columns(samples))


def emotion_batch(samples: Sequence[Seen]) -> EmotionBatch:
    """Make an EmotionBatch."""
    columns = _columns(samples)
    del columns["crop"], columns["appearance"], columns["recognition_crop"], columns["prob"]
    faces = [face for sample in samples for face in sample.faces]
    return EmotionBatch(
        **columns,
        track=np.array([face.track for face in faces], np.int32),
        prob=np.array([face.prob for face in faces], np.float32).reshape(-1, len(LABELS)),
    )


def _columns(samples: Sequence[Seen]) -> dict[str, np.ndarray]:
    pairs = [(sample.pts_s, face) for sample in samples for face in sample.faces]
    box = np.array([face.box for _, face in pairs], np.float32).reshape(-1, 4)
    mean = box.mean(1).astype(int) % 256
    return {
        "sampled_s": np.array([sample.pts_s for sample in samples], np.float64),
        "duration_s": np.array([sample.duration_s for sample in samples], np.float64),
        "frame_px": np.array([one.frame_px for one in samples for _ in one.faces], np.int32).reshape(-1, 2),
        "quality": np.ones(len(pairs), np.float32),
        "shot": np.array([sample.shot for sample in samples], np.int32),
        "pts_s": np.array([pts_s for pts_s, _ in pairs], np.float64),
        "box_px": box,
        "score": np.array([face.score for _, face in pairs], np.float32),
        "landmarks_px": box[:, None, :2] + MARKS * (box[:, None, 2:] - box[:, None, :2]),
        "crop": np.full((len(pairs), 8, 8, 1), mean[:, None, None, None], np.uint8),
        "appearance": np.array([_appearance(face.person) for _, face in pairs], np.uint8).reshape(-1, 12, 12, 3),
        "recognition_crop": np.zeros((len(pairs), 0, 0), np.uint8),
        "prob": np.zeros((len(pairs), 0), np.float32),
    }


def _appearance(person: int | None) -> np.ndarray:
    if person is None:
        return np.full((12, 12, 3), 128, np.uint8)
    return np.random.default_rng(person).integers(0, 255, (12, 12, 3), np.uint8)


def split(items: Sequence[T], cuts: Sequence[int]) -> list[Sequence[T]]:
    """Split a sequence at these positions, taken modulo its length, into parts that are not empty."""
    positions = sorted({0, len(items)} | {cut % len(items) for cut in cuts})
    return [items[i:j] for i, j in pairwise(positions)]


def same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Return whether two lists of batches hold the same values, bit for bit, regardless of their division."""
    left, right = vars(concatenate(list(one))), vars(concatenate(list(other)))
    return all(np.array_equal(left[name], right[name]) for name in left)


def counted(items: Iterable[T], taken: list[T]) -> Iterator[T]:
    """Yield the items, and record each one that is consumed."""
    for item in items:
        taken.append(item)
        yield item
