"""Times as people read them, and the two clocks of a video.

The timeline's clock starts at the first frame of the video: second 0. The file's clock is what a player shows: it
starts at the first timestamp of any stream of the file, so that a camera slower than its microphone starts late on it.
Whatever a program that plays the file gives or takes is converted here: --start and --end, subtitles, ELAN, BORIS,
ratings.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np

__all__ = ["FileClock", "clock", "processed_part"]

Seconds = TypeVar("Seconds", float, "np.ndarray")

#: Containers whose timestamps start at any number; that of their first stream is second 0 of a player.
_ARBITRARY_START = {"mpegts", "mpeg"}


@dataclass(frozen=True)
class FileClock:
    """Convert between the timeline's clock and the file's clock.

    Parameters
    ----------
    origin_s : float
        Second 0 of the timeline on the file's clock; `source.origin_s` in the metadata of a timeline.
    """

    origin_s: float = 0.0

    @classmethod
    def of(cls, provenance: Mapping[str, Any]) -> "FileClock":
        """Return the clock of the file that a timeline was made from.

        Parameters
        ----------
        provenance : mapping
            The provenance of the timeline. Where `origin_s` is missing (older timelines), `start_s` serves, except for
            transport and program streams, whose timestamps start anywhere.

        Returns
        -------
        FileClock
        """
        source = provenance.get("source", {})
        if (origin_s := source.get("origin_s")) is None:
            origin_s = 0.0 if source.get("container") in _ARBITRARY_START else source.get("start_s") or 0.0
        return cls(float(origin_s))

    def to_file(self, timeline_s: Seconds) -> Seconds:
        """Convert times of the timeline to what a player shows.

        Parameters
        ----------
        timeline_s : float or ndarray
            Seconds since the first frame.

        Returns
        -------
        float or ndarray
        """
        return timeline_s + self.origin_s

    def to_timeline(self, file_s: Seconds) -> Seconds:
        """Convert times that a player shows to times of the timeline.

        Parameters
        ----------
        file_s : float or ndarray
            Seconds on the file's clock.

        Returns
        -------
        float or ndarray
            Negative before the first frame.
        """
        return file_s - self.origin_s

    def part(self, start_s: float, end_s: float | None) -> tuple[float, float]:
        """Convert --start and --end to the timeline's clock.

        Parameters
        ----------
        start_s : float
            0 is the start of the video.
        end_s : float or None
            None is its end.

        Returns
        -------
        tuple of float
            Start, at least 0, and end, infinite if there is none.
        """
        start = max(0.0, self.to_timeline(start_s)) if start_s else 0.0
        return round(start, 6), math.inf if end_s is None else round(self.to_timeline(end_s), 6)


def processed_part(provenance: Mapping[str, Any]) -> tuple[float, float]:
    """Return which part of a video a timeline was made from.

    Parameters
    ----------
    provenance : mapping
        The provenance of the timeline. Where `origin_s` is missing (older timelines), --start and --end counted from
        the first frame.

    Returns
    -------
    tuple of float
        Start and end on the timeline's clock; the end is infinite if none was given.
    """
    config = provenance.get("config", {})
    clock = FileClock(float(provenance.get("source", {}).get("origin_s") or 0.0))
    return clock.part(config.get("start_s") or 0.0, config.get("end_s"))


def clock(seconds: float) -> str:
    """Format a duration.

    Parameters
    ----------
    seconds : float

    Returns
    -------
    str
        "m:ss", or "h:mm:ss" from one hour on.
    """
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"
