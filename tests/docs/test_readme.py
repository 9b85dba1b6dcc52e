"""The README is run, not only read. Its two shell commands are run by .ci/run; here is the rest."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

import fervid
from fervid.config import presets
from fervid.lab.data.datasets import FER2013
from fervid.networks.weights import bundled
from fervid.timeline.schema import timeline_schema

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


def test_there_are_two_commands() -> None:
    install, tests = blocks("sh")
    assert "pip install" in install and "fervid process sample_videos/" in install
    assert tests.strip() == ".venv/bin/python -m pytest"


def test_the_python_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    fervid.process(ROOT / "sample_videos" / "two_faces.mp4", "timeline.parquet", end_s=2)
    (tmp_path / "results").mkdir()
    shutil.copy("timeline.parquet", "results/a.parquet")
    (tmp_path / "sample_videos").mkdir()
    shutil.copy(ROOT / "sample_videos" / "two_faces.mp4", "sample_videos")
    (tmp_path / "sample_videos" / "broken.mp4").write_text("no video")
    (tmp_path / "ratings.csv").write_text("second,valence\n0,0.2\n1,0.8\n")
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(block, names)
    assert "ok []" in capsys.readouterr().out
    found = sorted(path.name for path in (tmp_path / "results").rglob("*.parquet"))
    assert found == ["a.parquet", "manifest.parquet", "two_faces.mp4.parquet"]
    assert [Path(row.path).name for row in names["summary"].troubles] == ["broken.mp4"]
    assert len(names["everything"]) == 2
    check_the_tables(names, tmp_path)


def check_the_tables(names: dict[str, object], folder: Path) -> None:
    """What the examples with pandas and DuckDB must find: two_faces.mp4 has six seconds, a.parquet two of them."""
    film = names["film"]
    assert names["smooth"].index.tolist() == [pd.Timedelta(0), pd.Timedelta(seconds=5)]
    assert names["smooth"]["happiness"].iloc[0] == pytest.approx(film["happiness"].iloc[:5].mean())
    assert len(pd.read_csv(folder / "timeline.csv")) == len(fervid.load_timeline(folder / "timeline.parquet"))
    assert names["both"]["valence"].tolist() == [0.2, *[0.8] * 5]
    joy = names["joy"].set_index("file")
    assert sorted(joy.index) == ["a.parquet", "two_faces.mp4.parquet"]
    assert joy.loc["two_faces.mp4.parquet", "happiness"] == pytest.approx(film["happiness"].max())
    total = sum(fervid.load_timeline(folder / "results")["face_seconds"])
    assert names["screen_time"]["seconds"].sum() == pytest.approx(total, abs=0.3)


def test_every_column_is_explained() -> None:
    table = README[README.index("| column |") :].split("\n\n")[0]
    explained = [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert explained == timeline_schema(FER2013).names


def test_every_preset_and_model_is_named() -> None:
    for name in [*presets(), *bundled()]:
        assert name in README


def test_no_line_waits_to_be_written() -> None:
    for text in [README, *(path.with_suffix(".md").read_text() for path in bundled().values())]:
        assert not re.search(r"TODO|@[A-Z]+@", text)
