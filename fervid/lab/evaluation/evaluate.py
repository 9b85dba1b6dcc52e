"""Evaluate a classifier, or an ensemble, on labelled faces: face crops or raw images."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.special import softmax

from fervid.config import check_choice
from fervid.emotions.facts import Head
from fervid.emotions.prior import Prior, find_prior
from fervid.emotions.torch_classifier import TorchClassifier
from fervid.errors import ConfigError, DataError
from fervid.faces.crop import FaceAlignment
from fervid.faces.detectors import load_detector
from fervid.lab.data.datasets import FaceSet, compare_classes, load_faces
from fervid.lab.data.duplicates import find_duplicates
from fervid.lab.data.face_alignment import describe_alignment
from fervid.lab.data.images import as_channels, batches, main_faces, read_image
from fervid.lab.data.landmarks import Alignment, align_faces, crop_faces
from fervid.lab.evaluation.metrics import Reliability, Scores, calibration_error, fit_temperature, score

__all__ = [
    "ALIGN",
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

#: Test-time augmentation: the face alone, with its mirror image, or ten windows of it (Krizhevsky et al. 2012).
TTA = ("none", "flip", "tencrop")
#: How face crops are aligned.
ALIGN = ("auto", "landmarks", "none")
#: Side of each of the ten windows, in units of the image's side.
_WINDOW = 11 / 12


@dataclass(frozen=True)
class EvalConfig:
    """Options of an evaluation.

    Parameters
    ----------
    labels : str
        Which labels count; as for `load_faces`.
    tta : str
        Test-time augmentation, one of TTA.
    detect : bool
        Whether to detect and crop the faces in the raw images as the line does.
    head : str, optional
        The head to evaluate; by default as `choose_head` chooses.
    apart_from : Path, optional
        Training faces. Near-duplicates of them are left out.
    detector : str
        The detector for `detect`.
    prior : str
        The class frequencies that the probabilities assume; as for `emotions.prior.find_prior`.
    align : str
        How face crops become the input of a model, without `detect`. "none": as they are. "landmarks": each is placed
        by its landmarks, as faces in video are. "auto": by landmarks for models of the fit "affine", unless the images
        lie as the model has learned faces.

    Raises
    ------
    ConfigError
        If the augmentation or the alignment is unknown.
    """

    labels: str = "auto"
    tta: str = "none"
    detect: bool = False
    head: str | None = None
    apart_from: Path | None = None
    detector: str = "mtcnn"
    prior: str = "default"
    align: str = "auto"

    def __post_init__(self) -> None:
        check_choice("test-time augmentation", self.tta, TTA)
        check_choice("alignment", self.align, ALIGN)


@dataclass(frozen=True)
class Predictor:
    """A classifier, the head to evaluate, and the prior that its probabilities are to assume; None: its own."""

    classifier: TorchClassifier
    head: Head
    prior: Prior | None = None

    def logits(self, image: np.ndarray, tta: str) -> np.ndarray:
        """Compute the logits under test-time augmentation.

        Parameters
        ----------
        image : np.ndarray
            Faces (n, h, h) or (n, h, h, C) uint8.
        tta : str
            One of TTA.

        Returns
        -------
        np.ndarray
            (views, n, K) float64.
        """
        image = as_channels(image, self.classifier.channels)
        logits = [
            self.classifier.logits(view)[:, self.head.outputs] for view in views(image, tta, self.classifier.crop_px)
        ]
        return np.stack(logits).astype(np.float64)

    def probabilities(self, logits: np.ndarray, classes: tuple[str, ...], *, calibrated: bool = True) -> np.ndarray:
        """Convert logits into probabilities of `classes`, averaged over the views.

        The softmax is over those of `classes` that the head has; the others have probability 0.

        Parameters
        ----------
        logits : np.ndarray
            (views, n, K).
        classes : tuple of str
        calibrated : bool
            Whether to apply the head's temperature.

        Returns
        -------
        np.ndarray
            (n, len(classes)).
        """
        known = [name for name in classes if name in self.head.labels]
        at = [self.head.labels.index(name) for name in known]
        prob = np.zeros((logits.shape[1], len(classes)))
        temperature = self.head.temperature if calibrated else 1.0
        weighted = logits[..., at] / temperature
        if self.prior is not None:
            weighted = weighted + self.prior.log_ratio[at]
        prob[:, [classes.index(name) for name in known]] = softmax(weighted, 2).mean(0)
        return prob


def evaluate_weights(
    data: Path, split: str | None, weights: str | Sequence[str], device: str = "auto", options: EvalConfig | None = None
) -> dict[str, Any]:
    """Evaluate weights on a data set with the classifier that the line uses.

    Parameters
    ----------
    data : Path
        As for `load_faces`.
    split : str, optional
        As for `load_faces`.
    weights : str or Sequence of str
        A bundled model or safetensors files. Several form an ensemble: the mean of their calibrated probabilities.
    device : str
    options : EvalConfig, optional

    Returns
    -------
    dict
        Plain values, ready for JSON. Classes known only to the models or only to the data are left out, with the faces
        of such a class; the result lists them. "accuracy_any_answer" is the accuracy if the models may also answer
        classes that the data lack. "aligned" says how face crops were placed for the first model of those that are
        placed by landmarks, else None; "framed_otherwise" how faces lie differently in these images than in the
        training images of the first model, where they were not. "grey_as_colour" is whether a colour model saw grey
        images, in three equal channels.

    Raises
    ------
    DataError
        If the data cannot be read or share no classes with the models.
    WeightsError
        If weights cannot be loaded.
    """
    options = options or EvalConfig()
    classifiers = [TorchClassifier(one, device) for one in ([weights] if isinstance(weights, str) else weights)]
    by_landmarks = any(_by_landmarks(one, options) for one in classifiers)
    size_px = None if by_landmarks else max(c.crop_px for c in classifiers)
    colour = any(c.channels == 3 for c in classifiers)
    faces = load_faces(data, split, labels=options.labels, size_px=size_px, colour=colour, keep_original=options.detect)
    facts: dict[str, Any] = {"data": str(data), "split": split, "labels": options.labels}
    if options.apart_from is not None:
        training = load_faces(options.apart_from, "train", size_px=faces.image.shape[1])
        unseen = find_duplicates(faces, training).drop(faces)
        facts |= {"apart_from": str(options.apart_from), "duplicates_left_out": len(faces) - len(unseen)}
        faces = unseen
    return facts | evaluate_faces(faces, classifiers, options)


def evaluate_faces(faces: FaceSet, classifiers: Sequence[TorchClassifier], options: EvalConfig) -> dict[str, Any]:
    """Evaluate classifiers, several as an ensemble, on faces.

    Parameters
    ----------
    faces : FaceSet
    classifiers : Sequence of TorchClassifier
    options : EvalConfig

    Returns
    -------
    dict
        As for `evaluate_weights`.

    Raises
    ------
    DataError
        If no face has a class that all classifiers know.
    """
    predictors = []
    for classifier in classifiers:
        head = choose_head(classifier.heads, faces.labelling, options.head)
        predictors.append(Predictor(classifier, head, find_prior(options.prior, head, classifier.path)))
    known = tuple(
        name for name in predictors[0].head.labels if all(name in predictor.head.labels for predictor in predictors)
    )
    classes = compare_classes(known, faces.labels)
    compared = faces.take(np.isin(faces.label, [faces.labels.index(name) for name in classes]))
    if not len(compared):
        raise DataError(f"{faces.name}: none of its {len(faces)} faces has a class of the model: {', '.join(known)}")
    others = tuple(sorted({name for predictor in predictors for name in predictor.head.labels} - set(classes)))
    found, inputs, aligned = _inputs(compared, predictors, options)
    logits = [predictor.logits(image, options.tta) for predictor, image in zip(predictors, inputs)]
    scores, unrestricted = _score(compared, predictors, (classes, others), (found, logits))
    unaligned = not (options.detect or aligned)
    return {
        "n": scores.n, "weights": [_facts(p) for p in predictors], "tta": options.tta, "detect": options.detect,
        "classes_compared": list(classes),
        "classes_left_out": {
            "only_in_data": [name for name in faces.labels if name not in classes],
            "only_in_model": list(others),
        },
        "faces_left_out": len(faces) - len(compared),
        "accuracy_any_answer": round(unrestricted, 4),
        "aligned": aligned,
        "grey_as_colour": not (options.detect or faces.colour) and any(c.channels == 3 for c in classifiers),
        "framed_otherwise": describe_alignment(compared.image, classifiers[0].alignment) if unaligned else None,
        **_plain(scores, classes),
    }  # fmt: skip


def choose_head(heads: Sequence[Head], labelling: str, name: str | None = None) -> Head:
    """Choose the head that is to answer for a data set.

    Parameters
    ----------
    heads : Sequence of Head
    labelling : str
        Whose labels the data have, as `FaceSet.labelling` says.
    name : str, optional
        The head requested.

    Returns
    -------
    Head
        The head requested; else the one that learned this labelling, "fer2013" or "ferplus", if there is one; else the
        first, which timelines use.

    Raises
    ------
    ConfigError
        If there is no head of the name requested.
    """
    known = {head.name: head for head in heads}
    if name is not None and name not in known:
        raise ConfigError(f"no head {name!r}; expected {', '.join(known)}")
    return known[name] if name is not None else known.get(labelling, heads[0])


def views(image: np.ndarray, tta: str, size_px: int) -> Iterator[np.ndarray]:
    """Yield the views of test-time augmentation.

    Parameters
    ----------
    image : np.ndarray
        Faces (n, h, h, C) uint8.
    tta : str
        One of TTA.
    size_px : int
        Side of the views.

    Yields
    ------
    np.ndarray
        (n, size_px, size_px, C) uint8.
    """
    if tta == "tencrop":
        side = image.shape[1]
        window = max(1, round(side * _WINDOW))
        end, centre = side - window, (side - window) // 2
        for top, left in ((centre, centre), (0, 0), (0, end), (end, 0), (end, end)):
            part = _resized(image[:, top : top + window, left : left + window], size_px)
            yield from (part, part[:, :, ::-1])
        return
    image = _resized(image, size_px)
    yield image
    if tta == "flip":
        yield image[:, :, ::-1]


def _resized(image: np.ndarray, size_px: int) -> np.ndarray:
    if image.shape[1:3] == (size_px, size_px):
        return image
    resized = np.zeros((len(image), size_px, size_px, image.shape[3]), np.uint8)
    for i, one in enumerate(image):
        shown = Image.fromarray(one[..., 0] if image.shape[3] == 1 else one)
        shown = shown.resize((size_px, size_px), Image.Resampling.BILINEAR)
        resized[i] = np.asarray(shown).reshape(resized.shape[1:])
    return resized


def _by_landmarks(classifier: TorchClassifier, options: EvalConfig) -> bool:
    """Whether face crops are placed by landmarks for this classifier."""
    wanted = options.align == "landmarks" or (options.align == "auto" and classifier.alignment.fit == "affine")
    return wanted and not options.detect


def _inputs(
    faces: FaceSet, predictors: list[Predictor], options: EvalConfig
) -> tuple[np.ndarray, list[np.ndarray], str | None]:
    """Give which faces are found (n,), their images for each predictor, and how they are aligned by landmarks."""
    if options.detect:
        return *_crops(faces, predictors, options.detector), None
    placed: dict[FaceAlignment, Alignment] = {}
    images = []
    for classifier in (predictor.classifier for predictor in predictors):
        alignment = classifier.alignment
        if not _by_landmarks(classifier, options):
            images.append(faces.image)
            continue
        if alignment not in placed:
            placed[alignment] = align_faces(faces, alignment, always=options.align == "landmarks")
        aligned = placed[alignment].faces
        side = round(classifier.crop_px / _WINDOW) if options.tta == "tencrop" else classifier.crop_px
        shown = faces.image if aligned.placement is None else crop_faces(aligned, side, classifier.channels)
        images.append(shown)
    return np.ones(len(faces), bool), images, next((one.message for one in placed.values()), None)


def _score(
    faces: FaceSet,
    predictors: list[Predictor],
    known: tuple[tuple[str, ...], tuple[str, ...]],
    answers: tuple[np.ndarray, list[np.ndarray]],
) -> tuple[Scores, float]:
    """Score the mean prediction; also give the accuracy without restriction to the classes of the data.

    `known` are the classes to compare, and those that only the predictors have; `answers`, which faces are found and
    the logits of each predictor for these.
    """
    (classes, others), (found, logits) = known, answers

    def mean_probability(names: tuple[str, ...], *, calibrated: bool = True) -> np.ndarray:
        each = [
            predictor.probabilities(one, names, calibrated=calibrated) for predictor, one in zip(predictors, logits)
        ]
        prob = np.full((len(faces), len(names)), 1 / len(names))
        prob[found] = np.mean(each, axis=0)
        return prob

    order = np.array([classes.index(name) if name in classes else -1 for name in faces.labels])
    truth = order[faces.label]
    unrestricted = found & (mean_probability(classes + others).argmax(1) == truth)
    raw = mean_probability(classes, calibrated=False)
    scores = score(mean_probability(classes), raw, truth, classes, found)
    return scores, float(unrestricted.mean())


def _crops(faces: FaceSet, predictors: list[Predictor], name: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """Detect each face in its raw image; give which were found (n,), and the crops (m, S, S, C) for each predictor."""
    detector = load_detector(name, predictors[0].classifier.device, "auto")
    sides = [(one.classifier.crop_px, one.classifier.crop_px, one.classifier.channels) for one in predictors]
    crops = [[np.zeros((0, *side), np.uint8)] for side in sides]
    found: list[bool] = []
    for images in batches(_original(faces, i) for i in range(len(faces))):
        detected = main_faces(images, detector)
        found += [face is not None for face in detected]
        for predictor, kept in zip(predictors, crops):
            to = predictor.classifier.alignment, predictor.classifier.crop_px, predictor.classifier.channels
            kept += [face.crop(image, *to)[None] for face, image in zip(detected, images) if face]
    return np.array(found), [np.concatenate(kept) for kept in crops]


def _original(faces: FaceSet, i: int) -> np.ndarray:
    """Give the original image of a face, RGB (h, w, 3), or its square where there is none."""
    entry = faces.original[i] if faces.original is not None else None
    if isinstance(entry, Path | bytes):
        return read_image(entry, str(faces.source[i]) if faces.source is not None else "")
    return as_channels(faces.image[i : i + 1], 3)[0]


def _facts(predictor: Predictor) -> dict[str, Any]:
    classifier, head = predictor.classifier, predictor.head
    return {
        "name": classifier.name, "sha256": classifier.sha256, "head": head.name, "temperature": head.temperature,
        "prior": predictor.prior and predictor.prior.to_dict(head.labels),
    }  # fmt: skip


def _plain(scores: Scores, classes: tuple[str, ...]) -> dict[str, Any]:
    """Convert scores to plain values, rounded to four digits."""
    names = ("accuracy", "accuracy_low", "accuracy_high", "coverage", "accuracy_found", "macro_f1", "mean_recall")
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
