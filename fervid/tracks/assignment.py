"""Optimal assignment: pair the rows and columns of a cost matrix."""

import numpy as np

__all__ = ["pair"]


def pair(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair rows and columns at the least total cost.

    Where every entry of the shorter side has a different cheapest partner, that pairing is optimal. Only otherwise is
    the assignment problem solved (Crouse 2016, in SciPy, whose import takes half a second).

    Parameters
    ----------
    cost : np.ndarray
        (n, m), finite.

    Returns
    -------
    rows, columns : np.ndarray
        Indices (k,) with k = min(n, m), sorted by row.
    """
    if cost.shape[0] > cost.shape[1]:
        columns, rows = pair(cost.T)
        order = np.argsort(rows)
        return rows[order], columns[order]
    cheapest = cost.argmin(1) if cost.size else np.zeros(len(cost), np.int64)
    if len(np.unique(cheapest)) == len(cheapest):
        return np.arange(len(cheapest)), cheapest
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(cost)
