"""Notice a video on its side: faces are found where frames are turned, and few as they are displayed."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np

from fervid.config import Config
from fervid.errors import FervidError
from fervid.faces.detector import Detections, FaceDetector
from fervid.types import VideoInfo
from fervid.video.geometry import ORIENTATIONS, Orientation
from fervid.video.open import read_video
from fervid.video.reader import Reader
from fervid.video.sampling import detection_size

__all__ = ["find_upright", "is_upright", "suggest_rotation"]

#: An upright face: its eyes are level within this angle, and the detector is this certain.
_LEVEL_DEG, _CERTAIN = 35.0, 0.95
#: Frames are turned if that makes at least this many faces upright, and more than twice as many as without.
_LEAST = 3
#: So many frames are searched, with this longer side, for faces of at least 20 pixels of it.
_FRAMES, _SIZE_PX, _MIN_FACE_PX = 6, 320, 20.0
#: Containers in which a seek is fast; in others the frames are those at the start, this far apart.
_SEEKABLE, _APART = {"mov", "matroska"}, 25


def is_upright(score: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
    """Report which faces are certainly upright: on its side, a face is found with a low score or a tilt, or not at all.

    Parameters
    ----------
    score : ndarray, shape (m,)
        Of the detector.
    landmarks_px : ndarray, shape (m, 5, 2)

    Returns
    -------
    ndarray, shape (m,), bool
    """
    across = landmarks_px[:, 1] - landmarks_px[:, 0]
    tilt = np.abs(np.degrees(np.arctan2(across[:, 1], across[:, 0])))
    return (score >= _CERTAIN) & (tilt <= _LEVEL_DEG)


def suggest_rotation(video: VideoInfo, config: Config, detector: FaceDetector, end_s: float) -> str | None:
    """Find the --rotate that makes the faces of a video upright, if they are not.

    Parameters
    ----------
    video : VideoInfo
    config : Config
    detector : FaceDetector
    end_s : float
        Where the video ends, in seconds.

    Returns
    -------
    str or None
        One of config.ROTATIONS; None if the orientation is right or unclear.
    """
    every = replace(config, fps=None, sampling="exact", reader="av")
    images: list[np.ndarray] = []

    def take(reader: Reader, start_s: float, n: int) -> None:
        frames = islice(reader.frames(start_s), 0, n * _APART, _APART)
        images.extend(frame.rgb(*detection_size(frame.size_px, _SIZE_PX)) for frame in frames)

    try:
        if video.container in _SEEKABLE:
            for i in range(_FRAMES):
                read_video(video.path, every, partial(take, start_s=end_s * (i + 0.5) / _FRAMES, n=1))
        else:
            read_video(video.path, every, partial(take, start_s=0.0, n=_FRAMES))
    except FervidError:
        return None
    same = [image for image in images if image.shape == images[0].shape]
    if not (turns := find_upright(same, detector, _MIN_FACE_PX)):
        return None
    shown = Orientation(video.rotation_deg // 90, video.mirrored)
    return next(name for name, one in ORIENTATIONS.items() if one == replace(shown, turns=(shown.turns + turns) % 4))


def find_upright(images: Sequence[np.ndarray], detector: FaceDetector, min_face_px: float) -> int:
    """Find the quarter turns that make the faces of a video upright.

    Parameters
    ----------
    images : sequence of ndarray, shape (h, w, 3), uint8
        Some frames, all of one size.
    detector : FaceDetector
    min_face_px : float
        In pixels of the images.

    Returns
    -------
    int
        0 to 3, counterclockwise; 0 unless it is clear.
    """
    if not images:
        return 0
    upright = [_upright_faces(images, turns, detector, min_face_px) for turns in range(4)]
    best = int(np.argmax(upright))
    return best if upright[best] >= _LEAST and upright[best] > 2 * upright[0] else 0


def _upright_faces(images: Sequence[np.ndarray], turns: int, detector: FaceDetector, min_face_px: float) -> int:
    turned = np.stack([np.ascontiguousarray(np.rot90(image, turns)) for image in images])
    found: Detections = detector.detect(turned, min_face_px)
    return int(is_upright(found.score, found.landmarks_px).sum())
