"""Small videos that several test files process."""

import shutil
from pathlib import Path

import pytest

from tests.helpers.scenes import scene, write


@pytest.fixture(scope="session")
def face_clips(tmp_path_factory) -> list[Path]:
    """Four clips with different content."""
    folder = tmp_path_factory.mktemp("clips")
    return [write(folder / f"{i}.mp4", scene(8 + i, (8, 8 + 4 * i))) for i in range(4)]


@pytest.fixture
def videos(tmp_path, face_clips) -> Path:
    """a.mp4, a.mkv (in fact MP4, recognised by content), deep/b.mp4, and files that are not videos."""
    folder = tmp_path / "videos"
    (folder / "deep").mkdir(parents=True)
    for source, name in zip(face_clips, ("a.mp4", "a.mkv", "deep/b.mp4")):
        shutil.copy(source, folder / name)
    (folder / "notes.txt").write_text("no video")
    (folder / ".hidden.mp4").write_text("no video")
    return folder
