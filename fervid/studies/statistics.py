"""Measures of agreement as functions of sums, so that a bootstrap can recompute them from sums of resampled terms.

The `*_terms` functions give the terms (n, F) that n units add to the sums; each measure maps sums (..., F) to values
(...), NaN where it is undefined because there are too few units or no variation. All measures are tested against the
examples in the papers, and against krippendorff, scikit-learn and SciPy.
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

#: Variation below this fraction of the mean square is a rounding error.
_EPSILON = 1e-10


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide; NaN where the denominator is not positive."""
    valid = np.isfinite(denominator) & (denominator > 0)
    return np.where(valid, numerator / np.where(valid, denominator, 1), np.nan)


# -- two series ---------------------------------------------------------------------------------------------


def pair_terms(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the terms of `pearson` and `concordance`.

    Parameters
    ----------
    x, y : ndarray of shape (n,)
        Two series. Both are shifted by their common mean, for numerical precision.

    Returns
    -------
    ndarray of shape (n, 6)
        Count, x, y, x², y² and xy.
    """
    middle = (x.mean() + y.mean()) / 2 if len(x) else 0.0
    x, y = x - middle, y - middle
    return np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], -1)


def _moments(sums: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return means, variances (divided by n) and covariance of x and y; NaN for fewer than three pairs."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    n = np.where(n >= 3, n, np.nan)
    mean_x, mean_y = x / n, y / n
    var_x, var_y = xx / n - mean_x**2, yy / n - mean_y**2
    var_x, var_y = (np.where(var > _EPSILON * (sq / n), var, 0) for var, sq in ((var_x, xx), (var_y, yy)))
    return mean_x, mean_y, var_x, var_y, xy / n - mean_x * mean_y


def pearson(sums: np.ndarray) -> np.ndarray:
    """Compute Pearson's correlation, or Spearman's if the terms are those of `ranks`.

    Parameters
    ----------
    sums : ndarray of shape (..., 6)
        Sums of `pair_terms`.

    Returns
    -------
    ndarray of shape (...)
        In -1..1.
    """
    _, _, var_x, var_y, cov = _moments(sums)
    return np.clip(_ratio(cov, np.sqrt(var_x * var_y)), -1, 1)


def concordance(sums: np.ndarray) -> np.ndarray:
    """Compute the concordance correlation coefficient (Lin 1989, Biometrics 45, 255-268).

    Unlike Pearson's correlation it also measures agreement in level and scale.

    Parameters
    ----------
    sums : ndarray of shape (..., 6)
        Sums of `pair_terms`.

    Returns
    -------
    ndarray of shape (...)
        In -1..1.
    """
    mean_x, mean_y, var_x, var_y, cov = _moments(sums)
    varies = (var_x > 0) & (var_y > 0)
    return _ratio(2 * cov, np.where(varies, var_x + var_y + (mean_x - mean_y) ** 2, np.nan))


def ranks(x: np.ndarray) -> np.ndarray:
    """Return ranks from 1; ties get their mean rank.

    Parameters
    ----------
    x : ndarray of shape (n,)
        Values.

    Returns
    -------
    ndarray of shape (n,)
        Ranks.
    """
    return rankdata(x)


# -- two coders, categories -----------------------------------------------------------------------------------


def kappa_terms(first: np.ndarray, second: np.ndarray, k: int) -> np.ndarray:
    """Return the terms of `kappa`.

    Parameters
    ----------
    first, second : ndarray of shape (n,)
        Labels of two coders, 0 to k - 1.
    k : int
        Number of categories.

    Returns
    -------
    ndarray of shape (n, k * k)
        One-hot encoding of the pair of labels.
    """
    return np.eye(k * k)[first * k + second]


def kappa(sums: np.ndarray) -> np.ndarray:
    """Compute Cohen's kappa (Cohen 1960, Educational and Psychological Measurement 20, 37-46).

    Parameters
    ----------
    sums : ndarray of shape (..., k * k)
        Sums of `kappa_terms`, the confusion matrix.

    Returns
    -------
    ndarray of shape (...)
        At most 1.
    """
    k = round(sums.shape[-1] ** 0.5)
    table = sums.reshape(*sums.shape[:-1], k, k)
    n = table.sum((-1, -2))
    share = table / np.where(n > 0, n, np.nan)[..., None, None]
    observed = np.trace(share, axis1=-2, axis2=-1)
    expected = (share.sum(-1) * share.sum(-2)).sum(-1)
    return _ratio(observed - expected, np.where(expected < 1 - _EPSILON, 1 - expected, np.nan))


# -- many coders ----------------------------------------------------------------------------------------------


def nominal_alpha_terms(labels: np.ndarray, k: int) -> np.ndarray:
    """Return the terms of `nominal_alpha`.

    Parameters
    ----------
    labels : ndarray of shape (R, n)
        Labels of R coders, 0 to k - 1; -1 if missing.
    k : int
        Number of categories.

    Returns
    -------
    ndarray of shape (n, k * k)
        Coincidences within each unit.
    """
    votes = np.stack([(labels == c).sum(0) for c in range(k)], -1).astype(float)
    m = votes.sum(1)
    pairs = votes[:, :, None] * votes[:, None, :] - votes[:, :, None] * np.eye(k)
    return (pairs / np.maximum(m - 1, 1)[:, None, None] * (m > 1)[:, None, None]).reshape(len(votes), k * k)


def nominal_alpha(sums: np.ndarray) -> np.ndarray:
    """Compute Krippendorff's alpha for nominal data (2011, Computing Krippendorff's Alpha-Reliability, part C).

    Parameters
    ----------
    sums : ndarray of shape (..., k * k)
        Sums of `nominal_alpha_terms`, the coincidence matrix.

    Returns
    -------
    ndarray of shape (...)
        At most 1.
    """
    k = round(sums.shape[-1] ** 0.5)
    table = sums.reshape(*sums.shape[:-1], k, k)
    counts = table.sum(-1)
    n = counts.sum(-1)
    observed = n - np.trace(table, axis1=-2, axis2=-1)
    expected = n * n - (counts * counts).sum(-1)
    return 1 - (n - 1) * _ratio(observed, expected)


def interval_alpha_terms(values: np.ndarray) -> np.ndarray:
    """Return the terms of `interval_alpha`.

    Parameters
    ----------
    values : ndarray of shape (R, n)
        Values of R coders; NaN if missing.

    Returns
    -------
    ndarray of shape (n, 4)
        Count, sum, sum of squares and disagreement within each unit.
    """
    valid = np.isfinite(values)
    m = valid.sum(0)
    x = np.where(valid, values - (values[valid].mean() if valid.any() else 0), 0)
    s, ss = x.sum(0), (x * x).sum(0)
    within = 2 * (m * ss - s * s) / np.maximum(m - 1, 1)
    return np.stack([m, s, ss, within], -1) * (m > 1)[:, None]


def interval_alpha(sums: np.ndarray) -> np.ndarray:
    """Compute Krippendorff's alpha for interval data (Krippendorff 2011, part E).

    Parameters
    ----------
    sums : ndarray of shape (..., 4)
        Sums of `interval_alpha_terms`.

    Returns
    -------
    ndarray of shape (...)
        At most 1.
    """
    n, s, ss, within = np.moveaxis(sums, -1, 0)
    expected = n * ss - s * s
    return 1 - (n - 1) * _ratio(within, 2 * np.where(expected > _EPSILON * n * ss, expected, np.nan))


def icc_terms(values: np.ndarray) -> np.ndarray:
    """Return the terms of `icc`.

    Parameters
    ----------
    values : ndarray of shape (R, n)
        Values of R coders, none missing.

    Returns
    -------
    ndarray of shape (n, 3 + R)
        Count, squared sum and sum of squares of each unit, and the values.
    """
    x = values - (values.mean() if values.size else 0)
    total = x.sum(0)
    return np.concatenate([np.stack([np.ones(x.shape[1]), total**2, (x * x).sum(0)], -1), x.T], -1)


def icc(sums: np.ndarray, mean_of_all: bool = True) -> np.ndarray:
    """Compute an intraclass correlation (Shrout & Fleiss 1979, Psychological Bulletin 86, 420-428).

    Parameters
    ----------
    sums : ndarray of shape (..., 3 + R)
        Sums of `icc_terms`.
    mean_of_all : bool
        Whether to compute ICC(2,k), the absolute agreement of the mean of all coders, or ICC(2,1), that of one coder.

    Returns
    -------
    ndarray of shape (...)
        At most 1.
    """
    n, squared, squares = np.moveaxis(sums[..., :3], -1, 0)
    columns = sums[..., 3:]
    k = columns.shape[-1]
    n = np.where(n >= 2, n, np.nan)
    correction = columns.sum(-1) ** 2 / (n * k)
    between_units = squared / k - correction
    between_coders = (columns**2).sum(-1) / n - correction
    ms_units = between_units / (n - 1)
    ms_coders = between_coders / (k - 1)
    ms_error = (squares - correction - between_units - between_coders) / ((n - 1) * (k - 1))
    if mean_of_all:
        denominator = ms_units + (ms_coders - ms_error) / n
    else:
        denominator = ms_units + (k - 1) * ms_error + k * (ms_coders - ms_error) / n
    varies = (squares > 0) & (ms_units > _EPSILON * squares)
    return _ratio(ms_units - ms_error, np.where(varies, denominator, np.nan))


# -- presence ---------------------------------------------------------------------------------------------------


def auc_terms(score: np.ndarray, positive: np.ndarray, bins: int | None = None) -> np.ndarray:
    """Return the terms of `auc`.

    Parameters
    ----------
    score : ndarray of shape (n,)
        Scores.
    positive : ndarray of shape (n,)
        Whether each unit is positive.
    bins : int, optional
        Approximate number of bins of equal size; scores within a bin count as ties. By default each distinct score
        has its own bin.

    Returns
    -------
    ndarray of shape (n, 2 * bins)
        One-hot encoding of bin and class.
    """
    edges = np.unique(score) if bins is None else np.unique(np.quantile(score, np.linspace(0, 1, bins + 1)[:-1]))
    bin_of = np.searchsorted(edges, score, "right") - 1
    terms = np.zeros((len(score), 2 * len(edges)))
    terms[np.arange(len(score)), bin_of + np.where(positive, 0, len(edges))] = 1
    return terms


def auc(sums: np.ndarray) -> np.ndarray:
    """Compute the area under the ROC curve (Hanley & McNeil 1982, Radiology 143, 29-36).

    This is the probability that a positive scores higher than a negative; ties count half.

    Parameters
    ----------
    sums : ndarray of shape (..., 2 * bins)
        Sums of `auc_terms`.

    Returns
    -------
    ndarray of shape (...)
        In 0..1.
    """
    positive, negative = np.split(sums, 2, -1)
    below = negative.cumsum(-1) - negative / 2
    return _ratio((positive * below).sum(-1), positive.sum(-1) * negative.sum(-1))


def exact_auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Compute the area under the ROC curve from ranks, without bins.

    Parameters
    ----------
    score : ndarray of shape (n,)
        Scores.
    positive : ndarray of shape (n,)
        Whether each unit is positive.

    Returns
    -------
    float
        In 0..1; NaN if all units have the same class.
    """
    n, m = int(positive.sum()), int((~positive).sum())
    return float((ranks(score)[positive].sum() - n * (n + 1) / 2) / (n * m)) if n and m else math.nan
