"""Frames that nobody looks at are left out of decoding, never out of the truth: the looks are those of every frame."""

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
from fervid.jobs.shards import around
from fervid.pipeline import Models, process_video
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
#: Frames 10 to 120 ms apart, and two that stand for seconds.
UNEVEN = np.cumsum([0, *(3400 if i in (40, 80) else int(_DICE.integers(10, 120)) for i in range(119))]).tolist()
PYRAMID = {"options": {"preset": "medium", "bf": "5", "x264-params": "b-pyramid=normal"}}
OPEN = {"options": {"x264-params": "open-gop=1", "bf": "3"}}
_X265 = "log-level=none:pools=none:frame-threads=1"
LAYERS = f"{_X265}:temporal-layers=3:b-adapt=0:bframes=7:b-pyramid=1"
OLD = {"options": {"bf": "2", "g": "12"}}
_MPEG2 = partial(write_clip, n=60, codec="mpeg2video", **OLD)
TWICE = joined(_MPEG2, partial(_MPEG2, first=60))

#: Films with frames to which no other refers, and what makes them.
SPARE: dict[str, Callable[[Path], Path]] = {
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
#: Films without such frames, or about whose frames too little is known.
DENSE: dict[str, Callable[[Path], Path]] = {
    "no_b.mp4": partial(write_clip, options={"bf": "0"}), "vp9.webm": partial(write_clip, codec="libvpx-vp9"),
    "interlaced.mp4": partial(write_clip, options={"flags": "+ildct+ilme"}), "single.mp4": partial(write_clip, n=1),
    "mpeg4.avi": partial(write_clip, codec="mpeg4", **OLD), "b_frames.avi": write_clip, "raw.h264": write_clip,
    "layers.mp4": partial(write_clip, codec="libx265", options={"preset": "medium", "x265-params": LAYERS}),
    "damaged.mp4": overwritten(partial(write_clip, n=120), 0.6, 0.65),
}  # fmt: skip
#: Much like others, and so left to the slow tests.
MORE = ("h264.mkv", "pyramid.mp4", "open.mp4", "uneven.mp4", "edited_b.mp4", "mpeg2.mpg", "fast.mkv", "slow.mp4")
ALL = [pytest.param(name, marks=pytest.mark.slow) if name in MORE else name for name in (*SPARE, *DENSE)]


@pytest.fixture(scope="module")
def make(tmp_path_factory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("sampling")

    def build(name: str) -> Path:
        path, builder = folder / name, (SPARE | DENSE)[name]
        if not path.exists():
            builder(path, **({} if name in ("twice.mpg", "single.mp4", "damaged.mp4") else {"n": 120}))
        return path

    return build


@dataclass
class Seen:
    """What was looked at: times, for how long each look stands, a hash of its pixels; and what the reader says."""

    looks: list[tuple[float, float, str]]
    health: Health
    end_s: float | None
    taken: dict[str, bool]

    @property
    def truth(self) -> tuple:
        """All but how much of it was decoded."""
        health = asdict(replace(self.health, decoded=0, skipped=0, packets=0))
        return self.looks, health, self.end_s


def watch(path: Path, config: Config, *, every: bool = False) -> Seen:
    """Look at a video as the line does; `every` has every frame decoded for it."""

    def work(reader: Reader) -> tuple:
        frames = reader.frames(config.start_s, config.end_s)
        stop_s = float("inf") if config.end_s is None else config.end_s
        chosen = sample_frames(frames, config.fps, start_s=config.start_s, stop_s=stop_s)
        return [hashed(*look) for look in chosen], reader.health, reader.end_s

    if every:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("fervid.video.open.sampling_of", lambda config: None)
            done, taken = read_video(path, config, work)
    else:
        done, taken = read_video(path, config, work)
    return Seen(*done, taken)


def hashed(frame, pts_s: float, reach_s: float) -> tuple[float, float, str]:
    pixels = frame.luma().tobytes() + frame.rgb(64, 48).tobytes()
    return pts_s, reach_s, hashlib.sha256(pixels).hexdigest()


# -- exact: what is left out changes nothing --------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_the_looks_are_those_of_every_frame(name, make):
    for fps in (1, 11):
        all_of_it, sifted = (watch(make(name), Config(fps=fps), every=every) for every in (True, False))
        assert sifted.truth == all_of_it.truth, fps
        assert sifted.health.packets == all_of_it.health.packets
        assert sifted.health.decoded + sifted.health.skipped == all_of_it.health.decoded
        if name in SPARE and fps == 1:
            assert sifted.health.skipped > 10
        if name in DENSE:
            assert not sifted.health.skipped


@pytest.mark.parametrize("name", [name for name in SPARE if name not in ("twice.mpg", "jump.mkv", *MORE)])
def test_a_part_is_looked_at_alike(name, make):
    for start_s, end_s in ((0.5, 1.2), (1.0, None), (1.71, 60), (2.9, 3.2)):
        config = Config(fps=5, start_s=start_s, end_s=end_s)
        all_of_it, sifted = (watch(make(name), config, every=every) for every in (True, False))
        assert sifted.truth == all_of_it.truth, start_s


@pytest.mark.parametrize("video", sorted(SAMPLES.glob("*.mp4")), ids=lambda path: path.stem)
def test_the_timeline_is_that_of_every_frame(video, tmp_path, monkeypatch):
    done, config = [], Config(fps=5)
    for name in ("sifted", "every"):
        done.append(process_video(video, tmp_path / name, config, MODELS, faces_out=tmp_path / f"{name}_faces"))
        monkeypatch.setattr("fervid.video.open.sampling_of", lambda config: None)
    sifted, every = done
    assert sifted.table.equals(every.table)
    counted, all_counted = (result.provenance.pop("counters") for result in done)
    assert sifted.provenance == every.provenance
    assert counted["frames_decoded"] < 0.7 * all_counted["frames_decoded"] and all_counted["frames_left_out"] == 0
    spent = {"frames_decoded", "frames_left_out"}
    assert {k: v for k, v in counted.items() if k not in spent} == {
        k: v for k, v in all_counted.items() if k not in spent
    }


def test_native_rate_and_other_work_leave_nothing_out():
    assert watch(ONE_FACE, Config(fps=None)).health.skipped == 0
    with open_video(ONE_FACE) as video:
        assert len([frame.luma() for frame in video.frames()]) == 180


@pytest.mark.parametrize("sampling", [None, Sampling(5), Sampling(5, fast=True)])
def test_packets_that_are_decoded_are_let_go(sampling):
    def held() -> int:
        gc.collect()
        return sum(type(thing) is av.Packet for thing in gc.get_objects())

    before = held()  # by other tests
    with open_video(ONE_FACE, sampling=sampling) as video:
        kept = [held() - before for i, _ in enumerate(video.frames()) if i % 50 == 49]
    assert kept and max(kept) < 80  # of 180


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("name", ["h264.mp4", "pyramid.ts", "open.ts", "hevc.ts", "uneven.mkv", "mpeg4.mp4"])
def test_pieces_leave_out_what_the_whole_leaves_out(name, fast, make):
    path, config = make(name), Config(fps=5, sampling="fast" if fast else "exact")
    whole = watch(path, config)
    pieces, looks, readers = plan_segments(read_index(path, None, MAX_PIXELS)[0], 1.0), [], []
    for piece in pieces:
        with SegmentReader(path, stream=None, max_pixels=MAX_PIXELS, sampling=sampling_of(config)) as reader:
            start_s, stop_s = reader.bounds_s(piece)
            looks += [hashed(*look) for look in around(reader, piece, config) if start_s <= look[1] < stop_s]
            readers.append(reader)
    assert looks == whole.looks and len(pieces) > 1
    assert all(one.tail == other.head for one, other in pairwise(readers))
    counted = sum(reader.n_decoded for reader in readers), sum(reader.n_skipped for reader in readers)
    assert counted == (whole.health.decoded, whole.health.skipped)


def test_who_asks_for_the_pixels_of_a_frame_that_was_left_out_gets_every_frame():
    with open_video(ONE_FACE, sampling=Sampling(5)) as video:
        for frame in video.frames():
            try:
                frame.luma()
            except RestartNeeded as again:
                assert again.options == {"every_frame": True}
                return
    raise AssertionError("nothing was left out")


# -- the rule, without a decoder --------------------------------------------------------------------------


@dataclass
class Packet:
    """A packet; `spare` is what its decoder knows of it: no other refers to it."""

    pts: int | None
    spare: bool = False
    size: int = 1
    is_discard: bool = False
    duration: int = 1


@dataclass
class Picture:
    """A decoded frame."""

    pts: int | None
    duration: int = 1
    interlaced_frame: bool = False


class Stream:
    """A stream of thousandths of a second."""

    time_base = Fraction(1, 1000)

    class codec_context:
        name = "h264"


def decoded(packets: list[Packet], skipper: FrameSkipper, delay: int) -> Iterator[Picture]:
    """A decoder: it puts frames into the order of display, `delay` of them late."""
    held: list[int] = []
    for packet in packets:
        if skipper.setting(packet) == "DEFAULT" or not packet.spare:
            held.append(packet.pts)
        if len(held) > delay:
            held.sort()
            yield Picture(held.pop(0))
    yield from map(Picture, sorted(held))


@st.composite
def streams(draw) -> list[Packet]:
    """Groups of frames: an anchor, then those that are shown before it, in any order."""
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
def test_nobody_looks_at_what_is_left_out(packets, fps, fast, delay):
    health = Health()
    skipper = FrameSkipper(Stream(), Sampling(fps, fast), Fraction(0), health)
    shown = list(skipper.restore(decoded(packets, skipper, delay)))
    assert [frame.pts for frame in shown] == sorted(packet.pts for packet in packets)
    cells: dict[int, list] = {}
    for frame in shown:
        cells.setdefault(cell_of(frame.pts / 1000, fps), []).append(frame)
    missing = [isinstance(frame, SkippedPacket) for frame in shown]
    assert health.skipped == sum(missing)
    spare = {packet.pts for packet in packets if packet.spare}
    assert all(frame.pts in spare for frame, gone in zip(shown, missing) if gone)
    for frames in cells.values():
        if fast:
            assert not all(isinstance(frame, SkippedPacket) for frame in frames)
        else:
            assert not isinstance(frames[0], SkippedPacket)


# -- fast: any frame of a cell will do -----------------------------------------------------------------


def test_half_of_the_frames_give_as_many_looks():
    exact, fast = (watch(ONE_FACE, Config(fps=5, sampling=sampling)) for sampling in ("exact", "fast"))
    assert fast.health.decoded < 100 and fast.health.decoded + fast.health.skipped == 180
    assert fast.end_s == exact.end_s and not fast.health.reasons
    assert [cell_of(at, 5) for at, *_ in fast.looks] == [cell_of(at, 5) for at, *_ in exact.looks] == list(range(30))
    frames = [i / 30 for i in range(180)]
    assert all(min(abs(at - frame) for frame in frames) < 1e-4 for at, *_ in fast.looks)  # times of real frames


@pytest.mark.parametrize("name", ALL)
def test_every_cell_that_has_a_frame_has_its_look(name, make):
    exact, fast = (watch(make(name), Config(fps=8, sampling=sampling)) for sampling in ("exact", "fast"))
    assert {cell_of(at, 8) for at, *_ in fast.looks} == {cell_of(at, 8) for at, *_ in exact.looks}
    assert fast.end_s == exact.end_s and fast.health.reasons == exact.health.reasons
    assert fast.health.decoded <= exact.health.decoded


@pytest.mark.parametrize("name", ["interlaced.mp4", "b_frames.avi", "raw.h264"])
def test_h264_that_cannot_be_fast_is_read_in_full_quality(name, make):
    fast = watch(make(name), Config(fps=8, sampling="fast"))
    assert any(fast.taken.values()) and not fast.health.skipped
    assert fast.truth == watch(make(name), Config(fps=8), every=True).truth


def test_a_part_is_sampled_alike():
    fast = watch(ONE_FACE, Config(fps=5, sampling="fast", start_s=2.0, end_s=4.0))
    assert [cell_of(at, 5) for at, *_ in fast.looks] == list(range(10, 20))


@pytest.mark.parametrize(("name", "spared"), [("h264.mp4", True), ("vp9.webm", False)])
def test_the_provenance_says_what_was_done(name, spared, make):
    """Crops and key looks are those of fast sampling even where every frame has to be decoded."""
    result = process_video(make(name), None, Config(fps=5, sampling="fast", end_s=1), MODELS)
    assert result.provenance["sampling"] == "fast" and result.status == "ok"
    assert (result.provenance["counters"]["frames_left_out"] > 0) == spared


@pytest.mark.parametrize("options", [{"fps": "native"}, {"reader": "decord"}])
def test_what_cannot_be_fast_is_refused(options):
    with pytest.raises(ConfigError, match="sampling fast needs"):
        load_config(sampling="fast", **options)
