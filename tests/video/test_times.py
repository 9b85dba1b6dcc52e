"""Every frame has its own time, whatever a container stores of it; each is displayed until the next one comes."""

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fervid.config import load_config
from fervid.errors import VideoError
from fervid.video.open import open_video, read_video
from fervid.video.reader import Health
from fervid.video.sampling import sample_frames
from tests.helpers.clips import with_audio, write_clip
from tests.helpers.hypothesis_settings import steady
from tests.helpers.reader_clips import READERS, read_number_or_none
from tests.helpers.timed_clips import TICK, avi, coded, muxed, sharing_stamps, spread, vfw_mkv

MS = Fraction(1, 1000)
#: A camera that slows down in the dark: 10 frames per second for two seconds, then 25.
SLOW = [*range(0, 2000, 100), *range(2000, 4000, 40)]
#: Two frames at a time, and rest; a frozen call.
PAIRS = [at for i in range(8) for at in (500 * i, 500 * i + 33)]
FROZEN = [*range(0, 1000, 40), *range(4000, 5000, 40)]
SHAPES = {"slow": SLOW, "pairs": PAIRS, "frozen": FROZEN}


def times_of(path: Path, **options: object) -> tuple[list[int | None], list[float], list[float], Health, float]:
    """Read a file as the pipeline does -> numbers, times and durations of its frames, health and end."""

    def work(reader):
        frames = [(read_number_or_none(f.luma()), f.pts_s, f.duration_s) for f in reader.frames()]
        return *map(list, zip(*frames)), reader.health, reader.end_s

    return read_video(path, load_config(fps="native", **options), work)[0]


def check(path: Path, pts_ms: list[int], *, tick_s: float = 0.001, end: bool = True) -> Health:
    """Check that all frames have their times and that no moment is without a frame; return the health."""
    numbers, times, durations, health, end_s = times_of(path)
    assert numbers == list(range(len(pts_ms)))
    assert times == pytest.approx([(at - pts_ms[0]) / 1000 for at in pts_ms], abs=1.5 * tick_s)
    assert durations[:-1] == pytest.approx(np.diff(times), abs=1e-6)
    if end:
        assert end_s == pytest.approx(times[-1] + durations[-1], abs=1e-6)
    return health


# -- containers that store a time per frame ---------------------------------------------------------------

CONTAINERS = {
    "mp4": "libx264", "mov": "mpeg4", "mkv": "libx264", "webm": "libvpx-vp9", "ts": "libx264", "flv": "flv",
    "wmv": "wmv2", "avi": "mjpeg",
}  # fmt: skip


def uneven(path: Path, pts: list[int], time_base: Fraction = MS, bf: str = "0") -> Path:
    codec = CONTAINERS[path.suffix[1:]]
    options = {"bf": bf} if codec == "libx264" else {}
    layout = {"pix_fmt": "yuvj420p", "full_range": True} if codec == "mjpeg" else {}
    return write_clip(path, n=len(pts), pts=pts, time_base=time_base, codec=codec, options=options, **layout)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("suffix", "bf"), [*((suffix, "0") for suffix in CONTAINERS), ("mp4", "2"), ("mkv", "2"), ("ts", "2")]
)
def test_uneven_times(suffix, bf, shape, tmp_path):
    base = Fraction(1, 25) if suffix == "avi" else MS
    stored = sorted({round(at * MS / base) for at in SHAPES[shape]})
    path = uneven(tmp_path / f"clip.{suffix}", stored, base, bf)
    assert check(path, [float(at * base * 1000) for at in stored]).reasons == []


@settings(steady, max_examples=12)
@given(
    st.lists(st.integers(1, 1500), min_size=2, max_size=20),
    st.sampled_from([suffix for suffix in CONTAINERS if suffix != "avi"]),
    st.sampled_from([1, 5, None]),
    st.sampled_from([0.0, 0.31, 1.0, 2.22]),
)
def test_random_times(tmp_path_factory, gaps_ms, suffix, fps, start_s):
    """The parts of all samples are the time for which the film runs, from any start on, in any container."""
    path = uneven(tmp_path_factory.mktemp("random") / f"clip.{suffix}", [0, *np.cumsum(gaps_ms).tolist()])
    with open_video(path) as reader:
        samples = [(at, lasts) for _, at, lasts in sample_frames(reader.frames(start_s), fps, start_s=start_s)]
    if start_s >= reader.end_s:
        assert samples == []
        return
    assert sum(lasts for _, lasts in samples) == pytest.approx(reader.end_s - start_s, abs=0.002)
    assert {int(at) for at, _ in samples} == set(range(int(start_s), int(np.ceil(reader.end_s - 1e-6))))
    assert reader.health.reasons == []


