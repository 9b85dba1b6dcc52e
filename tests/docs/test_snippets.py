"""The Python and R examples of the README and of docs/ run, and find what they should."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib
import pandas as pd
import pytest
from PIL import Image
from skimage.data import astronaut

import fervid
from fervid.registry import DETECTORS, DetectorEntry
from fervid.views.export.formats import FORMATS, Format
from tests.helpers.markdown import PAGES, ROOT, blocks

SAMPLE = ROOT / "sample_videos" / "two_faces.mp4"
WITH_PYTHON = sorted(page for page, text in PAGES.items() if blocks(text, "python"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the examples expect, as the working directory."""
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    fervid.process(SAMPLE, "timeline.parquet", end_s=2)
    (tmp_path / "results").mkdir()
    shutil.copy("timeline.parquet", "results/a.parquet")
    (tmp_path / "sample_videos").mkdir()
    shutil.copy(SAMPLE, "sample_videos")
    (tmp_path / "sample_videos" / "broken.mp4").write_text("no video")
    Image.fromarray(astronaut()).save(tmp_path / "portrait.jpg")
    (tmp_path / "ratings.csv").write_text("second,valence\n0,0.2\n1,0.8\n")
    return tmp_path


def run_blocks(page: str) -> dict[str, Any]:
    """Run the Python blocks of a page one after another; give the names that they leave."""
    names: dict[str, Any] = {}
    for block in blocks(PAGES[page], "python"):
        exec(block, names)
    return names


def test_pages_with_python_are_known() -> None:
    known = {"batch-and-cluster", "choosing-options", "extending", "recipes"}
    assert set(WITH_PYTHON) == {"README.md", *(f"docs/{name}.md" for name in known)}, (
        "add a test of what the new examples find"
    )


def test_readme(folder: Path) -> None:
    names = run_blocks("README.md")
    assert set(names["frame"]["second"]) == {0, 1}
    assert names["film"].index.tolist() == [pd.Timedelta(0), pd.Timedelta(seconds=1)]


def test_choosing_options(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_blocks("docs/choosing-options.md")
    assert "ok []" in capsys.readouterr().out
    assert len(fervid.load_timeline("timeline.parquet", by="second")) == 6


def test_batch(folder: Path) -> None:
    names = run_blocks("docs/batch-and-cluster.md")
    assert [Path(row.path).name for row in names["summary"].troubles] == ["broken.mp4"]
    found = sorted(path.name for path in (folder / "results").rglob("*.parquet"))
    assert found == ["a.parquet", "manifest.parquet", "two_faces.mp4.parquet"]
    assert len(names["everything"]) == 2


def test_recipes(folder: Path) -> None:
    fervid.process(SAMPLE, "timeline.parquet")
    shutil.copy("timeline.parquet", "results/b.parquet")
    names = run_blocks("docs/recipes.md")
    film = names["film"]
    assert names["smooth"].index.tolist() == [pd.Timedelta(0), pd.Timedelta(seconds=5)]
    assert names["smooth"]["happiness"].iloc[0] == pytest.approx(film["happiness"].iloc[:5].mean())
    assert len(pd.read_csv("timeline.csv")) == len(fervid.load_timeline("timeline.parquet"))
    assert len(names["clear"]) and names["clear"]["entropy"].max() < 1.5
    assert names["both"]["valence"].tolist() == [0.2, *[0.8] * 5]
    assert (folder / "figure.png").stat().st_size > 10_000
    assert names["faces"]["dominant"].tolist() == ["happiness"]
    joy = names["joy"].set_index("file")
    assert sorted(joy.index) == ["a.parquet", "b.parquet"]
    assert joy.loc["b.parquet", "happiness"] == pytest.approx(film["happiness"].max())
    total = sum(fervid.load_timeline("results")["face_seconds"])
    assert names["screen_time"]["seconds"].sum() == pytest.approx(total, abs=0.3)
    assert names["dataset"].count_rows() == len(fervid.load_timeline("results"))


@pytest.mark.skipif(
    shutil.which("Rscript") is None and not os.environ.get("FERVID_REQUIRE_R"), reason="R is not installed"
)
def test_r(folder: Path) -> None:
    fervid.export("timeline.parquet", "timeline.csv")
    (block,) = blocks(PAGES["docs/recipes.md"], "r")
    (folder / "recipe.R").write_text(block)
    done = subprocess.run(["Rscript", "--vanilla", "recipe.R"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = fervid.load_timeline("timeline.parquet")
    for track, mean in rows[rows["status"] == "ok"].groupby("track")["happiness"].mean().items():
        (line,) = [line.split() for line in done.stdout.splitlines()[1:] if line.split()[1] == str(track)]
        assert float(line[2]) == pytest.approx(mean, abs=1e-4)


def install(monkeypatch: pytest.MonkeyPatch, block: str) -> None:
    """Make a module of an example, under the name of the file that its first line gives."""
    name = block.partition("\n")[0].removeprefix("# ").removesuffix(".py").replace("/", ".")
    module = ModuleType(name)
    exec(block, module.__dict__)
    monkeypatch.setitem(sys.modules, name, module)


def add(monkeypatch: pytest.MonkeyPatch, registry: dict[str, Any], block: str) -> None:
    """Add the row of an example to a registry."""
    ((key, row),) = eval(f"{{{block}}}", {"DetectorEntry": DetectorEntry, "Format": Format}).items()
    monkeypatch.setitem(registry, key, row)


def test_extending(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, detector_row, export, export_row = blocks(PAGES["docs/extending.md"], "python")
    install(monkeypatch, detector)
    add(monkeypatch, DETECTORS, detector_row)
    result = fervid.process(SAMPLE, "skin.parquet", detector="skin", end_s=2)
    frame = result.to_pandas()
    assert result.provenance["detector"] == "skin" and set(frame["second"]) == {0, 1}
    assert frame.groupby("second")["track"].nunique().min() >= 2  # both faces, and whatever else has that colour
    by_default = fervid.load_timeline("timeline.parquet")
    for face in by_default.itertuples():
        x, y = face.x + face.w / 2 - frame["x"], face.y + face.h / 2 - frame["y"]
        assert (x.between(0, frame["w"]) & y.between(0, frame["h"]) & (frame["second"] == face.second)).any()
    install(monkeypatch, export)
    add(monkeypatch, FORMATS, export_row)
    fervid.export("timeline.parquet", "timeline.vtt")
    lines = (folder / "timeline.vtt").read_text().splitlines()
    assert lines[0] == "WEBVTT" and lines[2].startswith("00:00:00.000 --> 00:00:0")
