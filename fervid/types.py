"""The types that travel the line: frozen structs of NumPy arrays, checked on construction.

n frames, m faces, K emotions. Units stand in the names: `_s` seconds since the first frame of the video, `_px` pixels
of the displayed (rotated, square-pixel) frame; boxes are x0, y0, x1, y1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cache, cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

__all__ = [
    "THUMB",
    "EmotionBatch",
    "FaceBatch",
    "FrameBatch",
    "Progress",
    "Rows",
    "ShotBatch",
    "TrackBatch",
    "VideoInfo",
    "concatenate",
    "samples",
    "thumbnails",
]


@dataclass(frozen=True)
class VideoInfo:
    """What a video file declares. `width_px` and `height_px` are those of the displayed frame."""

    path: Path
    container: str
    codec: str
    width_px: int
    height_px: int
    rotation_deg: int
    frame_rate: Fraction | None
    duration_s: float | None
    start_s: float
    stream: int


def _check(owner: object, **shapes: tuple[type[np.generic], tuple[int | None, ...]]) -> None:
    """Hold every named array to its dtype and shape; the first axis must be equal in all of them."""
    lengths = set()
    for name, (dtype, shape) in shapes.items():
        array = getattr(owner, name)
        fits = array.ndim == len(shape) and all(w is None or w == h for w, h in zip(shape, array.shape))
        if not fits or array.dtype != dtype:
            raise ValueError(
                f"{type(owner).__name__}.{name}: expected {dtype.__name__} {shape}, found {array.dtype} {array.shape}"
            )
        lengths.add(array.shape[0])
    if len(lengths) > 1:
        raise ValueError(f"{type(owner).__name__}: arrays of different lengths {sorted(lengths)}")


B = TypeVar("B", bound="_Batch")
#: What a batch has for each look; all else it has for each face.
_OF_LOOKS = ("sampled_s", "duration_s", "thumb", "shot")


class _Batch:
    """Shared by the batches: a length, and a `repr` that prints shapes rather than pixels."""

    def __len__(self) -> int:
        return len(self.pts_s)  # type: ignore[attr-defined]

    def take(self: B, kept: np.ndarray) -> B:
        """Keep the faces where the mask (m,) is true; the looks stay, for a look without a face is a fact too."""
        columns = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return type(self)(**{k: v if k in _OF_LOOKS else v[kept] for k, v in columns.items()})

    def between(self: B, start_s: float, stop_s: float) -> B:
        """Keep the looks with start_s <= time < stop_s, and the faces in them."""
        columns = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        times = columns["sampled_s"], columns["pts_s"]
        looks, faces = ((start_s <= at) & (at < stop_s) for at in times)
        return type(self)(**{k: v[looks if k in _OF_LOOKS else faces] for k, v in columns.items()})

    def __repr__(self) -> str:
        shown = (f"{f.name}={_shape(getattr(self, f.name))}" for f in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(shown)})"


def _shape(value: object) -> str:
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else f"{len(value)} arrays"  # type: ignore[arg-type]


@dataclass(frozen=True, repr=False)
class FrameBatch(_Batch):
    """n frames that were chosen to be looked at.

    pts_s (n,) float64; duration_s (n,) float64, how long each look can stand for; image (n, h, w, 3) uint8 RGB,
    small, for detection, and thumb (n, 18, 32, 3) uint8, much smaller, for shots; luma, n arrays (H, W) uint8, full
    size and displayed upright, 0 black to 255 white; where limited (n) is true, 16 black to 235 white: whoever cuts a
    part out stretches that part.
    """

    pts_s: np.ndarray
    duration_s: np.ndarray
    image: np.ndarray
    luma: tuple[np.ndarray, ...]
    limited: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        _check(
            self,
            pts_s=(np.float64, (None,)),
            duration_s=(np.float64, (None,)),
            image=(np.uint8, (None, None, None, 3)),
        )
        if len(self.luma) != len(self.pts_s):
            raise ValueError(f"FrameBatch: {len(self.luma)} luma planes for {len(self.pts_s)} frames")
        if not self.limited:
            object.__setattr__(self, "limited", (False,) * len(self.luma))

    @cached_property
    def thumb(self) -> np.ndarray:
        """Made when it is first asked for; adaptive.py and shots.py see the same one."""
        return thumbnails(self.image)


@dataclass(frozen=True, repr=False)
class FaceBatch(_Batch):
    """m faces found in n looks, in the order of time.

    look_s (n,) float64, every time that was looked at, with or without a face; duration_s (n,) as in FrameBatch;
    thumb (n, 18, 32, 3) uint8 RGB, what is left of each picture, to find cuts in (shots.py);
    pts_s (m,) float64; box_px (m, 4) float32; score (m,) float32 in 0..1; landmarks_px (m, 5, 2) float32: left eye,
    right eye, nose, left and right corner of the mouth, as seen in the picture; quality (m,) float32, 0..1, how far a
    reading of the face can be trusted (quality.py); crop (m, S, S) uint8 grey; recognition_crop (m, P, P) uint8 grey,
    larger, to tell people apart by (persons.py), P = 0 unless requested.
    """

    sampled_s: np.ndarray
    duration_s: np.ndarray
    thumb: np.ndarray
    pts_s: np.ndarray
    box_px: np.ndarray
    score: np.ndarray
    landmarks_px: np.ndarray
    quality: np.ndarray
    crop: np.ndarray
    recognition_crop: np.ndarray

    def __post_init__(self) -> None:
        _check(self, **_LOOK, thumb=(np.uint8, (None, None, None, 3)))
        _check(self, pts_s=(np.float64, (None,)), **_PICTURES, **_FACE)


_LOOK: dict[str, tuple[type[np.generic], tuple[int | None, ...]]] = {
    "sampled_s": (np.float64, (None,)),
    "duration_s": (np.float64, (None,)),
}
_PICTURES: dict[str, tuple[type[np.generic], tuple[int | None, ...]]] = {
    "crop": (np.uint8, (None, None, None)),
    "recognition_crop": (np.uint8, (None, None, None)),
}
_FACE: dict[str, tuple[type[np.generic], tuple[int | None, ...]]] = {
    "box_px": (np.float32, (None, 4)),
    "score": (np.float32, (None,)),
    "landmarks_px": (np.float32, (None, 5, 2)),
    "quality": (np.float32, (None,)),
}


@dataclass(frozen=True, repr=False)
class ShotBatch(_Batch):
    """FaceBatch with shot (n,) int32 in place of the thumbnails: the number of the shot of each look, from 0."""

    sampled_s: np.ndarray
    duration_s: np.ndarray
    shot: np.ndarray
    pts_s: np.ndarray
    box_px: np.ndarray
    score: np.ndarray
    landmarks_px: np.ndarray
    quality: np.ndarray
    crop: np.ndarray
    recognition_crop: np.ndarray

    def __post_init__(self) -> None:
        _check(self, **_LOOK, shot=(np.int32, (None,)))
        _check(self, pts_s=(np.float64, (None,)), **_PICTURES, **_FACE)


@dataclass(frozen=True, repr=False)
class TrackBatch(ShotBatch):
    """ShotBatch with track (m,) int32: faces with one number are one person, seen without a break, in one shot."""

    track: np.ndarray

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, pts_s=(np.float64, (None,)), track=(np.int32, (None,)))


@dataclass(frozen=True, repr=False)
class EmotionBatch(_Batch):
    """TrackBatch with prob (m, K) float32 in place of the crops: rows sum to 1, columns are the classifier's."""

    sampled_s: np.ndarray
    duration_s: np.ndarray
    shot: np.ndarray
    pts_s: np.ndarray
    box_px: np.ndarray
    score: np.ndarray
    landmarks_px: np.ndarray
    quality: np.ndarray
    track: np.ndarray
    prob: np.ndarray

    def __post_init__(self) -> None:
        _check(self, **_LOOK, shot=(np.int32, (None,)))
        _check(self, pts_s=(np.float64, (None,)), track=(np.int32, (None,)), **_FACE)
        _check(self, prob=(np.float32, (None, None)))
        if len(self.prob) and not np.allclose(self.prob.sum(1), 1, atol=1e-4):
            raise ValueError("EmotionBatch.prob: rows must sum to 1")


