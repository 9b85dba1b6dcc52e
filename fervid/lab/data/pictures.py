"""Still pictures for the lab: find them, read them safely, and cut the main face out as the line would."""

import io
import stat
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from fervid.config import MAX_PIXELS, Config
from fervid.errors import DataError
from fervid.faces.crop import FaceAlignment, crop_face
from fervid.faces.detector import FaceDetector
from fervid.files import files_below

__all__ = [
    "SUFFIXES",
    "Face",
    "all_faces",
    "batches",
    "find_pictures",
    "is_crop",
    "main_faces",
    "pictures_below",
    "read_picture",
    "square_crop",
    "try_picture",
    "whole",
]

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".pgm", ".ppm", ".pnm", ".jp2", ".avif")
)
#: Pictures up to this side are taken to be face crops already.
_CROP_PX = 64
#: Smaller pictures are enlarged to this side for the detector, and surrounded with their own edge, so that a box may
#: reach over it (as tests/benchmarks/framing.py measured FER2013).
_ENLARGED_PX, _MARGIN_PX = 192, 64
#: Pictures that are held, and go through the detector, together: a photograph has 36 MB.
_BATCH = 8

T = TypeVar("T")


@dataclass(frozen=True)
class Face:
    """One face in the pixels of its picture: box_px (4,), landmarks_px (5, 2), and how sure the detector is."""

    box_px: np.ndarray
    landmarks_px: np.ndarray
    score: float

    def crop(self, picture: np.ndarray, framing: FaceAlignment, size_px: int) -> np.ndarray:
        """Cut this face out of its picture (h, w, 3) -> (size_px, size_px) uint8 grey, as the line crops it."""
        (square,) = framing.squares(self.box_px[None], self.landmarks_px[None])
        return crop_face(_luma(picture), square, size_px)


def find_pictures(path: Path) -> list[Path]:
    """Give the pictures in a folder and its sub-folders, sorted, or the one file named; DataError if there is none.

    Links are followed; a folder that is reached twice is read once. Names that begin with a dot are left out.
    """
    if not path.is_dir():
        if not path.exists():
            raise DataError(f"{path}: no such picture or folder")
        return [path]
    found = pictures_below(path)
    if not found:
        raise DataError(f"{path}: no picture in this folder; expected {', '.join(sorted(SUFFIXES))}")
    return found


def pictures_below(folder: Path) -> list[Path]:
    """Give what has the name of a picture below a folder, sorted; see folders.files_below."""
    return sorted(path for path in files_below(folder) if path.suffix.lower() in SUFFIXES)


def read_picture(picture: Path | bytes, name: str = "") -> np.ndarray:
    """Read a picture, a file or its bytes, upright (EXIF) as RGB (h, w, 3) uint8; of 16 bits the upper eight.

    DataError calls it `name` (a file by its path) and says what it is instead.
    """
    name = name or str(picture)
    try:
        if isinstance(picture, Path):
            _check_regular(picture, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, and of a size that is checked here
            with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise DataError(f"{name}: more than {MAX_PIXELS} pixels ({image.width}x{image.height})")
                upright = ImageOps.exif_transpose(image)
                if upright.mode.startswith("I"):  # 16 bits: Pillow would clip them
                    grey = (np.asarray(upright).astype(np.int64) >> 8).astype(np.uint8)
                    return np.repeat(grey[..., None], 3, 2)
                return np.asarray(upright.convert("RGB"))
    except (DataError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise DataError(f"{name}: more than {MAX_PIXELS} pixels") from None
    except FileNotFoundError:
        raise DataError(f"{name}: no such file (a broken link?)") from None
    except PermissionError:
        raise DataError(f"{name}: no permission to read it") from None
    except Exception as e:  # decoders of damaged pictures raise nearly anything
        raise DataError(f"{name}: not a readable picture ({type(e).__name__}); remove or replace it") from e


def try_picture(path: Path) -> tuple[np.ndarray | None, str]:
    """Read a picture (read_picture), for who goes on without it -> it and "", or None and the reason."""
    try:
        return read_picture(path), ""
    except DataError as e:
        return None, str(e).removeprefix(f"{path}: ")


def _check_regular(path: Path, name: str) -> None:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{name}: not a regular file")
    if not found.st_size:
        raise DataError(f"{name}: the file is empty")


def square_crop(picture: np.ndarray, size_px: int) -> np.ndarray:
    """The square in the middle of a picture (h, w, 3), or of a grey one (h, w) -> (size_px, size_px) uint8 grey."""
    grey = Image.fromarray(picture).convert("L")
    side = min(grey.size)
    left, top = (grey.width - side) // 2, (grey.height - side) // 2
    square = grey.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size_px, size_px), Image.Resampling.BILINEAR))


