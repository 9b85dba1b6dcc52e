"""Frames are samples by their timestamps, and only those."""

import math
from dataclasses import replace
from fractions import Fraction
from itertools import count, islice, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fervid.video import sampling as frames
from fervid.video.reader import RestartNeeded, TimeOnly
from fervid.video.sampling import batch_frames, detection_size, sample_frames, skip_static
from tests.helpers.fakes import FakeFrame, FakeReader, at_rate, draw_faces, video
from tests.helpers.hypothesis_settings import steady

NTSC, FILM = Fraction(30_000, 1001), Fraction(24_000, 1001)

milliseconds = st.lists(st.integers(0, 20_000), min_size=1, max_size=80, unique=True).map(sorted)


def times(samples) -> list[float]:
    return [sampled_s for _, sampled_s, _ in samples]


# -- sampling -------------------------------------------------------------------------------------------


@steady
@given(milliseconds, st.sampled_from([1, 2, 5, Fraction(25, 2), 30]))
def test_the_first_frame_of_each_cell_is_sampled(pts_ms, fps):
    first = {}
    for ms in pts_ms:
        first.setdefault(ms * Fraction(fps) // 1000, ms / 1000)
    shown = [FakeFrame(ms / 1000, 0.001) for ms in pts_ms]
    assert times(sample_frames(shown, float(fps))) == list(first.values())


@pytest.mark.parametrize("rate", [FILM, 24, 25, NTSC, 30, 48, 50, 60, Fraction(60_000, 1001), 120])
@pytest.mark.parametrize("fps", [1, 5, 10])
def test_each_full_second_has_fps_samples(rate, fps):
    sampled_s = times(sample_frames(at_rate(rate, 60), fps))
    seconds = np.bincount(np.floor(sampled_s).astype(int))
    assert (seconds[:59] == fps).all()


def test_a_rate_that_fps_does_not_divide():
    # 4 frames per second, 3 cells of 1/3 s: frames 0.0, 0.25, 0.5, 0.75 are in cells 0, 0, 1, 2
    assert times(sample_frames(at_rate(4, 2), 3)) == [0.0, 0.5, 0.75, 1.0, 1.5, 1.75]


def test_more_samples_than_frames_take_each_frame_once():
    assert times(sample_frames(at_rate(10, 3), 25)) == [i / 10 for i in range(30)]


@pytest.mark.parametrize("rate", [10, 24, 25, NTSC, 30, 50, 60, 100, 120])
def test_the_videos_own_rate_samples_each_frame(rate):
    # 0.29 * 100 is 28.999999999999996: floating point must not put a frame into the neighbouring cell
    assert len(list(sample_frames(at_rate(rate, 30), float(rate)))) == len(at_rate(rate, 30))


def test_native_samples_every_frame():
    shown = [FakeFrame(ms / 1000, 0.001) for ms in (0, 1, 7, 40, 41, 900, 1000)]
    assert [frame for frame, _, _ in sample_frames(shown, None)] == shown


@pytest.mark.parametrize("fps, duration_s, own_s", [(5, 0.06, 0.06), (5, 0.0, 0.04), (None, 0.06, 0.06), (1, 0.9, 0.5)])
def test_a_sample_lasts_until_the_next_or_until_frames_are_missing(fps, duration_s, own_s):
    (_, _, first), *_ = sample_frames([FakeFrame(0, duration_s), FakeFrame(0.5, duration_s), FakeFrame(1.0)], fps)
    # at 1 fps, the frame at 0.5 s belongs to the sample at 0; a frame of unknown duration counts as 1/25 s
    assert first == pytest.approx(2 * own_s if fps == 1 else own_s)


def test_samples_are_yielded_while_the_video_is_read():
    endless = (FakeFrame(i / 25, 0.04) for i in count())
    assert times(islice(sample_frames(endless, 5), 6)) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]


