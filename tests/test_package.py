"""The wheel works without the checkout: it contains the presets, the weights and the sample video."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_works_on_its_own(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("fervid-*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    assert not list(site.glob("tests*")) and (site / "fervid" / "pipelines" / "movies.toml").is_file()
    assert [p.suffix for p in sorted((site / "fervid" / "sample_videos").iterdir())] == [".json", ".mp4"]
    assets = Path("fervid", "views", "report", "assets")
    assert {p.name for p in (ROOT / assets).iterdir()} == {p.name for p in (site / assets).iterdir()}
    assert (site / "fervid" / "py.typed").is_file()
    script = "import sys, fervid, fervid.cli; assert fervid.__file__.startswith(sys.argv.pop()); fervid.cli.main()"
    video, out = ROOT / "sample_videos" / "one_face.mp4", tmp_path / "t.parquet"
    args = ["process", str(video), "--out", str(out), "--end", "1", "--pipeline", "movies", str(site)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(site)}
    call = [sys.executable, "-c", script, *args]
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert out.is_file() and "1 of 1 seconds" in done.stdout
