"""The default reader on files that are truncated or damaged."""

from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fervid.errors import VideoError
from fervid.video.open import open_video
from fervid.video.reader import RestartNeeded
from fervid.video.readers.pyav_frame import PyAVFrame, Scalers
from tests.helpers.broken_clips import cut, mutated, overwritten, patched, wrote
from tests.helpers.clips import HEIGHT, SMALL, WIDTH, read_number, two_sizes, write_clip
from tests.helpers.reader_clips import LONG, MPEG4, VP9, read

FASTSTART = partial(write_clip, n=100, mux={"movflags": "faststart"})


@pytest.mark.parametrize(
    ("name", "builder"), [("cut.mkv", LONG), ("cut.webm", VP9), ("cut.mp4", FASTSTART), ("cut.avi", MPEG4)]
)
def test_a_truncated_file_is_read_up_to_its_end(name, builder, make):
    path = make(name, cut(builder, 0.5))
    seen = read(path)
    assert seen.n_correct >= 30
    assert seen.n_correct >= len(seen.numbers) - 1
    assert seen.times[-1] < 2.4
    assert "truncated" in seen.health.reasons
    assert read(path).numbers == seen.numbers


def test_a_stream_that_ends_within_a_packet_is_damaged(make):
    """A transport stream declares no end: only its incomplete last frame can be detected."""
    seen = read(make("cut.ts", cut(LONG, 0.5)))
    assert seen.n_correct >= 46
    assert seen.n_correct == len(seen.numbers)
    assert seen.health.reasons == ["damaged"]


def test_a_window_at_the_beginning_does_not_make_a_file_truncated(make):
    seen = read(make("cut.mkv", cut(LONG, 0.5)), 0.0, 1.0)
    assert seen.numbers == list(range(25))
    assert seen.health.reasons == []


DAMAGED = {"mp4": LONG, "mkv": LONG, "ts": LONG, "webm": VP9, "avi": MPEG4}


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "webm"])
def test_damage_in_the_middle_loses_only_the_frames_that_it_hits(suffix, make):
    path = make(f"damaged.{suffix}", overwritten(DAMAGED[suffix]))
    seen = read(path)
    assert "damaged" in seen.health.reasons or suffix == "webm"  # FFmpeg skips to the next cluster without an error
    assert seen.n_correct >= 67
    assert seen.n_correct >= 0.9 * len(seen.numbers), "too many frames at the wrong time"
    assert seen.numbers[:40] == list(range(40))
    assert seen.numbers[-20:] == list(range(80, 100))
    assert all(later > earlier for earlier, later in pairwise(seen.times))
    assert seen.end_s == pytest.approx(4.0, abs=0.1)
    assert seen.health.epochs == 1
    again = read(path)
    assert [luma.tobytes() for luma in again.lumas] == [luma.tobytes() for luma in seen.lumas]


@pytest.mark.parametrize("suffix", ["mkv", "webm"])
def test_clusters_that_are_skipped_in_silence_are_damage(suffix, make):
    """FFmpeg goes on with the next cluster; what was in between is missing, and no frame is on display there."""
    codec = "libx264" if suffix == "mkv" else "libvpx-vp9"
    builder = partial(write_clip, n=300, codec=codec, mux={"cluster_time_limit": "1000"})

    def build(path: Path) -> Path:
        data = bytearray(builder(path).read_bytes())
        clusters = [i for i in range(len(data)) if data[i : i + 4] == b"\x1f\x43\xb6\x75"]
        for at in clusters[4:7]:
            data[at : at + 12] = bytes(12)
        path.write_bytes(data)
        return path

    path = make(f"skipped.{suffix}", build)
    seen = read(path)
    assert "damaged" in seen.health.reasons and seen.n_correct == len(seen.numbers) > 200
    with open_video(path, careful=True) as video:
        assert sum(frame.duration_s for frame in video.frames()) < 10.5
    assert read(make(f"whole.{suffix}", builder)).health.reasons == []


def test_damage_in_avi_is_detected(make):
    """AVI has no timestamps: after a loss FFmpeg counts on, and only the fact of the loss is known."""
    seen = read(make("damaged.avi", overwritten(MPEG4)))
    assert "damaged" in seen.health.reasons
    assert len(seen.numbers) > 67
    assert seen.numbers[-1] == 99