def test_one_time_is_sampled_once():
    shown = [FakeFrame(t, 0.04) for t in (0.0, 0.04, 0.04, 0.08)]
    assert times(sample_frames(shown, None)) == [0.0, 0.04, 0.08]


@steady
@given(milliseconds, st.sampled_from([1.0, 1.2, 1.5, 2.3, 5.0, 7.5, None]))
def test_each_second_in_which_a_frame_begins_has_a_sample(pts_ms, fps):
    """At 1.5 per second, an interval reaches from one second into the next."""
    shown = [FakeFrame(a / 1000, (b - a) / 1000) for a, b in pairwise([*pts_ms, pts_ms[-1] + 40])]
    samples = list(sample_frames(shown, fps))
    assert {ms // 1000 for ms in pts_ms} <= {math.floor(at) for _, at, _ in samples}
    assert sum(lasts for *_, lasts in samples) == pytest.approx((pts_ms[-1] + 40 - pts_ms[0]) / 1000)


def test_a_frame_that_a_second_needs_is_decoded():
    shown = [FakeFrame(0.7, 0.35), TimeOnly(1.05, 1.0), FakeFrame(2.05, 0.04)]
    with pytest.raises(RestartNeeded):
        list(sample_frames(shown, 1.5))


# -- frames that stay on display ------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [1, 5, None])
def test_a_slide_is_sampled_in_every_second_that_it_covers(fps):
    slide = FakeFrame(0.0, 3.4)
    samples = list(sample_frames([slide], fps))
    assert times(samples) == [0, 1, 2, 3]
    assert all(frame is slide for frame, _, _ in samples)


@pytest.mark.parametrize("fps", [1, 5, None])
def test_every_second_has_a_sample_when_another_slide_follows(fps):
    samples = times(sample_frames([FakeFrame(0.0, 3.4), FakeFrame(3.4, 2.6), FakeFrame(6.0, 1.0)], fps))
    assert samples == [0, 1, 2, 3, 3.4, 4, 5, 6]


def test_a_frame_that_was_not_sampled_is_repeated_too():
    samples = list(sample_frames([FakeFrame(0.0, 0.04), FakeFrame(0.04, 2.5)], 5))
    assert [(frame.pts_s, sampled_s) for frame, sampled_s, _ in samples] == [(0, 0), (0.04, 1), (0.04, 2)]


@pytest.mark.parametrize("fps", [1, 5, None])
@pytest.mark.parametrize("duration_s", [0.0, 0.04])
def test_where_frames_are_missing_nothing_is_sampled(fps, duration_s):
    shown = [FakeFrame(i / 25, duration_s) for i in (*range(25), *range(100, 125))]
    assert {math.floor(t) for t in times(sample_frames(shown, fps))} == {0, 4}


@pytest.mark.parametrize("rate", [FILM, NTSC, 25, 30])
@pytest.mark.parametrize("fps", [5, None])
def test_declared_durations_add_no_samples_to_a_running_video(rate, fps):
    shown = at_rate(rate, 20)
    plain = times(sample_frames([FakeFrame(frame.pts_s) for frame in shown], fps))
    kept = times(sample_frames(shown, fps))
    assert kept[:-1] == plain[: len(kept) - 1]
    assert abs(len(kept) - len(plain)) <= 1  # the last frame may reach over the last second's end


@pytest.mark.parametrize(
    "pts_s, duration_s, last_s, reach_s",
    [
        (0.0, 3.4, 3.0, 0.4),  # a slide: 0.4 s of the last second
        (0.98, 0.04, 1.0, 0.02),  # the last frame before a hole
        (29 * 1001 / 30_000, 1001 / 30_000, 1.0, 0.001),  # the thirtieth frame of an NTSC video ends at 1.001 s
    ],
)
def test_a_repeated_sample_reaches_no_further_than_its_frame(pts_s, duration_s, last_s, reach_s):
    *_, (_, sampled_s, reach) = sample_frames([FakeFrame(pts_s, duration_s)], 5)
    assert (sampled_s, reach) == (last_s, pytest.approx(reach_s))


@steady
@given(milliseconds, st.lists(st.integers(0, 5000), min_size=80, max_size=80), st.sampled_from([1, 5, None]))
def test_sampled_times_rise_and_frames_were_on_display(pts_ms, duration_ms, fps):
    shown = [FakeFrame(at / 1000, long / 1000) for at, long in zip(pts_ms, duration_ms)]
    samples = list(sample_frames(shown, fps))
    assert (np.diff(times(samples)) > 0).all()
    for frame, sampled_s, _ in samples:
        latest = max((f for f in shown if f.pts_s <= sampled_s), key=lambda f: f.pts_s)
        assert frame is latest
        assert sampled_s == frame.pts_s or sampled_s < frame.pts_s + frame.duration_s


@pytest.mark.parametrize("next_s, sampled", [(1.05, [0, 0.8, 1.05]), (1.1, [0, 0.8, 1.0, 1.1])])
def test_a_frame_is_sampled_again_where_it_is_displayed_for_a_tenth_of_the_second(next_s, sampled):
    shown = [FakeFrame(0.0, 0.8), FakeFrame(0.8, next_s - 0.8), FakeFrame(next_s, 0.5)]
    assert times(sample_frames(shown, 5)) == sampled


def test_one_broken_duration_does_not_give_samples_for_years():
    assert len(list(sample_frames([FakeFrame(0.0, 1e9)], 5))) <= 24 * 3600


frames_of = st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 3000)), min_size=1, max_size=60)


