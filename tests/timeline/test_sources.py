"""A video and face readings are checked against the timeline they should belong to."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fervid.errors import DataError, VideoError
from fervid.timeline.aggregate import weighted_mean
from fervid.timeline.read import open_timeline
from fervid.timeline.sources import check_faces, check_video, read_faces
from tests.helpers.timelines import face_readings, timeline_of

READINGS = {name: [0.0] for name in ("pts_s", "x", "y", "w", "h")} | {"track": np.array([0], np.int32)}


def file(path: Path, content: bytes) -> Path:
    """Write a file; the checks hash it, but do not decode it."""
    path.write_bytes(content)
    return path


def test_the_video_may_have_another_name(tmp_path: Path) -> None:
    video = file(tmp_path / "a.mp4", b"one")
    timeline = open_timeline(timeline_of(video, tmp_path / "t.parquet"))
    assert check_video(timeline, Path(shutil.copy(video, tmp_path / "renamed.mp4"))) == ""


@pytest.mark.parametrize(
    ("content", "difference"), [(b"two", "sha256 .{12}, expected"), (b"three", "5 bytes, expected 3")]
)
def test_another_video_is_an_error_unless_forced(tmp_path: Path, content: bytes, difference: str) -> None:
    timeline = open_timeline(timeline_of(file(tmp_path / "a.mp4", b"one"), tmp_path / "t.parquet"))
    other = file(tmp_path / "b.mp4", content)
    with pytest.raises(DataError, match=rf"b\.mp4: is not the video .*t\.parquet .*\(a\.mp4; {difference}.*--force"):
        check_video(timeline, other)
    assert "b.mp4 is not the file" in check_video(timeline, other, force=True)
    with pytest.raises(VideoError, match="no such file"):
        check_video(timeline, tmp_path / "none.mp4", force=True)


def test_readings_of_another_video_are_an_error_unless_forced(tmp_path: Path) -> None:
    one, two = (timeline_of(file(tmp_path / name, name.encode()), tmp_path / f"{name}.parquet") for name in "ab")
    own, other = (face_readings(path, tmp_path / f"{path.stem}.faces.parquet", READINGS) for path in (one, two))
    timeline = open_timeline(one)
    assert check_faces(timeline, own) == ""
    with pytest.raises(DataError, match=r"b\.faces\.parquet: these are face readings of another video \(b\)"):
        check_faces(timeline, other)
    assert "b.faces.parquet" in check_faces(timeline, other, force=True)


def test_face_readings_are_read_by_column(tmp_path: Path) -> None:
    timeline = timeline_of(file(tmp_path / "a.mp4", b"one"), tmp_path / "t.parquet")
    faces = face_readings(timeline, tmp_path / "f.parquet", READINGS)
    assert read_faces(faces, ["anger", "none"]).column_names == ["pts_s", "track", "x", "y", "w", "h", "anger"]
    with pytest.raises(DataError, match="not a file of face readings"):
        read_faces(timeline, [])
    with pytest.raises(DataError, match="is a folder"):
        read_faces(tmp_path, [])


def test_weighted_mean_by_hand() -> None:
    values = pd.DataFrame({"p": [0.0, 1.0, 0.5, np.nan]})
    mean = weighted_mean(values, pd.Series([1.0, 3.0, 0.0, 0.0]), [pd.Series([1, 1, 2, 3], name="second")])
    assert mean.index.tolist() == [1, 2, 3] and mean["p"].tolist() == pytest.approx([0.75, np.nan, np.nan], nan_ok=True)