def is_crop(picture: np.ndarray) -> bool:
    """Whether a picture (h, w, 3) is so small that it can only be a face crop already."""
    return max(picture.shape[:2]) <= _CROP_PX


def whole(picture: np.ndarray, size_px: int) -> np.ndarray:
    """A picture that is a face crop already (h, w, 3) -> (size_px, size_px) uint8 grey."""
    return np.asarray(Image.fromarray(_luma(picture)).resize((size_px, size_px), Image.Resampling.BILINEAR))


def main_faces(pictures: Sequence[np.ndarray], detector: FaceDetector) -> list[Face | None]:
    """Find the main face of each picture (h, w, 3) RGB: large and central; None where the pipeline would find none.

    Detection is that of `all_faces`.
    """
    return [found[0] if found else None for found in all_faces(pictures, detector)]


def all_faces(pictures: Sequence[np.ndarray], detector: FaceDetector) -> list[list[Face]]:
    """Find the faces of each picture (h, w, 3) RGB, the main one first.

    The detector is given a picture as the pipeline gives it: no larger than Config.detection_size_px, and a face counts
    from Config.track_start_score on. Small pictures are enlarged.
    """
    faces: list[list[Face]] = []
    for _, group in groupby(pictures, key=lambda picture: picture.shape):
        for part in batches(group, _BATCH):
            faces += _in_batch(part, detector)
    return faces


def batches(items: Iterable[T], size: int = _BATCH) -> Iterator[list[T]]:
    """Cut what comes into lists of `size`; the last may be shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _in_batch(pictures: list[np.ndarray], detector: FaceDetector) -> list[list[Face]]:
    config, (height, width) = Config(), pictures[0].shape[:2]
    small = max(height, width) < _ENLARGED_PX
    longer, least_px = config.detection_scale(width, height)
    if small:  # as there, a face has 20 pixels at least; a third of the side will do in pictures that are tiny
        longer, least_px = _ENLARGED_PX, min(least_px, max(height, width) / 3)
    least_px *= longer / max(height, width)
    size = (max(1, round(width * longer / max(height, width))), max(1, round(height * longer / max(height, width))))
    way, margin = (Image.Resampling.BICUBIC, _MARGIN_PX) if small else (Image.Resampling.BOX, 0)
    shown = np.stack([np.asarray(Image.fromarray(picture).resize(size, way)) for picture in pictures])
    found = detector.detect(np.pad(shown, ((0, 0), (margin, margin), (margin, margin), (0, 0)), "edge"), least_px)
    scale = np.array([width / size[0], height / size[1]], np.float32)
    box, landmarks = (found.box_px - margin) * np.tile(scale, 2), (found.landmarks_px - margin) * scale
    faces = []
    for i in range(len(pictures)):
        sure = np.flatnonzero((found.frame == i) & (found.score >= config.track_start_score))
        order = sure[np.argsort(-_prominence(box[sure], width, height), kind="stable")]
        faces.append([Face(box[k], landmarks[k], float(found.score[k])) for k in order])
    return faces


def _prominence(box: np.ndarray, width: int, height: int) -> np.ndarray:
    """Side of each box (m, 4) less half of its distance from the middle of the picture."""
    middle = (box[:, :2] + box[:, 2:]) / 2 - np.array([width, height]) / 2
    return np.sqrt(np.prod(np.maximum(box[:, 2:] - box[:, :2], 0), 1)) - np.linalg.norm(middle, axis=1) / 2


def _luma(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).convert("L"))
