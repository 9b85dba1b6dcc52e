"""Still images for the lab: find them, read them safely, and crop the main face as the line does."""

import io
import stat
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fervid.config import MAX_PIXELS, Config
from fervid.errors import DataError
from fervid.faces.crop import FaceAlignment, crop_face
from fervid.faces.detector import FaceDetector
from fervid.files import files_below

__all__ = [
    "SUFFIXES",
    "Face",
    "all_faces",
    "as_channels",
    "batches",
    "find_images",
    "has_colour",
    "images_below",
    "is_crop",
    "luma",
    "main_faces",
    "read_image",
    "side_px",
    "square_crop",
    "try_read_image",
    "whole",
]

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".pgm", ".ppm", ".pnm", ".jp2", ".avif")
)
#: Images up to this side count as face crops.
_CROP_PX = 64
#: Smaller images are enlarged to this side for the detector and padded with their edge, so that a box may extend
#: beyond it (as in tests/benchmarks/framing.py, which measured FER2013).
_ENLARGED_PX, _MARGIN_PX = 192, 64
#: Images per call of the detector: a photograph takes 36 MB.
_BATCH = 8

T = TypeVar("T")


@dataclass(frozen=True)
class Face:
    """One face in the pixels of its image.

    Parameters
    ----------
    box_px : np.ndarray
        (4,), xyxy.
    landmarks_px : np.ndarray
        (5, 2).
    score : float
        Confidence of the detector.
    """

    box_px: np.ndarray
    landmarks_px: np.ndarray
    score: float

    def crop(self, image: np.ndarray, alignment: FaceAlignment, size_px: int, channels: int = 1) -> np.ndarray:
        """Crop this face as the line does.

        Parameters
        ----------
        image : np.ndarray
            The image of the face, (h, w, 3) uint8.
        alignment : FaceAlignment
        size_px : int
        channels : int
            1, grey, or 3, RGB.

        Returns
        -------
        np.ndarray
            (size_px, size_px, channels) uint8.
        """
        (place,) = alignment.places(self.box_px[None], self.landmarks_px[None])
        shown = luma(image) if channels == 1 else image
        return crop_face(shown, place, size_px).reshape(size_px, size_px, channels)


def find_images(path: Path) -> list[Path]:
    """List the images in a folder and its subfolders, or the one file given.

    Links are followed, but no folder is read twice. Names that begin with a dot are skipped.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of Path
        Sorted.

    Raises
    ------
    DataError
        If no image is found.
    """
    if not path.is_dir():
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; check the name")
        return [path]
    found = images_below(path)
    if not found:
        raise DataError(f"{path}: no image found in this folder; expected {', '.join(sorted(SUFFIXES))}")
    return found


def images_below(folder: Path) -> list[Path]:
    """List the files below a folder whose suffix is that of an image; see `files.files_below`.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    list of Path
        Sorted.
    """
    return sorted(path for path in files_below(folder) if path.suffix.lower() in SUFFIXES)


