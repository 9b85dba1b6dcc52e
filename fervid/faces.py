"""Find the faces in each look and crop them -> FaceBatch. Full frames end here: crops and thumbnails travel on."""

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from fervid.batches import FaceBatch, FrameBatch, VideoInfo
from fervid.quality import quality
from fervid.stopwatch import span
from fervid.video import full_range

__all__ = [
    "NOBODY",
    "Detections",
    "FaceDetector",
    "Finder",
    "Framing",
    "Portraits",
    "crop_face",
    "detect",
    "every_look",
    "gather",
    "upright",
]


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


#: No face at all.
NOBODY = Detections(
    frame=np.zeros(0, np.int64),
    box_px=np.zeros((0, 4), np.float32),
    score=np.zeros(0, np.float32),
    landmarks_px=np.zeros((0, 5, 2), np.float32),
)


class FaceDetector(Protocol):
    """Finds faces in a batch of pictures; another detector is one file in backends/.

    It may have a third method, `near(pictures, frame, box_px) -> Detections`, which searches around boxes only; without
    it adaptive.py asks for whole pictures.
    """

    name: str

    def detect(self, picture: np.ndarray, min_face_px: float) -> Detections:
        """Find the faces of at least min_face_px in pictures (n, h, w, 3) uint8 RGB; n may be 0."""

    def confirm(
        self, pictures: Sequence[np.ndarray], frame: np.ndarray, box_px: np.ndarray
    ) -> tuple[Detections, np.ndarray]:
        """Look only where faces are expected: boxes (m, 4) in pictures[frame] -> what is there, and if it is a face.

        The detections are those of the m boxes, in their order, moved to where the face is; the mask (m,) is bool.
        """


