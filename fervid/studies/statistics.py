"""Measures of agreement, each as what a unit adds to a sum, and a figure of the sums: so they can be drawn anew.

`*_terms` give (n, F) for n units; the measures take sums of them, (..., F) -> (...). NaN is "there is none": too few
units, or no variation. All are checked against the examples in the papers, and against krippendorff,
scikit-learn and SciPy, in tests/studies/test_statistics.py.
"""

import math

import numpy as np
from scipy.stats import rankdata

__all__ = [
    "auc",
    "auc_terms",
    "concordance",
    "exact_auc",
    "icc",
    "icc_terms",
    "interval_alpha",
    "interval_alpha_terms",
    "kappa",
    "kappa_terms",
    "nominal_alpha",
    "nominal_alpha_terms",
    "pair_terms",
    "pearson",
    "ranks",
]

#: Variation below this part of the mean square is rounding, not variation.
_NOTHING = 1e-10


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below; NaN where below is nothing."""
    fits = np.isfinite(below) & (below > 0)
    return np.where(fits, above / np.where(fits, below, 1), np.nan)


# -- two series ---------------------------------------------------------------------------------------------


def pair_terms(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Series x and y (n,) -> (n, 6), for `pearson` and `concordance`. Both are measured from one middle."""
    middle = (x.mean() + y.mean()) / 2 if len(x) else 0.0
    x, y = x - middle, y - middle
    return np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], -1)


def _moments(sums: np.ndarray) -> tuple[np.ndarray, ...]:
    """Means, variances (over n) and covariance of x and y; NaN for fewer than three pairs."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    n = np.where(n >= 3, n, np.nan)
    mean_x, mean_y = x / n, y / n
    var_x, var_y = xx / n - mean_x**2, yy / n - mean_y**2
    var_x, var_y = (np.where(var > _NOTHING * (sq / n), var, 0) for var, sq in ((var_x, xx), (var_y, yy)))
    return mean_x, mean_y, var_x, var_y, xy / n - mean_x * mean_y


def pearson(sums: np.ndarray) -> np.ndarray:
    """Pearson's correlation; of `ranks`, Spearman's."""
    _, _, var_x, var_y, cov = _moments(sums)
    return np.clip(_ratio(cov, np.sqrt(var_x * var_y)), -1, 1)


def concordance(sums: np.ndarray) -> np.ndarray:
    """The concordance correlation coefficient (Lin 1989, Biometrics 45, 255-268): also level and scale must agree."""
    mean_x, mean_y, var_x, var_y, cov = _moments(sums)
    both = (var_x > 0) & (var_y > 0)
    return _ratio(2 * cov, np.where(both, var_x + var_y + (mean_x - mean_y) ** 2, np.nan))


def ranks(x: np.ndarray) -> np.ndarray:
    """Ranks from 1, the mean rank for equals."""
    return rankdata(x)


# -- two coders, categories -----------------------------------------------------------------------------------


def kappa_terms(one: np.ndarray, other: np.ndarray, k: int) -> np.ndarray:
    """Labels (n,) 0 to k - 1 of two coders -> (n, k * k): which pair of labels it was."""
    return np.eye(k * k)[one * k + other]


def kappa(sums: np.ndarray) -> np.ndarray:
    """Cohen's kappa (Cohen 1960, Educational and Psychological Measurement 20, 37-46)."""
    k = round(sums.shape[-1] ** 0.5)
    table = sums.reshape(*sums.shape[:-1], k, k)
    n = table.sum((-1, -2))
    share = table / np.where(n > 0, n, np.nan)[..., None, None]
    seen = np.trace(share, axis1=-2, axis2=-1)
    chance = (share.sum(-1) * share.sum(-2)).sum(-1)
    return _ratio(seen - chance, np.where(chance < 1 - _NOTHING, 1 - chance, np.nan))


# -- many coders ----------------------------------------------------------------------------------------------


def nominal_alpha_terms(labels: np.ndarray, k: int) -> np.ndarray:
    """Labels (R, n) of R coders, 0 to k - 1 or -1 for none -> (n, k * k): each unit's coincidences."""
    votes = np.stack([(labels == c).sum(0) for c in range(k)], -1).astype(float)
    m = votes.sum(1)
    pairs = votes[:, :, None] * votes[:, None, :] - votes[:, :, None] * np.eye(k)
    return (pairs / np.maximum(m - 1, 1)[:, None, None] * (m > 1)[:, None, None]).reshape(len(votes), k * k)