def read_image(image: Path | bytes, name: str = "") -> np.ndarray:
    """Read an image, rotated upright by its EXIF tag; of 16-bit pixels the upper eight bits are kept.

    Parameters
    ----------
    image : Path or bytes
        A file, or its content.
    name : str
        Name of the image in messages; by default the path.

    Returns
    -------
    np.ndarray
        RGB (h, w, 3) uint8.

    Raises
    ------
    DataError
        If it cannot be read, or has more than MAX_PIXELS pixels.
    """
    name = name or str(image)
    try:
        if isinstance(image, Path):
            _check_regular(image, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd metadata, and about a size that is checked here
            with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise DataError(f"{name}: more than {MAX_PIXELS} pixels ({opened.width}x{opened.height})")
                upright = ImageOps.exif_transpose(opened)
                if upright.mode.startswith("I"):  # 16 bits, which Pillow would clip
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
    except UnidentifiedImageError as e:
        if isinstance(image, Path) and image.suffix.lower() not in SUFFIXES:
            raise DataError(f"{name}: is not an image; fervid process reads videos") from None
        raise _unreadable(name, e) from e
    except Exception as e:  # decoders raise nearly anything on damaged images
        raise _unreadable(name, e) from e


def _unreadable(name: str, e: Exception) -> DataError:
    return DataError(f"{name}: cannot be read as an image ({type(e).__name__}); remove or replace it")


def try_read_image(path: Path) -> tuple[np.ndarray | None, str]:
    """Read an image that may be skipped; see `read_image`.

    Parameters
    ----------
    path : Path

    Returns
    -------
    image : np.ndarray or None
        RGB (h, w, 3) uint8; None if it cannot be read.
    reason : str
        Why it cannot be read, else "".
    """
    try:
        return read_image(path), ""
    except DataError as e:
        return None, str(e).removeprefix(f"{path}: ")


def _check_regular(path: Path, name: str) -> None:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{name}: not a regular file")
    if not found.st_size:
        raise DataError(f"{name}: the file is empty")


def square_crop(image: np.ndarray, size_px: int, *, colour: bool = False) -> np.ndarray:
    """Crop the central square of an image.

    Parameters
    ----------
    image : np.ndarray
        (h, w, 3) or (h, w), uint8.
    size_px : int
    colour : bool
        Whether to keep the colours of an RGB image.

    Returns
    -------
    np.ndarray
        (size_px, size_px) uint8, grey; in colour (size_px, size_px, 3), or (size_px, size_px) if the square has none.
    """
    whole = Image.fromarray(image)
    whole = whole if colour else whole.convert("L")
    side = min(whole.size)
    left, top = (whole.width - side) // 2, (whole.height - side) // 2
    square = whole.crop((left, top, left + side, top + side))
    pixels = np.asarray(square.resize((size_px, size_px), Image.Resampling.BILINEAR))
    return pixels[..., 0] if pixels.ndim == 3 and not has_colour(pixels) else pixels


def has_colour(image: np.ndarray) -> bool:
    """Check whether the channels of an image differ anywhere.

    Parameters
    ----------
    image : np.ndarray
        (..., 3) uint8.

    Returns
    -------
    bool
    """
    return bool((image[..., :1] != image[..., 1:]).any())


def luma(image: np.ndarray) -> np.ndarray:
    """Convert RGB images to grey (ITU-R BT.601).

    Parameters
    ----------
    image : np.ndarray
        (..., w, 3) uint8.

    Returns
    -------
    np.ndarray
        (..., w) uint8.
    """
    if not image.size:
        return np.zeros(image.shape[:-1], np.uint8)
    rows = image.reshape(-1, image.shape[-2], 3)
    return np.asarray(Image.fromarray(rows).convert("L")).reshape(image.shape[:-1])


def side_px(image: Path | bytes) -> int:
    """Read the shorter side of an image from its header.

    Parameters
    ----------
    image : Path or bytes
        A file, or its content.

    Returns
    -------
    int

    Raises
    ------
    DataError
        If it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
                return min(opened.size)
    except Exception as e:  # decoders raise nearly anything on damaged images
        raise _unreadable(str(image) if isinstance(image, Path) else "image", e) from e


def is_crop(image: np.ndarray) -> bool:
    """Check whether an image is so small that it can only be a face crop.

    Parameters
    ----------
    image : np.ndarray
        (h, w, 3) uint8.

    Returns
    -------
    bool
    """
    return max(image.shape[:2]) <= _CROP_PX


def whole(
    image: np.ndarray,
    size_px: int,
    channels: int = 1,
    *,
    alignment: FaceAlignment | None = None,
    detector: FaceDetector | None = None,
) -> np.ndarray:
    """Resize an image that is a face crop.

    Parameters
    ----------
    image : np.ndarray
        (h, w, 3) uint8.
    size_px : int
    channels : int
        1, grey, or 3, RGB.
    alignment : FaceAlignment, optional
        That of the model. One of the fit "affine" needs eyes and mouth in their places.
    detector : FaceDetector, optional
        Finds them. Where it finds no face, or is missing, the image is taken as it is.

    Returns
    -------
    np.ndarray
        (size_px, size_px, channels) uint8.
    """
    if detector is not None and alignment is not None and alignment.fit == "affine":
        (face,) = main_faces([image], detector)
        if face is not None:
            return face.crop(image, alignment, size_px, channels)
    shown = Image.fromarray(luma(image) if channels == 1 else image)
    resized = shown.resize((size_px, size_px), Image.Resampling.BILINEAR)
    return np.asarray(resized).reshape(size_px, size_px, channels)


def as_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Give the faces of a data set the channels of a classifier.

    Parameters
    ----------
    image : np.ndarray
        (n, h, w), grey, or (n, h, w, 1 or 3), uint8.
    channels : int
        1: colours become grey. 3: grey is repeated.

    Returns
    -------
    np.ndarray
        (n, h, w, channels) uint8.
    """
    image = image[..., None] if image.ndim == 3 else image
    if image.shape[3] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, 3)
    return luma(image)[..., None]


