"""The timeline's clock starts at the first frame, the file's clock where a player's does."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fervid.clock import FileClock
from fervid.video.open import open_video
from tests.helpers.clips import with_audio, write_clip
from tests.helpers.hypothesis_settings import steady

late = partial(with_audio, video_start=60)  # the first frame is at 2.4 s


@steady
@given(st.floats(-100, 1e5), st.floats(0, 1e6))
def test_both_directions_agree(origin_s, second):
    clock = FileClock(origin_s)
    assert clock.to_timeline(clock.to_file(second)) == pytest.approx(second, abs=1e-6)
    assert np.array_equal(clock.to_file(np.array([second])), [clock.to_file(second)])


@pytest.mark.parametrize("name", ["late.mp4", "late.mov", "late.mkv", "late.ts"])
def test_a_picture_later_than_the_sound_starts_late_on_the_files_clock(tmp_path, name):
    with open_video(late(tmp_path / name)) as video:
        assert video.info.origin_s == pytest.approx(2.4, abs=0.05)  # the sound starts up to a packet early
        assert next(iter(video.frames())).pts_s == 0


@pytest.mark.parametrize("name", ["from_100_s.ts", "from_100_s.mkv", "from_100_s.mp4"])
def test_players_show_the_files_first_timestamp_as_zero(tmp_path, name):
    with open_video(write_clip(tmp_path / name, pts=range(2500, 2550))) as video:
        assert video.info.start_s > 99
        assert video.info.origin_s == 0


@pytest.mark.parametrize(
    "source, origin_s",
    [
        ({"container": "mov", "start_s": 2.5, "origin_s": 1.5}, 1.5),
        ({"container": "mov", "start_s": 2.5}, 2.5),  # written before there was an origin_s
        ({"container": "mpegts", "start_s": 1.4}, 0.0),
        ({}, 0.0),
    ],
)
def test_the_metadata_of_a_timeline_give_its_clock(source, origin_s):
    assert FileClock.of({"source": source}).origin_s == origin_s
