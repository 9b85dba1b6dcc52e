"""The pipeline from end to end: real clips, fake models."""

import gc
import json
import os
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import fervid
from fervid.config import Config, load_config
from fervid.errors import OutputError, RunError, VideoError
from fervid.models import Models
from fervid.pipeline import process_video
from fervid.timeline.read import load_timeline, read_provenance
from fervid.types import Progress
from fervid.video import sampling as frames
from fervid.video.probe import describe_video
from tests.helpers.fakes import LABELS, FakeClassifier, FakeDetector
from tests.helpers.scenes import SIZE, scene, write

MODELS = Models(FakeDetector(), FakeClassifier(), "cpu")


#: Second 0: a face that moves. Second 1: none. Second 2: two faces, for 0.4 s. Then nothing up to 3.2 s.
STORY = [*scene(25, (8, 8), step=1), *scene(25), *scene(10, (8, 8), (72, 40)), *scene(20)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("clips") / "story.mp4", STORY)


@pytest.fixture(scope="module")
def dark(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("clips") / "dark.mp4", scene(40))


@pytest.fixture(scope="module")
def damaged(tmp_path_factory) -> Path:
    """A clip whose bytes are overwritten near the end: the reader requests a restart when it reaches them."""
    random = np.random.default_rng(0)
    noisy = [np.maximum(image, random.integers(0, 40, image.shape, np.uint8)) for image in scene(125, (8, 8))]
    path = write(tmp_path_factory.mktemp("clips") / "damaged.mp4", noisy)
    data = bytearray(path.read_bytes())
    start, stop = round(len(data) * 0.88), round(len(data) * 0.9)
    data[start:stop] = random.bytes(stop - start)
    path.write_bytes(data)
    return path


def timeline(path: Path, **options) -> pd.DataFrame:
    return process_video(path, None, load_config(**options), MODELS).to_pandas()


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fervid")]


# -- one video ------------------------------------------------------------------------------------------


def test_a_story_gives_the_expected_rows(clip):
    frame = timeline(clip, max_lost_s=0.5)
    rows = frame[["second", "track", "status", "n_sampled", "n_faces"]].astype({"track": object})
    assert rows.to_numpy().tolist() == [
        [0, 0, "ok", 5, 5],
        [1, pd.NA, "no_face", 5, 0],
        [2, 1, "ok", 5, 2],
        [2, 2, "ok", 5, 2],
        [3, pd.NA, "no_face", 1, 0],
    ]
    assert frame["face_seconds"].tolist() == pytest.approx([1, 0, 0.4, 0.4, 0])
    assert frame["face_px"].dropna().tolist() == pytest.approx([24] * 3, abs=1)
    # the face starts at x = 8 and is sampled after 0, 5, 10, 15 and 20 pixels: 18 of 128 on average
    assert frame["x"][0] == pytest.approx(18 / 128, abs=0.01)
    # the last face has its corner at 72, 40
    assert frame.loc[3, [*"xywh"]].tolist() == pytest.approx([72 / 128, 40 / 96, 24 / 128, 24 / 96], abs=0.01)
    # a bright crop is happy, half and half with neutral (FakeClassifier)
    assert frame["happiness"].dropna().tolist() == pytest.approx([250 / 510] * 3, abs=0.04)
    assert frame["neutral"].dropna().tolist() == pytest.approx([0.5] * 3)


def test_native_samples_every_frame(clip):
    frame = timeline(clip, fps="native", max_lost_s=0.5)
    assert frame["n_sampled"].tolist() == [25, 25, 25, 25, 5]
    assert frame["face_seconds"].tolist() == pytest.approx([1, 0, 0.4, 0.4, 0])


def test_a_gap_shorter_than_max_lost_s_keeps_the_track(clip):
    # the first face is last seen at 0.8 s, 20 pixels from where one appears at 2.0 s
    assert timeline(clip, max_lost_s=3)["track"].tolist() == [0, pd.NA, 0, 1, pd.NA]


def test_a_range_of_the_video(clip):
    frame = timeline(clip, start_s=1, end_s=3)
    assert frame["second"].tolist() == [1, 2, 2]
    assert frame["status"].tolist() == ["no_face", "ok", "ok"]


def test_faces_with_low_scores_start_no_track(tmp_path):
    path = write(tmp_path / "weak.mp4", scene(25, (8, 8), bright=200))  # 200 / 255 = 0.78
    assert timeline(path)["status"].tolist() == ["no_face"]
    assert timeline(path, track_start_score=0.7)["status"].tolist() == ["ok"]


def test_small_faces_are_ignored(clip):
    assert (timeline(clip, min_face_px=30)["status"] == "no_face").all()
    assert (timeline(clip, min_face_px=20)["status"] == "ok").sum() == 3


def test_a_video_without_faces_is_ok(dark, tmp_path):
    result = process_video(dark, tmp_path / "t.parquet", Config(), MODELS)
    assert (result.status, result.reasons) == ("ok", [])
    assert result.to_pandas()["status"].tolist() == ["no_face", "no_face"]
    pd.testing.assert_frame_equal(result.to_pandas(), load_timeline(tmp_path / "t.parquet"))


