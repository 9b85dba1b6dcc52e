"""Frames that are not sampled need not be decoded: the samples are the same as if all frames were."""

import gc
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fervid.config import MAX_PIXELS, Config, load_config
from fervid.errors import ConfigError
from fervid.jobs.shards import sample_around
from fervid.models import Models
from fervid.pipeline import process_video
from fervid.video.open import open_video, read_video, sampling_of
from fervid.video.reader import Health, Reader, RestartNeeded, Sampling, cell_of
from fervid.video.readers.frame_skipping import FrameSkipper
from fervid.video.readers.segment import SegmentReader, read_index
from fervid.video.readers.timestamps import SkippedPacket
from fervid.video.sampling import sample_frames
from fervid.video.segments import plan_segments
from tests.helpers.broken_clips import overwritten
from tests.helpers.clips import joined, write_clip
from tests.helpers.fakes import FakeClassifier, FakeDetector
from tests.helpers.hypothesis_settings import steady

MODELS = Models(FakeDetector(), FakeClassifier(), "cpu")
SAMPLES = Path(__file__).parents[2] / "sample_videos"
ONE_FACE = SAMPLES / "one_face.mp4"

_DICE = np.random.default_rng(7)
#: Frames 10 to 120 ms apart, and two that are displayed for seconds.
UNEVEN = np.cumsum([0, *(3400 if i in (40, 80) else int(_DICE.integers(10, 120)) for i in range(119))]).tolist()
PYRAMID = {"options": {"preset": "medium", "bf": "5", "x264-params": "b-pyramid=normal"}}
OPEN = {"options": {"x264-params": "open-gop=1", "bf": "3"}}
_X265 = "log-level=none:pools=none:frame-threads=1"
LAYERS = f"{_X265}:temporal-layers=3:b-adapt=0:bframes=7:b-pyramid=1"
OLD = {"options": {"bf": "2", "g": "12"}}
_MPEG2 = partial(write_clip, n=60, codec="mpeg2video", **OLD)
TWICE = joined(_MPEG2, partial(_MPEG2, first=60))

#: Videos with frames to which no other refers, by name -> what builds them.
SKIPPABLE: dict[str, Callable[[Path], Path]] = {
    "h264.mp4": write_clip, "h264.ts": write_clip, "h264.mkv": write_clip,
    "fragmented.mp4": partial(write_clip, mux={"movflags": "frag_keyframe+empty_moov"}),
    "pyramid.mp4": partial(write_clip, **PYRAMID), "pyramid.ts": partial(write_clip, **PYRAMID),
    "open.mp4": partial(write_clip, **OPEN), "open.ts": partial(write_clip, **OPEN),
    "one_key.mkv": partial(write_clip, options={"g": "1000"}),
    "uneven.mp4": partial(write_clip, pts=UNEVEN, time_base=Fraction(1, 1000)),
    "uneven.mkv": partial(write_clip, pts=UNEVEN, time_base=Fraction(1, 1000)),
    "ntsc.mp4": partial(write_clip, rate=Fraction(30_000, 1001)), "slow.mp4": partial(write_clip, rate=7),
    "fast.mkv": partial(write_clip, rate=120), "late.ts": partial(write_clip, pts=range(2500, 2620)),
    "edited.mp4": partial(write_clip, pts=range(-15, 105)), "edited_b.mp4": partial(write_clip, pts=range(-14, 106)),
    "hevc.mp4": partial(write_clip, codec="libx265"),
    "hevc.ts": partial(write_clip, codec="libx265", options={"x265-params": f"{_X265}:bframes=4:open-gop=1"}),
    "mpeg4.mp4": partial(write_clip, codec="mpeg4", **OLD), "mpeg2.ts": partial(write_clip, codec="mpeg2video", **OLD),
    "mpeg2.mpg": partial(write_clip, codec="mpeg2video", **OLD), "twice.mpg": TWICE,
    "jump.mkv": partial(write_clip, pts=[*range(60), *range(25 * 9000, 25 * 9000 + 60)]),
    "negative.mkv": partial(write_clip, pts=range(-10, 110), mux={"avoid_negative_ts": "disabled"}),
    "turned.mp4": partial(write_clip, rotation=90),
}  # fmt: skip
#: Videos without such frames, or whose frames are not known well enough.
DENSE: dict[str, Callable[[Path], Path]] = {
    "no_b.mp4": partial(write_clip, options={"bf": "0"}), "vp9.webm": partial(write_clip, codec="libvpx-vp9"),
    "interlaced.mp4": partial(write_clip, options={"flags": "+ildct+ilme"}), "single.mp4": partial(write_clip, n=1),
    "mpeg4.avi": partial(write_clip, codec="mpeg4", **OLD), "b_frames.avi": write_clip, "raw.h264": write_clip,
    "layers.mp4": partial(write_clip, codec="libx265", options={"preset": "medium", "x265-params": LAYERS}),
    "damaged.mp4": overwritten(partial(write_clip, n=120), 0.6, 0.65),
}  # fmt: skip
#: Similar to others, and therefore left to the slow tests.
MORE = ("h264.mkv", "pyramid.mp4", "open.mp4", "uneven.mp4", "edited_b.mp4", "mpeg2.mpg", "fast.mkv", "slow.mp4")
ALL = [pytest.param(name, marks=pytest.mark.slow) if name in MORE else name for name in (*SKIPPABLE, *DENSE)]


