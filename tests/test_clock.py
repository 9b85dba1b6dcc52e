"""The timeline's clock starts at the first frame, the file's clock where a player's does."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fervid.clock import FileClock, processed_part
from fervid.config import load_config
from fervid.errors import VideoError
from fervid.models import Models
from fervid.pipeline import process_video
from fervid.video.open import open_video
from tests.helpers.clips import with_audio, write_clip
from tests.helpers.fakes import FakeClassifier, FakeDetector
from tests.helpers.hypothesis_settings import steady
from tests.helpers.scenes import scene, write

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


# -- through the whole pipeline ---------------------------------------------------------------------------

MODELS = Models(FakeDetector(), FakeClassifier(), "cpu")
FACE = scene(1, (40, 30))[0]


def face_seconds(path: Path, **options: float) -> list[float]:
    """Process a clip of one face that is never away -> its time on screen, second by second."""
    rows = process_video(path, None, load_config(**options), MODELS).to_pandas()
    assert set(rows["status"]) == {"ok"} and set(rows["track"]) == {0}
    return rows["face_seconds"].tolist()


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
@pytest.mark.parametrize("fps", [1, 5, "native"])
def test_a_face_that_is_never_away_is_visible_all_the_time(suffix, fps, tmp_path):
    """Two frames at a time, then rest: at 0, 0.04, 0.48, 0.52, 0.96 s, and so on."""
    pts = [at for i in range(10) for at in (12 * i, 12 * i + 1)]
    path = write(tmp_path / f"pairs.{suffix}", [FACE] * len(pts), pts, codec="mpeg4" if suffix == "avi" else "libx264")
    seconds = face_seconds(path, fps=fps)
    assert seconds[:4] == pytest.approx([1, 1, 1, 1])
    assert sum(seconds) == pytest.approx(110 / 25, abs=0.03)


@pytest.mark.parametrize(
    ("start", "end", "seconds"),
    [(0.5, 0.6, [0.1]), (0.51, 2, [0.49, 1]), (1.1, 2.9, [0.9, 0.9]), (0, 1.5, [1, 0.5]), (2.95, 3.95, [0.05, 0.95])],
)
@pytest.mark.parametrize("shape", ["even", "pairs"])
def test_the_seconds_of_a_part_sum_to_its_length(start, end, seconds, shape, tmp_path):
    pts = range(100) if shape == "even" else [at for i in range(10) for at in (10 * i, 10 * i + 1)] + [99]
    path = write(tmp_path / "clip.mp4", [FACE] * len(pts), list(pts))
    assert face_seconds(path, start=start, end=end) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize("name", ["late.mp4", "late.mkv"])
def test_start_and_end_are_times_of_a_player(tmp_path, name):
    """The first frame is at 2.4 s: the part from 2.9 s to 3.9 s is the one from 0.5 to 1.5 s of the timeline."""
    path, options = late(tmp_path / name), {"start": 2.9, "end": 3.9}
    result = process_video(path, None, load_config(**options), MODELS)
    assert result.to_pandas()["second"].unique().tolist() == [0, 1]
    assert processed_part(result.provenance) == pytest.approx((0.5, 1.5), abs=0.05)
    assert result.provenance["timing"] == {"clock": "timestamps", "max_hold_s": 3600}
    with pytest.raises(VideoError, match=r"its first frame is at 2\.4 s, after --end 2"):
        process_video(path, None, load_config(end=2), MODELS)
    with pytest.raises(VideoError, match="before --start"):
        process_video(path, None, load_config(start=30), MODELS)
