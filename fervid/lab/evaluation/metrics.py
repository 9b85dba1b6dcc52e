"""Accuracy and calibration of a classifier. Arrays in, figures out."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

__all__ = ["ClassScore", "Reliability", "Scores", "calibration_error", "fit_temperature", "reliability", "score"]

#: Bootstrap samples.
_DRAWS = 10_000


@dataclass(frozen=True)
class ClassScore:
    """Figures of one class.

    Parameters
    ----------
    precision : float
        0 where no face was assigned the class.
    recall, f1 : float or None
        None where no face has the class. A face that was not detected lowers both.
    support : int
        Faces of the class, whether detected or not.
    missed : int
        Those that were not detected.
    """

    precision: float
    recall: float | None
    f1: float | None
    support: int
    missed: int


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: faces by confidence, in bins of equal width.

    Parameters
    ----------
    n : np.ndarray
        Faces per bin.
    confidence, accuracy : np.ndarray
        Their mean confidence, and the share that is right.
    """

    n: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error (Naeini et al. 2015; Guo et al. 2017, arXiv 1706.04599, equation 3)."""
        return float((self.n * np.abs(self.accuracy - self.confidence)).sum() / max(self.n.sum(), 1))


@dataclass(frozen=True)
class Scores:
    """The figures of an evaluation.

    Parameters
    ----------
    n : int
        Number of faces.
    accuracy : float
        A face that was not detected counts as wrong.
    accuracy_low, accuracy_high : float
        95% interval.
    coverage : float
        Share of the faces that were detected.
    accuracy_found : float
        Accuracy on the detected faces alone.
    macro_f1, mean_recall : float
        Means over the classes that occur; the mean recall is also called unweighted average recall, or balanced
        accuracy.
    classes : dict of str to ClassScore
    confusion : np.ndarray
        (K, K); entry [i, j] counts faces of class i that were assigned class j.
    calibrated, uncalibrated : Reliability
        With and without temperature scaling.
    """

    n: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    coverage: float
    accuracy_found: float
    macro_f1: float
    mean_recall: float
    classes: dict[str, ClassScore]
    confusion: np.ndarray
    calibrated: Reliability
    uncalibrated: Reliability


def score(
    prob: np.ndarray, raw: np.ndarray, label: np.ndarray, labels: tuple[str, ...], found: np.ndarray | None = None
) -> Scores:
    """Score probabilities against labels.

    The interval of the accuracy is a bootstrap percentile interval (seed 0); resampling outcomes of right and wrong
    is a binomial draw. Where all or none are right, which a bootstrap cannot assess, it is that of Clopper and Pearson
    (1934).

    Parameters
    ----------
    prob, raw : np.ndarray
        Probabilities (n, K), calibrated and not.
    label : np.ndarray
        (n,) int64.
    labels : tuple of str
        The K class names.
    found : np.ndarray, optional
        (n,) bool, whether the face was detected; by default all were.

    Returns
    -------
    Scores
    """
    found = np.ones(len(label), bool) if found is None else found
    k, predicted = len(labels), prob.argmax(1)
    right = found & (predicted == label)
    confusion = np.bincount(label[found] * k + predicted[found], minlength=k * k).reshape(k, k)
    missed = np.bincount(label[~found], minlength=k)
    classes = {name: _class_score(confusion, missed, i) for i, name in enumerate(labels)}
    accuracy = float(right.mean())
    low, high = _interval(int(right.sum()), len(label))
    return Scores(
        n=len(label),
        accuracy=accuracy,
        accuracy_low=low,
        accuracy_high=high,
        coverage=float(found.mean()),
        accuracy_found=float(right.sum() / max(found.sum(), 1)),
        macro_f1=float(np.mean([one.f1 for one in classes.values() if one.f1 is not None])),
        mean_recall=float(np.mean([one.recall for one in classes.values() if one.recall is not None])),
        classes=classes,
        confusion=confusion,
        calibrated=reliability(prob[found], label[found]),
        uncalibrated=reliability(raw[found], label[found]),
    )


def _interval(right: int, n: int) -> tuple[float, float]:
    if right in (0, n):
        bound = 0.025 ** (1 / n)
        return (bound, 1.0) if right else (0.0, 1 - bound)
    draws = np.random.default_rng(0).binomial(n, right / n, _DRAWS) / n
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def _class_score(confusion: np.ndarray, missed: np.ndarray, i: int) -> ClassScore:
    hits, predicted = int(confusion[i, i]), int(confusion[:, i].sum())
    support = int(confusion[i].sum() + missed[i])
    precision = hits / predicted if predicted else 0.0
    if not support:
        return ClassScore(precision, None, None, 0, 0)
    return ClassScore(precision, hits / support, 2 * hits / (support + predicted), support, int(missed[i]))


def reliability(prob: np.ndarray, label: np.ndarray, bins: int = 15) -> Reliability:
    """Bin faces by their largest probability.

    Parameters
    ----------
    prob : np.ndarray
        Probabilities (n, K).
    label : np.ndarray
        (n,) int64.
    bins : int
        Number of bins of equal width; an empty bin holds zeros.

    Returns
    -------
    Reliability
    """
    confidence, right = prob.max(1, initial=0), prob.argmax(1) == label
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    n = np.bincount(bin_of, minlength=bins)
    mean = [np.bincount(bin_of, values, minlength=bins) / np.maximum(n, 1) for values in (confidence, right)]
    return Reliability(n, *mean)


def calibration_error(prob: np.ndarray, label: np.ndarray, bins: int = 15) -> float:
    """Compute the expected calibration error over bins of equal width.

    Parameters
    ----------
    prob, label, bins
        As for `reliability`.

    Returns
    -------
    float
    """
    return reliability(prob, label, bins).error


def fit_temperature(logits: np.ndarray, label: np.ndarray) -> float:
    """Fit the temperature that minimises the negative log-likelihood (Guo et al. 2017, arXiv 1706.04599).

    Parameters
    ----------
    logits : np.ndarray
        (n, K).
    label : np.ndarray
        (n,) int64.

    Returns
    -------
    float
        The divisor of the logits.
    """

    def loss(log_t: float) -> float:
        return -float(log_softmax(logits / np.exp(log_t), 1)[np.arange(len(label)), label].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-2.5, 2.5), method="bounded").x))
