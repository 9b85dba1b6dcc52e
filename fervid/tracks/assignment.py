"""Pair the rows and columns of a table of prices at the least total price."""

import numpy as np

__all__ = ["pair"]


def pair(price: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give rows (k,), rising, and columns (k,) of price (n, m), k = min(n, m), that cost the least together.

    Where everyone on the shorter side has another cheapest partner, that is the answer: no pairing can cost less. Only
    otherwise is the assignment problem solved (Crouse 2016, in SciPy, whose import takes half a second).
    """
    if price.shape[0] > price.shape[1]:
        columns, rows = pair(price.T)
        order = np.argsort(rows)
        return rows[order], columns[order]
    cheapest = price.argmin(1) if price.size else np.zeros(len(price), np.int64)
    if len(np.unique(cheapest)) == len(cheapest):
        return np.arange(len(cheapest)), cheapest
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(price)
