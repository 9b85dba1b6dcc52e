"""How good, and how honest, a classifier is on labelled faces: alone or as an ensemble, on crops or on raw images."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.special import softmax

from fervid.emotions.torch_classifier import Head, TorchClassifier
from fervid.errors import ConfigError, DataError
from fervid.faces.detectors import load_detector
from fervid.lab.data.datasets import FaceSet, compare_classes, load_faces
from fervid.lab.data.duplicates import find_duplicates
from fervid.lab.data.face_alignment import describe_alignment
from fervid.lab.data.images import SUFFIXES, batches, main_faces, read_image
from fervid.lab.evaluation.metrics import Reliability, Scores, calibration_error, fit_temperature, score

__all__ = [
    "TTA",
    "EvalConfig",
    "Predictor",
    "calibration_error",
    "choose_head",
    "evaluate_faces",
    "evaluate_weights",
    "fit_temperature",
    "score",
    "views",
]

#: What test-time augmentation shows of each face: itself; and its mirror image; ten windows (Krizhevsky et al. 2012).
TTA = ("none", "flip", "tencrop")
#: Side of a window of the ten, in parts of the image's side.
_WINDOW = 11 / 12


@dataclass(frozen=True)
class EvalConfig:
    """How a classifier is asked: which labels count, what it is shown, and which of its heads answers (None: the one
    whose classes match the data's best). `detect` goes the line's way: `detector` finds the face in the raw image,
    and it is cropped. `apart_from` names training faces: what is nearly the same image as one of them does not count.
    """

    labels: str = "auto"
    tta: str = "none"
    detect: bool = False
    head: str | None = None
    apart_from: Path | None = None
    detector: str = "mtcnn"

    def __post_init__(self) -> None:
        if self.tta not in TTA:
            raise ConfigError(f"unknown test-time augmentation {self.tta!r}: expected one of {', '.join(TTA)}")


@dataclass(frozen=True)
class Predictor:
    """A classifier and the head that answers."""

    classifier: TorchClassifier
    head: Head

    def logits(self, image: np.ndarray, tta: str) -> np.ndarray:
        """Grey faces (n, h, h) uint8 -> what the head says of each view (views, n, K) float64."""
        seen = [
            self.classifier.logits(view)[:, self.head.outputs] for view in views(image, tta, self.classifier.crop_px)
        ]
        return np.stack(seen).astype(np.float64)

    def probabilities(self, logits: np.ndarray, classes: tuple[str, ...], *, calibrated: bool = True) -> np.ndarray:
        """Logits (views, n, K) -> probabilities of `classes` (n, len(classes)), the mean over the views.

        Of classes that the head has: the others take no part in the sum of one. 0 for those that it lacks.
        """
        known = [name for name in classes if name in self.head.labels]
        asked = logits[..., [self.head.labels.index(name) for name in known]]
        prob = np.zeros((logits.shape[1], len(classes)))
        heat = self.head.temperature if calibrated else 1.0
        prob[:, [classes.index(name) for name in known]] = softmax(asked / heat, 2).mean(0)
        return prob


def evaluate_weights(
    data: Path, split: str | None, weights: str | Sequence[str], device: str = "auto", exam: EvalConfig | None = None
) -> dict[str, Any]:
    """Score a bundled model or a .safetensors file on a data set, through the classifier that the line uses.

    Several `weights` are an ensemble: the mean of their calibrated probabilities. Classes that only the models or only
    the data know are left out, and faces of such a class with them; the result says so, and how often the models are
    right if they may answer what the data lack ("accuracy_any_answer"). "framed_otherwise" tells where faces fill these
    images more, or less, than those that the (first) model learned from. Plain values, ready for JSON.
    """
    exam = exam or EvalConfig()
    classifiers = [TorchClassifier(one, device) for one in ([weights] if isinstance(weights, str) else weights)]
    faces = load_faces(data, split, labels=exam.labels, size_px=max(c.crop_px for c in classifiers))
    facts: dict[str, Any] = {"data": str(data), "split": split, "labels": exam.labels}
    if exam.apart_from is not None:
        trained = load_faces(exam.apart_from, "train", size_px=faces.image.shape[1])
        fresh = find_duplicates(faces, trained).drop(faces)
        facts |= {"apart_from": str(exam.apart_from), "duplicates_left_out": len(faces) - len(fresh)}
        faces = fresh
    return facts | evaluate_faces(faces, classifiers, exam)


def evaluate_faces(faces: FaceSet, classifiers: Sequence[TorchClassifier], exam: EvalConfig) -> dict[str, Any]:
    """Score one classifier, or several together, on faces; DataError if no face has a class that they know."""
    judges = [Predictor(c, choose_head(c, faces.labels, exam.head)) for c in classifiers]
    known = tuple(name for name in judges[0].head.labels if all(name in judge.head.labels for judge in judges))
    classes = compare_classes(known, faces.labels)
    compared = faces.take(np.isin(faces.label, [faces.labels.index(name) for name in classes]))
    if not len(compared):
        raise DataError(f"{faces.name}: none of its {len(faces)} faces has a class that is known: {', '.join(known)}")
    others = tuple(sorted({name for judge in judges for name in judge.head.labels} - set(classes)))
    scores, free = _examine(compared, judges, (classes, others), exam)
    return {
        "n": scores.n, "weights": [_facts(judge) for judge in judges], "tta": exam.tta, "detect": exam.detect,
        "classes_compared": list(classes),
        "classes_left_out": {
            "only_in_data": [name for name in faces.labels if name not in classes],
            "only_in_model": list(others),
        },
        "faces_left_out": len(faces) - len(compared),
        "accuracy_any_answer": round(free, 4),
        "framed_otherwise": None if exam.detect else describe_alignment(compared.image, classifiers[0].framing),
        **_plain(scores, classes),
    }  # fmt: skip


def choose_head(classifier: TorchClassifier, labels: tuple[str, ...], asked: str | None) -> Head:
    """The head asked for, else the one that shares most with the labels of the data (Jaccard); the first of equals."""
    if asked is not None:
        found = {head.name: head for head in classifier.heads}
        if asked not in found:
            raise ConfigError(f"{classifier.path}: no head {asked!r}; expected {', '.join(found)}")
        return found[asked]

    def likeness(head: Head) -> float:
        return len(set(head.labels) & set(labels)) / len(set(head.labels) | set(labels))

    return max(classifier.heads, key=likeness)


def views(image: np.ndarray, tta: str, size_px: int) -> Iterator[np.ndarray]:
    """Show grey faces (n, h, h) uint8 as test-time augmentation asks, each time as (n, size_px, size_px) uint8."""
    if tta == "tencrop":
        side = image.shape[1]
        window = max(1, round(side * _WINDOW))
        end, middle = side - window, (side - window) // 2
        for top, left in ((middle, middle), (0, 0), (0, end), (end, 0), (end, end)):
            part = _resized(image[:, top : top + window, left : left + window], size_px)
            yield from (part, part[:, :, ::-1])
        return
    image = _resized(image, size_px)
    yield image
    if tta == "flip":
        yield image[:, :, ::-1]


def _resized(image: np.ndarray, size_px: int) -> np.ndarray:
    if image.shape[1:] == (size_px, size_px):
        return image
    large = np.zeros((len(image), size_px, size_px), np.uint8)
    for i, one in enumerate(image):
        large[i] = np.asarray(Image.fromarray(one).resize((size_px, size_px), Image.Resampling.BILINEAR))
    return large


def _examine(
    faces: FaceSet, judges: list[Predictor], answers: tuple[tuple[str, ...], tuple[str, ...]], exam: EvalConfig
) -> tuple[Scores, float]:
    """Ask every judge about every face -> the scores of the mean of what they say, the accuracy with any answer.

    `answers`: the classes that are compared, and those that only the judges know.
    """
    classes, others = answers
    if exam.detect:
        found, crops = _crops(faces, judges, exam.detector)
    else:
        found, crops = np.ones(len(faces), bool), [faces.image] * len(judges)
    said = [judge.logits(image, exam.tta) for judge, image in zip(judges, crops)]

    def together(names: tuple[str, ...], *, calibrated: bool = True) -> np.ndarray:
        each = [judge.probabilities(one, names, calibrated=calibrated) for judge, one in zip(judges, said)]
        prob = np.full((len(faces), len(names)), 1 / len(names))
        prob[found] = np.mean(each, axis=0)
        return prob

    order = np.array([classes.index(name) if name in classes else -1 for name in faces.labels])
    truth = order[faces.label]
    free = found & (together(classes + others).argmax(1) == truth)
    scores = score(together(classes), together(classes, calibrated=False), truth, classes, found)
    return scores, float(free.mean())


def _crops(faces: FaceSet, judges: list[Predictor], name: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """Find each face in its raw image -> which were found (n,), and the crops (m, S, S) for each judge."""
    detector = load_detector(name, judges[0].classifier.device, "auto")
    crops: list[list[np.ndarray]] = [
        [np.zeros((0, j.classifier.crop_px, j.classifier.crop_px), np.uint8)] for j in judges
    ]
    found: list[bool] = []
    for pictures in batches(_raw(faces, i) for i in range(len(faces))):
        seen = main_faces(pictures, detector)
        found += [face is not None for face in seen]
        for judge, kept in zip(judges, crops):
            size_px, framing = judge.classifier.crop_px, judge.classifier.framing
            kept += [face.crop(picture, framing, size_px)[None] for face, picture in zip(seen, pictures) if face]
    return np.array(found), [np.concatenate(kept) for kept in crops]


def _raw(faces: FaceSet, i: int) -> np.ndarray:
    """The image that a face comes from, RGB (h, w, 3); its grey square where the set is no folder of images."""
    path = Path(str(faces.source[i])) if faces.source is not None else Path()
    if path.suffix.lower() in SUFFIXES and path.is_file():
        return read_image(path)
    return np.repeat(faces.image[i][..., None], 3, 2)


def _facts(judge: Predictor) -> dict[str, Any]:
    classifier, head = judge.classifier, judge.head
    return {
        "name": classifier.name, "sha256": classifier.sha256, "head": head.name, "temperature": head.temperature,
    }  # fmt: skip


def _plain(scores: Scores, classes: tuple[str, ...]) -> dict[str, Any]:
    """Scores as plain values, rounded to what a set of this size can tell."""
    names = ("accuracy", "accuracy_low", "accuracy_high", "coverage", "accuracy_found", "macro_f1")
    return {
        **{name: round(getattr(scores, name), 4) for name in names},
        "ece": round(scores.calibrated.error, 4),
        "ece_uncalibrated": round(scores.uncalibrated.error, 4),
        "classes": {
            name: {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(one).items()}
            for name, one in scores.classes.items()
        },
        "confusion": {name: row.tolist() for name, row in zip(classes, scores.confusion)},
        "reliability": {
            "calibrated": _bins(scores.calibrated), "uncalibrated": _bins(scores.uncalibrated),
        },
    }  # fmt: skip


def _bins(bins: Reliability) -> dict[str, list]:
    return {k: np.round(getattr(bins, k), 4).tolist() for k in ("n", "confidence", "accuracy")}
