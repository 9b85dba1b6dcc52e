"""Choose frames by time -> FrameBatch. Every look is recorded, so that "no face" and "never looked" stay apart."""

import math
from collections.abc import Generator, Iterable, Iterator
from itertools import islice

import numpy as np

from fervid.runtime.profiling import stage
from fervid.types import FrameBatch, VideoInfo
from fervid.video.reader import Frame, cell_of

__all__ = ["KEYFRAME_GRID_S", "SampledFrame", "batch_frames", "detection_size", "sample_frames", "skip_static"]

#: Frames to a batch: best on a CPU at 8 to 16 (FACTS); fewer when frames are so large that memory would grow.
BATCH = 8
_BATCH_PIXELS = 8_000_000
_LONGEST_HOLD_S = 3600
_UNKNOWN_STEP_S = 1 / 25
#: The most, of 255 greys, by which a pixel of a still picture may differ: a coded still stays within 5, a face at rest
#: and on film moves its edges by 100 (tests/benchmarks/films.py --still draws one).
_STILL = 8
#: In each so many seconds what is known of the frames before is forgotten: a video can be taken up there (shards.py).
KEYFRAME_GRID_S = 4.0

#: A frame, the time at which it is looked at, and how long that look can stand for (seconds).
SampledFrame = tuple[Frame, float, float]


def sample_frames(
    frames: Iterable[Frame], fps: float | None, *, start_s: float = 0.0, stop_s: float = math.inf
) -> Iterator[SampledFrame]:
    """Take the first frame in each 1/fps of a second, by timestamp; every frame when fps is None.

    A frame that stays on display over a whole second or more, by the file's own word (a slide, a screen recording at
    rest), is looked at again in each second that it covers. Where frames are missing nothing is taken.
    """
    taken, before = -1, None
    for frame in frames:
        if before is not None:
            if frame.pts_s <= before.pts_s:
                continue  # two frames of one time: the first is looked at
            yield from _held(before, start_s, math.floor(frame.pts_s))
        before = frame
        cell = cell_of(frame.pts_s, fps) if fps else taken + 1
        if cell > taken and frame.pts_s >= start_s:
            taken = cell
            reach = (1 / fps if fps else 0) + (frame.duration_s or _UNKNOWN_STEP_S)
            yield frame, frame.pts_s, reach
    if before is not None:
        yield from _held(before, start_s, stop_s)


def _held(frame: Frame, start_s: float, until: float) -> Iterator[SampledFrame]:
    """Look at a frame again at the start of each second from start_s to `until` that it is still on display."""
    end_s = min(until, frame.pts_s + min(frame.duration_s, _LONGEST_HOLD_S))
    begun = frame.pts_s >= start_s  # else it was on display already when the part began
    for second in range(math.floor(frame.pts_s) + 1 if begun else math.floor(start_s), math.ceil(end_s - 1e-6)):
        sampled_s = max(float(second), start_s)
        yield frame, sampled_s, min(second + 1.0, end_s) - sampled_s


def skip_static(looks: Iterable[SampledFrame]) -> Iterator[SampledFrame]:
    """Let a frame stand for those after it that show the same, so that nothing is converted or searched twice.

    The same: no pixel in any eighth row differs by more than 8 of 255 greys from the frame that stands for it. None
    stands longer than to the end of its KEYFRAME_GRID_S.
    """
    held: Frame | None = None
    seen: np.ndarray | None = None
    cell = -math.inf
    for frame, pts_s, duration_s in looks:
        if frame is not held:
            with stage("gate"):
                now = frame.luma_preview()
                if held is None or pts_s // KEYFRAME_GRID_S > cell or not _same(seen, now):
                    held, seen = frame, now
        cell = pts_s // KEYFRAME_GRID_S
        yield held, pts_s, duration_s


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None or one.shape != other.shape:
        return False
    return bool((np.maximum(one, other) - np.minimum(one, other)).max() <= _STILL)


def batch_frames(looks: Iterable[SampledFrame], video: VideoInfo, size_px: tuple[int, int]) -> Generator[FrameBatch]:
    """Convert the chosen frames, and only those -> FrameBatch of at most 8 with pictures of size_px (width, height).

    Looks at one frame share one luma array: by that later stages know them.
    """
    most = max(1, min(BATCH, _BATCH_PIXELS // (video.width_px * video.height_px)))
    seen = _converted(looks, size_px)
    while batch := list(islice(seen, most)):
        pts_s, duration_s, picture, luma, limited = zip(*batch)
        yield FrameBatch(np.array(pts_s), np.array(duration_s), np.stack(picture), luma, limited)


def _converted(looks: Iterable[SampledFrame], size_px: tuple[int, int]) -> Iterator[tuple]:
    """Give time, duration, picture, luma and range of each look; looks at one frame share its arrays."""
    before: Frame | None = None
    for frame, pts_s, duration_s in looks:
        if frame is not before:
            with stage("scale"):
                before, pixels = frame, (frame.rgb(*size_px), *frame.stored_luma())
        yield pts_s, duration_s, *pixels


def detection_size(video: VideoInfo, long_px: int) -> tuple[int, int]:
    """Give the (width, height) of the detection picture: its longer side long_px, never larger than the video."""
    scale = min(1.0, long_px / max(video.width_px, video.height_px))
    return max(1, round(video.width_px * scale)), max(1, round(video.height_px * scale))
