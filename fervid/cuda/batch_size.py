"""The size of batches on a GPU, and smaller batches where memory does not suffice."""

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

#: Largest batches: on a GPU enough samples to hide the launches, on a CPU as in video/sampling.py.
_MAX, _MAX_ON_CPU = 64, 8
#: Bytes per sample: for each pixel of its image (integral image, first layers of P-Net) and of its luma (staged twice).
_PER_IMAGE_PIXEL, _PER_LUMA_PIXEL = 256, 4
#: Part of the free memory that samples may take; crops, networks and other programs need some too.
_SHARE = 0.4
#: Page-locked memory that one batch may take.
_PINNED_BYTES = 2**28


def max_batch_size(device: torch.device, image_px: int, luma_px: int) -> int:
    """Compute how many samples fit into the free memory of a device at once.

    Parameters
    ----------
    device : torch.device
    image_px, luma_px : int
        Pixels of the image in which faces are detected, and of the luma plane from which they are cut out.

    Returns
    -------
    int
        At least 1.
    """
    if device.type != "cuda":
        return _MAX_ON_CPU
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    fitting = int(_SHARE * free / (_PER_IMAGE_PIXEL * image_px + _PER_LUMA_PIXEL * luma_px))
    return max(1, min(_MAX, fitting, _PINNED_BYTES // (3 * image_px + luma_px)))


def retry_smaller(items: D, work: Callable[[D], R], on_smaller: Callable[[int], None], what: str) -> list[R]:
    """Process all items at once; if memory does not suffice, each half separately, and so on.

    Parameters
    ----------
    items : sequence
        Anything with a length that can be sliced.
    work : callable
        Processes items.
    on_smaller : callable
        Called with the new number of items whenever it is halved.
    what : str
        Describes one item in the message of the error.

    Returns
    -------
    list
        What `work` returned for each part, in order.

    Raises
    ------
    VideoError
        With the reason "too_large", if memory does not suffice for a single item.
    """
    try:
        return [work(items)]
    except RuntimeError as e:
        if not is_out_of_memory(e):
            raise
        if len(items) == 1:
            reason = str(e).splitlines()[0]
            raise VideoError(
                f"{what} does not fit into the free memory of the device ({reason}); end other programs that use it, "
                "or use --device cpu",
                reason="too_large",
            ) from None
    if torch.cuda.is_initialized():  # after the handler: the error held references to what was allocated
        torch.cuda.empty_cache()
    half = (len(items) + 1) // 2
    on_smaller(half)
    return [r for part in (items[:half], items[half:]) for r in retry_smaller(part, work, on_smaller, what)]
