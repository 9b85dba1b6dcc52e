"""Score a folder of images into a table: one row per file, one column per class. A bad image never stops the run."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fervid.config import DEFAULT_WEIGHTS
from fervid.emotions.torch_classifier import TorchClassifier
from fervid.errors import OutputError
from fervid.faces.detector import FaceDetector
from fervid.faces.mtcnn import MTCNN
from fervid.files import check_output, to_utf8, write_atomically
from fervid.lab.data.images import (
    SUFFIXES,
    Face,
    batches,
    find_images,
    is_crop,
    main_faces,
    read_image,
    try_read_image,
    whole,
)

__all__ = ["ScoreSummary", "score_folder"]

_BOX = ("x0", "y0", "x1", "y1")

#: Share of images without a face above which the images are probably face crops.
_FACELESS_SHARE = 1 / 20

Row = dict[str, object]


@dataclass(frozen=True)
class ScoreSummary:
    """Numbers of images by outcome."""

    out: Path
    """The table."""
    pictures: int
    """All images."""
    scored: int
    """Images with a score."""
    no_face: int
    """Images without a face."""
    unreadable: int
    """Images that cannot be read."""

    @property
    def hint(self) -> str:
        """Advice if many images have no face, else ""."""
        read = self.pictures - self.unreadable
        if self.no_face <= read * _FACELESS_SHARE:
            return ""
        return (
            f"no face was found in {self.no_face} of {read} images; if they are face crops (aligned, with the "
            "face from edge to edge), use --no-detect"
        )


def score_folder(
    folder: Path,
    out: Path,
    weights: str = DEFAULT_WEIGHTS,
    device: str = "auto",
    *,
    detect: bool = True,
    prior: str = "default",
) -> ScoreSummary:
    """Score every image in a folder and its subfolders into a CSV, sorted by path.

    Parameters
    ----------
    folder : Path
        A folder, or one image.
    out : Path
        The CSV. Columns: path (within the folder); face (`found`, `none`, `given` for a face crop, empty for an image
        that cannot be read); the detector's score and box in pixels; one probability per class; reason.
    weights, device : str
        As for TorchClassifier.
    detect : bool
        Whether to detect faces; otherwise every image is a face crop. Images of at most 64 pixels a side always are.
    prior : str
        The class frequencies that the probabilities assume; as for `emotions.prior.find_prior`.

    Returns
    -------
    ScoreSummary

    Raises
    ------
    OutputError
        If the CSV cannot be written.
    DataError
        If no image is found, or `folder` is a file that is not an image.
    """
    _check_out(out)
    paths = find_images(folder)
    if paths == [folder] and folder.suffix.lower() not in SUFFIXES:
        read_image(folder)  # refuses a video
    classifier = TorchClassifier(weights, device, prior=prior)
    detector = MTCNN(device=classifier.device) if detect else None
    rows: list[Row] = []
    with write_atomically(out) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ("path", "face", "score", *_BOX, *classifier.labels, "reason"))
        writer.writeheader()
        for some in batches(paths):
            for path, row in zip(some, _rows(some, classifier, detector)):
                inside = path.relative_to(folder) if folder.is_dir() else Path(path.name)
                rows.append({"path": to_utf8(inside.as_posix())} | row)
                writer.writerow(rows[-1])
    face = [row["face"] for row in rows]
    return ScoreSummary(out, len(rows), face.count("found") + face.count("given"), face.count("none"), face.count(""))


def _check_out(out: Path) -> None:
    if out.is_dir():
        raise OutputError(f"{out}: is a folder; name a file, such as {out / 'scores.csv'}")
    check_output(out, (".csv",))


def _rows(paths: list[Path], classifier: TorchClassifier, detector: FaceDetector | None) -> Iterator[Row]:
    """Score a few images into one row each, in order."""
    read = [try_read_image(path) for path in paths]
    images = [image for image, _ in read if image is not None]
    faces = iter(_faces(images, detector))
    crops, rows = [], []
    for image, reason in read:
        row: Row = {"face": "", "reason": reason}
        if image is not None:
            face = next(faces)
            row = {"face": "none" if face is None else "given", "reason": "no face found" if face is None else ""}
            if isinstance(face, Face):
                row |= {"face": "found", "score": f"{face.score:.4f}"}
                row |= {name: f"{value:.1f}" for name, value in zip(_BOX, face.box_px)}
                crops.append(face.crop(image, classifier.alignment, classifier.crop_px, classifier.channels))
            elif face is not None:
                form = classifier.crop_px, classifier.channels
                crops.append(whole(image, *form, alignment=classifier.alignment, detector=detector))
        rows.append(row)
    prob = iter(classifier.predict(np.stack(crops)) if crops else ())
    for row in rows:
        if row["face"] in ("found", "given"):
            row |= {name: f"{p:.5f}" for name, p in zip(classifier.labels, next(prob))}
        yield row


def _faces(images: list[np.ndarray], detector: FaceDetector | None) -> list[Face | str | None]:
    """Find the main face of each image; None where there is none, "given" where the image is a face crop."""
    if detector is None:
        return ["given"] * len(images)
    seen = iter(main_faces([image for image in images if not is_crop(image)], detector))
    return ["given" if is_crop(image) else next(seen) for image in images]
