"""The default reader on files that are undamaged, but unusual: clocks, edit lists, covers, several streams, audio."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from fervid.errors import ConfigError
from fervid.video.open import open_video
from fervid.video.reader import RestartNeeded
from tests.helpers.clips import (
    HEIGHT,
    SMALL,
    WIDTH,
    cover_attached,
    cover_first,
    joined,
    read_number,
    two_sizes,
    two_streams,
    with_audio,
    write_clip,
)
from tests.helpers.reader_clips import BACK, CLEAN, CLEAN_AV, MS, UNEVEN, read


@pytest.mark.parametrize("name", ["from_100_s.mp4", "from_100_s.mkv", "from_100_s.ts"])
def test_the_start_is_reported_and_times_begin_at_zero(name, clean):
    seen = read(clean(name))
    assert seen.info.start_s == pytest.approx(100.0, abs=0.001)
    assert seen.times[0] == 0.0
    assert seen.info.duration_s == pytest.approx(2.0, abs=0.1)


def test_an_mp4_without_b_frames_declares_the_duration_of_each_frame(make):
    path = make("held.mp4", partial(write_clip, n=10, pts=UNEVEN, time_base=MS, options={"bf": "0"}))
    with open_video(path) as video:
        durations = [f.duration_s for f in video.frames()]
    assert durations[:-1] == pytest.approx(np.diff(UNEVEN) / 1000, abs=0.001)


@pytest.mark.parametrize("name", [*CLEAN, *CLEAN_AV])
def test_durations_do_not_overlap_the_next_frame(name, clean):
    """With B-frames, MP4's durations follow decoding order: they belong to other frames."""
    with open_video(clean(name)) as video:
        spans = [(f.pts_s, f.pts_s + f.duration_s) for f in video.frames()]
    assert all(end <= next_start + 0.001 for (_, end), (next_start, _) in pairwise(spans))


@pytest.mark.parametrize(("suffix", "rate"), [("h264", 25), ("h264", 10), ("hevc", 50)])
def test_times_are_synthetic_where_a_raw_stream_has_none(suffix, rate, make):
    codec = "libx264" if suffix == "h264" else "libx265"
    path = make(f"raw_{rate}.{suffix}", partial(write_clip, rate=rate, codec=codec))
    with pytest.raises(RestartNeeded) as restart, open_video(path) as video:
        list(video.frames())
    assert restart.value.options == {"synthetic_time": True}
    seen = read(path)
    assert seen.numbers == list(range(50))
    assert seen.times == pytest.approx([i / rate for i in range(50)], abs=0.001)
    assert seen.health.reasons == ["synthetic_time"]
    assert seen.end_s == pytest.approx(50 / rate, abs=0.1)
    assert read(path, 10 / rate, 20 / rate).numbers == list(range(10, 20))


def test_avi_with_b_frames_is_timed_by_its_decoding_times(make):
    seen = read(make("b_frames.avi", write_clip))
    assert seen.restarts == {} and seen.health.clock == "decoding times"
    assert seen.numbers == list(range(50))
    assert seen.times == pytest.approx([i / 25 for i in range(50)], abs=0.001)
    assert seen.health.reasons == []
    assert read(make("b_frames.avi", write_clip), 0.52, 1.0).numbers == list(range(13, 25))


def test_frames_before_zero_have_no_time_and_are_counted(make):
    """Matroska, from -0.4 s: FFmpeg gives the first ten frames no timestamp."""
    builder = partial(write_clip, pts=range(-10, 40), mux={"avoid_negative_ts": "disabled"})
    seen = read(make("negative.mkv", builder))
    assert seen.numbers == list(range(10, 50))
    assert seen.times == pytest.approx([i / 25 for i in range(40)], abs=0.001)
    assert seen.health.untimed == 10
    assert seen.health.decoded == 50
    assert read(make("negative.mkv", builder), 0.52, 1.0).numbers == list(range(23, 35))


def test_an_edit_list_is_honoured(make):
    seen = read(make("edited.mp4", partial(write_clip, n=100, pts=range(-15, 85))))
    assert seen.numbers == list(range(15, 100))
    assert seen.times == pytest.approx([i / 25 for i in range(85)], abs=0.001)
    assert seen.health.reasons == []
    assert seen.info.duration_s == pytest.approx(3.4, abs=0.001)
    assert read(make("edited.mp4", write_clip), 1.0, 2.0).numbers == list(range(40, 65))