def test_webm_without_default_duration_lasts_until_the_next_block(tmp_path):
    """As a browser's MediaRecorder writes it (RFC 9559, 5.1.3.5.3)."""
    packets = coded(PAIRS, MS, "libvpx")
    path = muxed(tmp_path / "pairs.webm", packets, MS, "libvpx", mux={"live": "1"}, durations=False)
    assert check(path, PAIRS).reasons == []


def test_a_still_of_two_hours_is_no_jump_where_the_container_says_so(tmp_path):
    pts = [0, 7_200_000, 7_201_000]
    for suffix, durations in (("mp4", True), ("webm", False)):
        path = tmp_path / f"slide.{suffix}"
        if durations:
            uneven(path, pts)
        else:
            muxed(path, coded(pts, MS, "libvpx"), MS, "libvpx", durations=False)
        health = check(path, pts)
        assert (health.epochs, health.reasons) == (1, [])


# -- AVI and VfW: decoding times only ---------------------------------------------------------------------


@pytest.mark.parametrize("bf", ["0", "2", "4"])
@pytest.mark.parametrize("shape", ["slow", "half", "even"])
def test_avi_with_empty_chunks(bf, shape, tmp_path):
    """An empty chunk repeats the frame before it: H.264 with B-frames too."""
    pts = {"slow": [*range(0, 60, 3), *range(60, 120)], "half": range(0, 120, 2), "even": range(60)}[shape]
    chunks = spread(coded(list(pts), Fraction(1, 30), bf=bf))
    path = avi(tmp_path / "h264.avi", chunks, b"H264", rate=30)
    health = check(path, [at * 1000 / 30 for at in pts])
    assert (health.reasons, health.clock) == ([], "decoding times")


@pytest.mark.parametrize(
    ("codec", "fourcc", "bf"),
    [("mjpeg", b"MJPG", "0"), ("mpeg4", b"DIVX", "0"), ("mpeg4", b"XVID", "2"), ("msmpeg4", b"DIV3", "0")],
)
@pytest.mark.parametrize("step", [1, 2, 5])
def test_an_ordinary_avi_is_ok(codec, fourcc, bf, step, tmp_path):
    pts = list(range(0, 50 * step, step))
    options = {"bf": bf} if codec == "mpeg4" else {}
    path = avi(tmp_path / "clip.avi", spread(coded(pts, Fraction(1, 25), codec, **options)), fourcc)
    assert check(path, [at * 40 for at in pts]).reasons == []


def test_avi_that_ends_in_empty_chunks_shows_its_last_frame_to_the_end(tmp_path):
    chunks = [*spread(coded(range(25), Fraction(1, 25), "mjpeg")), *[b""] * 75]
    _, times, durations, health, end_s = times_of(avi(tmp_path / "slide.avi", chunks, b"MJPG"))
    assert (times[-1], end_s, health.reasons) == (0.96, pytest.approx(4.0), [])
    assert durations[-1] == pytest.approx(3.04)


@pytest.mark.parametrize("bf", ["0", "2", "4"])
@pytest.mark.parametrize("shape", SHAPES)
def test_vfw_tracks_in_matroska(bf, shape, tmp_path):
    pts = SHAPES[shape]
    path = vfw_mkv(tmp_path / "vfw.mkv", coded(pts, MS, bf=bf), pts[-1] + 40.0)
    numbers, times, _, health, _ = times_of(path)
    # no block has the times of the last frames that the decoder holds back: they follow as evenly as those before
    known = len(pts) - (0 if bf == "0" else 2 if shape == "pairs" else 0)
    assert numbers == list(range(len(pts)))
    assert times[:known] == pytest.approx(np.array(pts[:known]) / 1000, abs=0.0015)
    assert (health.reasons, health.clock) == ([], "decoding times")


