"""File names are data: no control character in one reaches the terminal, whatever the command does with it."""

import json
import re
import shutil
from dataclasses import fields
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fervid.config import Config
from fervid.self_test import Check, SelfTest
from fervid.shots.detect import Shot
from fervid.timeline.read import describe_timeline
from fervid.timeline.schema import shots_table
from fervid.views import terminal
from tests.helpers.command_line import ONE_FACE, run
from tests.helpers.timelines import one_row, provenance, write

EVIL = "\x1b[31m\x07\x9b2Jred\nline [bold]x[\\bold]\u202e"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("x") / EVIL
    folder.mkdir()
    (folder / f"{EVIL}.mp4").write_text("no video")
    (folder / f"{EVIL}.parquet").write_text("no table")
    (folder / f"{EVIL}.toml").write_text("nonsense = 1")
    (folder / f"{EVIL}.safetensors").write_text("no weights")
    (folder / f"{EVIL}.csv").write_text("no list")
    shutil.copy(ONE_FACE, folder / f"good{EVIL}.mp4")
    return folder


#: Each command as it meets a bad file, and some that go well; {} is the evil name without its suffix.
COMMANDS = [
    "process {}.mp4 --out {}.out", "process none{} --out {}.out", "process {}.mp4 --out {}.csv",
    "process good{}.mp4 --out {}/x/y.parquet", "process good{}.mp4 --out {}.mp4/x.parquet",
    "process good{}.mp4 --out {}.out --pipeline {}.toml", "process good{}.mp4 --out {}.out --pipeline none{}",
    "process good{}.mp4 --out {}.out --weights {}.safetensors", "process good{}.mp4 --out {}.out --weights none{}",
    "process good{}.mp4 --out {}.out --device {}", "process good{}.mp4 --out {}.out --reader {}",
    "probe {}.mp4", "probe good{}.mp4", "probe good{}.mp4 --json", "info {}.parquet", "info none{}",
    "batch none{} --out {}.results", "batch *{}*? --out {}.results", "batch {}.mp4 --out {}.csv",
    "batch --from-file none{} --out {}.results", "forget {}.mp4 --out {}.results",
    "score {}.mp4 --out {}.scores", "score none{} --out {}.scores", "explain {}.mp4 --out {}.png",
    "evaluate --data {}.csv", "evaluate --data {}.parquet", "evaluate --data none{}",
    "train --data {}.csv --out {}.run", "train --data none{} --out {}.run",
]  # fmt: skip


@pytest.mark.parametrize("line", COMMANDS)
def test_no_control_character_reaches_the_terminal(line, folder):
    args = [word.replace("{}", str(folder / EVIL) if word.startswith("{}") else EVIL) for word in line.split()]
    args = [str(folder / word) if EVIL in word and not word.startswith("/") else word for word in args]
    _, printed, error = run(*args)
    text = printed + error
    assert text and not [c for c in text if not c.isprintable() and c != "\n"], text


@pytest.mark.parametrize(
    "seconds, text",
    [(0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (600, "10:00"), (3600, "1:00:00"), (86_399, "23:59:59")],
)
def test_durations_are_clock_times(seconds, text):
    assert terminal.clock(seconds) == text


def test_facts_are_aligned_lines_or_json(capsys, tmp_path):
    facts = {"a": 1, "longer": {"inner": [1, 2], "none": None}, "path": tmp_path}
    terminal.show(facts, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["a       1", "longer", "  inner  1, 2", "  none   -", f"path    {tmp_path}"]
    terminal.show(facts, as_json=True, quiet=True)
    printed = capsys.readouterr().out
    assert json.loads(printed) == facts | {"path": str(tmp_path)}
    terminal.write_json(facts, tmp_path / "facts.json")
    assert (tmp_path / "facts.json").read_text() == printed
    terminal.show(facts, as_json=False, quiet=True)
    assert capsys.readouterr().out == ""


def test_facts_are_shown_in_words(capsys):
    terminal.show({"pictures": 4, "film": "none", "on": True, "off": [False, None], "no": []}, as_json=False)
    assert capsys.readouterr().out == "images  4\nvideo   none\non      yes\noff     no, -\nno      -\n"
    terminal.show({"max_pixels": 1}, as_json=False, labels={"max_pixels": "pixels"})
    assert capsys.readouterr().out == "pixels  1\n"


def info(path: Path, capsys) -> list[str]:
    terminal.print_info(path, describe_timeline(path))
    return [re.sub(" {2,}", "  ", line.strip()) for line in capsys.readouterr().out.splitlines()]


def test_info_starts_with_what_matters_and_names_options_as_today(tmp_path, capsys):
    facts = provenance() | {"status": "degraded", "reasons": ["truncated"]}
    facts["config"] = Config(detect_shots=False).to_dict()
    facts["counters"] = {"looks": 30, "frames_left_out": 5, "shots": 1}
    path = write(tmp_path / "t.parquet", one_row(0), 3, facts=facts, lost=(2,))
    lines = info(path, capsys)
    assert lines[:3] == [f"file  {path}", "status  degraded", "reasons  truncated"]
    names = [line.split("  ")[0] for line in lines]
    assert names[3:9] == ["faces", "shots", "dominant", "clear", "no data", "version"]
    assert {"frames sampled  30", "frames skipped  5", "shots  not detected (detect_shots = false)"} <= set(lines)
    assert {"detect_shots  no", "baseline  no", "track_start_score  0.9", "max_lost_s  1.0"} <= set(lines)
    assert {field.name for field in fields(Config)} <= set(names)
    assert not {"picture_px", "birth_score", "max_gap_s", "cuts", "looks"} & set(names)
    assert not {"True", "False", "None"} & set(" ".join(lines).split())


def test_info_of_shots_that_were_not_detected(tmp_path, capsys):
    facts = provenance() | {"config": {"cuts": False}}
    pq.write_table(shots_table([Shot(0, 0.0, 1.0, "start", 0.0, 0.0)], "film.mp4", facts), tmp_path / "s.parquet")
    assert "shots  not detected (detect_shots = false): the video is one row" in info(tmp_path / "s.parquet", capsys)
    pq.write_table(
        shots_table([Shot(0, 0.0, 1.0, "start", 0.0, 0.0)], "film.mp4", provenance()), tmp_path / "s.parquet"
    )
    assert "shots  1" in info(tmp_path / "s.parquet", capsys)


def test_lines_of_progress_leave_stdout_to_json(capsys):
    for as_json, quiet, out, err in (
        (False, False, "a\\x1bb\n", ""),
        (True, False, "", "a\\x1bb\n"),
        (False, True, "", ""),
        (True, True, "", ""),
    ):
        terminal.line_printer(as_json=as_json, quiet=quiet)("a\x1bb")
        captured = capsys.readouterr()
        assert (captured.out, captured.err) == (out, err)


def test_failed_self_test_suggests_what_to_do(capsys):
    checks = (Check("tracks", True, "2", "2"), Check("dominant", False, "anger", f"fear{EVIL}"))
    terminal.print_self_test(SelfTest(checks, 3.0))
    passed, failed, _, *advice = capsys.readouterr().out.splitlines()
    assert passed == "passed  tracks    2" and failed.startswith("FAILED  dominant  expected anger, found fear")
    assert "1 of 2 checks failed" in advice[0] and "fervid doctor" in advice[1]
    terminal.print_self_test(SelfTest(checks[:1], 3.0))
    assert "All checks passed in 3 s" in capsys.readouterr().out