FAR_BACK = joined(partial(write_clip, pts=range(250, 300)), partial(write_clip, first=50))
FAR_FORWARD = joined(write_clip, partial(write_clip, first=50, pts=range(25 * 20_000, 25 * 20_000 + 50)))
THREE = joined(write_clip, partial(write_clip, first=50), partial(write_clip, first=100))


@pytest.mark.parametrize(
    ("name", "builder", "parts"),
    [("back.ts", BACK, 2), ("far_back.ts", FAR_BACK, 2), ("far_forward.ts", FAR_FORWARD, 2), ("three.ts", THREE, 3)],
)
def test_concatenated_recordings_follow_one_another(name, builder, parts, make):
    seen = read(make(name, builder))
    assert seen.numbers == list(range(50 * parts))
    assert seen.times == pytest.approx([i / 25 for i in range(50 * parts)], abs=0.1)
    assert all(later > earlier for earlier, later in pairwise(seen.times))
    assert seen.health.epochs == parts
    assert "time_jumps" in seen.health.reasons
    # a join also breaks the continuity counter of transport packets
    assert set(seen.health.reasons) <= {"time_jumps", "damaged"}
    assert seen.end_s == pytest.approx(2 * parts, abs=0.2)


def test_a_window_across_a_join(make):
    assert read(make("back.ts", BACK), 1.5, 2.5).numbers == list(range(37, 63))


def test_a_gap_in_a_recording_stays_a_gap(make):
    builder = joined(write_clip, partial(write_clip, first=50, pts=range(250, 300)))
    seen = read(make("gap.ts", builder))
    assert seen.numbers == list(range(100))
    assert seen.times[49] == pytest.approx(1.96, abs=0.001)
    assert seen.times[50] == pytest.approx(9.92, abs=0.001)
    assert seen.health.epochs == 1


@pytest.mark.parametrize("suffix", ["mkv", "ts", "mp4"])
def test_the_resolution_may_change_in_mid_stream(suffix, make):
    path = make(f"two_sizes.{suffix}", two_sizes)
    seen = read(path)
    assert seen.numbers == list(range(50))
    assert seen.health.reasons == []
    assert [luma.shape for luma in seen.lumas] == [(HEIGHT, WIDTH)] * 25 + [SMALL[::-1]] * 25
    with open_video(path) as video:
        assert [read_number(f.rgb(80, 60)) for f in video.frames()] == list(range(50))


@pytest.mark.parametrize(
    ("name", "builder", "stream"), [("cover.mp4", cover_first, 1), ("cover.mkv", cover_attached, 0)]
)
def test_a_cover_image_is_not_the_video(name, builder, stream, make):
    seen = read(make(name, builder))
    assert seen.info.stream == stream
    assert (seen.info.width_px, seen.info.height_px) == (WIDTH, HEIGHT)
    assert seen.numbers == list(range(50))


@pytest.mark.parametrize(
    ("name", "default", "first"),
    [("none.mkv", None, 0), ("small.mkv", 0, 100), ("small.mp4", 0, 100), ("large.mkv", 1, 0), ("large.mp4", 1, 0)],
)
def test_of_two_streams_the_default_one_is_read_else_the_larger(name, default, first, make):
    path = make(f"two_streams_{name}", partial(two_streams, default=default))
    assert read(path).numbers == list(range(first, first + 50))
    for stream in (0, 1):
        seen = read(path, stream=stream)
        assert seen.info.stream == stream
        assert seen.numbers == list(range(100 - 100 * stream, 150 - 100 * stream))
    with pytest.raises(ConfigError, match=r"0, 1"):
        open_video(path, stream=2)


def test_an_audio_stream_cannot_be_chosen(make):
    with pytest.raises(ConfigError, match="0"):
        open_video(make("sound.mp4", with_audio), stream=1)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
def test_audio_that_outlasts_the_video_is_no_truncation(suffix, make):
    seen = read(make(f"sound.{suffix}", with_audio))
    assert seen.numbers == list(range(50))
    assert seen.health.reasons == []
    assert seen.end_s == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_time_begins_with_the_first_frame_not_with_the_audio(suffix, make):
    seen = read(make(f"late.{suffix}", partial(with_audio, audio_s=2.5, video_start=12)))
    assert seen.numbers == list(range(50))
    assert seen.times == pytest.approx([i / 25 for i in range(50)], abs=0.001)
    assert seen.info.duration_s == pytest.approx(2.0, abs=0.1)
    assert seen.health.reasons == []


def test_a_file_that_declares_no_duration(clean):
    seen = read(clean("streamed.mkv"))
    assert seen.info.duration_s is None
    assert seen.health.reasons == []
    assert seen.end_s == pytest.approx(2.0, abs=0.05)
