"""One thread for torch on a CPU."""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["one_thread"]

P = ParamSpec("P")
R = TypeVar("R")


def one_thread(call: Callable[P, R]) -> Callable[P, R]:
    """Run a function with one torch thread, and put the number back; where torch is not loaded there is none to hold.

    Two threads beside a busy decoder ran 28 times slower than one (FACTS); and the same thread count everywhere gives
    the same last bits everywhere.
    """

    @functools.wraps(call)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        torch = sys.modules.get("torch")
        before = torch.get_num_threads() if torch else 1
        if torch is None or before == 1:
            return call(*args, **kwargs)
        torch.set_num_threads(1)
        try:
            return call(*args, **kwargs)
        finally:
            torch.set_num_threads(before)

    return wrapper
