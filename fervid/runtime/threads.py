"""Hold torch to one CPU thread, and run stages of the pipeline on threads of their own."""

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
T = TypeVar("T")


def one_thread(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function to run with one torch thread, and restore the number of threads afterwards.

    Two threads next to a busy decoder ran 28 times slower than one, and the same number of threads everywhere gives the
    same last bits everywhere. Where torch has not been imported, the function runs as it is.

    Parameters
    ----------
    function : callable

    Returns
    -------
    callable
        With the same signature.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        torch = sys.modules.get("torch")
        before = torch.get_num_threads() if torch else 1
        if torch is None or before == 1:
            return function(*args, **kwargs)
        torch.set_num_threads(1)
        try:
            return function(*args, **kwargs)
        finally:
            torch.set_num_threads(before)

    return wrapper


def prefetch(source: Generator[T], depth: int = 2) -> Generator[T]:
    """Run a stage on a thread of its own, at most `depth` items ahead of its consumer.

    An exception in the stage is raised in the consumer. Closing this generator stops the thread and closes the stage on
    it.

    Parameters
    ----------
    source : generator
        The stage.
    depth : int
        The length of the queue between the two threads.

    Yields
    ------
    T
        The items of the source, in order.
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
        except BaseException as e:  # noqa: BLE001 - raised by the consumer
            items.put((None, e))
        finally:
            source.close()

    thread = threading.Thread(target=copy_context().run, args=(work,), name="fervid-prefetch", daemon=True)
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
