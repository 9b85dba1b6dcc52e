"""Bootstrap confidence intervals for time series, whose neighbouring values are not independent."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

__all__ = [
    "N_RESAMPLES",
    "SEED",
    "ClusterBootstrap",
    "MovingBlockBootstrap",
    "Resampler",
    "estimate",
    "percentile_interval",
    "undefined",
]

N_RESAMPLES, SEED = 1000, 0
#: How many values to hold in memory at a time.
_CHUNK_VALUES = 4_000_000
#: An interval is given if the statistic is defined in at least this share of the resamples.
_MIN_DEFINED = 0.9


class Resampler(Protocol):
    """Resamples a series with replacement."""

    def sums(self, terms: np.ndarray) -> np.ndarray:
        """Sum the terms of the members of each resample.

        Parameters
        ----------
        terms : ndarray of shape (n, F)
            What each member adds to the sums.

        Returns
        -------
        ndarray of shape (n_resamples, F)
            Sums of each resample.
        """


@dataclass(frozen=True)
class MovingBlockBootstrap:
    """Resample overlapping blocks of neighbours (Künsch 1989, Annals of Statistics 17, 1217-1241)."""

    length: int
    """Length of the blocks. Short series get shorter blocks: at least five fit into the series."""
    n_resamples: int = N_RESAMPLES

    def block_length(self, n: int) -> int:
        """Return the length of the blocks in a series.

        Parameters
        ----------
        n : int
            Length of the series.

        Returns
        -------
        int
            At least 1.
        """
        return max(1, min(self.length, n // 5))

    def sums(self, terms: np.ndarray) -> np.ndarray:
        """Sum the terms of each resample, see `Resampler.sums`."""
        random, (n, size) = np.random.default_rng(SEED), terms.shape
        length = self.block_length(n)
        blocks = -(-n // length)
        start = random.integers(0, n - length + 1, (self.n_resamples, blocks))
        stop = start + length
        stop[:, -1] -= blocks * length - n  # the last block ends where the resample is as long as the series
        # the sum over a block is the difference of two cumulative sums
        cumulative = np.zeros((n + 1, size))
        np.cumsum(terms, 0, out=cumulative[1:])
        rows = max(1, _CHUNK_VALUES // (blocks * size))
        chunks = (slice(i, i + rows) for i in range(0, self.n_resamples, rows))
        return np.concatenate([cumulative[stop[c]].sum(1) - cumulative[start[c]].sum(1) for c in chunks])


@dataclass(frozen=True)
class ClusterBootstrap:
    """Resample whole groups, such as subjects. With a single group the resamples are NaN."""

    groups: np.ndarray
    """Group (n,) of each member, 0 to G - 1."""
    n_resamples: int = N_RESAMPLES

    def sums(self, terms: np.ndarray) -> np.ndarray:
        """Sum the terms of each resample, see `Resampler.sums`."""
        size = int(self.groups.max()) + 1
        if size == 1:
            return np.full((self.n_resamples, terms.shape[1]), np.nan)
        totals = np.zeros((size, terms.shape[1]))
        np.add.at(totals, self.groups, terms)
        return np.random.default_rng(SEED).multinomial(size, np.full(size, 1 / size), self.n_resamples) @ totals


def percentile_interval(values: np.ndarray) -> tuple[float | None, float | None]:
    """Return the central 95% of the resampled values.

    Parameters
    ----------
    values : ndarray of shape (n_resamples,)
        The statistic in each resample; NaN where it is undefined.

    Returns
    -------
    low, high : float or None
        None if the statistic is undefined in more than a tenth of the resamples.
    """
    defined = values[np.isfinite(values)]
    if len(defined) < _MIN_DEFINED * len(values):
        return None, None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def undefined(reason: str) -> dict[str, Any]:
    """Return the record of a statistic that is undefined.

    Parameters
    ----------
    reason : str
        Why it is undefined.

    Returns
    -------
    dict
        With the keys value, low, high (None) and undefined.
    """
    return {"value": None, "low": None, "high": None, "undefined": reason}


def estimate(
    terms: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], resampler: Resampler, reason: str = "constant"
) -> dict[str, Any]:
    """Compute a statistic with its 95% confidence interval.

    Parameters
    ----------
    terms : ndarray of shape (n, F)
        What each member adds to the sums.
    statistic : callable
        Maps sums (..., F) to values (...), NaN where undefined.
    resampler : Resampler
        Draws the resamples.
    reason : str
        Why the statistic is undefined, if it is.

    Returns
    -------
    dict
        With the keys value, low and high; see `undefined` otherwise.
    """
    value = float(statistic(terms.sum(0)))
    if not np.isfinite(value):
        return undefined(reason)
    low, high = percentile_interval(statistic(resampler.sums(terms)))
    return {"value": value, "low": low, "high": high}
