"""Agreement of a timeline with human coders: per emotion, for labels, and compared with that among the raters."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fervid.errors import ConfigError, DataError
from fervid.labels import emotion
from fervid.studies import statistics as measures
from fervid.studies.alignment import RELIABLE_SECONDS, AlignedSeries, align, read_timeline_series
from fervid.studies.bootstrap import SEED, MovingBlockBootstrap, Resampler, estimate, undefined
from fervid.studies.leave_one_out import leave_one_out
from fervid.studies.raters import read_raters
from fervid.studies.ratings import RatingOptions, Ratings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Agreement", "RatingOptions", "compare", "find_lag"]

_MIN_SECONDS = 3
#: Timelines are float32: a series with a smaller range is constant.
_MIN_RANGE = 1e-6


@dataclass(frozen=True)
class Agreement:
    """Result of a comparison."""

    facts: dict[str, Any]
    """All statistics, as plain values for JSON."""
    aligned: AlignedSeries = field(repr=False)
    """Both sides per second."""
    written: tuple[Path, ...] = ()
    """Files that the result was written to."""

    def to_pandas(self) -> "pd.DataFrame":
        """Return both sides per second.

        Returns
        -------
        pandas.DataFrame
            One row per second: second, status, and for each emotion the value of the model (EMOTION_machine), the mean
            of the raters and each rater; then the labels, if there are any.
        """
        import pandas as pd

        aligned, mean = self.aligned, self.aligned.mean
        columns: dict[str, Any] = {"second": aligned.second, "status": aligned.status}
        for k, name in enumerate(aligned.emotions):
            columns |= {f"{name}_machine": aligned.prob[:, k], f"{name}_mean": mean[:, k]}
            if len(aligned.raters) > 1:
                columns |= {f"{name}_{rater}": aligned.score[r, :, k] for r, rater in enumerate(aligned.raters)}
        names = np.array([*aligned.categories, ""], object)
        if (aligned.label >= 0).any():
            columns |= {"label_machine": names[aligned.model_label], "label_consensus": names[aligned.consensus]}
            columns |= {f"label_{rater}": names[aligned.label[r]] for r, rater in enumerate(aligned.raters)}
        return pd.DataFrame(columns)


def compare(
    timeline: Path,
    ratings: Sequence[Path],
    options: RatingOptions | None = None,
    *,
    max_lag_s: int = 5,
    block_s: int = 10,
) -> Agreement:
    """Compare a timeline with one or more tables of ratings.

    Several raters are represented by their mean where a single value is needed. Confidence intervals are 95%.

    Parameters
    ----------
    timeline : Path
        The timeline.
    ratings : sequence of Path
        Files of ratings: CSV, .xlsx, ELAN's .eaf or tab-delimited text, subtitles.
    options : RatingOptions, optional
        How to read the ratings, and the track or person to compare.
    max_lag_s : int
        Largest lag to consider, in seconds.
    block_s : int
        Length of the bootstrap's blocks, in seconds.

    Returns
    -------
    Agreement
        Statistics, and both sides per second.

    Raises
    ------
    ConfigError
        If an option is not valid.
    DataError
        If a file is not valid, or the timeline and the ratings have nothing in common.
    """
    options = _check(options or RatingOptions(), max_lag_s, block_s)
    series = read_timeline_series(timeline, options)
    rated = read_raters(ratings, options, series.film)
    aligned = align(series, rated, options)
    coverage = aligned.facts["coverage"]
    if not coverage["compared_seconds"]:
        reasons = ", ".join(f"{n} {word}" for word, n in coverage["rated_not_compared"].items() if n)
        raise DataError(f"{rated.path}: none of its rated seconds can be compared with {timeline} ({reasons})")
    resampler = MovingBlockBootstrap(block_s)
    facts: dict[str, Any] = {
        "timeline": str(timeline),
        "tables": [str(path) for path in ratings],
        "machine": {"who": series.faces, "model": series.model},
        **rated.facts,
        **aligned.facts,
        "bootstrap": {
            "block_s": resampler.block_length(coverage["compared_seconds"]),
            "draws": resampler.n_resamples,
            "seed": SEED,
        },
        "emotions": {
            name: _compare_emotion(aligned, k, resampler, max_lag_s) for k, name in enumerate(aligned.emotions)
        },
        "labels": _compare_labels(aligned, resampler, rated),
    }
    if len(aligned.raters) > 1:
        facts["spread"] = leave_one_out(aligned, resampler, rated.labelled)
    return Agreement(facts, aligned)


def _check(options: RatingOptions, max_lag_s: int, block_s: int) -> RatingOptions:
    for name, value, least in (("max_lag_s", max_lag_s, 0), ("block_s", block_s, 1)):
        if value < least:
            raise ConfigError(f"{name} = {value}: expected {least} s or more")
    if options.person is not None and options.track is not None:
        raise ConfigError("person and track: expected one of them")
    if options.gaps is None:
        return options
    return replace(options, gaps=emotion(options.gaps))


def _compare_emotion(aligned: AlignedSeries, k: int, resampler: Resampler, max_lag_s: int) -> dict[str, Any]:
    """Return the statistics of one emotion."""
    prob, mean = aligned.prob[:, k], aligned.mean[:, k]
    valid = np.isfinite(prob) & np.isfinite(mean)
    x, y = prob[valid], mean[valid]
    if len(x) < _MIN_SECONDS:
        found = {name: undefined(f"fewer than {_MIN_SECONDS} seconds") for name in ("ccc", "pearson", "spearman")}
    else:
        constant = [side for side, values in (("the model", x), ("the raters", y)) if np.ptp(values) < _MIN_RANGE]
        reason = ": ".join(filter(None, ("constant", " and ".join(constant))))
        terms, rank_terms = measures.pair_terms(x, y), measures.pair_terms(measures.ranks(x), measures.ranks(y))
        found = {
            "ccc": estimate(terms, measures.concordance, resampler, reason),
            "pearson": estimate(terms, measures.pearson, resampler, reason),
            "spearman": estimate(rank_terms, measures.pearson, resampler, reason),
        }
    lag, at_lag = find_lag(prob, mean, aligned.second, max_lag_s)
    facts = {
        "seconds": len(x),
        **found,
        "best_lag_s": lag,
        "pearson_at_best_lag": at_lag,
        "best_lag_at_limit": lag is not None and abs(lag) == max_lag_s > 0,
        "best_lag_too_few_seconds": len(x) < RELIABLE_SECONDS,
    }
    if len(aligned.raters) > 1:
        facts["raters"] = _compare_raters(aligned.score[:, :, k], resampler)
    return facts


def find_lag(
    model: np.ndarray, rated: np.ndarray, second: np.ndarray, max_lag_s: int
) -> tuple[int | None, float | None]:
    """Find the lag L at which model[t] and rated[t + L] correlate best.

    A positive lag means that the raters follow the model, as people with a reaction time do. A lag is considered if
    at least half of the seconds that can be compared without one remain; of equal correlations the smaller lag counts.

    Parameters
    ----------
    model, rated : ndarray of shape (n,)
        The two series; NaN where missing.
    second : ndarray of shape (n,)
        Times of the values, in whole seconds.
    max_lag_s : int
        Largest lag, in either direction.

    Returns
    -------
    lag_s : int or None
        None if no correlation is defined.
    correlation : float or None
        Pearson's correlation at this lag.
    """
    index = {int(s): i for i, s in enumerate(second)}
    least = max(_MIN_SECONDS, (np.isfinite(model) & np.isfinite(rated)).sum() / 2)
    best: tuple[int | None, float | None] = (None, None)
    for lag in sorted(range(-max_lag_s, max_lag_s + 1), key=abs):
        pairs = [(i, index[int(s) + lag]) for i, s in enumerate(second) if int(s) + lag in index]
        if not pairs:
            continue
        i, j = np.array(pairs).T
        x, y = model[i], rated[j]
        valid = np.isfinite(x) & np.isfinite(y)
        if valid.sum() < least:
            continue
        r = float(measures.pearson(measures.pair_terms(x[valid], y[valid]).sum(0)))
        if np.isfinite(r) and (best[1] is None or r > best[1] + 1e-9):
            best = (lag, r)
    return best


def _compare_raters(score: np.ndarray, resampler: Resampler) -> dict[str, Any]:
    """Return the agreement of the raters' scores (R, n) of one emotion with each other."""
    shared = np.isfinite(score).sum(0) > 1
    complete = np.isfinite(score).all(0)
    alpha = undefined("no second that two raters scored")
    if shared.any():
        alpha = estimate(measures.interval_alpha_terms(score[:, shared]), measures.interval_alpha, resampler)
    if complete.sum() < _MIN_SECONDS:
        single = mean = undefined(f"fewer than {_MIN_SECONDS} seconds that every rater scored")
    else:
        terms = measures.icc_terms(score[:, complete])
        mean = estimate(terms, measures.icc, resampler)
        single = estimate(terms, lambda sums: measures.icc(sums, mean_of_all=False), resampler)
    return {"alpha_interval": alpha, "icc_2k": mean, "icc_21": single, "seconds_all": int(complete.sum())}


