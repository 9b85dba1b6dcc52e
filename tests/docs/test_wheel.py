"""The documentation holds for the wheel too: its snippets and quick commands run against it, away from the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.helpers.markdown import ROOT

RUN = """
import pathlib, sys
import fervid, pytest
assert pathlib.Path(fervid.__file__).is_relative_to(sys.argv[1]), fervid.__file__
sys.exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *sys.argv[2:]]))
"""


@pytest.mark.slow
def test_the_documentation_holds_for_the_wheel(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("fervid-*.whl")
    site, away = tmp_path / "site", tmp_path / "away"
    zipfile.ZipFile(wheel).extractall(site)
    assert not list(site.rglob("results-*.md")) and not (site / "docs").exists()
    for name in (
        "README.md",
        "docs",
        "sample_videos",
        "pyproject.toml",
        "tests/__init__.py",
        "tests/docs",
        "tests/helpers",
    ):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (away / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, away / name)
    environment = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    tests = ["tests/docs/test_snippets.py", "tests/docs/test_commands.py"]
    call = [sys.executable, "-c", RUN, str(site), *tests]
    done = subprocess.run(call, cwd=away, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
