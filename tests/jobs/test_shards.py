"""A video that is split into segments gives the same bytes as one that a single worker reads."""

import hashlib
import math
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fervid
from fervid.config import MAX_PIXELS, Config
from fervid.emotions.classify import classify, classify_faces
from fervid.errors import ConfigError
from fervid.jobs.batch import JobFinished, Request, run_batch
from fervid.jobs.job import Job, run_job
from fervid.jobs.local_engine import LocalEngine
from fervid.jobs.shards import (
    LONG_S,
    SegmentOutcome,
    Shards,
    choose_shards,
    sample_around,
    share_job,
)
from fervid.models import Models
from fervid.pipeline import process_video, track_faces
from fervid.shots.detect import ShotDetector
from fervid.timeline.read import read_provenance
from fervid.video.open import open_video
from fervid.video.readers.segment import SegmentReader, read_index
from fervid.video.sampling import sample_frames
from fervid.video.segments import BEFORE_S, Index, NotSplittable, Segment, plan_segments
from tests.helpers import failing_jobs
from tests.helpers.broken_clips import cut, overwritten
from tests.helpers.changing_clips import Part, write_parts
from tests.helpers.clips import add_video, encode, joined, write_clip
from tests.helpers.fakes import Face, FakeClassifier, FakeDetector, Seen, draw_faces, face_batch, same, split
from tests.helpers.hypothesis_settings import steady
from tests.helpers.killed_batches import read_results
from tests.helpers.scenes import scene, write

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "sample_videos"
MODELS = Models(FakeDetector(), FakeClassifier(), "cpu")
N = 250
_RNG = random.Random(5)
#: Frames 20 to 120 ms apart, and two that last for 3.4 s.
UNEVEN = np.cumsum([0] + [3400 if i in (90, 200) else _RNG.randrange(20, 120) for i in range(N - 1)]).tolist()
VFR = {"pts": UNEVEN, "time_base": Fraction(1, 1000)}
OPEN = {"options": {"x264-params": "open-gop=1", "bf": "3"}}
OPEN_HEVC = {
    "codec": "libx265",
    "options": {"x265-params": "log-level=none:pools=none:frame-threads=1:open-gop=1:bframes=4:keyint=25"},
}

#: Files that are split: containers and codecs, with and without B-frames, with constant and variable frame rate.
FILES: dict[str, dict] = {
    f"{name}.{kind}": options
    for kind in ("mp4", "mkv", "ts")
    for name, options in {
        "h264": {}, "hevc": {"codec": "libx265"}, "mpeg4": {"codec": "mpeg4", "options": {"bf": "2", "g": "25"}},
        "vfr": VFR, "open": OPEN, "open_hevc": OPEN_HEVC, "no_b": {"options": {"bf": "0"}},
        "late": {"pts": range(2500, 2500 + N)}, "ntsc": {"rate": Fraction(30_000, 1001)},
    }.items()
} | {
    "fragmented.mp4": {"mux": {"movflags": "frag_keyframe+empty_moov"}},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"bf": "2", "g": "25"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "25"}},
    "turned.mp4": {"rotation": 90},
}  # fmt: skip
FEW = ("h264.mp4", "vfr.mkv", "open.ts")


@pytest.fixture(scope="module")
def make(tmp_path_factory) -> Callable[..., Path]:
    folder = tmp_path_factory.mktemp("shards")

    def build(name: str, **options) -> Path:
        path = folder / name
        return path if path.exists() else write_clip(path, **{"n": N} | options)

    return build


def plan(path: Path, segment_s: float = 2.5) -> list[Segment]:
    return plan_segments(read_index(path, None, MAX_PIXELS)[0], segment_s)


def describe(samples, start_s: float = -math.inf, stop_s: float = math.inf) -> list[tuple]:
    """Return time, duration and a hash of the image of every sample from start to stop."""
    return [
        (at, length, hashlib.sha256(frame.luma().tobytes() + frame.rgb(64, 48).tobytes()).hexdigest())
        for frame, at, length in samples
        if start_s <= at < stop_s
    ]


