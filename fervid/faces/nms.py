"""Non-maximum suppression of many groups of boxes at once."""

from collections.abc import Iterator

import numpy as np

__all__ = ["nms"]

#: Pairs of boxes to compare at once.
_PAIRS = 2**20


def nms(
    box: np.ndarray, score: np.ndarray, group: np.ndarray, threshold: float, *, of_smaller: bool = False
) -> np.ndarray:
    """Keep the best of overlapping boxes: greedy non-maximum suppression, in all groups at once.

    Parameters
    ----------
    box : ndarray, shape (m, 4), float32
    score : ndarray, shape (m,)
    group : ndarray, shape (m,), int
        Boxes of different groups do not suppress each other.
    threshold : float
        Overlap above which the box of the lower score is suppressed; of equal scores the first box is kept.
    of_smaller : bool
        Whether overlap is intersection over the smaller box, with sides that include their last pixel, as in the last
        stage of MTCNN; otherwise it is intersection over union.

    Returns
    -------
    ndarray, shape (k,), int64
        Indices of the boxes to keep, by group, then by falling score.
    """
    order = np.lexsort((-score, group))
    better, worse = _overlapping(box[order], group[order], threshold, of_smaller)
    kept, undecided = np.zeros(len(order), bool), np.ones(len(order), bool)
    while undecided.any():  # each round decides all boxes whose better neighbours are decided
        beaten, lost = np.zeros_like(kept), np.zeros_like(kept)
        beaten[worse] = True
        won = undecided & ~beaten
        lost[worse[won[better]]] = True
        kept |= won
        undecided &= ~(won | lost)
        rest = undecided[better] & undecided[worse]
        better, worse = better[rest], worse[rest]
    return order[kept]


def _overlapping(
    box: np.ndarray, group: np.ndarray, threshold: float, of_smaller: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Find the pairs of one group that overlap by more than the threshold: lower and higher index, (p,) each.

    Boxes are sorted by x and compared with near neighbours only: boxes that overlap by more than the threshold cannot
    be far apart.
    """
    low, high, extra = box[:, :2], box[:, 2:], np.float32(of_smaller)
    side = high - low + extra
    area = side[:, 0] * side[:, 1]
    max_shift = side * (1 if of_smaller else 1 - threshold) + 1
    key = low[:, 0] + group * (np.ptp(box) + 4.0 if len(box) else 0.0)  # groups side by side, out of reach
    by_x = np.argsort(key, kind="stable")
    reach = np.searchsorted(key[by_x], (key + max_shift[:, 0])[by_x], "right") - np.arange(len(key)) - 1
    pairs = [np.zeros((2, 0), np.int64)]
    for first, second in _neighbours(np.maximum(reach, 0)):
        i, j = by_x[first], by_x[second]
        near = np.abs(low[i, 1] - low[j, 1]) < np.maximum(max_shift[i, 1], max_shift[j, 1])
        i, j = i[near], j[near]
        sides = np.maximum(np.minimum(high[i], high[j]) - np.maximum(low[i], low[j]) + extra, 0)
        shared = sides[:, 0] * sides[:, 1]
        whole = np.minimum(area[i], area[j]) if of_smaller else area[i] + area[j] - shared
        hit = shared / np.maximum(whole, np.float32(1e-9)) > threshold
        pairs.append(np.sort((i[hit], j[hit]), 0))
    better, worse = np.concatenate(pairs, 1)
    return better, worse


def _neighbours(reach: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pair each i with i + 1 ... i + reach[i], about _PAIRS pairs at a time."""
    ends = np.cumsum(reach)
    cuts = np.searchsorted(ends, np.arange(0, reach.sum(), _PAIRS), "right")
    for start, stop in zip(cuts, [*cuts[1:], len(reach)]):
        count = reach[start:stop]
        i = np.repeat(np.arange(start, stop), count)
        yield i, i + 1 + np.arange(len(i)) - np.repeat(np.cumsum(count) - count, count)