def test_damage_requests_careful_reading(make):
    path = make("damaged.mp4", overwritten(LONG))
    with pytest.raises(RestartNeeded) as restart, open_video(path) as video:
        list(video.frames())
    assert restart.value.options == {"careful": True}
    with open_video(path, careful=True) as video:
        assert len(list(video.frames())) >= 67
    assert video.health.decode_errors > 0


def test_damage_at_the_start_does_not_shift_the_times(make):
    seen = read(make("damaged_start.mp4", overwritten(LONG, 0.002, 0.1)))
    assert "damaged" in seen.health.reasons
    assert seen.n_correct >= 70
    assert seen.n_correct >= 0.9 * len(seen.numbers)


def test_damage_where_times_are_synthetic(make):
    """A raw stream reveals neither that frames are missing nor when the others are displayed: it is read anyway."""
    seen = read(make("damaged.h264", overwritten(LONG)))
    assert "synthetic_time" in seen.health.reasons
    assert seen.numbers[:40] == list(range(40))
    assert seen.numbers[-20:] == list(range(80, 100))


def test_frames_that_outgrow_the_limit_are_not_decoded(make):
    builder = partial(two_sizes, first=SMALL, then=(WIDTH, HEIGHT))
    seen = read(make("outgrows.mkv", builder), max_pixels=5000)
    assert seen.numbers == list(range(25))
    assert seen.health.reasons != []


@pytest.mark.parametrize("matrix", [3, 10, 14, 17, 255])
def test_unknown_colour_matrices_count_as_unspecified(matrix, make):
    """swscale rejects frames with a colour matrix that it lacks: damage in a header, or BT.2020-CL and ICtCp."""
    with open_video(make("h264.mp4", write_clip)) as video:
        frame = next(iter(video.frames()))
        plain = frame.rgb(64, 48)
        frame._frame.colorspace = matrix
        odd = PyAVFrame(frame._frame, 0.0, 0.0, Scalers())
        assert np.array_equal(odd.rgb(64, 48), plain) and read_number(odd.luma()) == 0


DAY_S = 86_400


def test_a_lost_first_frame_of_another_clock_does_not_stretch_the_timeline(make):
    """FLV: the first packet is damaged, and by its clock the others come 23 days later."""

    def build(path: Path) -> Path:
        pts = [0, *range(50_000_000, 50_000_049)]
        data = bytearray(write_clip(path, codec="flv", pts=pts).read_bytes())
        tag = data.index(b"\x09", 13 + 11 + int.from_bytes(data[14:17]))
        data[tag + 12 : tag + 200] = bytes(188)
        return wrote(bytes(data))(path)

    seen = read(make("age.flv", build))
    assert seen.health.decode_errors and seen.end_s < 60


def test_an_absurd_frame_rate_does_not_make_an_absurd_timeline(make):
    """An AVI whose header says one frame in 68 years would become a table of 10^11 seconds."""
    path = make("slow.avi", patched(MPEG4, b"strh", 28, b"\xff\xff\xff\x7f\1\0\0\0"))
    try:
        seen = read(path)
    except VideoError:
        return
    assert seen.end_s < DAY_S
    assert seen.info.duration_s is None or seen.info.duration_s < DAY_S
    assert seen.health.reasons != []


@pytest.mark.parametrize("name", ["h264.mp4", "faststart.mp4", "fragmented.mp4", "h264.mkv", "h264.ts", "mpeg4.avi"])
def test_mutated_files_are_read_or_refused(name, clean, tmp_path):
    good, path = clean(name).read_bytes(), tmp_path / name
    outcomes = set()
    for seed in range(30):
        path.write_bytes(mutated(good, seed))
        try:
            seen = read(path)
        except VideoError as e:
            outcomes.add(e.reason)
            continue
        outcomes.add(tuple(seen.health.reasons))
        assert all(0 <= earlier <= later for earlier, later in pairwise(seen.times)), seed
        assert seen.times[-1:] <= [seen.end_s], seed
        assert seen.end_s < DAY_S, seed
    assert len(outcomes) > 1, "these mutations have no effect"