# -- segments --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [name if name in FEW else pytest.param(name, marks=pytest.mark.slow) for name in FILES]
)
def test_segments_have_the_samples_of_the_whole_video(name, make):
    path = make(name, **FILES[name])
    segments = plan(path)
    assert len(segments) >= 3
    for fps in (5.0, None)[name in FEW :]:
        with open_video(path) as reader:
            expected = describe(sample_frames(reader.frames(), fps))
            end_s, decoded, packets = reader.end_s, reader.health.decoded, reader.health.packets
            assert not reader.health.reasons
        found, readers = [], []
        for segment in segments:
            with SegmentReader(path, stream=None, max_pixels=MAX_PIXELS) as reader:
                found += describe(sample_around(reader, segment, Config(fps=fps)), *reader.bounds_s(segment))
                readers.append(reader)
        assert found == expected
        assert all(one.tail == other.head for one, other in pairwise(readers))
        assert max(reader.end_s for reader in readers) == end_s
        assert sum(reader.n_decoded for reader in readers) == decoded == N
        assert read_index(path, None, MAX_PIXELS)[1] == packets


@pytest.mark.parametrize(
    "name, options, reason",
    [
        ("one_key.mkv", {"options": {"g": "1000"}}, "between its keyframes"),
        ("raw.h264", {}, "without timestamps"),
        ("edited.mp4", {"pts": range(-30, N - 30)}, "edit list"),
    ],
)
def test_unsuitable_files_are_not_split(name, options, reason, make):
    with pytest.raises(NotSplittable, match=reason):
        plan(make(name, **options))


def test_files_with_timestamp_jumps_are_not_split(tmp_path):
    parts = joined(partial(write_clip, n=100), partial(write_clip, n=100, first=100))
    with pytest.raises(NotSplittable, match=r"timestamps (repeat|jump)|damaged"):
        plan(parts(tmp_path / "twice.ts"))


# -- the planner ------------------------------------------------------------------------------------------


@st.composite
def indices(draw) -> Index:
    """Generate packets in file order: groups that start with a keyframe, whose other frames are shuffled and may be
    displayed before it (an open group)."""
    groups = draw(st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=30))
    pts, key, at = [], [], 0
    for length, is_open in groups:
        steps = draw(st.lists(st.integers(1, 50), min_size=length, max_size=length))
        times = [at + sum(steps[: i + 1]) for i in range(length)]
        at = times[-1]
        lead = min(draw(st.integers(0, 3)), length - 1) if is_open and pts else 0
        first, rest = times[lead], times[:lead] + draw(st.permutations(times[lead + 1 :]))
        pts += [first, *rest]
        key += [True] + [False] * (length - 1)
    return Index(np.array(pts, np.int64), np.array(key, bool), Fraction(1, 25))


@given(indices(), st.floats(0.1, 20))
@steady
def test_segments_cover_all_frames_and_do_not_overlap(index, segment_s):
    try:
        segments = plan_segments(index, segment_s)
    except NotSplittable:
        return
    assert len(segments) >= 2 and [segment.number for segment in segments] == list(range(len(segments)))
    assert segments[0].start is segments[0].seek is segments[-1].stop is None
    keys = set(index.pts[index.key].tolist())
    for one, other in pairwise(segments):
        assert one.stop == other.start and other.start in keys
        assert other.seek is None or (other.seek in keys and (other.start - other.seek) * index.tick >= BEFORE_S)
    owners = [
        sum((p.start is None or p.start <= at) and (p.stop is None or at < p.stop) for p in segments)
        for at in index.pts
    ]
    assert set(owners) == {1}
    for segment in segments[:-1]:
        begin = segment.start if segment.start is not None else index.pts[0]
        assert (segment.stop - begin) * index.tick >= segment_s - 1e-6
    for segment in segments:  # no frame of a segment precedes the keyframe at which its decoding starts
        seek = 0 if segment.seek is None else int(np.flatnonzero(index.pts == segment.seek)[0])
        own = [i for i, at in enumerate(index.pts) if (segment.start or -1) <= at < (segment.stop or math.inf)]
        assert min(own, default=seek) >= seek


