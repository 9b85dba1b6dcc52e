"""Non-maximum suppression of many groups of boxes at once."""

from collections.abc import Iterator

import numpy as np

__all__ = ["nms"]

_PAIRS = 2**20  # of boxes compared at once


def nms(
    box: np.ndarray, score: np.ndarray, group: np.ndarray, threshold: float, *, of_smaller: bool = False
) -> np.ndarray:
    """Keep the best of every heap of boxes: greedy non-maximum suppression in all groups at once.

    box (m, 4) float32, score (m,), group (m,) int -> indices of the kept, by group, then by falling score. Overlap is
    intersection over union; `of_smaller`: over the smaller box, with sides that count their last pixel.
    """
    order = np.lexsort((-score, group))
    better, worse = _overlapping(box[order], group[order], threshold, of_smaller)
    kept, unsettled = np.zeros(len(order), bool), np.ones(len(order), bool)
    while unsettled.any():  # each round settles all boxes whose betters are settled
        beaten, lost = np.zeros_like(kept), np.zeros_like(kept)
        beaten[worse] = True
        won = unsettled & ~beaten
        lost[worse[won[better]]] = True
        kept |= won
        unsettled &= ~(won | lost)
        rest = unsettled[better] & unsettled[worse]
        better, worse = better[rest], worse[rest]
    return order[kept]


def _overlapping(
    box: np.ndarray, group: np.ndarray, threshold: float, of_smaller: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Find the pairs in one group that overlap by more than threshold -> the lower and the higher index (p,).

    Sorted by x, only near neighbours are compared: an overlap above the threshold leaves little room for a shift.
    """
    low, high, extra = box[:, :2], box[:, 2:], np.float32(of_smaller)
    side = high - low + extra
    area = side[:, 0] * side[:, 1]
    room = side * (1 if of_smaller else 1 - threshold) + 1
    key = low[:, 0] + group * (np.ptp(box) + 4.0 if len(box) else 0.0)  # groups side by side, out of reach
    by_x = np.argsort(key, kind="stable")
    reach = np.searchsorted(key[by_x], (key + room[:, 0])[by_x], "right") - np.arange(len(key)) - 1
    pairs = [np.zeros((2, 0), np.int64)]
    for first, second in _windows(np.maximum(reach, 0)):
        i, j = by_x[first], by_x[second]
        near = np.abs(low[i, 1] - low[j, 1]) < np.maximum(room[i, 1], room[j, 1])
        i, j = i[near], j[near]
        common = np.maximum(np.minimum(high[i], high[j]) - np.maximum(low[i], low[j]) + extra, 0)
        shared = common[:, 0] * common[:, 1]
        whole = np.minimum(area[i], area[j]) if of_smaller else area[i] + area[j] - shared
        hit = shared / np.maximum(whole, np.float32(1e-9)) > threshold
        pairs.append(np.sort((i[hit], j[hit]), 0))
    better, worse = np.concatenate(pairs, 1)
    return better, worse


def _windows(reach: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pair each i with i + 1 ... i + reach[i], about _PAIRS pairs at once."""
    ends = np.cumsum(reach)
    cuts = np.searchsorted(ends, np.arange(0, reach.sum(), _PAIRS), "right")
    for start, stop in zip(cuts, [*cuts[1:], len(reach)]):
        count = reach[start:stop]
        i = np.repeat(np.arange(start, stop), count)
        yield i, i + 1 + np.arange(len(i)) - np.repeat(np.cumsum(count) - count, count)