def test_the_last_frames_of_decoding_times_begin_before_the_declared_end(tmp_path):
    """The decoder holds them back, and the gap before them was long."""
    pts = [0, 40, 80, 120, 160, 200, 240, 1040, 1080, 1120]
    path = vfw_mkv(tmp_path / "vfw.mkv", coded(pts, MS, bf="2"), 1160.0)
    _, times, _, health, end_s = times_of(path)
    assert len(times) == len(pts) and times[-1] < 1.16 and end_s == pytest.approx(1.16, abs=0.002)
    assert health.reasons == []


# -- several frames to one stamp --------------------------------------------------------------------------


@pytest.mark.parametrize("bf", ["0", "2"])
@pytest.mark.parametrize("n", [2, 3, 7, 25])
def test_frames_that_share_a_stamp_are_interpolated(n, bf, tmp_path):
    packets = coded([3600 * i for i in range(100)], TICK, bf=bf)
    for packet in packets:
        packet.pts, packet.dts = packet.pts + 90_000, packet.dts + 90_000
    path = muxed(tmp_path / "pes.ts", sharing_stamps(packets, n), TICK)
    health = check(path, [40 * i for i in range(100)])
    assert (health.reasons, health.clock) == ([], "interpolated")


def test_stamps_that_repeat_are_interpolated(tmp_path):
    """Three frames to one stamp."""
    packets = coded([40 * i for i in range(90)], MS, "mjpeg")
    for packet in packets:
        packet.pts = packet.dts = packet.pts // 120 * 120
    path = muxed(tmp_path / "coarse.mkv", packets, MS, "mjpeg", durations=False)
    assert check(path, [40 * i for i in range(90)]).clock == "interpolated"


# -- raw streams ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "n"), [(30, 60), (12.5, 25), (29.97, 60)])
def test_a_stated_rate_times_a_raw_stream(rate, n, tmp_path):
    path = write_clip(tmp_path / "raw.h264", n=n)
    numbers, times, _, health, end_s = times_of(path, rate=rate)
    assert numbers == list(range(n)) and health.reasons == [] and health.clock == "counted"
    assert times == pytest.approx([i / rate for i in range(n)], abs=0.001) and end_s == pytest.approx(
        n / rate, abs=0.01
    )


def test_a_stated_rate_does_not_change_a_file_with_timestamps(tmp_path):
    path = write_clip(tmp_path / "clip.mp4")
    assert times_of(path, rate=10)[1] == times_of(path)[1]


# -- contradictions ---------------------------------------------------------------------------------------


def test_a_declared_length_that_the_frames_contradict_is_a_reason(tmp_path):
    chunks = spread(coded(range(100), Fraction(1, 25), "mjpeg"))
    assert times_of(avi(tmp_path / "half.avi", chunks, b"MJPG"))[3].reasons == []
    packets = coded(SLOW, MS, bf="2")
    assert "duration_mismatch" in times_of(vfw_mkv(tmp_path / "vfw.mkv", packets, 2000.0))[3].reasons
    assert "duration_mismatch" in times_of(vfw_mkv(tmp_path / "long.mkv", packets, 8000.0))[3].reasons
    assert "duration_mismatch" in times_of(avi(tmp_path / "long.avi", chunks, b"MJPG", n=200))[3].reasons


@pytest.mark.parametrize("factor", [0.5, 2])
@pytest.mark.parametrize("suffix", ["webm", "flv"])
def test_a_wrong_duration_in_a_header_is_a_reason(suffix, factor, tmp_path):
    if suffix == "webm":
        path = muxed(tmp_path / "clip.webm", coded(SLOW, MS, "libvpx"), MS, "libvpx", durations=False)
    else:
        path = uneven(tmp_path / "clip.flv", SLOW)
    assert times_of(path)[3].reasons == []
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89") + 3 if suffix == "webm" else data.index(b"duration") + 9
    data[at : at + 8] = struct.pack(">d", factor * struct.unpack(">d", data[at : at + 8])[0])
    path.write_bytes(data)
    assert times_of(path)[3].reasons in (["duration_mismatch"], ["truncated"])


@pytest.mark.parametrize(("scale", "rate"), [(1, 0), (0, 25), (1, 10**9), (10**9, 1)])
def test_absurd_rates_in_avi_are_not_silent(scale, rate, tmp_path):
    chunks = spread(coded(range(50), Fraction(1, 25), "mjpeg"))
    path = avi(tmp_path / "absurd.avi", chunks, b"MJPG", scale=scale, rate=rate)
    try:
        _, times, _, health, _ = times_of(path)
    except VideoError:
        return
    assert health.reasons != [] and times[-1] < 24 * 3600


