"""Sample frames by time -> FrameBatch. Sampled times are recorded: "no face" and "not sampled" stay distinct."""

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain, groupby, islice

import numpy as np

from fervid.runtime.profiling import stage
from fervid.types import FrameBatch
from fervid.video.reader import INSTANT_S, Frame, RestartNeeded, TimeOnly, cell_of

__all__ = [
    "KEYFRAME_GRID_S",
    "DetectionSize",
    "SampledFrame",
    "batch_frames",
    "detection_size",
    "sample_frames",
    "skip_static",
]

#: Frames per batch: 8 to 16 are fastest on a CPU; fewer where frames are so large that memory would grow.
BATCH = 8
_BATCH_PIXELS = 8_000_000
#: A frame whose duration the file does not say, and which no other follows, is displayed for this long.
_UNKNOWN_STEP_S = 1 / 25
#: A frame is displayed for at most a day: one broken duration must not give samples for years.
_MAX_HOLD_S = 24 * 3600.0
#: A frame that is displayed for this long from the start of a second on is sampled there.
_EDGE_S = 0.1
#: The most, of 255 grey levels, by which any pixel of a static image may differ: an encoded still stays within 5; the
#: edges of a filmed face at rest move by 100 (tests/benchmarks/films.py --still draws one).
_STATIC = 8
#: State carried from frame to frame is reset at multiples of this many seconds, where a video may be split (segments).
KEYFRAME_GRID_S = 4.0

#: A frame, the time at which it is sampled, and for how long the frames from it to the next sample are displayed; both
#: in seconds.
SampledFrame = tuple[Frame, float, float]


def sample_frames(
    frames: Iterable[Frame | TimeOnly], fps: float | None, *, start_s: float = 0.0, stop_s: float = math.inf
) -> Iterator[SampledFrame]:
    """Take the first frame in each 1 / fps of a second, by timestamp.

    Each moment of the video belongs to one displayed frame, and each frame to one sample, the last one at or before it:
    the durations of the samples sum to the time for which the video runs. Two frames are sampled where they do not
    begin: the one on display at `start_s`, and one that is displayed for 0.1 seconds or more from the start of a second
    on (a slide, a frozen call), so that each second has a sample of what it shows. For the same reason, the last frame
    that begins in a second is sampled if none before it was. Where frames are missing, nothing is sampled.

    Parameters
    ----------
    frames : iterable of Frame or TimeOnly
        In display order; of several with one time, the first counts.
    fps : float or None
        Samples per second; None samples every frame.
    start_s, stop_s : float
        Sample no time outside [start_s, stop_s).

    Yields
    ------
    SampledFrame
        As soon as the next sample is known.

    Raises
    ------
    RestartNeeded
        If a frame must be sampled that was not decoded.
    """
    last_cell = -1
    sample: tuple[Frame, float] | None = None
    end_s = missing_s = 0.0
    for frame, from_s, until_s, next_s in _displayed(frames, start_s, stop_s):
        cell = cell_of(from_s, fps) if fps else last_cell + 1
        second = math.floor(from_s)
        last_chance = sample is not None and sample[1] < second and next_s >= second + 1
        if last_chance and isinstance(frame, TimeOnly):
            raise RestartNeeded(every_frame=True)
        if (cell > last_cell or last_chance) and not isinstance(frame, TimeOnly):
            if sample is not None:
                yield *sample, end_s - sample[1] - missing_s
            last_cell, sample, missing_s = cell, (frame, from_s), 0.0
        else:
            missing_s += from_s - end_s
        if not isinstance(frame, TimeOnly):
            for edge in _edges(from_s, until_s, next_s):
                if sample is not None:
                    yield *sample, edge - sample[1] - missing_s
                sample, missing_s = (frame, float(edge)), 0.0
        end_s = until_s
    if sample is not None:
        yield *sample, end_s - sample[1] - missing_s


