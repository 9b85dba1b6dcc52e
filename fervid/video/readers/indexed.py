"""Readers that open any frame by its number: their library's pixels at the times that the container's packets carry.

Only the frames that are looked at are decoded. Such libraries are wrong or silent on edit lists, damage and changes of
resolution (FACTS), so everything but pixels comes from PyAV, and a file on which the two do not agree is refused.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from fervid.errors import VideoError
from fervid.video.reader import Health, RestartNeeded
from fervid.video.readers.pyav import PyAVReader

__all__ = ["IndexedReader"]

P = TypeVar("P")


class IndexedReader(ABC, Generic[P]):
    """A Reader over frames by number. VideoError "unsupported" where frames would not be those of the container.

    P is what the library gives for a frame's pixels.
    """

    library = ""
    #: Containers in which the library gives every frame at its own number.
    safe: tuple[str, ...] = ()

    def __init__(self, path: Path, *, stream: int | None, max_pixels: int) -> None:
        self._path = path
        try:
            with PyAVReader(path, stream=stream, max_pixels=max_pixels, careful=False, synthetic_time=False) as sure:
                self.info = sure.info
                self._times = sure.frame_times()
        except RestartNeeded:
            raise self._refuse("it is damaged or has no timestamps") from None
        if self.info.container not in self.safe:
            raise self._refuse(f"it loses frames of {self.info.container}")
        end_s = sum(self._times[-1]) if self._times else 0.0
        if self.info.duration_s and end_s < self.info.duration_s - 1:
            raise self._refuse(f"it ends at {end_s:.1f} s of {self.info.duration_s:.1f} s")
        self.health = Health()
        self.end_s: float | None = None
        self._last: tuple[int, P] | None = None
        self._decoder: Any = None
        try:
            self._decoder = self._open()
            count = len(self._decoder)
        except VideoError:
            raise
        except Exception as e:  # noqa: BLE001 - such libraries raise bare RuntimeErrors and their own
            raise self._refuse(f"{self.library} says: {_first_line(e)}") from None
        if count != len(self._times):
            raise self._refuse(f"{self.library} counts {count} frames, the container {len(self._times)}")

    @abstractmethod
    def _open(self) -> Any:
        """Open the file at `_path`, of which `info` is known -> the library's decoder, whose length is its frames'."""

    @abstractmethod
    def _decode(self, number: int) -> P:
        """Decode one frame, displayed upright."""

    @abstractmethod
    def _frame(self, number: int, pts_s: float, duration_s: float) -> Any:
        """A Frame that asks `pixels` once somebody asks for its own."""

    def frames(self, start_s: float = 0.0, stop_s: float | None = None) -> Iterator[Any]:
        """Yield the frames with start_s <= pts_s < stop_s."""
        end_s = 0.0
        for number, (pts_s, duration_s) in enumerate(self._times):
            if pts_s >= start_s and (stop_s is None or pts_s < stop_s):
                self.health.decoded += 1
                end_s = pts_s + duration_s
                yield self._frame(number, pts_s, duration_s)
        self.end_s = end_s if stop_s is None else min(end_s, stop_s)

    def pixels(self, number: int) -> P:
        """Decode one frame, displayed upright; the last one is kept."""
        if self._last is None or self._last[0] != number:
            try:
                self._last = (number, self._decode(number))
            except VideoError:
                raise
            except Exception as e:  # noqa: BLE001 - as above
                raise self._refuse(f"frame {number}: {_first_line(e)}") from None
        return self._last[1]

    def close(self) -> None:
        """Let go of the decoder."""
        self._decoder = self._last = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _refuse(self, why: str) -> VideoError:
        message = f"{self._path}: not a file that {self.library} reads rightly ({why}); use --reader av"
        return VideoError(message, reason="unsupported")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]