class Portraits(Protocol):
    """How faces are cut out a second time, to tell people apart by: see persons.Embedder."""

    portrait_px: int

    def squares(self, box_px: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
        """Boxes (m, 4) and landmarks (m, 5, 2) -> tilted squares (m, 4), as crop_face takes them."""


class Searched(Protocol):
    """n looks, wherever their pixels lie: times as in FrameBatch, picture (n, h, w, 3), thumb (n, 18, 32, 3)."""

    @property
    def pts_s(self) -> np.ndarray: ...

    @property
    def duration_s(self) -> np.ndarray: ...

    @property
    def picture(self) -> Any: ...

    @property
    def thumb(self) -> np.ndarray: ...


#: How many times its final size a rough crop has, in each direction, when it is resampled.
_GAP = 2.0

#: Cuts each face's tilted square (m, 4) out of its frame, at a side in pixels -> (m, side, side) uint8.
Cut = Callable[[np.ndarray, int], np.ndarray]

#: How a detector is led through the looks: batches, detector, smallest face in parts of the picture's width -> each
#: batch with its detections.
Finder = Callable[[Iterable[FrameBatch], FaceDetector, float], Generator[tuple[FrameBatch, Detections]]]


def every_look(
    frames: Iterable[FrameBatch], detector: FaceDetector, min_face: float
) -> Generator[tuple[FrameBatch, Detections]]:
    """Search every look in full -> each batch with its detections; `adaptive.between_keys` does with less."""
    for batch in frames:
        with span("detect"):
            found = detector.detect(batch.picture, min_face * batch.picture.shape[2])
        yield batch, found


@dataclass(frozen=True)
class Framing:
    """How a crop lies over a face, so that it looks like the pictures that the classifier was trained on.

    `landmarks`: where the five landmarks lie in such a picture, x and y in parts of its side; `box`: how large the
    detector's box is in it (root of width times height, in parts of its side); `zoom`: the part of it that is shown.
    """

    landmarks: tuple[tuple[float, float], ...]
    box: float
    zoom: float

    def squares(self, box_px: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
        """Boxes (m, 4) and landmarks (m, 5, 2) -> tilted squares (m, 4): centre x, centre y, side, angle in radians.

        The turn and the place are those of the similarity that fits the landmarks best (least squares, Umeyama 1991,
        in complex numbers). The side is the geometric mean of what landmarks and box say: the one shrinks when a head
        turns, the other jitters.
        """
        model = np.array(self.landmarks) @ np.array([1, 1j])
        seen = landmarks_px @ np.array([1, 1j])
        middle = seen.mean(1)
        turn = (seen - middle[:, None]) @ np.conj(model - model.mean()) / np.sum(np.abs(model - model.mean()) ** 2)
        centre = middle + turn * (0.5 + 0.5j - model.mean())
        width, height = box_px[:, 2] - box_px[:, 0], box_px[:, 3] - box_px[:, 1]
        by_box = np.sqrt(np.maximum(width * height, 1)) / self.box
        side = self.zoom * np.sqrt(np.maximum(np.abs(turn), 1) * by_box)
        return np.stack([centre.real, centre.imag, side, np.angle(turn)], 1)


def detect(
    frames: Iterable[FrameBatch], detector: FaceDetector, video: VideoInfo, *, framing: Framing, crop_px: int,
    min_face_px: float, find: Finder = every_look, portraits: Portraits | None = None, rough: bool = False,
) -> Iterator[FaceBatch]:  # fmt: skip
    """Detect in the small pictures, crop from the full luma planes; boxes come out in displayed pixels of the video.

    min_face_px counts in the video's displayed pixels; `find` says in which looks the detector searches;
    `portraits` asks for a second crop of each face, for persons.py; `rough` crops are quicker (see crop_face).
    """
    for batch, found in find(frames, detector, min_face_px / video.width_px):
        cut = partial(_cut_out, batch, found.frame, video, rough=rough)
        yield gather(batch, found, video, cut, framing=framing, crop_px=crop_px, portraits=portraits)


def _cut_out(
    batch: FrameBatch, frame: np.ndarray, video: VideoInfo, square: np.ndarray, side_px: int, *, rough: bool,
) -> np.ndarray:  # fmt: skip
    crop = np.zeros((len(frame), side_px, side_px), np.uint8)
    for i, look in enumerate(frame):
        luma = batch.luma[look]
        stored = luma.shape[1] / video.width_px, luma.shape[0] / video.height_px
        crop[i] = crop_face(luma, square[i], side_px, stored, limited=batch.limited[look], rough=rough)
    return crop


def gather(
    batch: Searched, found: Detections, video: VideoInfo, cut: Cut, *, framing: Framing, crop_px: int,
    portraits: Portraits | None = None,
) -> FaceBatch:  # fmt: skip
    """Bring detections to displayed pixels of the video and have their faces cut out; the options are detect's."""
    height, width = batch.picture.shape[1:3]
    scale = np.array([video.width_px / width, video.height_px / height], np.float32)
    box, landmarks = found.box_px * np.tile(scale, 2), found.landmarks_px * scale
    with span("crop"):
        crop = cut(framing.squares(box, landmarks), crop_px)
        portrait = np.zeros((len(found), 0, 0), np.uint8)
        if portraits:
            portrait = cut(portraits.squares(box, landmarks), portraits.portrait_px)
    with span("shots"):
        thumb = batch.thumb
    return FaceBatch(
        look_s=batch.pts_s,
        duration_s=batch.duration_s,
        thumb=thumb,
        pts_s=batch.pts_s[found.frame],
        box_px=box,
        score=found.score,
        landmarks_px=landmarks,
        quality=quality(box, found.score, landmarks, crop),
        crop=crop,
        portrait=portrait,
    )


def upright(box_px: np.ndarray) -> np.ndarray:
    """Squares around boxes, as crop_face takes them, with a tenth of the face's height to spare."""
    low, high = box_px[:, :2].astype(np.float64), box_px[:, 2:].astype(np.float64)
    side = 1.1 * (high - low).max(1, keepdims=True)
    return np.concatenate([(low + high) / 2, side, np.zeros_like(side)], 1)


def crop_face(
    luma: np.ndarray, square: np.ndarray, size_px: int, scale: tuple[float, float] = (1.0, 1.0), *,
    limited: bool = False, rough: bool = False,
) -> np.ndarray:  # fmt: skip
    """Cut a tilted square (Framing.squares) out of luma (H, W) -> (size_px, size_px) uint8, antialiased.

    `scale` is the luma's pixels to a displayed pixel, across and down: they differ for non-square pixels, and the crop
    comes out square all the same. What lies outside the frame repeats its edge. `limited` luma is stretched to 0..255.
    `rough`: a large face is first made smaller by whole numbers, and stretched once it is small: three times as quick.
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
    # first smaller, antialiased, to 1.5 pixels for each of the crop's; then turned
    fewer = np.maximum(side * stretch / (1.5 * size_px), 1)
    small = np.maximum(np.rint(part.size / fewer), 1).astype(int)
    gap = _GAP if rough else None
    part = part.resize((int(small[0]), int(small[1])), Image.Resampling.BILINEAR, reducing_gap=gap)
    if limited and rough:
        part = Image.fromarray(full_range(np.asarray(part)))
    ratio = small / (high - low)
    start = (centre - low - (across + down) / 2) * ratio
    (a, d), (b, e) = across * ratio / size_px, down * ratio / size_px
    turned = part.transform(
        (size_px, size_px), Image.Transform.AFFINE, (a, b, start[0], d, e, start[1]), Image.Resampling.BILINEAR
    )
    return np.asarray(turned)


def _cut(luma: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Columns and rows from low to high (x, y) of luma, its edge repeated where they lie outside."""
    size = np.array(luma.shape[::-1])
    first, last = np.clip(low, 0, size - 1), np.clip(high, 1, size)
    inside = luma[first[1] : last[1], first[0] : last[0]]
    before, after = np.maximum(first - low, 0), np.maximum(high - last, 0)
    if not (before.any() or after.any()):
        return inside
    columns, rows = high - low  # fewer than come out of np.pad where nothing of the square lies inside
    return np.pad(inside, [(before[1], after[1]), (before[0], after[0])], "edge")[:rows, :columns]