def nominal_alpha(sums: np.ndarray) -> np.ndarray:
    """Krippendorff's alpha for nominal data (Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, part C)."""
    k = round(sums.shape[-1] ** 0.5)
    table = sums.reshape(*sums.shape[:-1], k, k)
    of = table.sum(-1)
    n = of.sum(-1)
    differ = n - np.trace(table, axis1=-2, axis2=-1)
    expected = n * n - (of * of).sum(-1)
    return 1 - (n - 1) * _ratio(differ, expected)


def interval_alpha_terms(values: np.ndarray) -> np.ndarray:
    """Values (R, n) of R coders, NaN for none -> (n, 4), for `interval_alpha`."""
    there = np.isfinite(values)
    m = there.sum(0)
    x = np.where(there, values - (values[there].mean() if there.any() else 0), 0)
    s, ss = x.sum(0), (x * x).sum(0)
    within = 2 * (m * ss - s * s) / np.maximum(m - 1, 1)
    return np.stack([m, s, ss, within], -1) * (m > 1)[:, None]


def interval_alpha(sums: np.ndarray) -> np.ndarray:
    """Krippendorff's alpha for interval data (Krippendorff 2011, part E)."""
    n, s, ss, within = np.moveaxis(sums, -1, 0)
    expected = n * ss - s * s
    return 1 - (n - 1) * _ratio(within, 2 * np.where(expected > _NOTHING * n * ss, expected, np.nan))


def icc_terms(values: np.ndarray) -> np.ndarray:
    """Values (R, n) of R coders, none missing -> (n, 3 + R), for `intraclass`."""
    x = values - (values.mean() if values.size else 0)
    total = x.sum(0)
    return np.concatenate([np.stack([np.ones(x.shape[1]), total**2, (x * x).sum(0)], -1), x.T], -1)


def icc(sums: np.ndarray, mean_of_all: bool = True) -> np.ndarray:
    """ICC(2,k), absolute agreement of the mean of k coders, or ICC(2,1) of one (Shrout & Fleiss 1979, Psychological
    Bulletin 86, 420-428)."""
    n, squared, squares = np.moveaxis(sums[..., :3], -1, 0)
    columns = sums[..., 3:]
    k = columns.shape[-1]
    n = np.where(n >= 2, n, np.nan)
    middle = columns.sum(-1) ** 2 / (n * k)
    between = squared / k - middle
    coders = (columns**2).sum(-1) / n - middle
    rows = between / (n - 1)
    judges = coders / (k - 1)
    error = (squares - middle - between - coders) / ((n - 1) * (k - 1))
    varies = squares > 0
    below = rows + (judges - error) / n if mean_of_all else rows + (k - 1) * error + k * (judges - error) / n
    return _ratio(rows - error, np.where(varies & (rows > _NOTHING * squares), below, np.nan))


# -- presence ---------------------------------------------------------------------------------------------------


def auc_terms(score: np.ndarray, positive: np.ndarray, bins: int | None = None) -> np.ndarray:
    """Scores and positives (n,) -> (n, 2 * bins), for `auc`: in which bin of the score, and of which kind.

    Every score has a bin of its own; or there are about `bins` of equal size, within which all scores count as equal.
    """
    edges = np.unique(score) if bins is None else np.unique(np.quantile(score, np.linspace(0, 1, bins + 1)[:-1]))
    at = np.searchsorted(edges, score, "right") - 1
    terms = np.zeros((len(score), 2 * len(edges)))
    terms[np.arange(len(score)), at + np.where(positive, 0, len(edges))] = 1
    return terms


def auc(sums: np.ndarray) -> np.ndarray:
    """Area under the ROC curve: the chance that a positive scores higher than a negative, equals counting half.

    Hanley & McNeil 1982, Radiology 143, 29-36.
    """
    positive, negative = np.split(sums, 2, -1)
    below = negative.cumsum(-1) - negative / 2
    return _ratio((positive * below).sum(-1), positive.sum(-1) * negative.sum(-1))


def exact_auc(score: np.ndarray, positive: np.ndarray) -> float:
    """The area itself, from ranks, without bins."""
    n, m = int(positive.sum()), int((~positive).sum())
    return float((ranks(score)[positive].sum() - n * (n + 1) / 2) / (n * m)) if n and m else math.nan