@steady
@given(frames_of, st.sampled_from([1, 2, 5, 12.5, 30, None]), st.floats(0, 12), st.floats(0, 12))
def test_the_parts_of_all_samples_are_the_time_for_which_frames_are_displayed(frames, fps, start_s, length_s):
    """Second by second, across their edges, and from any start to any end."""
    pts_ms = sorted({ms for ms, _ in frames})
    lasts = [min(long, after - at) for (_, long), at, after in zip(frames, pts_ms, [*pts_ms[1:], 10**6])]
    shown = [FakeFrame(at / 1000, long / 1000) for at, long in zip(pts_ms, lasts)]
    stop_s = start_s + length_s
    samples = list(sample_frames(shown, fps, start_s=start_s, stop_s=stop_s))
    spans = np.array([(f.pts_s, f.pts_s + f.duration_s) for f in shown]).clip(start_s, stop_s)
    assert sum(long for _, _, long in samples) == pytest.approx(np.diff(spans).sum(), abs=1e-3)
    for (_, at, long), after in zip(samples, [at for _, at, _ in samples[1:]] + [stop_s]):
        inside = np.diff(spans.clip(at, after)).sum()
        assert long == pytest.approx(inside, abs=1e-3) and at + long <= after + 1e-6


@steady
@given(milliseconds, st.sampled_from([1, 2, 5, None]), st.floats(0, 9))
def test_every_second_with_a_picture_has_a_sample(pts_ms, fps, start_s):
    shown = [FakeFrame(at / 1000, (after - at) / 1000) for at, after in pairwise([*pts_ms, 21_000])]
    seconds = {math.floor(at) for at in times(sample_frames(shown, fps, start_s=start_s))}
    begins = max(pts_ms[0] / 1000, start_s)
    assert seconds == set(range(math.floor(begins), 21))


# -- still images ---------------------------------------------------------------------------------------


def test_frame_represents_later_frames_with_the_same_image():
    base = np.full((48, 64), 100, np.uint8)
    drifting = [base + np.uint8(3 * i) for i in range(7)]  # 0, 3, 6 are one image; 9, 12, 15 the next; 18
    shown = [FakeFrame(i / 5, 0.2, image) for i, image in enumerate(drifting)]
    kept = list(skip_static(sample_frames(shown, 5)))
    assert [frame.pts_s for frame, _, _ in kept] == [0, 0, 0, 0.6, 0.6, 0.6, 1.2]
    assert times(kept) == [i / 5 for i in range(7)]


