"""Non-maximum suppression on a torch device, in many images at once.

faces/nms.py sorts boxes and compares near ones only, which saves arithmetic on a CPU. Here all pairs of boxes of an
image are compared in a few large operations, since each step of a search would wait for the device. So the two stay
apart, and tests/cuda holds them to the same results.
"""

import torch
from torch import Tensor

from fervid.faces.nms import nms as nms_on_cpu

__all__ = ["nms"]

#: Pairs of boxes to compare at once. An image with more pairs than this (4,096 boxes) is left to faces/nms.py.
_PAIRS = 2**24
#: Rounds between two checks whether all boxes are decided: a check waits for the device.
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
    """Keep the best of overlapping boxes, as `faces.nms.nms` does: greedy non-maximum suppression within each image.

    Parameters
    ----------
    box : Tensor, shape (m, 4)
    score : Tensor, shape (m,)
    frame : Tensor, shape (m,), int64
        The image of each box.
    threshold : float
        Overlap above which the box of the lower score is suppressed.
    group : Tensor, shape (m,), optional
        Boxes of different groups do not suppress each other.
    of_smaller : bool
        As for `faces.nms.nms`.

    Returns
    -------
    Tensor, shape (k,), int64
        Indices of the boxes to keep, by image, then by falling score.
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
    """Choose how many of the next images to process at once -> their number, and the most boxes in one of them."""
    n, most = 1, count[0]
    while n < len(count) and (n + 1) * max(most, count[n]) ** 2 <= _PAIRS:
        most = max(most, count[n])
        n += 1
    return n, most


def _greedy(
    box: Tensor, count: list[int], most: int, group: Tensor | None, threshold: float, of_smaller: bool
) -> Tensor:
    """Mark the boxes (m, 4) to keep, sorted by score within images that hold `count` of them each -> mask (m,)."""
    numbers = torch.tensor(count, device=box.device)
    valid = torch.arange(most, device=box.device) < numbers[:, None]
    padded = box.new_zeros((len(count), most, 4))
    padded[valid] = box
    hit = _overlap(padded, of_smaller).gt_(threshold).bool().triu_(1)
    if group is not None:
        groups = group.new_zeros((len(count), most))
        groups[valid] = group
        hit &= groups[:, :, None] == groups[:, None]
    hit &= valid[:, :, None] & valid[:, None]
    kept, undecided = torch.zeros_like(valid), valid.clone()
    while undecided.any():  # each round decides all boxes whose better neighbours are decided
        for _ in range(_ROUNDS):
            won = undecided & ~(hit & undecided[:, :, None]).any(1)
            kept |= won
            undecided &= ~(won | (hit & won[:, :, None]).any(1))
    return kept[valid]


def _overlap(box: Tensor, of_smaller: bool) -> Tensor:
    """Compute intersection over union, or over the smaller box, of all pairs (n, k, 4) -> (n, k, k)."""
    low, high, extra = box[..., :2], box[..., 2:], float(of_smaller)
    side = high - low + extra
    area = side[..., 0] * side[..., 1]
    shared: Tensor | float = 1.0
    for axis in (0, 1):
        end = torch.minimum(high[:, :, None, axis], high[:, None, :, axis])
        start = torch.maximum(low[:, :, None, axis], low[:, None, :, axis])
        shared = (end - start + extra).clamp_(min=0) * shared
    one, other = area[:, :, None], area[:, None]
    whole = torch.minimum(one, other) if of_smaller else one + other - shared
    return shared / whole.clamp(min=1e-9)


def _on_cpu(
    members: Tensor, box: Tensor, score: Tensor, group: Tensor | None, threshold: float, of_smaller: bool
) -> Tensor:
    """Process one crowded image with faces/nms.py, whose memory does not grow with the square of the boxes."""
    group = torch.zeros_like(members) if group is None else group[members]
    boxes, scores, groups = (column.cpu().numpy() for column in (box[members], score[members], group))
    kept = torch.from_numpy(nms_on_cpu(boxes, scores, groups, threshold, of_smaller=of_smaller)).to(box.device)
    return members[kept.sort().values]
