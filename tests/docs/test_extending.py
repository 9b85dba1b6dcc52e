"""The examples of docs/extending.md pass the checks of the project when they are added as the page says."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.markdown import PAGES, ROOT, blocks

DETECTOR, DETECTOR_ROW, EXPORT, EXPORT_ROW = blocks(PAGES["docs/extending.md"], "python")


def add_module(copy: Path, block: str) -> str:
    """Save the module of an example, without the line that names its file."""
    name, _, text = block.partition("\n")
    path = copy / name.removeprefix("# ")
    assert path.parent.is_dir() and not path.exists()
    path.write_text(text, "utf-8")
    return str(path.relative_to(copy))


def add_row(copy: Path, file: str, table: str, row: str) -> None:
    """Append a row to a registry."""
    head, start, tail = (copy / file).read_text("utf-8").partition(f"\n{table}: ")
    rows, end, rest = tail.partition("\n}\n")
    assert start and end
    (copy / file).write_text(f"{head}{start}{rows}\n{row.rstrip()}{end}{rest}", "utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with both examples."""
    copy = tmp_path_factory.mktemp("fervid")
    for name in ("fervid", "tests", "docs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "benchmarks"))
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "pipelines", "sample_videos"):
        (copy / name).symlink_to(ROOT / name)
    add_module(copy, DETECTOR)
    add_row(copy, "fervid/registry.py", "DETECTORS", DETECTOR_ROW)
    add_module(copy, EXPORT)
    add_row(copy, "fervid/views/export/formats.py", "FORMATS", EXPORT_ROW)
    return copy


def run(copy: Path, *arguments: str) -> str:
    """Run a module in the copy, which must succeed; give what it prints."""
    environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-m", *arguments]
    done = subprocess.run(call, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_detector_keeps_the_contract(copy: Path) -> None:
    tests = ["tests/faces/test_detectors.py", "tests/test_registry.py", "tests/test_layering.py"]
    assert " passed" in run(copy, "pytest", "-q", "-p", "no:cacheprovider", *tests, "-k", "skin")


def test_the_export_keeps_the_contract(copy: Path) -> None:
    assert " passed" in run(copy, "pytest", "-q", "-p", "no:cacheprovider", "tests/views/test_export.py")


def test_docstrings_and_names_are_complete(copy: Path) -> None:
    tests = ["tests/test_docstrings.py", "tests/test_layering.py"]
    assert " passed" in run(copy, "pytest", "-q", "-p", "no:cacheprovider", *tests, "-k", "skin or webvtt")


def test_they_pass_ruff(copy: Path) -> None:
    for arguments in (("check",), ("format", "--check")):
        run(copy, "ruff", *arguments, "--no-cache", "fervid/faces", "fervid/views/export", "fervid/registry.py")


@pytest.mark.slow
def test_they_pass_mypy(copy: Path) -> None:
    run(copy, "mypy")
