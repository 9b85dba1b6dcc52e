"""The data that travels through the pipeline: frozen dataclasses of NumPy arrays, checked on construction.

n sampled frames, m faces, K emotions. Names carry their units: `_s` seconds since the first frame of the video, `_px`
pixels of the displayed (rotated, square-pixel) frame. Boxes are x0, y0, x1, y1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

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
    """What a video file declares.

    Parameters
    ----------
    path : Path
    container, codec : str
        As FFmpeg calls them.
    width_px, height_px : int
        Size of the first frame as it is displayed; it may change at any frame.
    rotation_deg : int
        How far the first stored frame is rotated counterclockwise for display: 0, 90, 180 or 270.
    frame_rate : Fraction, optional
        Frames per second.
    duration_s : float, optional
    start_s : float
        Timestamp of the first frame in the file.
    stream : int
        Index of the video stream.
    origin_s : float
        Time of the first frame on the file's clock, which players show (clock.FileClock).
    mirrored : bool
        Whether the first stored frame is mirrored left to right before that rotation.
    odd_matrix : bool
        Whether the file's display matrix is neither a rotation by quarter turns nor a mirroring; the nearest is used.
    hdr : str
        "pq" or "hlg" if the first frame has a high dynamic range, which is shown as on an ordinary screen; else "".
    """

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
    origin_s: float = 0.0
    mirrored: bool = False
    odd_matrix: bool = False
    hdr: str = ""


F = TypeVar("F", bound="_Faces")


class _Array(NamedTuple):
    """What the array of a field has to be: its dtype, and its shape, in which None is any length."""

    dtype: type[np.generic]
    shape: tuple[int | None, ...]
    per_frame: bool = False


@cache
def _arrays(kind: type) -> dict[str, _Array]:
    """The arrays of a batch, by the names of their fields."""
    specs = {f.name: getattr(f.type, "__metadata__", (None,))[0] for f in fields(kind)}
    return {name: spec for name, spec in specs.items() if isinstance(spec, _Array)}


class _Batch:
    """What all batches share: checks, a length, selection, and a `repr` that prints shapes instead of pixels."""

    def __post_init__(self) -> None:
        """Check dtype and shape of each array, and that the arrays per frame, and those per face, have one length."""
        lengths: dict[bool, set[int]] = {True: set(), False: set()}
        for name, (dtype, shape, per_frame) in _arrays(type(self)).items():  # type: ignore[arg-type]
            array = getattr(self, name)
            fits = array.ndim == len(shape) and all(w is None or w == h for w, h in zip(shape, array.shape))
            if not fits or array.dtype != dtype:
                raise ValueError(
                    f"{type(self).__name__}.{name}: expected {dtype.__name__} {shape}, "
                    f"found {array.dtype} {array.shape}"
                )
            lengths[per_frame].add(array.shape[0])
        for found in lengths.values():
            if len(found) > 1:
                raise ValueError(f"{type(self).__name__}: arrays of different lengths {sorted(found)}")

    def __len__(self) -> int:
        return len(self.pts_s)  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        arrays = {name: getattr(self, name) for name in _arrays(type(self))}  # type: ignore[arg-type]
        shown = (f"{name}={a.dtype}{list(a.shape)}" for name, a in arrays.items() if 0 not in a.shape[1:])
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, repr=False)
class FrameBatch(_Batch):
    """n sampled frames.

    Parameters
    ----------
    pts_s : np.ndarray
        Timestamps, (n,) float64.
    duration_s : np.ndarray
        How long each frame can stand for, (n,) float64.
    image : np.ndarray
        (n, h, w, 3) uint8 RGB, scaled down for detection.
    luma : tuple of np.ndarray
        n arrays (H, W) uint8, at full size and displayed upright, 0 black to 255 white.
    limited : tuple of bool
        Whether each luma plane is 16 black to 235 white instead; a crop of it has to be stretched.
    size_px : tuple of int
        Width and height at which all of them are displayed; by default those of the first luma plane.
    """

    pts_s: Annotated[np.ndarray, _Array(np.float64, (None,))]
    duration_s: Annotated[np.ndarray, _Array(np.float64, (None,))]
    image: Annotated[np.ndarray, _Array(np.uint8, (None, None, None, 3))]
    luma: tuple[np.ndarray, ...]
    limited: tuple[bool, ...] = ()
    size_px: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.luma) != len(self.pts_s):
            raise ValueError(f"FrameBatch: {len(self.luma)} luma planes for {len(self.pts_s)} frames")
        if not self.limited:
            object.__setattr__(self, "limited", (False,) * len(self.luma))
        if self.size_px == (0, 0) and self.luma:
            object.__setattr__(self, "size_px", self.luma[0].shape[::-1])

    @cached_property
    def thumb(self) -> np.ndarray:
        """Thumbnails (n, 18, 32, 3) uint8, computed on first access."""
        return thumbnails(self.image)


@dataclass(frozen=True, repr=False)
class _Faces(_Batch):
    """m faces in n sampled frames, in the order of time: the fields of all batches of faces.

    Parameters
    ----------
    sampled_s : np.ndarray
        Timestamp of every sampled frame, with or without a face, (n,) float64.
    duration_s : np.ndarray
        How long each frame can stand for, (n,) float64.
    pts_s : np.ndarray
        Timestamp of each face, (m,) float64.
    frame_px : np.ndarray
        Displayed width and height of the frame of each face, (m, 2) int32: they may change within a video.
    box_px : np.ndarray
        In displayed pixels of its frame, (m, 4) float32.
    score : np.ndarray
        Of the detector, (m,) float32, 0 to 1.
    landmarks_px : np.ndarray
        (m, 5, 2) float32: left eye, right eye, nose, left and right corner of the mouth, as seen in the frame.
    quality : np.ndarray
        How far a reading of the face can be trusted, (m,) float32, 0 to 1 (faces/quality.py).
    """

    sampled_s: Annotated[np.ndarray, _Array(np.float64, (None,), per_frame=True)]
    duration_s: Annotated[np.ndarray, _Array(np.float64, (None,), per_frame=True)]
    pts_s: Annotated[np.ndarray, _Array(np.float64, (None,))]
    frame_px: Annotated[np.ndarray, _Array(np.int32, (None, 2))]
    box_px: Annotated[np.ndarray, _Array(np.float32, (None, 4))]
    score: Annotated[np.ndarray, _Array(np.float32, (None,))]
    landmarks_px: Annotated[np.ndarray, _Array(np.float32, (None, 5, 2))]
    quality: Annotated[np.ndarray, _Array(np.float32, (None,))]

    def take(self: F, kept: np.ndarray) -> F:
        """Keep the faces where the mask (m,) is true, and all sampled frames: one without a face is a fact too.

        Parameters
        ----------
        kept : np.ndarray
            (m,) bool.

        Returns
        -------
        batch
        """
        return self._select(np.ones(len(self.sampled_s), bool), kept)

    def between(self: F, start_s: float, stop_s: float) -> F:
        """Keep the sampled frames with start_s <= time < stop_s, and the faces in them.

        Parameters
        ----------
        start_s, stop_s : float

        Returns
        -------
        batch
        """
        frames, faces = ((start_s <= at) & (at < stop_s) for at in (self.sampled_s, self.pts_s))
        return self._select(frames, faces)

    def _select(self: F, frames: np.ndarray, faces: np.ndarray) -> F:
        specs = _arrays(type(self))  # type: ignore[arg-type]
        return type(self)(**{k: getattr(self, k)[frames if spec.per_frame else faces] for k, spec in specs.items()})


@dataclass(frozen=True, repr=False)
class _CroppedFaces(_Faces):
    """Faces with what the networks see of them.

    Parameters
    ----------
    crop : np.ndarray
        What the classifier sees, (m, S, S, C) uint8: grey (C = 1) or RGB (C = 3); S = 0 if the faces are classified
        already.
    appearance : np.ndarray
        What the tracker sees, (m, 12, 12, 3) uint8 RGB (faces/appearance.py).
    recognition_crop : np.ndarray
        What the embedder sees, (m, P, P) uint8 grey; P = 0 if persons are not distinguished.
    prob : np.ndarray
        Probabilities, (m, K) float32; K = 0 until the faces are classified.
    """

    crop: Annotated[np.ndarray, _Array(np.uint8, (None, None, None, None))]
    appearance: Annotated[np.ndarray, _Array(np.uint8, (None, 12, 12, 3))]
    recognition_crop: Annotated[np.ndarray, _Array(np.uint8, (None, None, None))]
    prob: Annotated[np.ndarray, _Array(np.float32, (None, None))]


@dataclass(frozen=True, repr=False)
class FaceBatch(_CroppedFaces):
    """The faces found in sampled frames; see the bases for the other fields.

    Parameters
    ----------
    thumb : np.ndarray
        Thumbnails of the frames, (n, 18, 32, 3) uint8 RGB, in which shots are detected.
    """

    thumb: Annotated[np.ndarray, _Array(np.uint8, (None, None, None, 3), per_frame=True)]


@dataclass(frozen=True, repr=False)
class ShotBatch(_CroppedFaces):
    """Faces whose frames are assigned to shots; see the bases for the other fields.

    Parameters
    ----------
    shot : np.ndarray
        Number of the shot of each sampled frame, (n,) int32, from 0.
    """

    shot: Annotated[np.ndarray, _Array(np.int32, (None,), per_frame=True)]


@dataclass(frozen=True, repr=False)
class TrackBatch(ShotBatch):
    """Faces that are linked to tracks; see the bases for the other fields.

    Parameters
    ----------
    track : np.ndarray
        Number of the track of each face, (m,) int32: one person, seen without a break, in one shot.
    """

    track: Annotated[np.ndarray, _Array(np.int32, (None,))]


@dataclass(frozen=True, repr=False)
class EmotionBatch(_Faces):
    """Classified faces; see the base for the other fields.

    Parameters
    ----------
    shot, track : np.ndarray
        As in TrackBatch.
    prob : np.ndarray
        Probabilities, (m, K) float32, in the order of the classifier's labels; rows sum to 1.
    """

    shot: Annotated[np.ndarray, _Array(np.int32, (None,), per_frame=True)]
    track: Annotated[np.ndarray, _Array(np.int32, (None,))]
    prob: Annotated[np.ndarray, _Array(np.float32, (None, None))]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.prob) and not np.allclose(self.prob.sum(1), 1, atol=1e-4):
            raise ValueError("EmotionBatch.prob: rows must sum to 1")


def concatenate(batches: Sequence[F]) -> F:
    """Join batches of one type, in order.

    Parameters
    ----------
    batches : sequence of batches
        At least one.

    Returns
    -------
    batch
    """
    kind = type(batches[0])
    return kind(**{f.name: np.concatenate([getattr(b, f.name) for b in batches]) for f in fields(kind)})


@dataclass(frozen=True)
class Progress:
    """How far the processing of a video is.

    Parameters
    ----------
    done_s : float
        In seconds of the video.
    end_s : float, optional
        Where it ends; None if the file does not declare its length.
    faces : int
        Number of faces found so far.
    """

    done_s: float
    end_s: float | None
    faces: int


#: Rows and columns of a thumbnail.
THUMB = (18, 32)


def thumbnails(image: np.ndarray) -> np.ndarray:
    """Scale images down to thumbnails, each of whose pixels is the mean of 3 x 3 pixels spread over its area.

    Parameters
    ----------
    image : np.ndarray
        (n, h, w, 3) uint8.

    Returns
    -------
    np.ndarray
        (n, 18, 32, 3) uint8.
    """
    n, height, width, _ = image.shape
    spread = image.reshape(n, height * width, 3).take(samples(height, width), 1)
    total = spread.sum(1, dtype=np.uint16) + np.uint16(4)
    return (total // np.uint16(9)).astype(np.uint8).reshape(n, *THUMB, 3)


@cache
def samples(height: int, width: int) -> np.ndarray:
    """Choose the pixels that make each pixel of a thumbnail.

    Parameters
    ----------
    height, width : int
        Size of the image.

    Returns
    -------
    np.ndarray
        (9, 18 * 32), indices of pixels, counted row by row.
    """
    down, across = (
        ((np.arange(3 * cells) + 0.5) / (3 * cells) * side).astype(int).reshape(cells, 3)
        for side, cells in zip((height, width), THUMB)
    )
    return (width * down.T[:, None, :, None] + across.T[None, :, None, :]).reshape(9, -1)


#: Columns of equal length by name; NaN, -1 (track) or "" (dominant) without a face; shot is -1 without a sampled frame.
Rows = dict[str, np.ndarray]