def concatenate(batches: Sequence[B]) -> B:
    """Join batches of one type, in order."""
    kind = type(batches[0])
    names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: np.concatenate([getattr(b, name) for b in batches]) for name in names})


@dataclass(frozen=True)
class Progress:
    """How far the line is, in seconds of the video; end_s is None where the file does not declare its length."""

    done_s: float
    end_s: float | None
    faces: int


#: Rows and columns of a thumbnail.
THUMB = (18, 32)


def thumbnails(picture: np.ndarray) -> np.ndarray:
    """Pictures (n, h, w, 3) -> 18 x 32 fields (n, 18, 32, 3) uint8, each the mean of 3 x 3 pixels spread over it."""
    n, height, width, _ = picture.shape
    spread = picture.reshape(n, height * width, 3).take(samples(height, width), 1)
    total = spread.sum(1, dtype=np.uint16) + np.uint16(4)
    return (total // np.uint16(9)).astype(np.uint8).reshape(n, *THUMB, 3)


@cache
def samples(height: int, width: int) -> np.ndarray:
    """Which pixels make a field, (9, 18 * 32): numbers of pixels, row by row."""
    down, across = (
        ((np.arange(3 * fields) + 0.5) / (3 * fields) * side).astype(int).reshape(fields, 3)
        for side, fields in zip((height, width), THUMB)
    )
    return (width * down.T[:, None, :, None] + across.T[None, :, None, :]).reshape(9, -1)


#: Columns of equal length by name; NaN, -1 (track) or "" (dominant) without a face; shot is -1 without a look.
Rows = dict[str, np.ndarray]
