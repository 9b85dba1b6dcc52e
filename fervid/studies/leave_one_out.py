"""Is the machine inside the human spread? Each rater, and the machine, against the same other raters."""

from typing import Any

import numpy as np

from fervid.studies import statistics as measures
from fervid.studies.alignment import AlignedSeries
from fervid.studies.bootstrap import MovingBlockBootstrap, percentile_interval

__all__ = ["leave_one_out"]

_FEWEST = 3
#: Below so many seconds a verdict says how few they are.
_FEW = 30


def leave_one_out(both: AlignedSeries, blocks: MovingBlockBootstrap, labelled: bool) -> dict[str, Any]:
    """Leave each rater out in turn: how well do they, and does the machine in their place, agree with the others?

    For labels it is Cohen's kappa, the mean over the other raters; for scores Pearson's correlation with the mean of
    the others, the mean over the emotions. Only seconds that everybody has rated count: all stand on the same.
    """
    found = _labels(both) if labelled else _scores(both)
    if isinstance(found, str):
        return {"verdict": f"Whether the machine is inside the human spread is undefined: {found}.", "undefined": found}
    terms, statistic, names, n = found
    whole = statistic(terms.sum(0))
    drawn = statistic(blocks.sums(terms))
    *people, machine = whole.mean(0)
    draws = drawn.mean(1)
    low, high = percentile_interval(draws[:, -1] - draws[:, :-1].mean(1))
    difference = {"value": float(machine - np.mean(people)), "low": low, "high": high}
    spread = {
        "measure": "Cohen's kappa with each other rater, their mean" if labelled
        else "Pearson's r with the mean of the other raters, mean over the emotions",
        "seconds": n, "over": names,
        "raters": dict(zip(both.raters, map(float, people))), "machine": float(machine), "difference": difference,
    }  # fmt: skip
    if not labelled:
        spread["each"] = {
            name: {"raters": dict(zip(both.raters, map(float, row[:-1]))), "machine": float(row[-1])}
            for name, row in zip(names, whole)
        }
    return spread | {"where": _where(people, machine), "verdict": _sentence(spread, people, machine, labelled)}


def _scores(both: AlignedSeries) -> Any:
    """Terms (n, F) and the statistic: sums (..., F) -> (..., E, R + 1), the raters and then the machine."""
    there = np.isfinite(both.score).all((0, 2)) & np.isfinite(both.prob).all(1)
    if there.sum() < _FEWEST:
        return f"{there.sum()} seconds that every rater scored"
    score, prob, r = both.score[:, there], both.prob[there], len(both.raters)
    terms: list[np.ndarray] = []
    for k in range(len(both.emotions)):
        for i in range(r):
            others = np.delete(score[:, :, k], i, 0).mean(0)
            terms += [measures.pair_terms(one, others) for one in (score[i, :, k], prob[:, k])]
    stacked = np.stack(terms, 1).reshape(there.sum(), len(both.emotions), r, 2, 6)
    kept = np.isfinite(measures.pearson(stacked.sum(0))).all((1, 2))
    if not kept.any():
        return "every emotion is constant for a rater or the machine"

    def statistic(sums: np.ndarray) -> np.ndarray:
        found = measures.pearson(sums.reshape(*sums.shape[:-1], kept.sum(), r, 2, 6))
        return np.concatenate([found[..., 0], found[..., 1].mean(-1, keepdims=True)], -1)

    names = [name for name, keep in zip(both.emotions, kept) if keep]
    return stacked[:, kept].reshape(there.sum(), -1), statistic, names, int(there.sum())


def _labels(both: AlignedSeries) -> Any:
    """As _scores, with one row for all labels together: (..., 1, R + 1)."""
    coders = np.concatenate([both.label, both.machine[None]])
    there = (coders >= 0).all(0)
    if there.sum() < _FEWEST:
        return f"{there.sum()} seconds that every rater labelled"
    _, coders = np.unique(coders[:, there], return_inverse=True)  # fewer categories, smaller tables
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
    return terms, statistic, ["labels"], int(there.sum())


def _where(people: list[float], machine: float) -> str:
    return "above" if machine > max(people) else "below" if machine < min(people) else "inside"


def _sentence(spread: dict[str, Any], people: list[float], machine: float, labelled: bool) -> str:
    """One sentence with its numbers."""
    measure, where = ("kappa" if labelled else "r"), _where(people, machine)
    low, high = spread["difference"]["low"], spread["difference"]["high"]
    human = f"{min(people):.2f} to {max(people):.2f} over {len(people)} raters"
    if len(people) == 2:
        human = f"{people[0]:.2f} between the two raters" + ("" if labelled else ", whose spread is one number")
    sure, doubtful = "", False
    if low is not None:
        sure = f"; machine minus mean rater {spread['difference']['value']:+.2f}, 95% {low:+.2f} to {high:+.2f}"
        doubtful = low <= 0 <= high and where != "inside"
    place = {
        "inside": "The machine is inside the human spread",
        "below": "The machine is below the human spread: it agrees with the raters less than they do with each other",
        "above": "The machine is above the human spread: it agrees with the raters more than they do with each other",
    }[where]
    if doubtful:
        place = f"The machine cannot be told from the raters; by the figure it is {where} the human spread"
    few = f" Only {spread['seconds']} seconds are compared: too few to rest on." if spread["seconds"] < _FEW else ""
    return f"{place} ({measure} {machine:.2f} against {human}{sure}).{few}"
