"""How far a timeline agrees with human coders: per emotion, over labels, and beside the raters' own agreement."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fervid.errors import ConfigError, DataError
from fervid.labels import emotion
from fervid.studies import statistics as measures
from fervid.studies.alignment import AlignedSeries, align, read_timeline_series
from fervid.studies.bootstrap import SEED, MovingBlockBootstrap, estimate, undefined
from fervid.studies.leave_one_out import leave_one_out
from fervid.studies.raters import read_raters
from fervid.studies.ratings import RatingOptions, Ratings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Agreement", "RatingOptions", "compare", "find_lag"]

#: Fewer seconds than this give no figure.
_FEWEST = 3
#: Timelines are float32: what varies by less does not vary.
_FLAT = 1e-6


@dataclass(frozen=True)
class Agreement:
    """What a comparison found: `facts` are plain values for JSON; `aligned` holds both sides per second."""

    facts: dict[str, Any]
    aligned: AlignedSeries = field(repr=False)

    def to_pandas(self) -> "pd.DataFrame":
        """One row a second: second, status, and for each emotion the machine, the raters' mean and every rater."""
        import pandas as pd

        both, mean = self.aligned, self.aligned.mean
        columns: dict[str, Any] = {"second": both.second, "status": both.status}
        for k, name in enumerate(both.emotions):
            columns |= {f"{name}_machine": both.prob[:, k], f"{name}_mean": mean[:, k]}
            if len(both.raters) > 1:
                columns |= {f"{name}_{who}": both.score[r, :, k] for r, who in enumerate(both.raters)}
        names = np.array([*both.categories, ""], object)
        if (both.label >= 0).any():
            columns |= {"label_machine": names[both.machine], "label_consensus": names[both.consensus]}
            columns |= {f"label_{who}": names[both.label[r]] for r, who in enumerate(both.raters)}
        return pd.DataFrame(columns)


def compare(
    timeline: Path,
    ratings: Sequence[Path],
    reading: RatingOptions | None = None,
    *,
    max_lag_s: int = 5,
    block_s: int = 10,
) -> Agreement:
    """Compare a timeline with one table of ratings, or with several together.

    The raters' mean stands for them where one value is needed. Intervals are 95%, from blocks of `block_s` neighbouring
    seconds. DataError if either file is not what it should be, or if they have nothing in common.
    """
    reading = _checked(reading or RatingOptions(), max_lag_s, block_s)
    machine, said = read_timeline_series(timeline, reading), read_raters(ratings, reading)
    both = align(machine, said, reading)
    if not both.facts["coverage"]["compared_seconds"]:
        lost = both.facts["coverage"]["rated_not_compared"]
        reasons = ", ".join(f"{n} {word}" for word, n in lost.items() if n)
        raise DataError(f"{said.path}: none of its rated seconds can be compared with {timeline} ({reasons})")
    blocks = MovingBlockBootstrap(block_s)
    facts: dict[str, Any] = {
        "timeline": str(timeline), "tables": [str(path) for path in ratings],
        "machine": {"who": machine.who, "model": machine.model},
        **said.facts,
        **both.facts,
        "bootstrap": {
            "block_s": blocks.fitted(both.facts["coverage"]["compared_seconds"]), "draws": blocks.draws, "seed": SEED,
        },
        "emotions": {
            name: _one_emotion(both, k, blocks, max_lag_s) for k, name in enumerate(both.emotions)
        },
        "labels": _labels(both, blocks, said),
    }  # fmt: skip
    if len(both.raters) > 1:
        facts["spread"] = leave_one_out(both, blocks, said.labelled)
    return Agreement(facts, both)


def _checked(reading: RatingOptions, max_lag_s: int, block_s: int) -> RatingOptions:
    for name, value, least in (("max_lag_s", max_lag_s, 0), ("block_s", block_s, 1)):
        if value < least:
            raise ConfigError(f"{name} = {value}: expected {least} s or more")
    if reading.person is not None and reading.track is not None:
        raise ConfigError("person and track: expected one of them")
    if reading.gaps is None:
        return reading
    return replace(reading, gaps=emotion(reading.gaps))


def _one_emotion(both: AlignedSeries, k: int, blocks: MovingBlockBootstrap, max_lag_s: int) -> dict[str, Any]:
    """Every figure of one emotion."""
    prob, mean = both.prob[:, k], both.mean[:, k]
    there = np.isfinite(prob) & np.isfinite(mean)
    x, y = prob[there], mean[there]
    names = ("ccc", "pearson", "spearman")
    if len(x) < _FEWEST:
        found = {name: undefined(f"fewer than {_FEWEST} seconds") for name in names}
    else:
        flat = [side for side, values in (("the machine", x), ("the raters", y)) if np.ptp(values) < _FLAT]
        why, terms = ": ".join(filter(None, ("constant", " and ".join(flat)))), measures.pair_terms(x, y)
        found = {
            "ccc": estimate(terms, measures.concordance, blocks, why),
            "pearson": estimate(terms, measures.pearson, blocks, why),
            "spearman": estimate(
                measures.pair_terms(measures.ranks(x), measures.ranks(y)), measures.pearson, blocks, why
            ),
        }
    lag, at_lag = find_lag(prob, mean, both.second, max_lag_s)
    return {
        "seconds": len(x),
        **found,
        "best_lag_s": lag,
        "pearson_at_best_lag": at_lag,
        **({"raters": _among(both.score[:, :, k], blocks)} if len(both.raters) > 1 else {}),
    }