@pytest.fixture(scope="module")
def make(tmp_path_factory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("sampling")

    def build(name: str) -> Path:
        path, builder = folder / name, (SKIPPABLE | DENSE)[name]
        if not path.exists():
            builder(path, **({} if name in ("twice.mpg", "single.mp4", "damaged.mp4") else {"n": 120}))
        return path

    return build


@dataclass
class Sampled:
    """The samples (time, reach, hash of the pixels), the reader's counters, and the options that it requested."""

    samples: list[tuple[float, float, str]]
    health: Health
    end_s: float | None
    options: dict[str, bool]

    @property
    def result(self) -> tuple:
        """Everything but how much was decoded."""
        health = asdict(replace(self.health, decoded=0, skipped=0, packets=0))
        return self.samples, health, self.end_s


def sample(path: Path, config: Config, *, every: bool = False) -> Sampled:
    """Sample a video as the pipeline does; with `every`, decode every frame."""

    def work(reader: Reader) -> tuple:
        frames = reader.frames(config.start_s, config.end_s)
        stop_s = float("inf") if config.end_s is None else config.end_s
        samples = sample_frames(frames, config.fps, start_s=config.start_s, stop_s=stop_s)
        return [hashed(*one) for one in samples], reader.health, reader.end_s

    if every:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("fervid.video.open.sampling_of", lambda config: None)
            done, options = read_video(path, config, work)
    else:
        done, options = read_video(path, config, work)
    return Sampled(*done, options)


def hashed(frame, pts_s: float, reach_s: float) -> tuple[float, float, str]:
    pixels = frame.luma().tobytes() + frame.rgb(64, 48).tobytes()
    return pts_s, reach_s, hashlib.sha256(pixels).hexdigest()


# -- exact: skipping changes nothing --------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_the_samples_are_those_of_every_frame(name, make):
    for fps in (1, 11):
        every, skipping = (sample(make(name), Config(fps=fps), every=each) for each in (True, False))
        assert skipping.result == every.result, fps
        assert skipping.health.packets == every.health.packets
        assert skipping.health.decoded + skipping.health.skipped == every.health.decoded
        if name in SKIPPABLE and fps == 1:
            assert skipping.health.skipped > 10
        if name in DENSE:
            assert not skipping.health.skipped


@pytest.mark.parametrize("name", [name for name in SKIPPABLE if name not in ("twice.mpg", "jump.mkv", *MORE)])
def test_a_window_has_the_samples_of_every_frame(name, make):
    for start_s, end_s in ((0.5, 1.2), (1.0, None), (1.71, 60), (2.9, 3.2)):
        config = Config(fps=5, start_s=start_s, end_s=end_s)
        every, skipping = (sample(make(name), config, every=each) for each in (True, False))
        assert skipping.result == every.result, start_s


@pytest.mark.parametrize("video", sorted(SAMPLES.glob("*.mp4")), ids=lambda path: path.stem)
def test_the_timeline_is_that_of_every_frame(video, tmp_path, monkeypatch):
    done, config = [], Config(fps=5)
    for name in ("skipping", "every"):
        done.append(process_video(video, tmp_path / name, config, MODELS, faces_out=tmp_path / f"{name}_faces"))
        monkeypatch.setattr("fervid.video.open.sampling_of", lambda config: None)
    skipping, every = done
    assert skipping.table.equals(every.table)
    counted, all_counted = (result.provenance.pop("counters") for result in done)
    assert skipping.provenance == every.provenance
    assert counted["frames_decoded"] < 0.7 * all_counted["frames_decoded"] and all_counted["frames_left_out"] == 0
    spent = {"frames_decoded", "frames_left_out"}
    assert {k: v for k, v in counted.items() if k not in spent} == {
        k: v for k, v in all_counted.items() if k not in spent
    }


def test_the_native_rate_and_other_uses_skip_nothing():
    assert sample(ONE_FACE, Config(fps=None)).health.skipped == 0
    with open_video(ONE_FACE) as video:
        assert len([frame.luma() for frame in video.frames()]) == 180


@pytest.mark.parametrize("sampling", [None, Sampling(5), Sampling(5, fast=True)])
def test_decoded_packets_are_released(sampling):
    def held() -> int:
        gc.collect()
        return sum(type(thing) is av.Packet for thing in gc.get_objects())

    before = held()  # by other tests
    with open_video(ONE_FACE, sampling=sampling) as video:
        kept = [held() - before for i, _ in enumerate(video.frames()) if i % 50 == 49]
    assert kept and max(kept) < 80  # of 180


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("name", ["h264.mp4", "pyramid.ts", "open.ts", "hevc.ts", "uneven.mkv", "mpeg4.mp4"])
def test_segments_skip_what_the_whole_video_skips(name, fast, make):
    path, config = make(name), Config(fps=5, sampling="fast" if fast else "exact")
    whole = sample(path, config)
    segments, samples, readers = plan_segments(read_index(path, None, MAX_PIXELS)[0], 1.0), [], []
    for segment in segments:
        with SegmentReader(path, stream=None, max_pixels=MAX_PIXELS, sampling=sampling_of(config)) as reader:
            start_s, stop_s = reader.bounds_s(segment)
            samples += [hashed(*one) for one in sample_around(reader, segment, config) if start_s <= one[1] < stop_s]
            readers.append(reader)
    assert samples == whole.samples and len(segments) > 1
    assert all(one.tail == other.head for one, other in pairwise(readers))
    counted = sum(reader.n_decoded for reader in readers), sum(reader.n_skipped for reader in readers)
    assert counted == (whole.health.decoded, whole.health.skipped)


def test_requesting_the_pixels_of_a_skipped_frame_requests_every_frame():
    with open_video(ONE_FACE, sampling=Sampling(5)) as video:
        for frame in video.frames():
            try:
                frame.luma()
            except RestartNeeded as restart:
                assert restart.options == {"every_frame": True}
                return
    raise AssertionError("nothing was skipped")


# -- the rule, without a decoder ------------------------------------------------------------------------


@dataclass
class Packet:
    """A packet; `unreferenced` is what the decoder knows: no other frame refers to it."""

    pts: int | None
    unreferenced: bool = False
    size: int = 1
    is_discard: bool = False
    duration: int = 1


@dataclass
class Frame:
    """A decoded frame."""

    pts: int | None
    duration: int = 1
    interlaced_frame: bool = False


class Stream:
    """A stream whose ticks are milliseconds."""

    time_base = Fraction(1, 1000)

    class codec_context:
        name = "h264"


def decoded(packets: list[Packet], skipper: FrameSkipper, delay: int) -> Iterator[Frame]:
    """Decode: put frames into display order, with a delay of so many frames."""
    pending: list[int] = []
    for packet in packets:
        if skipper.setting(packet) == "DEFAULT" or not packet.unreferenced:
            pending.append(packet.pts)
        if len(pending) > delay:
            pending.sort()
            yield Frame(pending.pop(0))
    yield from map(Frame, sorted(pending))


@st.composite
def streams(draw) -> list[Packet]:
    """Groups of packets: an anchor frame, then those that are displayed before it, in any order."""
    packets, at = [Packet(0)], 0
    for group in draw(st.lists(st.integers(0, 4), max_size=25)):
        steps = draw(st.lists(st.integers(1, 300), min_size=group + 1, max_size=group + 1))
        times = np.cumsum(steps) + at
        at = int(times[-1])
        between = draw(st.permutations(times[:-1].tolist()))
        packets += [Packet(at), *(Packet(int(pts), draw(st.booleans())) for pts in between)]
    return packets


@given(streams(), st.sampled_from([1, 2, 5, 24, 29.97]), st.booleans(), st.integers(4, 8))
@steady
def test_skipped_frames_are_not_samples(packets, fps, fast, delay):
    health = Health()
    skipper = FrameSkipper(Stream(), Sampling(fps, fast), Fraction(0), health)
    shown = list(skipper.restore(decoded(packets, skipper, delay)))
    assert [frame.pts for frame in shown] == sorted(packet.pts for packet in packets)
    cells: dict[int, list] = {}
    for frame in shown:
        cells.setdefault(cell_of(frame.pts / 1000, fps), []).append(frame)
    skipped = [isinstance(frame, SkippedPacket) for frame in shown]
    assert health.skipped == sum(skipped)
    unreferenced = {packet.pts for packet in packets if packet.unreferenced}
    assert all(frame.pts in unreferenced for frame, is_skipped in zip(shown, skipped) if is_skipped)
    for frames in cells.values():
        if fast:
            assert not all(isinstance(frame, SkippedPacket) for frame in frames)
        else:
            assert not isinstance(frames[0], SkippedPacket)


# -- fast: any frame of a cell will do ------------------------------------------------------------------


def test_half_of_the_frames_give_as_many_samples():
    exact, fast = (sample(ONE_FACE, Config(fps=5, sampling=sampling)) for sampling in ("exact", "fast"))
    assert fast.health.decoded < 100 and fast.health.decoded + fast.health.skipped == 180
    assert fast.end_s == exact.end_s and not fast.health.reasons
    for sampled in (exact, fast):
        assert [cell_of(at, 5) for at, *_ in sampled.samples] == list(range(30))
    frames = [i / 30 for i in range(180)]
    assert all(min(abs(at - frame) for frame in frames) < 1e-4 for at, *_ in fast.samples)  # the times of real frames


@pytest.mark.parametrize("name", ALL)
def test_every_cell_with_a_frame_has_a_sample(name, make):
    exact, fast = (sample(make(name), Config(fps=8, sampling=sampling)) for sampling in ("exact", "fast"))
    assert {cell_of(at, 8) for at, *_ in fast.samples} == {cell_of(at, 8) for at, *_ in exact.samples}
    assert fast.end_s == exact.end_s and fast.health.reasons == exact.health.reasons
    assert fast.health.decoded <= exact.health.decoded


@pytest.mark.parametrize("name", ["interlaced.mp4", "b_frames.avi", "raw.h264"])
def test_h264_that_cannot_be_skipped_is_read_in_full_quality(name, make):
    fast = sample(make(name), Config(fps=8, sampling="fast"))
    assert any(fast.options.values()) and not fast.health.skipped
    assert fast.result == sample(make(name), Config(fps=8), every=True).result


def test_a_window_is_sampled_like_the_whole():
    fast = sample(ONE_FACE, Config(fps=5, sampling="fast", start_s=2.0, end_s=4.0))
    assert [cell_of(at, 5) for at, *_ in fast.samples] == list(range(10, 20))


@pytest.mark.parametrize(("name", "skips"), [("h264.mp4", True), ("vp9.webm", False)])
def test_the_provenance_reports_the_sampling(name, skips, make):
    """Crops and keyframes are those of fast sampling even where every frame must be decoded."""
    result = process_video(make(name), None, Config(fps=5, sampling="fast", end_s=1), MODELS)
    assert result.provenance["sampling"] == "fast" and result.status == "ok"
    assert (result.provenance["counters"]["frames_left_out"] > 0) == skips


@pytest.mark.parametrize("options", [{"fps": "native"}, {"reader": "decord"}])
def test_what_cannot_be_fast_is_refused(options):
    with pytest.raises(ConfigError, match="sampling fast needs"):
        load_config(sampling="fast", **options)
