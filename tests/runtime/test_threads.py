"""A stage on a thread of its own passes on items and exceptions, and leaves no thread behind."""

import gc
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from fervid.runtime.threads import prefetch
from fervid.video.reader import RestartNeeded


def threads() -> list[str]:
    """The names of the threads of the pipeline that are alive."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fervid")]


def within_5_s(call: Callable) -> object:
    """Run a call on a thread; fail rather than hang."""
    out: list = []
    thread = threading.Thread(target=lambda: out.append(call()), daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive(), "deadlock"
    return out[0]


def numbers(made: list[int], closed_on: list[str], n: int = 1000, error: BaseException | None = None) -> Iterator[int]:
    """Count to n into `made`, then raise the error; append the thread on which it is closed to `closed_on`."""
    try:
        for i in range(n):
            made.append(i)
            yield i
        if error is not None:
            raise error
    finally:
        closed_on.append(threading.current_thread().name)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 100])
@pytest.mark.parametrize("depth", [1, 2, 8])
def test_prefetch_yields_every_item_in_order(n, depth):
    closed_on: list[str] = []
    assert within_5_s(lambda: list(prefetch(numbers([], closed_on, n), depth))) == list(range(n))
    assert closed_on == ["fervid-prefetch"] and threads() == []


@pytest.mark.parametrize("n", [0, 1, 5])
@pytest.mark.parametrize("error", [ValueError("x"), RestartNeeded(careful=True), KeyboardInterrupt(), MemoryError()])
def test_prefetch_raises_the_stages_exception(n, error):
    def consume() -> tuple[list[int], BaseException | None]:
        got: list[int] = []
        try:
            for item in prefetch(numbers([], [], n, error)):
                got.append(item)
        except BaseException as e:  # noqa: BLE001 - whatever it is
            return got, e
        return got, None

    assert within_5_s(consume) == (list(range(n)), error)
    assert threads() == []


def test_prefetch_is_at_most_its_depth_ahead():
    made: list[int] = []
    source = prefetch(numbers(made, []), 2)
    next(source)
    time.sleep(0.05)
    assert len(made) <= 4  # one consumed, two in the queue, one waiting for it
    source.close()


@pytest.mark.parametrize("taken", [0, 1, 2, 5])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("pause_s", [0.0, 0.02])
def test_prefetch_stops_when_the_consumer_does(taken, depth, pause_s):
    made, closed_on = [], []
    source = prefetch(numbers(made, closed_on), depth)
    assert [next(source) for _ in range(taken)] == list(range(taken))
    time.sleep(pause_s)
    within_5_s(source.close)
    assert len(made) <= taken + depth + 2
    assert closed_on == (["fervid-prefetch"] if taken else []) and threads() == []


def test_prefetch_stops_when_the_consumer_fails():
    def consume() -> None:
        for item in prefetch(numbers([], closed_on)):
            if item == 3:
                raise ZeroDivisionError

    closed_on: list[str] = []
    with pytest.raises(ZeroDivisionError):
        consume()
    gc.collect()
    assert closed_on == ["fervid-prefetch"] and threads() == []


def test_prefetch_stops_when_the_source_fails_unnoticed():
    source = prefetch(numbers([], [], 3, ValueError("never seen")), 1)
    next(source)
    time.sleep(0.05)
    within_5_s(source.close)
    assert threads() == []


def test_two_prefetched_stages_in_a_row():
    def doubled(source: Iterator[int]) -> Iterator[int]:
        for item in source:
            yield 2 * item

    closed_on: list[str] = []
    outer = prefetch(doubled(inner := prefetch(numbers([], closed_on))))
    assert [next(outer) for _ in range(3)] == [0, 2, 4]
    within_5_s(outer.close)
    within_5_s(inner.close)
    assert closed_on == ["fervid-prefetch"] and threads() == []
