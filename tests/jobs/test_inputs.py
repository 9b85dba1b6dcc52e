"""Finding videos in files, folders, patterns and lists, and naming them."""

import shutil
from pathlib import Path

import pytest

from fervid.errors import UsageError
from fervid.jobs.inputs import Input, find_videos, name_inputs, read_list
from fervid.jobs.job import timeline_path
from fervid.video.file_types import looks_like_video
from tests.helpers import broken_clips, clips

# -- finding ----------------------------------------------------------------------------------------------


def found(*given: Path, out: Path = Path("nowhere"), **other) -> list[str]:
    return [str(item.path.name) for item in find_videos(given, out=out, **other)]


def test_files_in_folders_are_recognised_by_content(videos, face_clips):
    shutil.copy(face_clips[0], videos / "no suffix")
    (videos / "broken.mp4").write_text("damaged files are accounted for")
    assert found(videos) == ["a.mkv", "a.mp4", "broken.mp4", "no suffix", "b.mp4"]


@pytest.mark.parametrize("codec, suffix", [
    ("libx264", "mp4"), ("libx264", "mkv"), ("mpeg4", "avi"), ("libx264", "ts"), ("libx264", "flv"),
    ("libvpx-vp9", "webm"), ("libx264", "h264"), ("libx265", "hevc"), ("libx264", "mov"), ("libvpx-vp9", "ivf"),
])  # fmt: skip
def test_containers_are_recognised_by_their_first_bytes(codec, suffix, tmp_path):
    clip = clips.write_clip(tmp_path / f"x.{suffix}", n=3, codec=codec)
    assert looks_like_video(clip.rename(tmp_path / "x"))


@pytest.mark.parametrize(
    "build",
    [
        broken_clips.random_bytes,
        broken_clips.png_image,
        broken_clips.pipe,
        broken_clips.concat_list,
        broken_clips.hls_list,
    ],
)
def test_other_files_are_not_videos(build, tmp_path):
    assert not looks_like_video(build(tmp_path / "x"))


def test_links_and_repeated_inputs_give_each_file_once(videos):
    (videos / "loop").symlink_to(videos)
    (videos / "deep" / "up").symlink_to(videos / "deep")
    (videos / "link.mp4").symlink_to(videos / "a.mp4")
    (videos / "z-hard.mp4").hardlink_to(videos / "a.mp4")
    assert found(videos, videos / "a.mp4", videos / "deep") == ["a.mkv", "a.mp4", "b.mp4"]


def test_patterns_and_lists(videos, monkeypatch):
    assert found(videos / "*.mp4") == ["a.mp4"]
    assert found(videos / "**" / "*.mp4") == ["a.mp4", "b.mp4"]
    assert found(listed=[str(videos / "gone.mp4"), str(videos / "a.mp4"), str(videos / "gone.mp4")]) == [
        "gone.mp4",
        "a.mp4",
    ]
    monkeypatch.chdir(videos)
    assert found(Path("*.mkv")) == ["a.mkv"]


def test_the_results_folder_is_not_searched(videos):
    out = videos / "results"
    out.mkdir()
    shutil.copy(videos / "a.mp4", out / "within.mp4")
    assert "within.mp4" not in found(videos, out=out)
    with pytest.raises(UsageError, match="also the folder for the results"):
        found(videos, out=videos)


def test_inputs_without_videos_are_errors(tmp_path, videos):
    for given, what in (
        ((tmp_path / "none.mp4",), "no such file"),
        ((tmp_path / "*.mp4",), "matches nothing"),
        ((videos / "notes.d",), "no such file"),
        ((), "contains no video"),
    ):
        with pytest.raises(UsageError, match=what):
            found(*given)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"empty: contains no video"):
        found(tmp_path / "empty")


def test_list_names_end_with_newline_or_nul(tmp_path):
    (tmp_path / "list").write_bytes(b"a b.mp4\n\n c\xff.mp4\r\n")
    assert read_list(tmp_path / "list") == ["a b.mp4", " c\udcff.mp4"]
    assert read_list(None, b"a\nb\0c\0") == ["a\nb", "c"]
    with pytest.raises(UsageError, match="cannot be read"):
        read_list(tmp_path / "none")


# -- naming -----------------------------------------------------------------------------------------------


def named(*paths: str, depth: int = 1, known: dict[str, str] | None = None) -> list[str]:
    inputs = [Input(Path(p), tuple(p.split("/")[1:]), depth) for p in paths]
    return [name for name, _ in name_inputs(inputs, known or {})]


def test_names_that_collide_are_prefixed_with_folders(tmp_path):
    assert named("/x/a.mp4", "/y/a.mp4", "/z/y/a.mp4") == ["a.mp4", "y/a.mp4", "z/y/a.mp4"]
    assert named("/x/manifest") == ["x/manifest"]  # its timeline would be manifest.parquet
    assert named("/manifest") == ["root/manifest"]


def test_a_file_keeps_its_name(tmp_path):
    for folder in "xy":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.mp4").touch()
    x, y = str(tmp_path / "x" / "a.mp4"), str(tmp_path / "y" / "a.mp4")
    assert named(y, x, known={"a.mp4": x}) == ["y/a.mp4", "a.mp4"]
    assert named(y, known={"a.mp4": str(tmp_path / "gone.mp4")}) == ["a.mp4"]


def test_long_names_are_shortened(tmp_path):
    out = timeline_path(tmp_path, f"{'ü' * 120}.mp4")
    out.with_name(f".{out.name}.1234567.tmp").touch()
    assert out != timeline_path(tmp_path, f"{'ü' * 119}u.mp4")