def test_one_changed_pixel_makes_another_image():
    image = np.full((48, 64), 100, np.uint8)
    changed = image.copy()
    changed[8, 20] = 109
    kept = list(skip_static(sample_frames([FakeFrame(0.0, 0.2, image), FakeFrame(0.2, 0.2, changed)], 5)))
    assert [frame.pts_s for frame, _, _ in kept] == [0, 0.2]


def test_frames_without_a_preview_are_kept():
    class Opaque(FakeFrame):
        def luma_preview(self):
            return None

    image = np.full((48, 64), 100, np.uint8)
    kept = list(skip_static(sample_frames([Opaque(i / 5, 0.2, image) for i in range(3)], 5)))
    assert [frame.pts_s for frame, _, _ in kept] == [0, 0.2, 0.4]


def test_a_repeated_frame_is_converted_once():
    image = np.full((48, 64), 100, np.uint8)
    samples = skip_static(sample_frames([FakeFrame(i / 5, 0.2, image.copy()) for i in range(12)], 5))
    one, two = batch_frames(samples, small)
    assert all(luma is one.luma[0] for luma in (*one.luma, *two.luma))


def small(frame_px: tuple[int, int]) -> tuple[int, int]:
    return (32, 24)


# -- batches --------------------------------------------------------------------------------------------


def numbered(n: int) -> list[FakeFrame]:
    return [FakeFrame(i / 5, 0.2, np.full((48, 64), i, np.uint8)) for i in range(n)]


@pytest.mark.parametrize("size", [1, 2, 3, 8, 100])
def test_batching_does_not_change_what_is_yielded(monkeypatch, size):
    monkeypatch.setattr(frames, "BATCH", size)
    batches = list(batch_frames(sample_frames(numbered(21), 5), small))
    assert [len(batch) for batch in batches] == [min(size, 21 - i) for i in range(0, 21, size)]
    assert [int(one[0, 0, 0]) for batch in batches for one in batch.image] == list(range(21))
    assert [int(one[0, 0]) for batch in batches for one in batch.luma] == list(range(21))
    assert [float(t) for batch in batches for t in batch.pts_s] == [i / 5 for i in range(21)]
    assert all(batch.image.shape[1:] == (24, 32, 3) for batch in batches)


@pytest.mark.parametrize("width, height, most", [(640, 360, 8), (1280, 720, 8), (1920, 1080, 3), (3840, 2160, 1)])
def test_large_frames_come_in_small_batches(width, height, most):
    # at most 8 million pixels per batch: 2.1 million in 1080p leave room for three frames, 8.3 million in 4K for one
    shown = [replace(frame, displayed_px=(width, height)) for frame in numbered(17)]
    batches = list(batch_frames(sample_frames(shown, 5), small))
    assert max(map(len, batches)) == most
    assert sum(map(len, batches)) == 17


def test_only_sampled_frames_are_converted():
    image = draw_faces()
    shown = [FakeFrame(i / 25, 0.04, image if i % 5 == 0 else None) for i in range(50)]
    reader = FakeReader(video(), shown)
    batches = list(batch_frames(sample_frames(reader.frames(), 5), lambda frame_px: (64, 48)))
    assert sum(map(len, batches)) == 10


def test_no_frames_give_no_batches():
    assert list(batch_frames(sample_frames([], 5), small)) == []


@pytest.mark.parametrize(
    "width, height, long_px, size",
    [
        (1920, 1080, 640, (640, 360)),
        (1080, 1920, 640, (360, 640)),
        (1024, 768, 512, (512, 384)),
        (320, 240, 640, (320, 240)),  # never larger than the video
        (640, 640, 640, (640, 640)),
        (853, 480, 640, (640, 360)),  # 360.14
        (4000, 2, 64, (64, 1)),  # 0.03 of a pixel is still one
    ],
)
def test_detection_size(width, height, long_px, size):
    assert detection_size((width, height), long_px) == size