def _compare_labels(aligned: AlignedSeries, resampler: Resampler, ratings: Ratings) -> dict[str, Any]:
    """Return the statistics of labels: the model with the consensus and each rater, and the raters' agreement."""
    if not (aligned.label >= 0).any() or len(aligned.categories) < 2:
        return {"undefined": "no labels, and no second with one highest score"}
    k, consensus = len(aligned.categories), aligned.consensus
    valid = (aligned.model_label >= 0) & (consensus >= 0)
    facts: dict[str, Any] = {
        "from": "labels" if ratings.labelled else "the highest score",
        "categories": list(aligned.categories),
        "seconds": int(valid.sum()),
        "without_consensus": int(((aligned.label >= 0).any(0) & (consensus < 0)).sum()),
        "kappa": _kappa(aligned.model_label, consensus, k, resampler),
        "agreement": float((aligned.model_label == consensus)[valid].mean()) if valid.any() else None,
        "each": _per_label(aligned.model_label, consensus, valid, aligned.categories),
    }
    if len(aligned.raters) > 1:
        coders = np.concatenate([aligned.label, aligned.model_label[None]])
        facts |= {
            "kappa_by_rater": {
                rater: _kappa(aligned.model_label, aligned.label[r], k, resampler)
                for r, rater in enumerate(aligned.raters)
            },
            "raters_alpha_nominal": _alpha(aligned.label, k, resampler),
            "alpha_nominal_with_machine": _alpha(coders, k, resampler),
        }
    return facts


