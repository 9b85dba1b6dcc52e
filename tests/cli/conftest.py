"""Fixtures that several files of these tests use."""

from pathlib import Path

import pytest

from tests.helpers.command_line import ONE_FACE, run


@pytest.fixture(scope="module")
def one_face(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """one_face.mp4 processed once: its timeline, its faces and what was printed."""
    folder = tmp_path_factory.mktemp("one_face")
    out, faces = folder / "timeline.parquet", folder / "faces.parquet"
    code, printed, _ = run("process", ONE_FACE, "--out", out, "--faces", faces)
    assert code == 0
    return out, faces, printed
