"""Names of files are data: no control character in one reaches the terminal, whatever the command does with it."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fervid.cli import app

EVIL = "\x1b[31m\x07\x9b2Jred\nline [bold]x[\\bold]\u202e"
SAMPLE = Path(__file__).parents[2] / "sample_videos" / "one_face.mp4"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("x") / EVIL
    folder.mkdir()
    (folder / f"{EVIL}.mp4").write_text("no video")
    (folder / f"{EVIL}.parquet").write_text("no table")
    (folder / f"{EVIL}.toml").write_text("nonsense = 1")
    (folder / f"{EVIL}.safetensors").write_text("no weights")
    (folder / f"{EVIL}.csv").write_text("no list")
    shutil.copy(SAMPLE, folder / f"good{EVIL}.mp4")
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
    result = CliRunner().invoke(app, args)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    said = result.stdout + result.stderr
    assert said and not [c for c in said if not c.isprintable() and c != "\n"], said