def find_lag(
    machine: np.ndarray, rated: np.ndarray, second: np.ndarray, max_lag_s: int
) -> tuple[int | None, float | None]:
    """The shift L in whole seconds, at most max_lag_s, at which machine[t] and rated[t + L] correlate best.

    Positive: the raters come after the machine, as people who need time to react. A shift counts if at least half of
    the seconds that can be compared without one remain; of equals the smaller. (None, None) if nothing is defined.
    """
    grid = {int(s): i for i, s in enumerate(second)}
    least = max(_FEWEST, (np.isfinite(machine) & np.isfinite(rated)).sum() / 2)
    best: tuple[int | None, float | None] = (None, None)
    for lag in sorted(range(-max_lag_s, max_lag_s + 1), key=abs):
        pairs = [(i, grid[int(s) + lag]) for i, s in enumerate(second) if int(s) + lag in grid]
        if not pairs:
            continue
        i, j = np.array(pairs).T
        x, y = machine[i], rated[j]
        there = np.isfinite(x) & np.isfinite(y)
        if there.sum() < least:
            continue
        r = float(measures.pearson(measures.pair_terms(x[there], y[there]).sum(0)))
        if np.isfinite(r) and (best[1] is None or r > best[1] + 1e-9):
            best = (lag, r)
    return best


def _among(score: np.ndarray, blocks: MovingBlockBootstrap) -> dict[str, Any]:
    """How the raters' scores (R, n) of one emotion agree among themselves."""
    shared = np.isfinite(score).sum(0) > 1
    every = np.isfinite(score).all(0)
    none = undefined("no second that two raters scored")
    alpha = none
    if shared.sum():
        alpha = estimate(measures.interval_alpha_terms(score[:, shared]), measures.interval_alpha, blocks)
    if every.sum() < _FEWEST:
        single = together = undefined(f"{every.sum()} seconds that every rater scored")
    else:
        terms = measures.icc_terms(score[:, every])
        together = estimate(terms, measures.icc, blocks)
        single = estimate(terms, lambda sums: measures.icc(sums, mean_of_all=False), blocks)
    return {"alpha_interval": alpha, "icc_2k": together, "icc_21": single, "seconds_all": int(every.sum())}


def _labels(both: AlignedSeries, blocks: MovingBlockBootstrap, said: Ratings) -> dict[str, Any]:
    """Every figure of labels: the machine with the consensus and each rater, the raters among themselves, F1."""
    if not (both.label >= 0).any() or len(both.categories) < 2:
        return {"undefined": "no labels, and no second with one highest score"}
    k, consensus = len(both.categories), both.consensus
    there = (both.machine >= 0) & (consensus >= 0)
    facts: dict[str, Any] = {
        "from": "labels" if said.labelled else "the highest score", "categories": list(both.categories),
        "seconds": int(there.sum()),
        "without_consensus": int(((both.label >= 0).any(0) & (consensus < 0)).sum()),
        "kappa": _kappa(both.machine, consensus, k, blocks),
        "agreement": float((both.machine == consensus)[there].mean()) if there.any() else None,
        "each": _each(both.machine, consensus, there, both.categories),
    }  # fmt: skip
    if len(both.raters) > 1:
        coders = np.concatenate([both.label, both.machine[None]])
        facts |= {
            "kappa_by_rater": {who: _kappa(both.machine, both.label[r], k, blocks)
                               for r, who in enumerate(both.raters)},
            "raters_alpha_nominal": _alpha(both.label, k, blocks),
            "alpha_nominal_with_machine": _alpha(coders, k, blocks),
        }  # fmt: skip
    return facts


def _kappa(one: np.ndarray, other: np.ndarray, k: int, blocks: MovingBlockBootstrap) -> dict[str, Any]:
    there = (one >= 0) & (other >= 0)
    if there.sum() < _FEWEST:
        return undefined(f"fewer than {_FEWEST} seconds with a label of both")
    return estimate(measures.kappa_terms(one[there], other[there], k), measures.kappa, blocks)


def _alpha(labels: np.ndarray, k: int, blocks: MovingBlockBootstrap) -> dict[str, Any]:
    shared = (labels >= 0).sum(0) > 1
    if not shared.any():
        return undefined("no second with two labels")
    return estimate(measures.nominal_alpha_terms(labels[:, shared], k), measures.nominal_alpha, blocks)


def _each(machine: np.ndarray, consensus: np.ndarray, there: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    """Precision, recall and F1 of each label against the consensus; None where there is nothing to count."""
    found = {}
    for c, name in enumerate(names):
        called, true = there & (machine == c), there & (consensus == c)
        hits, sides = int((called & true).sum()), int(called.sum() + true.sum())
        found[name] = {
            "seconds_machine": int(called.sum()), "seconds_raters": int(true.sum()),
            "precision": hits / int(called.sum()) if called.any() else None,
            "recall": hits / int(true.sum()) if true.any() else None,
            "f1": 2 * hits / sides if sides else None,
        }  # fmt: skip
    return found
