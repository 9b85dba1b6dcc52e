"""How sure a figure of a time series is: the moving-block bootstrap, for neighbouring seconds are not independent."""

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

#: How many times a series is drawn anew, and in what the drawing begins; so many numbers at once, to bound memory.
N_RESAMPLES, SEED = 1000, 0
_AT_ONCE = 4_000_000
#: An interval is told if at least this share of the draws has a defined figure.
_DEFINED = 0.9


class Resampler(Protocol):
    """Draws a series anew, many times."""

    def sums(self, terms: np.ndarray) -> np.ndarray:
        """The terms (n, F) of the members of each draw, summed: (draws, F)."""


@dataclass(frozen=True)
class MovingBlockBootstrap:
    """Draw blocks of `length` neighbours, starting anywhere (Künsch 1989, Annals of Statistics 17, 1217-1241).

    A short series has shorter blocks: at least five must fit, or there would be nothing to draw from.
    """

    length: int
    draws: int = N_RESAMPLES

    def fitted(self, n: int) -> int:
        """The length that blocks of a series of n have."""
        return max(1, min(self.length, n // 5))

    def sums(self, terms: np.ndarray) -> np.ndarray:
        """See Draws. The sum over a block is the difference of two running sums."""
        random, (n, size) = np.random.default_rng(SEED), terms.shape
        length = self.fitted(n)
        blocks = -(-n // length)
        start = random.integers(0, n - length + 1, (self.draws, blocks))
        stop = start + length
        stop[:, -1] -= blocks * length - n  # the last block ends where the series is full
        running = np.zeros((n + 1, size))
        np.cumsum(terms, 0, out=running[1:])
        at_once = max(1, _AT_ONCE // (blocks * size))
        parts = (slice(i, i + at_once) for i in range(0, self.draws, at_once))
        return np.concatenate([running[stop[part]].sum(1) - running[start[part]].sum(1) for part in parts])


@dataclass(frozen=True)
class ClusterBootstrap:
    """Draw whole groups, such as subjects: `of` (n,) is the group of each member, 0 to G - 1.

    One group alone tells nothing of how groups differ: its draws are NaN.
    """

    of: np.ndarray
    draws: int = N_RESAMPLES

    def sums(self, terms: np.ndarray) -> np.ndarray:
        """See Draws."""
        size = int(self.of.max()) + 1
        if size == 1:
            return np.full((self.draws, terms.shape[1]), np.nan)
        whole = np.zeros((size, terms.shape[1]))
        np.add.at(whole, self.of, terms)
        return np.random.default_rng(SEED).multinomial(size, np.full(size, 1 / size), self.draws) @ whole


def percentile_interval(values: np.ndarray) -> tuple[float | None, float | None]:
    """The middle 95% of what the draws (d,) gave; None where too many of them are undefined (NaN)."""
    defined = values[np.isfinite(values)]
    if len(defined) < _DEFINED * len(values):
        return None, None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def undefined(why: str) -> dict[str, Any]:
    """The record of a figure that there is none of."""
    return {"value": None, "low": None, "high": None, "undefined": why}


def estimate(
    terms: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], draws: Resampler, why: str = "constant"
) -> dict[str, Any]:
    """A figure with its 95% interval: {value, low, high}, or None with the reason under `undefined`.

    terms (n, F): what each member adds; statistic: sums (..., F) -> (...), NaN where there is none.
    """
    value = float(statistic(terms.sum(0)))
    if not np.isfinite(value):
        return undefined(why)
    low, high = percentile_interval(statistic(draws.sums(terms)))
    return {"value": value, "low": low, "high": high}
