"""Non-maximum suppression on a torch device, in many pictures at once."""

import torch
from torch import Tensor

from fervid.faces.nms import nms as suppress_on_cpu

__all__ = ["nms"]

#: Pairs of boxes compared at once. A picture with more pairs than this (4,096 boxes) is left to faces/nms.py.
_PAIRS = 2**24
#: Rounds of settling between two questions to the device whether all is settled: a question waits for the device.
_ROUNDS = 4


def nms(
    box: Tensor,
    score: Tensor,
    frame: Tensor,
    threshold: float,
    *,
    group: Tensor | None = None,
    of_smaller: bool = False,
) -> Tensor:
    """Do what faces.nms.nms does on the device of the boxes: greedy non-maximum suppression within each picture.

    box (m, 4), score (m,), frame (m,) int64; boxes of different `group` (m,) leave each other alone -> indices of the
    kept, by picture, then by falling score.
    """
    order = torch.argsort(score, descending=True, stable=True)
    order = order[torch.argsort(frame[order], stable=True)]
    count = torch.bincount(frame).tolist()
    kept, first = [], 0
    while count:
        n, most = _batch(count)
        members = order[first : first + sum(count[:n])]
        first += len(members)
        if most * most > _PAIRS:
            kept.append(_on_cpu(members, box, score, group, threshold, of_smaller))
        elif len(members):
            groups = None if group is None else group[members]
            kept.append(members[_greedy(box[members], count[:n], most, groups, threshold, of_smaller)])
        count = count[n:]
    return torch.cat(kept) if kept else order


def _batch(count: list[int]) -> tuple[int, int]:
    """How many of the next pictures to take at once, and the most boxes that one of them has."""
    n, most = 1, count[0]
    while n < len(count) and (n + 1) * max(most, count[n]) ** 2 <= _PAIRS:
        most = max(most, count[n])
        n += 1
    return n, most


def _greedy(
    box: Tensor, count: list[int], most: int, group: Tensor | None, threshold: float, of_smaller: bool
) -> Tensor:
    """Which boxes (m, 4) stay, best first within each of the pictures that hold `count` of them -> mask (m,)."""
    numbers = torch.tensor(count, device=box.device)
    there = torch.arange(most, device=box.device) < numbers[:, None]
    padded = box.new_zeros((len(count), most, 4))
    padded[there] = box
    hit = _overlap(padded, of_smaller).gt_(threshold).bool().triu_(1)
    if group is not None:
        names = group.new_zeros((len(count), most))
        names[there] = group
        hit &= names[:, :, None] == names[:, None]
    hit &= there[:, :, None] & there[:, None]
    kept, unsettled = torch.zeros_like(there), there.clone()
    while unsettled.any():  # each round settles all boxes whose betters are settled
        for _ in range(_ROUNDS):
            won = unsettled & ~(hit & unsettled[:, :, None]).any(1)
            kept |= won
            unsettled &= ~(won | (hit & won[:, :, None]).any(1))
    return kept[there]


def _overlap(box: Tensor, of_smaller: bool) -> Tensor:
    """Intersection over union of all pairs (n, k, 4) -> (n, k, k); or over the smaller."""
    low, high, extra = box[..., :2], box[..., 2:], float(of_smaller)
    side = high - low + extra
    area = side[..., 0] * side[..., 1]
    shared: Tensor | float = 1.0
    for axis in (0, 1):
        until = torch.minimum(high[:, :, None, axis], high[:, None, :, axis])
        since = torch.maximum(low[:, :, None, axis], low[:, None, :, axis])
        shared = (until - since + extra).clamp_(min=0) * shared
    one, other = area[:, :, None], area[:, None]
    whole = torch.minimum(one, other) if of_smaller else one + other - shared
    return shared / whole.clamp(min=1e-9)


def _on_cpu(
    members: Tensor, box: Tensor, score: Tensor, group: Tensor | None, threshold: float, of_smaller: bool
) -> Tensor:
    """One crowded picture: faces/nms.py compares near boxes only, so that memory does not grow with the square."""
    names = torch.zeros_like(members) if group is None else group[members]
    boxes, scores, groups = (column.cpu().numpy() for column in (box[members], score[members], names))
    kept = torch.from_numpy(suppress_on_cpu(boxes, scores, groups, threshold, of_smaller=of_smaller)).to(box.device)
    return members[kept.sort().values]
