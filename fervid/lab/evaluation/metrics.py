"""How often a classifier is right, and how honest its probabilities are. Arrays in, figures out."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

__all__ = ["ClassScore", "Reliability", "Scores", "calibration_error", "fit_temperature", "reliability", "score"]

_DRAWS = 10_000


@dataclass(frozen=True)
class ClassScore:
    """One class. A face that was not found counts in `support` and `missed`, so it lowers the recall.

    `recall` and `f1` are None where no face has the class; `precision` is 0 where no face was called so.
    """

    precision: float
    recall: float | None
    f1: float | None
    support: int
    missed: int


@dataclass(frozen=True)
class Reliability:
    """Faces by confidence, in bins of equal width: n faces in each, their mean confidence, the share that is right."""

    n: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error (Naeini et al. 2015; Guo et al. 2017, arXiv 1706.04599, equation 3)."""
        return float((self.n * np.abs(self.accuracy - self.confidence)).sum() / max(self.n.sum(), 1))


@dataclass(frozen=True)
class Scores:
    """What an evaluation finds; `confusion[i, j]` counts faces of class i that were called j.

    `accuracy` counts a face that was not found as wrong, `accuracy_found` leaves it out, `coverage` is the share found.
    """

    n: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    coverage: float
    accuracy_found: float
    macro_f1: float
    classes: dict[str, ClassScore]
    confusion: np.ndarray
    calibrated: Reliability
    uncalibrated: Reliability


def score(
    prob: np.ndarray, raw: np.ndarray, label: np.ndarray, labels: tuple[str, ...], found: np.ndarray | None = None
) -> Scores:
    """Score probabilities (n, K), calibrated and raw, against labels (n,); `found` (n,): was the face seen at all?

    The interval holds 95% of the accuracies of sets drawn anew from these faces (bootstrap, seed 0): with outcomes of
    right and wrong, that is a binomial draw. Where all are right, or all wrong, drawing anew tells nothing: then it is
    that of Clopper and Pearson (1934).
    """
    found = np.ones(len(label), bool) if found is None else found
    k, called = len(labels), prob.argmax(1)
    right = found & (called == label)
    confusion = np.bincount(label[found] * k + called[found], minlength=k * k).reshape(k, k)
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
        classes=classes,
        confusion=confusion,
        calibrated=reliability(prob[found], label[found]),
        uncalibrated=reliability(raw[found], label[found]),
    )


def _interval(right: int, n: int) -> tuple[float, float]:
    if right in (0, n):
        reach = 0.025 ** (1 / n)
        return (reach, 1.0) if right else (0.0, 1 - reach)
    draws = np.random.default_rng(0).binomial(n, right / n, _DRAWS) / n
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def _class_score(confusion: np.ndarray, missed: np.ndarray, i: int) -> ClassScore:
    hits, claimed = int(confusion[i, i]), int(confusion[:, i].sum())
    support = int(confusion[i].sum() + missed[i])
    precision = hits / claimed if claimed else 0.0
    if not support:
        return ClassScore(precision, None, None, 0, 0)
    return ClassScore(precision, hits / support, 2 * hits / (support + claimed), support, int(missed[i]))


def reliability(prob: np.ndarray, label: np.ndarray, bins: int = 15) -> Reliability:
    """Sort probabilities (n, K) by their largest into `bins` of equal width; an empty bin holds zeros."""
    confidence, right = prob.max(1, initial=0), prob.argmax(1) == label
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    n = np.bincount(which, minlength=bins)
    mean = [np.bincount(which, values, minlength=bins) / np.maximum(n, 1) for values in (confidence, right)]
    return Reliability(n, *mean)


def calibration_error(prob: np.ndarray, label: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error over bins of equal width."""
    return reliability(prob, label, bins).error


def fit_temperature(logits: np.ndarray, label: np.ndarray) -> float:
    """Find the temperature that minimises the negative log-likelihood (Guo et al. 2017, arXiv 1706.04599)."""

    def loss(log_t: float) -> float:
        return -float(log_softmax(logits / np.exp(log_t), 1)[np.arange(len(label)), label].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-2.5, 2.5), method="bounded").x))
