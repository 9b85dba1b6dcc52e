"""Sample frames by time -> FrameBatch. Sampled times are recorded: "no face" and "not sampled" stay distinct."""

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import groupby, islice

import numpy as np

from fervid.runtime.profiling import stage
from fervid.types import FrameBatch
from fervid.video.reader import Frame, cell_of

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
_MAX_HOLD_S = 3600
_UNKNOWN_STEP_S = 1 / 25
#: The most, of 255 grey levels, by which any pixel of a static image may differ: an encoded still stays within 5; the
#: edges of a filmed face at rest move by 100 (tests/benchmarks/films.py --still draws one).
_STATIC = 8
#: State carried from frame to frame is reset at multiples of this many seconds, where a video may be split (segments).
KEYFRAME_GRID_S = 4.0

#: A frame, the time at which it is sampled, and the longest time that this sample can stand for; both in seconds.
SampledFrame = tuple[Frame, float, float]


def sample_frames(
    frames: Iterable[Frame], fps: float | None, *, start_s: float = 0.0, stop_s: float = math.inf
) -> Iterator[SampledFrame]:
    """Take the first frame in each 1 / fps of a second, by timestamp.

    A frame whose duration in the file is at least a second (a slide, a screen recording at rest) is sampled again in
    each second that it covers. Where frames are missing, nothing is sampled.

    Parameters
    ----------
    frames : iterable of Frame
        In display order; of several with one time, the first counts.
    fps : float or None
        Samples per second; None samples every frame.
    start_s, stop_s : float
        Sample no time outside [start_s, stop_s).

    Yields
    ------
    SampledFrame
    """
    last_cell, before = -1, None
    for frame in frames:
        if before is not None:
            if frame.pts_s <= before.pts_s:
                continue
            yield from _repeats(before, start_s, math.floor(frame.pts_s))
        before = frame
        cell = cell_of(frame.pts_s, fps) if fps else last_cell + 1
        if cell > last_cell and frame.pts_s >= start_s:
            last_cell = cell
            reach_s = (1 / fps if fps else 0) + (frame.duration_s or _UNKNOWN_STEP_S)
            yield frame, frame.pts_s, reach_s
    if before is not None:
        yield from _repeats(before, start_s, stop_s)


def _repeats(frame: Frame, start_s: float, until: float) -> Iterator[SampledFrame]:
    """Sample a frame again at the start of each second, from start_s to `until`, at which it is still displayed."""
    end_s = min(until, frame.pts_s + min(frame.duration_s, _MAX_HOLD_S))
    # a frame before start_s was on display already, and was not sampled yet
    first = math.floor(frame.pts_s) + 1 if frame.pts_s >= start_s else math.floor(start_s)
    for second in range(first, math.ceil(end_s - 1e-6)):
        sampled_s = max(float(second), start_s)
        yield frame, sampled_s, min(second + 1.0, end_s) - sampled_s


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
