"""One thread for torch on a CPU."""

import functools
import queue
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from contextvars import copy_context
from typing import ParamSpec, TypeVar

__all__ = ["T", "one_thread", "prefetch"]

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


T = TypeVar("T")


def prefetch(source: Generator[T], depth: int = 2) -> Generator[T]:
    """Run a stage on a thread of its own, at most `depth` items ahead.

    An exception crosses the queue. Closing this generator stops the thread and closes the stage in it.
    """
    items: queue.Queue = queue.Queue(depth)
    stop = threading.Event()

    def work() -> None:
        try:
            for item in source:
                items.put((item, None))
                if stop.is_set():
                    return
            items.put((None, StopIteration()))
        except BaseException as e:  # noqa: BLE001 - crosses to the reader of the queue
            items.put((None, e))
        finally:
            source.close()

    thread = threading.Thread(target=copy_context().run, args=(work,), name="fervid-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = items.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        stop.set()
        while thread.is_alive():
            with suppress(queue.Empty):
                items.get(timeout=0.02)