def main_faces(images: Sequence[np.ndarray], detector: FaceDetector) -> list[Face | None]:
    """Find the main face of each image: large and central.

    Detection is that of `all_faces`.

    Parameters
    ----------
    images : Sequence of np.ndarray
        RGB (h, w, 3) uint8, of any sizes.
    detector : FaceDetector

    Returns
    -------
    list of Face or None
        One per image; None where no face is found.
    """
    return [found[0] if found else None for found in all_faces(images, detector)]


def all_faces(images: Sequence[np.ndarray], detector: FaceDetector) -> list[list[Face]]:
    """Find the faces of each image, the main one first.

    Images are resized as in the pipeline, with the defaults of Config for the detection size and the least score; small
    ones are enlarged.

    Parameters
    ----------
    images : Sequence of np.ndarray
        RGB (h, w, 3) uint8, of any sizes.
    detector : FaceDetector

    Returns
    -------
    list of list of Face
        One list per image.
    """
    faces: list[list[Face]] = []
    for _, group in groupby(images, key=lambda image: image.shape):
        for part in batches(group, _BATCH):
            faces += _in_batch(part, detector)
    return faces


def batches(items: Iterable[T], size: int = _BATCH) -> Iterator[list[T]]:
    """Group items into lists.

    Parameters
    ----------
    items : Iterable
    size : int

    Yields
    ------
    list
        Of `size` items; the last may be shorter.
    """
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _in_batch(images: list[np.ndarray], detector: FaceDetector) -> list[list[Face]]:
    config, (height, width) = Config(), images[0].shape[:2]
    small = max(height, width) < _ENLARGED_PX
    longer, least_px = config.detection_scale(width, height)
    if small:  # the least face is 20 pixels there, and a third of the side in tiny images
        longer, least_px = _ENLARGED_PX, min(least_px, max(height, width) / 3)
    least_px *= longer / max(height, width)
    size = (max(1, round(width * longer / max(height, width))), max(1, round(height * longer / max(height, width))))
    resampling, margin = (Image.Resampling.BICUBIC, _MARGIN_PX) if small else (Image.Resampling.BOX, 0)
    shown = np.stack([np.asarray(Image.fromarray(image).resize(size, resampling)) for image in images])
    found = detector.detect(np.pad(shown, ((0, 0), (margin, margin), (margin, margin), (0, 0)), "edge"), least_px)
    scale = np.array([width / size[0], height / size[1]], np.float32)
    box, landmarks = (found.box_px - margin) * np.tile(scale, 2), (found.landmarks_px - margin) * scale
    faces = []
    for i in range(len(images)):
        sure = np.flatnonzero((found.frame == i) & (found.score >= config.track_start_score))
        order = sure[np.argsort(-_prominence(box[sure], width, height), kind="stable")]
        faces.append([Face(box[k], landmarks[k], float(found.score[k])) for k in order])
    return faces


def _prominence(box: np.ndarray, width: int, height: int) -> np.ndarray:
    """Rate boxes (m, 4): the side less half of the distance from the centre of the image."""
    offset = (box[:, :2] + box[:, 2:]) / 2 - np.array([width, height]) / 2
    return np.sqrt(np.prod(np.maximum(box[:, 2:] - box[:, :2], 0), 1)) - np.linalg.norm(offset, axis=1) / 2
