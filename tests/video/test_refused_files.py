"""Files that are not videos are refused with a reason, and reach neither other files nor much memory."""

import ctypes
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from fervid.errors import VideoError
from fervid.video.open import open_video
from tests.helpers.broken_clips import (
    bomb,
    concat_list,
    hls_list,
    patched,
    pipe,
    png_image,
    random_bytes,
    without_frames,
    without_moov,
    wrote,
)
from tests.helpers.clips import HEIGHT, WIDTH, with_audio, write_clip
from tests.helpers.reader_clips import READERS, Builder, read

#: The kind of an ASF stream: video.
ASF_VIDEO = bytes.fromhex("c0ef19bc4d5bcf11a8fd00805f5c442b")

REFUSED: dict[str, tuple[Builder, str]] = {
    "empty.mp4": (wrote(b""), "empty_file"),
    "text.mp4": (wrote("just a text\n" * 50), "not_media"),
    "text.txt": (wrote("just a text\n" * 50), "not_media"),
    "random.mp4": (random_bytes, "not_media"),
    "random.ts": (random_bytes, "not_media"),
    "picture.mp4": (png_image, "not_media"),
    "concat.mp4": (concat_list, "not_media"),
    "hls.mp4": (hls_list, "not_media"),
    "hls.m3u8": (hls_list, "not_media"),
    "session.mp4": (wrote("v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"), "not_media"),
    "unfinished.mp4": (without_moov, "no_moov"),
    "unfinished.mov": (without_moov, "no_moov"),
    "only_sound.mp4": (partial(with_audio, video=False), "no_video_stream"),
    "only_sound.mkv": (partial(with_audio, video=False), "no_video_stream"),
    "header.mp4": (without_frames, "no_frames"),
    "header.avi": (without_frames, "no_frames"),
    "codec.mp4": (patched(write_clip, b"stsd", 16, b"zzzz"), "unsupported"),
    "endless.mp4": (wrote(b"\0\0\0\1free" + b"\xff" * 50), "not_media"),  # a box of 2^64 bytes
    "leap.mp4": (wrote(b"\0\0\0\1free\x7f" + b"\xf0" * 50), "not_media"),  # a box that ends behind any file
    "stream.wmv": (patched(partial(write_clip, codec="wmv2"), ASF_VIDEO, 4, b"\0"), "not_media"),  # reported as EPERM
    "pipe.mp4": (pipe, "not_a_file"),
    "bomb.mp4": (bomb, "too_large"),
    "bomb.mkv": (bomb, "too_large"),
    "bomb.h264": (bomb, "too_large"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_not_videos_are_refused_with_a_reason(reader, name, make):
    builder, reason = REFUSED[name]
    path = make(name, builder)
    with pytest.raises(VideoError) as refused:
        read(path, reader=reader)
    assert refused.value.reason == reason
    assert name in str(refused.value)


@pytest.mark.parametrize("reader", READERS)
def test_absurd_memory_requests_are_the_files_fault(reader, make):
    """PyAV raises MemoryError for a table of 2^28 entries in a file of 20 kB: the machine has enough memory."""
    path = make("greedy.mp4", patched(write_clip, b"stts", 8, b"\x0f\xff\xff\xff"))
    with pytest.raises(VideoError):
        read(path, reader=reader)


@pytest.mark.parametrize("reader", READERS)
def test_paths_that_are_not_files_are_refused_with_a_reason(reader, tmp_path):
    no_file = {tmp_path / "none.mp4": "missing", tmp_path: "not_a_file", Path("/dev/null"): "not_a_file"}
    for path, reason in no_file.items():
        with pytest.raises(VideoError) as refused:
            open_video(path, reader=reader)
        assert refused.value.reason == reason


@pytest.mark.parametrize("reader", READERS)
def test_the_limit_on_pixels_is_inclusive(reader, clean):
    assert len(read(clean("h264.mp4"), reader=reader, max_pixels=WIDTH * HEIGHT).numbers) == 50
    with pytest.raises(VideoError) as refused:
        open_video(clean("h264.mp4"), reader=reader, max_pixels=WIDTH * HEIGHT - 1)
    assert refused.value.reason == "too_large"


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "h264"])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(suffix, tmp_path):
    """Opening must not take the 400 MB that FFmpeg's own probing of the first frame takes."""
    path = bomb(tmp_path / f"bomb.{suffix}")
    Path("/proc/self/clear_refs").write_text("5")  # reset the high-water mark of this process
    before = _peak_memory()
    with pytest.raises(VideoError):
        open_video(path)
    assert _peak_memory() - before < 150_000_000


def _peak_memory() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@pytest.fixture
def opened() -> Iterator[Callable[[Path], Callable[[], bool]]]:
    """Watch a file, and report whether it has been opened since (inotify, Linux)."""
    libc = ctypes.CDLL(None, use_errno=True)
    inotify = libc.inotify_init1(os.O_NONBLOCK)

    def watch_file(path: Path) -> Callable[[], bool]:
        assert libc.inotify_add_watch(inotify, os.fsencode(path), 0x20) > 0  # IN_OPEN

        def was_opened() -> bool:
            try:
                return len(os.read(inotify, 4096)) > 0
            except BlockingIOError:
                return False

        return was_opened

    yield watch_file
    os.close(inotify)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("name", "builder", "target"),
    [
        ("list.mp4", concat_list, "target.mp4"),
        ("list.mkv", concat_list, "target.mp4"),
        ("hls.mp4", hls_list, "target.ts"),
        ("hls.m3u8", hls_list, "target.ts"),
    ],
)
def test_a_playlist_never_reaches_another_file(reader, name, builder, target, tmp_path, opened):
    path = builder(tmp_path / name)
    was_opened = opened(tmp_path / target)
    with pytest.raises(VideoError):
        open_video(path, reader=reader)
    assert not was_opened()
    (tmp_path / target).read_bytes()
    assert was_opened(), "the watch does not work"


NAMES = ["12:30 x.mp4", "http:x.mp4", "file:x.mp4", "-x.mp4", "ä b\n.mp4", "%d.mp4", "x.mp4?a=1#b", "pipe:0"]


BYTES = os.fsdecode(b"\xff\xfe.mp4")  # no valid UTF-8; decord does not accept it


@pytest.mark.parametrize(
    ("reader", "name"), [("av", BYTES), *((r, n) for r in READERS for n in NAMES)], ids=lambda v: ascii(v)[1:-1]
)
def test_any_file_name_is_only_a_name(reader, name, clean, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(clean("h264.mp4").read_bytes())
    monkeypatch.chdir(tmp_path)
    for path in (Path(name), tmp_path / name):
        with open_video(path, reader=reader) as video:
            assert len(list(video.frames())) == 50
