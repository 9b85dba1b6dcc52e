"""Emotions in single images: every face of each image as one row of a table."""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from fervid.errors import DataError
from fervid.files import to_utf8
from fervid.lab.data.images import Face, all_faces, batches, find_images, is_crop, read_image, try_read_image, whole
from fervid.models import Models

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "predict_images"]

#: The columns before the probabilities.
COLUMNS = ("image", "source", "face", "x0", "y0", "x1", "y1", "score")


@dataclass(frozen=True)
class _InFolder:
    """An image that was found in a folder, not named."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


Source = str | PathLike[str] | np.ndarray | Image.Image


def predict_images(images: Source | Iterable[Source], models: Models, *, detect: bool = True) -> "pd.DataFrame":
    """Predict the emotions of the faces in images.

    Parameters
    ----------
    images : path, array or PIL image, or an iterable of these
        A path may be a folder, and stands for all images in it. An array is (h, w) grey or (h, w, 3) RGB, uint8;
        (n, h, w, 3) is n images.
    models : Models
    detect : bool, default True
        Whether to detect faces. Without, each image is a face crop; those of at most 64 pixels a side always are.

    Returns
    -------
    pandas.DataFrame
        One row per face, the main face of an image first: `image`, the number of the image; `source`, its path, missing
        where it has none; `face`, the number of the face in the image; the box `x0`, `y0`, `x1`, `y1` in pixels;
        `score` of the detector, NaN for a face crop; one probability per emotion; `dominant`, the most probable one. An
        image without a face has no row.

    Raises
    ------
    DataError
        If an image that is passed is none, or cannot be read. One in a folder is skipped with a warning.
    """
    import pandas as pd

    labels, rows, prob = models.classifier.labels, [], [np.zeros((0, len(models.classifier.labels)), np.float32)]
    for some in batches(enumerate(_sources(images))):
        read = [(i, source, image) for i, source in some if (image := _read(source)) is not None]
        pixels = [image for *_, image in read]
        found = _faces(pixels, models, detect)
        crops = []
        for (i, source, image), faces in zip(read, found):
            path = to_utf8(str(source)) if isinstance(source, str | PathLike | _InFolder) else None
            for k, face in enumerate(faces):
                box, score = ((0, 0, *image.shape[1::-1]), np.nan) if face is None else (face.box_px, face.score)
                rows.append((i, path, k, *map(float, box), float(score)))
                crops.append(_crop(image, face, models, detect))
        if crops:
            prob.append(models.classifier.predict(np.stack(crops)))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    probabilities = np.concatenate(prob)
    for label, column in zip(labels, probabilities.T):
        table[label] = column
    return table.assign(dominant=np.array(labels, dtype=object)[probabilities.argmax(1)])


def _sources(images: Source | Iterable[Source]) -> Iterator[Source | _InFolder]:
    """Give single images: paths of folders become those of their images, and stacks of arrays their parts."""
    if isinstance(images, str | PathLike):
        folder = Path(images).is_dir()
        yield from (_InFolder(path) if folder else path for path in find_images(Path(images)))
    elif isinstance(images, Image.Image) or (isinstance(images, np.ndarray) and images.ndim < 4):
        yield images
    else:
        for one in images:
            yield from _sources(one) if isinstance(one, str | PathLike) else (one,)


def _read(source: Source | _InFolder) -> np.ndarray | None:
    """Give an image as (h, w, 3) uint8 RGB; None, with a warning, for one in a folder that cannot be read."""
    if isinstance(source, _InFolder):
        image, reason = try_read_image(source.path)
        if image is None:
            warnings.warn(f"{source}: skipped, {reason}", stacklevel=4)
        return image
    if isinstance(source, str | PathLike):
        return read_image(Path(source))
    if isinstance(source, Image.Image):
        return np.asarray(source.convert("RGB"))
    array: Any = np.asarray(source)
    if array.dtype != np.uint8 or not array.size or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)):
        raise DataError(
            f"expected an image as a path, a PIL image, or an array (h, w) or (h, w, 3) of uint8, found "
            f"{type(source).__name__} {array.shape} of {array.dtype}"
        )
    return np.repeat(array[..., None], 3, 2) if array.ndim == 2 else array


def _faces(pixels: list[np.ndarray], models: Models, detect: bool) -> list[list[Face] | list[None]]:
    """The faces of each image; [None] for an image that is a face crop."""
    searched = [image for image in pixels if detect and not is_crop(image)]
    found = iter(all_faces(searched, models.detector))
    return [next(found) if detect and not is_crop(image) else [None] for image in pixels]


def _crop(image: np.ndarray, face: Face | None, models: Models, detect: bool) -> np.ndarray:
    classifier = models.classifier
    if face is None:
        detector = models.detector if detect else None
        form = classifier.crop_px, classifier.channels
        return whole(image, *form, alignment=classifier.alignment, detector=detector)
    return face.crop(image, classifier.alignment, classifier.crop_px, classifier.channels)
