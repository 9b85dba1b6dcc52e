"""How sure a figure of a time series is: the moving-block bootstrap, for neighbouring seconds are not independent."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Draws", "Groups", "Moving", "estimate", "interval", "undefined"]

#: How many times a series is drawn anew, and in what the drawing begins; so many at once, to bound memory.
DRAWS, SEED = 1000, 0
_AT_ONCE = 2_000_000
#: An interval is told if at least this share of the draws has a defined figure.
_DEFINED = 0.9

#: Gives, for a series of n, how often each member occurs in each draw: chunks (c, n) float64.
Draws = Callable[[int], Iterator[np.ndarray]]


@dataclass(frozen=True)
class Moving:
    """Draw blocks of `length` neighbours, starting anywhere (Künsch 1989, Annals of Statistics 17, 1217-1241).

    A short series has shorter blocks: at least five must fit, or there would be nothing to draw from.
    """

    length: int
    draws: int = DRAWS

    def fitted(self, n: int) -> int:
        """The length that blocks of a series of n have."""
        return max(1, min(self.length, n // 5))

    def __call__(self, n: int) -> Iterator[np.ndarray]:
        """Draw; see Draws."""
        random, length = np.random.default_rng(SEED), self.fitted(n)
        blocks = -(-n // length)
        for c in _chunks(self.draws, n):
            start = random.integers(0, n - length + 1, (c, blocks))
            stop = start + length
            stop[:, -1] -= blocks * length - n  # the last block ends where the series is full
            steps, row = np.zeros((c, n + 1)), np.arange(c)[:, None]
            np.add.at(steps, (row, start), 1)
            np.add.at(steps, (row, stop), -1)
            yield steps.cumsum(1)[:, :n]


@dataclass(frozen=True)
class Groups:
    """Draw whole groups, such as subjects: `of` (n,) is the group of each member, 0 to G - 1."""

    of: np.ndarray
    draws: int = DRAWS

    def __call__(self, n: int) -> Iterator[np.ndarray]:
        """Draw; see Draws."""
        random, size = np.random.default_rng(SEED), int(self.of.max()) + 1
        for c in _chunks(self.draws, n):
            yield random.multinomial(size, np.full(size, 1 / size), c).astype(float)[:, self.of]


def _chunks(draws: int, n: int) -> Iterator[int]:
    at_once = max(1, _AT_ONCE // n)
    for first in range(0, draws, at_once):
        yield min(at_once, draws - first)


def interval(values: np.ndarray) -> tuple[float | None, float | None]:
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
    features: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], draws: Draws, why: str = "constant"
) -> dict[str, Any]:
    """A figure with its 95% interval: {value, low, high}, or None with the reason under `undefined`.

    features (n, F): what each member adds; statistic: sums (..., F) -> (...), NaN where there is none. Since the
    statistic needs sums only, a draw is one row of a matrix product.
    """
    value = float(statistic(features.sum(0)))
    if not np.isfinite(value):
        return undefined(why)
    drawn = np.concatenate([statistic(counts @ features) for counts in draws(len(features))])
    low, high = interval(drawn)
    return {"value": value, "low": low, "high": high}