def test_the_result_is_what_was_written(clip, tmp_path):
    result = process_video(clip, tmp_path / "t.parquet", Config(), MODELS)
    pd.testing.assert_frame_equal(result.to_pandas(), load_timeline(result.out))
    assert read_provenance(result.out) == result.provenance
    assert pq.read_table(result.out).equals(result.table)


def test_the_api_does_the_same(clip, tmp_path):
    options = {"pipeline": "movies", "max_lost_s": 0.5, "min_face_px": 12, "persons": "none"}
    result = fervid.process(str(clip), str(tmp_path / "t.parquet"), models=MODELS, **options)
    assert result.to_pandas()["track"].tolist() == [0, pd.NA, 1, 2, pd.NA]
    assert result.provenance["config"]["birth_score"] == 0.95


def test_provenance_records_what_was_done(clip):
    facts = process_video(clip, None, load_config(fps=5, end_s=3), MODELS).provenance
    assert facts["counters"]["looks"] == 15 and facts["counters"]["faces"] == 5 + 2 * 2
    assert facts["source"]["name"] == "story.mp4" and facts["source"]["bytes"] == clip.stat().st_size
    assert (facts["source"]["width_px"], facts["source"]["height_px"]) == SIZE
    assert facts["model"]["labels"] == list(LABELS) and facts["detector"] == FakeDetector.name
    assert facts["config"]["end_s"] == 3 and facts["device"] == "cpu"
    assert json.loads(json.dumps(facts)) == facts


def test_progress_rises_to_the_end(tmp_path):
    path, seen = write(tmp_path / "long.mp4", scene(100, (8, 8)), rate=5), []
    process_video(path, None, Config(), MODELS, on_progress=seen.append)
    assert all(isinstance(p, Progress) and p.end_s == pytest.approx(20) for p in seen)
    done = [p.done_s for p in seen]
    assert len(done) > 3 and done == sorted(done) and done[-1] == pytest.approx(19.8)
    assert seen[-1].faces == 100


def test_probe_describes_the_plan(clip):
    facts = describe_video(clip, load_config("movies"))
    assert facts["file"]["displayed"] == "128x96" and facts["file"]["duration_s"] == pytest.approx(3.2)
    assert facts["plan"]["detection_size"] == "128x96" and facts["plan"]["sampled_frames_per_second"] == 5
    assert facts["notes"][0].startswith("the first frame is undamaged")
    assert describe_video(clip, load_config("disfa"))["plan"]["sampled_frames_per_second"] == "every frame"


# -- the same bytes -------------------------------------------------------------------------------------


def test_the_same_video_gives_the_same_bytes(clip, tmp_path):
    for name in ("one", "two"):
        process_video(clip, tmp_path / name, Config(), MODELS, faces_out=tmp_path / f"{name}.faces")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one.faces").read_bytes() == (tmp_path / "two.faces").read_bytes()


@pytest.mark.parametrize("size, batch_size", [(1, 1), (3, 2), (100, 64)])
def test_results_do_not_depend_on_batch_sizes(clip, tmp_path, monkeypatch, size, batch_size):
    process_video(clip, tmp_path / "one", Config(fps=None), MODELS)
    monkeypatch.setattr(frames, "BATCH", size)
    process_video(clip, tmp_path / "two", Config(fps=None), Models(FakeDetector(), FakeClassifier(batch_size), "cpu"))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_face_readings_are_written_on_request(clip, tmp_path):
    result = process_video(clip, tmp_path / "t", load_config(max_lost_s=0.5), MODELS, faces_out=tmp_path / "faces")
    faces = pd.read_parquet(tmp_path / "faces")
    assert faces.groupby("track").size().to_dict() == {0: 5, 1: 2, 2: 2}
    assert faces["pts_s"].tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 2.0, 2.0, 2.2, 2.2])
    assert result.provenance["counters"]["faces"] == len(faces)


def test_a_video_without_faces_has_no_readings(dark, tmp_path):
    process_video(dark, None, Config(), MODELS, faces_out=tmp_path / "faces")
    assert len(pd.read_parquet(tmp_path / "faces")) == 0


# -- restarts -------------------------------------------------------------------------------------------


def test_damage_restarts_the_run_and_is_reported(damaged):
    result = process_video(damaged, None, Config(), MODELS)
    assert (result.status, "damaged" in result.reasons) == ("degraded", True)
    frame = result.to_pandas()
    assert frame["second"].tolist() == list(range(5)) and (frame["track"] == 0).all()
    assert result.provenance["counters"]["decode_errors"] > 0
    assert result.provenance["counters"]["looks"] == frame["n_sampled"].sum()  # those of the second run alone


