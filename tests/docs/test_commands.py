"""The commands of the README and of docs/ run as they are written, in a folder with the files that they name."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import fervid
from fervid.cli import app
from tests.helpers.markdown import PAGES, ROOT, Command, commands

SAMPLES = ROOT / "sample_videos"
#: Not run here: they need a data set, minutes of training or a cluster, or they install something.
ELSEWHERE = re.compile(r"^ray |^\.venv|fervid (train|disfa)\b|--data (?!fer2013\.csv --split public)")
QUICK = ("agree", "doctor", "export", "info", "plot", "probe", "report", "selftest")
RUN = [
    pytest.param(command, id=f"{page}: {command.text}", marks=[] if command.arguments[0] in QUICK else pytest.mark.slow)
    for page in PAGES
    for command in commands(page)
    if command.whole and not ELSEWHERE.search(command.text)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the pages name: videos, a folder of them, images, ratings, a data set, weights."""
    from skimage import data

    here = tmp_path_factory.mktemp("docs")
    for name in ("film.mp4", "film.mkv", "interview.mp4", "lecture.mp4", "videos/day1/a.mp4", "more/b.mkv"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SAMPLES / "two_faces.mp4", here / name)
    shutil.copy(SAMPLES / "cut_to_nobody.mp4", here / "videos" / "private.mp4")
    shutil.copy(SAMPLES / "one_face.mp4", here / "listed.mp4")
    (here / "list.txt").write_text("listed.mp4\n")
    (here / "images").mkdir()
    for name in ("portrait.jpg", "images/portrait.jpg"):
        Image.fromarray(data.astronaut()).save(here / name)
    for name, shift in (("coders.csv", 0), ("more.csv", 1)):
        rows = [f"{a},{a + 3},{name[0]},{label}" for a, label in ((0, "happiness"), (3 + shift, "neutral"))]
        (here / name).write_text("\n".join(["start,end,rater,label", *rows]) + "\n")
    (here / "runs" / "mine").mkdir(parents=True)
    for suffix in (".safetensors", ".json"):
        weights = Path(fervid.__file__).parent / "weights" / f"seresnet{suffix}"
        shutil.copy(weights, here / "runs" / "mine" / f"model{suffix}")
    random = np.random.default_rng(0)
    faces = [" ".join(map(str, random.integers(0, 256, 48 * 48))) for _ in range(14)]
    rows = [f"{i % 7},{face},{'PublicTest' if i < 7 else 'Training'}" for i, face in enumerate(faces)]
    (here / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]) + "\n")
    for name in ("pages", "results"):
        (here / name).mkdir()
    runner = CliRunner()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        assert (
            runner.invoke(app, ["process", "film.mp4", "--out", "film.parquet", "--faces", "faces.parquet"]).exit_code
            == 0
        )
    shutil.copy(here / "film.parquet", here / "timeline.parquet")
    shutil.copy(here / "film.parquet", here / "results" / "film.parquet")
    return here


@pytest.mark.parametrize("command", RUN)
def test_every_command_runs(command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, list(command.arguments))
    assert done.exit_code == 0, f"{command.text}: {done.output}"


def test_the_readme_shows_what_the_first_command_prints(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, ["process", "film.mp4", "--out", "timeline.parquet"])
    shown = re.search(r"(?m)^    faces .*?(?=\n\n)", PAGES["README.md"], re.S)
    assert shown
    documented, printed = (
        [line.split() for line in text.splitlines() if line.split()] for text in (shown[0], done.output)
    )
    assert [line for line in documented if line[0] != "took"] == [line for line in printed if line[0] != "took"]