def _displayed(
    frames: Iterable[Frame | TimeOnly], start_s: float, stop_s: float
) -> Iterator[tuple[Frame | TimeOnly, float, float, float]]:
    """Yield from when and until when each frame is on display, within the part, and when the next one comes."""
    before, until_s = None, 0.0
    for frame in chain(frames, [None]):
        if before is not None and frame is not None and frame.pts_s <= before.pts_s:
            until_s = max(until_s, frame.pts_s + frame.duration_s)
            continue
        if before is not None:
            next_s = math.inf if frame is None or frame.pts_s >= stop_s else frame.pts_s
            end_s = min(until_s, stop_s, next_s)
            if end_s > start_s + INSTANT_S and before.pts_s < stop_s:
                yield before, max(before.pts_s, start_s), end_s, next_s
        if frame is not None:
            until_s = frame.pts_s + min(frame.duration_s or _UNKNOWN_STEP_S, _MAX_HOLD_S)
        before = frame


def _edges(from_s: float, until_s: float, next_s: float) -> Iterator[int]:
    """Yield the seconds at whose start a frame is sampled again: it stays, or no other frame comes in that second."""
    for second in range(math.floor(from_s) + 1, math.ceil(until_s - INSTANT_S)):
        if until_s - second >= _EDGE_S - INSTANT_S or next_s >= second + 1:
            yield second


def skip_static(samples: Iterable[SampledFrame]) -> Iterator[SampledFrame]:
    """Replace each frame by an earlier one with the same image, so that nothing is converted or searched twice.

    Images are the same if they are displayed at one size and no pixel in any eighth row differs by more than 8 of 255
    grey levels. No frame stands for
    others beyond the end of its KEYFRAME_GRID_S.

    Parameters
    ----------
    samples : iterable of SampledFrame

    Yields
    ------
    SampledFrame
        One per sample, with the sample's own times.
    """
    kept: Frame | None = None
    preview: np.ndarray | None = None
    cell = -math.inf
    for frame, pts_s, duration_s in samples:
        if frame is not kept:
            with stage("compare"):
                new = frame.luma_preview()
                same = kept and kept.size_px == frame.size_px and _is_same(preview, new)
                if kept is None or not same or pts_s // KEYFRAME_GRID_S > cell:
                    kept, preview = frame, new
        cell = pts_s // KEYFRAME_GRID_S
        yield kept, pts_s, duration_s


def _is_same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None or one.shape != other.shape:
        return False
    return bool((np.maximum(one, other) - np.minimum(one, other)).max() <= _STATIC)


#: The size of the detection image for a displayed size; both are width and height.
DetectionSize = Callable[[tuple[int, int]], tuple[int, int]]


def batch_frames(samples: Iterable[SampledFrame], size: DetectionSize) -> Generator[FrameBatch]:
    """Convert the sampled frames, and no others.

    Parameters
    ----------
    samples : iterable of SampledFrame
    size : callable
        Returns the size of the detection image, from that of the displayed frame.

    Yields
    ------
    FrameBatch
        Of at most 8 samples, fewer where frames are large, and all of one displayed size. Samples of one frame share
        one luma array, by which later stages recognise them.
    """
    for size_px, run in groupby(samples, lambda sample: sample[0].size_px):
        most = max(1, min(BATCH, _BATCH_PIXELS // (size_px[0] * size_px[1])))
        converted = _convert(run, size(size_px))
        while batch := list(islice(converted, most)):
            pts_s, duration_s, image, luma, limited = zip(*batch)
            yield FrameBatch(np.array(pts_s), np.array(duration_s), np.stack(image), luma, limited, size_px)


def _convert(samples: Iterable[SampledFrame], size_px: tuple[int, int]) -> Iterator[tuple]:
    """Yield (time, duration, RGB image, luma, whether its range is limited) per sample; repeats share the arrays."""
    before: Frame | None = None
    for frame, pts_s, duration_s in samples:
        if frame is not before:
            with stage("scale"):
                before, pixels = frame, (frame.rgb(*size_px), *frame.stored_luma())
        yield pts_s, duration_s, *pixels


def detection_size(frame_px: tuple[int, int], long_px: int) -> tuple[int, int]:
    """Compute the size of the image in which faces are detected; it is never larger than the frame.

    Parameters
    ----------
    frame_px : tuple of int
        Width and height of the displayed frame.
    long_px : int
        Its longer side.

    Returns
    -------
    tuple of int
        Width and height.
    """
    width_px, height_px = frame_px
    scale = min(1.0, long_px / max(width_px, height_px))
    return max(1, round(width_px * scale)), max(1, round(height_px * scale))