def _kappa(first: np.ndarray, second: np.ndarray, k: int, resampler: Resampler) -> dict[str, Any]:
    valid = (first >= 0) & (second >= 0)
    if valid.sum() < _MIN_SECONDS:
        return undefined(f"fewer than {_MIN_SECONDS} seconds with a label of both")
    return estimate(measures.kappa_terms(first[valid], second[valid], k), measures.kappa, resampler)


def _alpha(labels: np.ndarray, k: int, resampler: Resampler) -> dict[str, Any]:
    shared = (labels >= 0).sum(0) > 1
    if not shared.any():
        return undefined("no second with two labels")
    return estimate(measures.nominal_alpha_terms(labels[:, shared], k), measures.nominal_alpha, resampler)


def _per_label(model: np.ndarray, consensus: np.ndarray, valid: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    """Return precision, recall and F1 of each label against the consensus; None where undefined."""
    found = {}
    for c, name in enumerate(names):
        predicted, actual = valid & (model == c), valid & (consensus == c)
        n_predicted, n_actual, hits = (int(mask.sum()) for mask in (predicted, actual, predicted & actual))
        found[name] = {
            "seconds_machine": n_predicted,
            "seconds_raters": n_actual,
            "precision": hits / n_predicted if n_predicted else None,
            "recall": hits / n_actual if n_actual else None,
            "f1": 2 * hits / (n_predicted + n_actual) if n_predicted + n_actual else None,
        }
    return found
