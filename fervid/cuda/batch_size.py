"""How much fits on a GPU at once, and what to do when less does."""

from collections.abc import Callable
from typing import Protocol, Self, TypeVar

import torch

from fervid.errors import VideoError
from fervid.runtime.device import is_out_of_memory

__all__ = ["max_batch_size", "retry_smaller"]


class _Divisible(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Self: ...


D = TypeVar("D", bound=_Divisible)
R = TypeVar("R")

#: Looks to a batch, where memory is no matter: on a GPU enough to hide the launches, on a CPU as frames.BATCH.
_MOST, _MOST_ON_CPU = 64, 8
#: Bytes that a look takes for each pixel of its picture (tables, P-Net's first layers) and of its luma (staged twice).
_FOR_PICTURE, _FOR_LUMA = 256, 4
#: The part of the free memory that looks may take: crops, networks and other programs want some too.
_SHARE = 0.4
#: Page-locked memory that one batch of looks may take.
_PINNED_BYTES = 2**28


def max_batch_size(device: torch.device, picture_px: int, luma_px: int) -> int:
    """How many looks of so many pixels to take at once: as many as the free memory of the device has room for."""
    if device.type != "cuda":
        return _MOST_ON_CPU
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    fitting = int(_SHARE * free / (_FOR_PICTURE * picture_px + _FOR_LUMA * luma_px))
    return max(1, min(_MOST, fitting, _PINNED_BYTES // (3 * picture_px + luma_px)))


def retry_smaller(items: D, work: Callable[[D], R], on_halved: Callable[[int], None], what: str) -> list[R]:
    """Do the work on all items at once; if memory does not suffice, on each half, and so on -> results in order.

    on_halved hears how many were tried last. VideoError "too_large" if there is no room for a single one of `what`.
    """
    try:
        return [work(items)]
    except RuntimeError as e:
        if not is_out_of_memory(e):
            raise
        if len(items) == 1:
            reason = str(e).splitlines()[0]
            raise VideoError(
                f"{what} does not fit into the memory that is free on the device ({reason}); end other programs on "
                "it, or use --device cpu",
                reason="too_large",
            ) from None
    if torch.cuda.is_initialized():  # outside of the handler: the error held on to what was allocated
        torch.cuda.empty_cache()
    half = (len(items) + 1) // 2
    on_halved(half)
    return [r for part in (items[:half], items[half:]) for r in retry_smaller(part, work, on_halved, what)]