@pytest.mark.parametrize("suffix", ["flv", "wmv", "mkv"])
def test_sound_that_goes_on_does_not_make_a_video_truncated(suffix, tmp_path):
    """Only the whole file has a length there."""
    path = with_audio(tmp_path / f"clip.{suffix}", 5.0)
    path.write_bytes(path.read_bytes().replace(b"DURATION", b"LASTS_FO"))
    _, times, _, health, end_s = times_of(path)
    assert (len(times), health.reasons) == (50, []) and end_s == pytest.approx(2.0, abs=0.002)
    if suffix != "wmv":  # its packets have one size, of which little is left
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
        assert "truncated" in times_of(path)[3].reasons


def test_the_number_of_frames_in_ivf_is_no_length(tmp_path):
    path = write_clip(tmp_path / "clip.ivf", n=len(SLOW), pts=SLOW, time_base=MS, codec="libvpx")
    assert check(path, SLOW).reasons == []


@pytest.mark.parametrize(
    ("name", "mux"),
    [("late.wmv", {}), ("late.mp4", {}), ("late.flv", {}), ("fragments.mp4", {"movflags": "frag_keyframe+empty_moov"})],
)
def test_a_late_start_does_not_make_a_video_truncated(name, mux, tmp_path):
    """ASF states when the file ends; a fragmented MP4 has no edit list that removes the delay of B-frames."""
    late, codec = (0, "libx264") if mux else (2500, "wmv2" if name.endswith("wmv") else "libx264")
    pts = [late + at for at in [*range(0, 1200, 400), *range(1200, 2000, 5)]]
    path = write_clip(tmp_path / name, n=len(pts), pts=pts, time_base=MS, codec=codec, mux=mux)
    assert check(path, pts).reasons == []


@pytest.mark.parametrize("bf", ["1", "3"])
def test_slides_with_b_frames_contradict_no_length(bf, tmp_path):
    """MP4 declares how long decoding takes, which begins a second before display."""
    pts = [0, 40, 1050, 2050, 3050, 4050, 5050]
    assert check(uneven(tmp_path / "slides.mp4", pts, bf=bf), pts).reasons == []


@pytest.mark.parametrize("share", [0.35, 0.65])
def test_an_avi_that_is_cut_off_is_truncated(share, tmp_path):
    """Its header says how many chunks there were; FFmpeg shortens that to the size of the file."""
    path = avi(tmp_path / "cut.avi", spread(coded(range(100), Fraction(1, 25), "mjpeg")), b"MJPG")
    path.write_bytes(path.read_bytes()[: round(path.stat().st_size * share)])
    *_, health, end_s = times_of(path)
    assert "truncated" in health.reasons and end_s == 4.0


# -- other readers ----------------------------------------------------------------------------------------

BUILDERS: dict[str, Callable[[Path], Path]] = {
    "h264.avi": lambda path: avi(path, spread(coded(range(0, 100, 2), Fraction(1, 25), bf="2")), b"H264"),
    "mjpeg.avi": lambda path: avi(path, spread(coded(range(0, 100, 2), Fraction(1, 25), "mjpeg")), b"MJPG"),
    "vfw.mkv": lambda path: vfw_mkv(path, coded(SLOW, MS, bf="2"), 4000.0),
    "slow.mp4": lambda path: uneven(path, SLOW, bf="2"),
    "pairs.webm": lambda path: muxed(path, coded(PAIRS, MS, "libvpx"), MS, "libvpx", durations=False),
}


@pytest.mark.parametrize("reader", [name for name in READERS if name != "av"])
@pytest.mark.parametrize("name", BUILDERS)
def test_another_reader_gives_the_same_times_or_refuses(reader, name, tmp_path):
    path = BUILDERS[name](tmp_path / name)
    expected = times_of(path)
    try:
        found = times_of(path, reader=reader)
    except VideoError as e:
        assert str(e).count("\n") == 0 and "--reader av" in str(e)
        return
    except ImportError:
        pytest.skip("not installed")
    assert found[1] == pytest.approx(expected[1], abs=0.001) and found[2] == pytest.approx(expected[2], abs=0.001)
