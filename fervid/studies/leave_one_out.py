"""Leave-one-out comparison: does the timeline agree with raters as well as the raters agree with each other?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fervid.studies import statistics as measures
from fervid.studies.alignment import RELIABLE_SECONDS, AlignedSeries
from fervid.studies.bootstrap import Resampler, percentile_interval

__all__ = ["leave_one_out"]

_MIN_SECONDS = 3


@dataclass(frozen=True)
class _Comparison:
    """Terms (n, F) of n seconds and a statistic of their sums: (..., F) -> (..., K, R + 1).

    The last axis has the R raters and then the model, the axis before it one row per name.
    """

    terms: np.ndarray
    statistic: Callable[[np.ndarray], np.ndarray]
    names: list[str]


def leave_one_out(aligned: AlignedSeries, resampler: Resampler, labelled: bool) -> dict[str, Any]:
    """Compare each rater, and the timeline in place of each rater, with the other raters.

    Labels are compared by Cohen's kappa, averaged over the other raters. Scores are compared by Pearson's correlation
    with the mean of the other raters, averaged over the emotions. Only seconds that all raters rated count.

    Parameters
    ----------
    aligned : AlignedSeries
        With at least two raters.
    resampler : Resampler
        Draws the resamples of the confidence interval.
    labelled : bool
        Whether to compare labels, not scores.

    Returns
    -------
    dict
        Plain values for JSON: the agreement of each rater and of the model, their difference with its 95%
        interval, and a verdict in a sentence; or why it is undefined.
    """
    found = _compare_labels(aligned) if labelled else _compare_scores(aligned)
    if isinstance(found, int):
        seconds = {0: "no second"}.get(found, _count(found))
        kind = "labelled" if labelled else "scored"
        return {"verdict": _too_few(found), "undefined": f"{seconds} that every rater {kind}", "too_few_seconds": True}
    if isinstance(found, str):
        return {
            "verdict": f"Whether the model agrees with the raters as well as they do with each other is undefined: "
            f"{found}.",
            "undefined": found,
            "too_few_seconds": False,
        }
    value = found.statistic(found.terms.sum(0))
    resampled = found.statistic(resampler.sums(found.terms)).mean(1)
    *human, model = value.mean(0)
    low, high = percentile_interval(resampled[:, -1] - resampled[:, :-1].mean(1))
    facts: dict[str, Any] = {
        "measure": "Cohen's kappa with each other rater, their mean"
        if labelled
        else "Pearson's r with the mean of the other raters, mean over the emotions",
        "seconds": len(found.terms),
        "over": found.names,
        "raters": dict(zip(aligned.raters, map(float, human))),
        "machine": float(model),
        "difference": {"value": float(model - np.mean(human)), "low": low, "high": high},
    }
    if not labelled:
        facts["each"] = {
            name: {"raters": dict(zip(aligned.raters, map(float, row[:-1]))), "machine": float(row[-1])}
            for name, row in zip(found.names, value)
        }
    where = "above" if model > max(human) else "below" if model < min(human) else "inside"
    few = len(found.terms) < RELIABLE_SECONDS
    verdict = _too_few(len(found.terms)) if few else _verdict(facts, where, labelled)
    return facts | {"where": where, "verdict": verdict, "too_few_seconds": few}


def _compare_scores(aligned: AlignedSeries) -> _Comparison | str | int:
    """Return the comparison of scores with one row per emotion; why it is undefined; or too few seconds."""
    valid = np.isfinite(aligned.score).all((0, 2)) & np.isfinite(aligned.prob).all(1)
    if valid.sum() < _MIN_SECONDS:
        return int(valid.sum())
    score, prob, r = aligned.score[:, valid], aligned.prob[valid], len(aligned.raters)
    terms: list[np.ndarray] = []
    for k in range(len(aligned.emotions)):
        for i in range(r):
            others = np.delete(score[:, :, k], i, 0).mean(0)
            terms += [measures.pair_terms(series, others) for series in (score[i, :, k], prob[:, k])]
    stacked = np.stack(terms, 1).reshape(valid.sum(), len(aligned.emotions), r, 2, 6)
    defined = np.isfinite(measures.pearson(stacked.sum(0))).all((1, 2))
    if not defined.any():
        return "every emotion is constant for a rater or the model"

    def statistic(sums: np.ndarray) -> np.ndarray:
        found = measures.pearson(sums.reshape(*sums.shape[:-1], defined.sum(), r, 2, 6))
        return np.concatenate([found[..., 0], found[..., 1].mean(-1, keepdims=True)], -1)

    names = [name for name, keep in zip(aligned.emotions, defined) if keep]
    return _Comparison(stacked[:, defined].reshape(valid.sum(), -1), statistic, names)


def _compare_labels(aligned: AlignedSeries) -> _Comparison | str | int:
    """Return the comparison of labels with one row; why it is undefined; or too few seconds."""
    coders = np.concatenate([aligned.label, aligned.model_label[None]])
    valid = (coders >= 0).all(0)
    if valid.sum() < _MIN_SECONDS:
        return int(valid.sum())
    _, coders = np.unique(coders[:, valid], return_inverse=True)  # without categories that do not occur
    k, size = int(coders.max()) + 1, len(coders)
    pairs = [(i, j) for i in range(size) for j in range(i)]
    terms = np.concatenate([measures.kappa_terms(coders[i], coders[j], k) for i, j in pairs], 1)

    def statistic(sums: np.ndarray) -> np.ndarray:
        found = measures.kappa(sums.reshape(*sums.shape[:-1], len(pairs), k * k))
        table = np.full((*found.shape[:-1], size, size), np.nan)
        for at, (i, j) in enumerate(pairs):
            table[..., i, j] = table[..., j, i] = found[..., at]
        human = table[..., :-1, :-1].copy()
        human[..., range(size - 1), range(size - 1)] = 0
        each = human.sum(-1) / (size - 2)
        return np.concatenate([each, table[..., -1:, :-1].mean(-1)], -1)[..., None, :]

    if not np.isfinite(statistic(terms.sum(0))).all():
        return "a rater or the model gives one label throughout"
    return _Comparison(terms, statistic, ["labels"])


def _too_few(seconds: int) -> str:
    """Return the verdict for too small a number of seconds."""
    if seconds == 0:
        return "No second is compared with all raters: too few to judge."
    are = "is" if seconds == 1 else "are"
    return f"Only {_count(seconds)} {are} compared: too few to judge ({RELIABLE_SECONDS} with all raters are needed)."


def _count(seconds: int) -> str:
    return f"{seconds} second{'s' * (seconds != 1)}"


def _verdict(facts: dict[str, Any], where: str, labelled: bool) -> str:
    """Return the result in one sentence with its numbers."""
    human = list(facts["raters"].values())
    least, most, model = (f"{round(value, 2) + 0.0:.2f}" for value in (min(human), max(human), facts["machine"]))
    two = len(human) == 2
    measure = "kappa" if labelled else "correlation"
    subject = f"The model's {measure} with {'single raters' if labelled or two else 'all raters but one'} ({model})"
    if two:  # both have the same agreement: that with each other
        relation = {"above": "is higher than", "below": "is lower than", "inside": "equals"}[where]
        place = f"{subject} {relation} that between the raters ({most})"
    else:
        relation = "within" if where == "inside" else where
        place = f"{subject} is {relation} the range of the {len(human)} raters ({least} to {most})"
    of_mean = "" if two else " from their mean"
    value, low, high = (None if v is None else f"{round(v, 2) + 0.0:+.2f}" for v in facts["difference"].values())
    if low is None:
        return f"{place}; the difference{of_mean} ({value}) has no confidence interval."
    interval = f"{value}, 95% {low} to {high}"
    if where == "inside":
        return f"{place}; the difference{of_mean} is {interval}."
    if facts["difference"]["low"] <= 0 <= facts["difference"]["high"]:
        return f"{place}, but the difference{of_mean} ({interval}) may be chance."
    degree = "more" if where == "above" else "less"
    return (
        f"{place}: the model agrees with the raters {degree} than they do with each other (difference{of_mean} "
        f"{interval})."
    )
