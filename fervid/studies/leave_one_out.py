"""Leave-one-out comparison: does the timeline agree with raters as well as the raters agree with each other?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fervid.studies import statistics as measures
from fervid.studies.alignment import AlignedSeries
from fervid.studies.bootstrap import Resampler, percentile_interval

__all__ = ["leave_one_out"]

_MIN_SECONDS = 3
#: Below this number of seconds the verdict is qualified.
_RELIABLE_SECONDS = 30


@dataclass(frozen=True)
class _Comparison:
    """Terms (n, F) of n seconds and a statistic of their sums: (..., F) -> (..., K, R + 1).

    The last axis has the R raters and then the machine, the axis before it one row per name.
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
        Plain values for JSON: the agreement of each rater and of the machine, their difference with its 95%
        interval, and a verdict in a sentence; or why it is undefined.
    """
    found = _compare_labels(aligned) if labelled else _compare_scores(aligned)
    if isinstance(found, str):
        return {
            "verdict": f"Whether the machine is inside the range of the raters is undefined: {found}.",
            "undefined": found,
        }
    value = found.statistic(found.terms.sum(0))
    resampled = found.statistic(resampler.sums(found.terms)).mean(1)
    *people, machine = value.mean(0)
    low, high = percentile_interval(resampled[:, -1] - resampled[:, :-1].mean(1))
    facts: dict[str, Any] = {
        "measure": "Cohen's kappa with each other rater, their mean"
        if labelled
        else "Pearson's r with the mean of the other raters, mean over the emotions",
        "seconds": len(found.terms),
        "over": found.names,
        "raters": dict(zip(aligned.raters, map(float, people))),
        "machine": float(machine),
        "difference": {"value": float(machine - np.mean(people)), "low": low, "high": high},
    }
    if not labelled:
        facts["each"] = {
            name: {"raters": dict(zip(aligned.raters, map(float, row[:-1]))), "machine": float(row[-1])}
            for name, row in zip(found.names, value)
        }
    where = "above" if machine > max(people) else "below" if machine < min(people) else "inside"
    return facts | {"where": where, "verdict": _verdict(facts, where, labelled)}


def _compare_scores(aligned: AlignedSeries) -> _Comparison | str:
    """Return the comparison of scores with one row per emotion, or why it is undefined."""
    valid = np.isfinite(aligned.score).all((0, 2)) & np.isfinite(aligned.prob).all(1)
    if valid.sum() < _MIN_SECONDS:
        return f"{valid.sum()} seconds that every rater scored"
    score, prob, r = aligned.score[:, valid], aligned.prob[valid], len(aligned.raters)
    terms: list[np.ndarray] = []
    for k in range(len(aligned.emotions)):
        for i in range(r):
            others = np.delete(score[:, :, k], i, 0).mean(0)
            terms += [measures.pair_terms(series, others) for series in (score[i, :, k], prob[:, k])]
    stacked = np.stack(terms, 1).reshape(valid.sum(), len(aligned.emotions), r, 2, 6)
    defined = np.isfinite(measures.pearson(stacked.sum(0))).all((1, 2))
    if not defined.any():
        return "every emotion is constant for a rater or the machine"

    def statistic(sums: np.ndarray) -> np.ndarray:
        found = measures.pearson(sums.reshape(*sums.shape[:-1], defined.sum(), r, 2, 6))
        return np.concatenate([found[..., 0], found[..., 1].mean(-1, keepdims=True)], -1)

    names = [name for name, keep in zip(aligned.emotions, defined) if keep]
    return _Comparison(stacked[:, defined].reshape(valid.sum(), -1), statistic, names)


def _compare_labels(aligned: AlignedSeries) -> _Comparison | str:
    """Return the comparison of labels with one row, or why it is undefined."""
    coders = np.concatenate([aligned.label, aligned.machine[None]])
    valid = (coders >= 0).all(0)
    if valid.sum() < _MIN_SECONDS:
        return f"{valid.sum()} seconds that every rater labelled"
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
        people = human.sum(-1) / (size - 2)
        return np.concatenate([people, table[..., -1:, :-1].mean(-1)], -1)[..., None, :]

    if not np.isfinite(statistic(terms.sum(0))).all():
        return "a rater or the machine gives one label throughout"
    return _Comparison(terms, statistic, ["labels"])


def _verdict(facts: dict[str, Any], where: str, labelled: bool) -> str:
    """Return the result in one sentence with its numbers."""
    measure, people = ("kappa" if labelled else "r"), list(facts["raters"].values())
    low, high = facts["difference"]["low"], facts["difference"]["high"]
    human = f"{min(people):.2f} to {max(people):.2f} over {len(people)} raters"
    if len(people) == 2:
        human = f"{people[0]:.2f} between the two raters" + ("" if labelled else ", whose range is a single number")
    place = {
        "inside": "The machine is inside the range of the raters",
        "below": "The machine is below the range of the raters: it agrees with them less than they do with each other",
        "above": "The machine is above the range of the raters: it agrees with them more than they do with each other",
    }[where]
    interval = ""
    if low is not None:
        interval = f"; machine minus mean rater {facts['difference']['value']:+.2f}, 95% {low:+.2f} to {high:+.2f}"
        if low <= 0 <= high and where != "inside":
            place = f"The machine cannot be distinguished from the raters; its value is {where} the range of the raters"
    few = ""
    if facts["seconds"] < _RELIABLE_SECONDS:
        few = f" Only {facts['seconds']} seconds are compared, which is too few for a reliable result."
    return f"{place} ({measure} {facts['machine']:.2f} against {human}{interval}).{few}"