# -- faces that are classified before tracking------- -------------------------------------------------------


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.lists(st.integers(0, 30)), st.integers(1, 9))
@steady
def test_faces_keep_their_probabilities(counts, cuts, batch_size):
    samples = [Seen(i / 5, tuple(Face((10 + j, 10 + i, 40 + j, 50)) for j in range(n))) for i, n in enumerate(counts)]
    classifier = FakeClassifier(batch_size)
    batches = [face_batch(part) for part in split(samples, cuts)]
    classified = list(classify_faces(batches, classifier))
    for before, after in zip(batches, classified, strict=True):
        assert after.crop.shape == (len(before), 0, 0, 0)
        assert np.array_equal(after.prob, classifier.predict(before.crop).reshape(-1, 3))
        assert same([replace(before, crop=after.crop, prob=after.prob)], [after])
    linked, later = (list(track_faces(iter(some), ShotDetector(), Config())) for some in (classified, batches))
    assert same(list(classify(linked, classifier)), list(classify(later, classifier)))


# -- whole videos -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """Eight seconds with faces that move across every boundary, come and go, or are too weak to start a track."""
    story = [*scene(60, (8, 8), step=1), *scene(40, (8, 8), (72, 40)), *scene(30), *scene(70, (30, 30), bright=235)]
    return write(tmp_path_factory.mktemp("film") / "film.mp4", story)


def results(path: Path, out: Path, shards: Shards | None = None, **options) -> tuple[bytes, bytes, str]:
    """Return the bytes of the timeline and of the readings, and why the video was not split."""
    out.mkdir()
    timeline, faces = out / "t.parquet", out / "f.parquet"
    done = process_video(path, timeline, Config(**options), MODELS, faces_out=faces, sharding=shards, name="film")
    assert sorted(out.iterdir()) == [faces, timeline]
    return timeline.read_bytes(), faces.read_bytes(), done.whole


def on_workers(workers: int, **options) -> Shards:
    return Shards(workers, load=failing_jobs.load_fakes, **{"segment_s": 1.5} | options)