def test_frames_without_timestamps_are_counted(tmp_path):
    result = process_video(write(tmp_path / "raw.h264", STORY), None, load_config(max_lost_s=0.5), MODELS)
    assert (result.status, result.reasons) == ("degraded", ["synthetic_time"])
    assert result.to_pandas()["track"].tolist() == [0, pd.NA, 1, 2, pd.NA]


def test_a_restart_leaves_the_face_readings_intact(damaged, tmp_path):
    gc.collect()
    gc.disable()
    try:
        process_video(damaged, None, Config(fps=None), MODELS, faces_out=tmp_path / "faces")
        before = (tmp_path / "faces").read_bytes()
        gc.collect()
        assert (tmp_path / "faces").read_bytes() == before
    finally:
        gc.enable()


# -- still images and ranges ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slides(tmp_path_factory) -> Path:
    """A face for 8 seconds in one frame, then half a second of dark."""
    return write(tmp_path_factory.mktemp("clips") / "slides.mp4", [*scene(1, (8, 8)), *scene(2)], [0, 200, 212])


def test_a_still_image_is_sampled_in_every_second(slides):
    frame = timeline(slides)
    assert frame["second"].tolist() == list(range(9)) and frame["n_sampled"].tolist()[:8] == [1] * 8
    assert frame["status"].tolist() == ["ok"] * 8 + ["no_face"]
    assert frame["track"].tolist()[:8] == [0] * 8
    assert frame["face_seconds"].tolist() == pytest.approx([1] * 8 + [0])


def test_a_still_image_ends_where_the_range_ends(slides):
    assert timeline(slides, end_s=5)["second"].tolist() == list(range(5))


def test_a_range_may_start_within_a_still_image(slides):
    assert timeline(slides, start_s=3, end_s=6)["status"].tolist() == ["ok"] * 3


def test_a_start_after_the_end_is_an_error(clip):
    with pytest.raises(VideoError) as error:
        timeline(clip, start_s=100)
    assert error.value.reason == "bad_range"


# -- what must not be written -----------------------------------------------------------------------------


def test_the_video_is_not_overwritten(clip, tmp_path):
    (tmp_path / "link").symlink_to(clip)
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(clip.read_bytes())
    (tmp_path / "hard").hardlink_to(copy)
    for path, out in ((clip, clip), (clip, tmp_path / "link"), (copy, tmp_path / "hard"), (tmp_path / "link", clip)):
        for outputs in ({"out": out}, {"out": None, "faces_out": out}):
            with pytest.raises(OutputError, match="is the video itself"):
                process_video(path, config=Config(), models=MODELS, **outputs)
    assert copy.read_bytes() == clip.read_bytes()


def test_two_results_need_two_files(clip, tmp_path):
    with pytest.raises(OutputError, match="two results"):
        process_video(clip, tmp_path / "t", Config(), MODELS, faces_out=tmp_path / "t")
    assert list(tmp_path.iterdir()) == []


def test_two_spellings_of_one_file_are_one_file(clip, tmp_path):
    with pytest.raises(OutputError, match="two results"):
        process_video(clip, tmp_path / "t", Config(), MODELS, faces_out=tmp_path / ".." / tmp_path.name / "t")


def test_a_video_that_fails_leaves_no_file(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    for path in (text, tmp_path / "none.mp4"):
        with pytest.raises(VideoError):
            process_video(path, tmp_path / "t", Config(), MODELS, faces_out=tmp_path / "faces")
    assert list(tmp_path.iterdir()) == [text]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_video_without_permission_is_an_error(tmp_path):
    (tmp_path / "secret.mp4").write_bytes(b"x")
    (tmp_path / "secret.mp4").chmod(0)
    with pytest.raises(VideoError) as error:
        process_video(tmp_path / "secret.mp4", None, Config(), MODELS)
    assert error.value.reason == "unreadable"


class Broken(FakeDetector):
    """Fails on its third batch."""

    calls = 0

    def detect(self, image, min_face_px):
        self.calls += 1
        if self.calls == 3:
            raise MemoryError("no room")
        return super().detect(image, min_face_px)


def test_a_run_that_fails_leaves_no_file_and_no_thread(clip, tmp_path):
    with pytest.raises(MemoryError, match="no room"):
        process_video(
            clip, tmp_path / "t", Config(fps=None, detection="every"), Models(Broken(), FakeClassifier(), "cpu")
        )
    assert list(tmp_path.iterdir()) == [] and threads() == []


def test_an_interrupt_stops_the_pipeline(clip, tmp_path):
    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as error:
        process_video(clip, tmp_path / "t", Config(fps=None), MODELS, on_progress=interrupt)
    assert list(tmp_path.iterdir()) == [] and threads() == []
    assert error.tb is not None  # it keeps the frames of the pipeline alive: nothing was closed by garbage collection


def test_a_full_disk_is_a_run_error(clip, tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match="No space left"):
        process_video(clip, tmp_path / "t", Config(), MODELS)
    assert list(tmp_path.iterdir()) == []


def test_no_thread_outlives_its_video(clip):
    timeline(clip)
    assert threads() == []