@pytest.mark.parametrize(
    "workers", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("options", [{}, pytest.param({"fps": None, "max_lost_s": 0.3}, marks=pytest.mark.slow)])
def test_the_number_of_workers_does_not_change_the_bytes(film, tmp_path, workers, options):
    expected, reports = results(film, tmp_path / "expected", **options), []
    found = results(film, tmp_path / "found", on_workers(workers, on_progress=reports.append), **options)
    assert found == expected and found[2] == ""
    assert reports and reports[-1].done_s <= 8.1 and reports[-1].end_s == pytest.approx(8)


def test_a_film_whose_geometry_changes_has_the_same_bytes(tmp_path):
    def draw(number: int, width: int, height: int) -> np.ndarray:
        return draw_faces((width / 4, height / 4, width / 2, height / 2), size=(width, height))

    parts = [Part(75, (128, 96)), Part(75, (256, 192)), Part(50, (96, 128), Fraction(4, 3))]
    path = write_parts(tmp_path / "film.mkv", parts, draw, keyint=25)
    expected = results(path, tmp_path / "expected")
    assert results(path, tmp_path / "found", on_workers(2)) == expected and expected[2] == ""


def noisy(path: Path, n: int = 125) -> Path:
    """Write a clip with enough bytes to damage."""
    random = np.random.default_rng(0)
    return write(path, [np.maximum(one, random.integers(0, 40, one.shape, np.uint8)) for one in scene(n, (8, 8))])


def test_videos_that_cannot_be_split_are_read_by_one_worker(film, tmp_path):
    damaged = overwritten(noisy, 0.6, 0.62)(tmp_path / "damaged.mp4")
    ragged = write_clip(tmp_path / "b_frames.avi", n=125, options={"bf": "2"})
    cases = [
        (film, on_workers(1, least_s=600), {}, "shorter than 600 s"),
        (film, on_workers(1), {"start_s": 1.0}, "only a range of it"),
        (film, on_workers(1), {"reader": "decord"}, "reader decord"),
        (film, on_workers(1, segment_s=7.0), {}, "no two segments of 7 s"),
        (ragged, on_workers(1), {}, "its packets have no times of display"),
        (damaged, on_workers(1), {}, "it is damaged"),
        (cut(noisy, 0.7)(tmp_path / "short.mkv"), on_workers(1), {}, "it is damaged"),
    ]
    for i, (path, shards, options, reason) in enumerate(cases):
        expected = results(path, tmp_path / f"expected{i}", **options)
        found = results(path, tmp_path / f"{i}", shards, **options)
        assert found[:2] == expected[:2]
        assert reason in found[2], (path, found[2])
        degraded = read_provenance(tmp_path / f"{i}" / "t.parquet")["status"] == "degraded"
        assert degraded == (i >= 5)


def test_segments_that_do_not_match_are_detected(film, tmp_path, monkeypatch):
    """At a keyframe that is not independent, a segment decodes other frames than the segment before it."""
    found = [SegmentOutcome(Job(film, f"segment {i}", Path()), "ok", head=b"a", tail=b"b", end_s=1.0) for i in range(6)]
    monkeypatch.setattr(LocalEngine, "run", lambda *_: (one for one in found))
    assert "do not match" in results(film, tmp_path / "out", on_workers(2))[2]


@pytest.mark.slow
def test_a_segment_that_crashes_is_not_a_result(film, tmp_path):
    assert (
        "a segment failed"
        in results(film, tmp_path / "out", replace(on_workers(2), load=failing_jobs.load_crashing_detector))[2]
    )


# -- batches ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_batch_defers_long_videos_until_they_have_all_workers(film, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    shutil.copy(film, videos / "a_long.mp4")
    for i in range(2):
        write(videos / f"{i}.mp4", scene(20 + i, (8, 8)))
    (videos / "none.mp4").write_text("no video")
    contents = {}
    for shards in (None, on_workers(2, least_s=5.0)):
        work = partial(share_job, shards=shards) if shards else run_job
        engine = LocalEngine(Config(), 2, load=failing_jobs.load_fakes, work=work)
        events = []
        out = tmp_path / f"out{bool(shards)}"
        summary = run_batch(Request((str(videos),), out), Config(), engine, events.append)
        assert (summary.count("ok"), summary.count("failed")) == (3, 1)
        contents[out] = read_results(out)
        assert not [row.message for row in summary.rows if row.status == "ok" and row.message]
    assert [event.row.path for event in events if isinstance(event, JobFinished)][-1] == "a_long.mp4"
    one, other = contents.values()
    assert one == other and len(one) == 3


@pytest.mark.slow
def test_real_models_give_the_same_bytes(tmp_path):
    with av.open(str(SAMPLES / "two_faces.mp4")) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in islice(container.decode(video=0), 125)]
        images += images[::-1]
    film = tmp_path / "film.mp4"
    with av.open(film, "w") as out:
        stream = add_video(out, size=images[0].shape[1::-1])
        out.mux(list(encode(stream, images, range(len(images)))))
    models, config = fervid.load_models(device="cpu"), Config(device="cpu")
    done = {}
    for workers in (0, 1, 2):
        out = tmp_path / f"{workers}.parquet"
        sharding = Shards(workers, segment_s=3.0) if workers else None
        result = process_video(film, out, config, models, sharding=sharding)
        done[workers] = out.read_bytes()
        assert result.whole == ""
    assert done[0] == done[1] == done[2]


def test_values_of_the_shards_option():
    assert choose_shards(None, 8) is choose_shards(1, 8) is choose_shards("auto", 1) is None
    assert choose_shards("auto", 8) == Shards(8, LONG_S) and choose_shards(3, 8) == Shards(3)
    for wrong in (0, -1, "many", 1.5):
        with pytest.raises(ConfigError, match="expected auto, or a number of workers"):
            choose_shards(wrong, 8)
