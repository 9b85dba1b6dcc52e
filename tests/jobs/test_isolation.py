"""A batch accesses only its inputs and results, and never the network, whatever a file contains."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.broken_clips import bomb, concat_list, hls_list, random_bytes, without_moov
from tests.helpers.killed_batches import ROOT
from tests.helpers.scenes import scene, write

#: Folders that a Python program itself reads from.
OWN = (
    sys.prefix,
    sys.base_prefix,
    *filter(None, sys.path),
    "/usr",
    "/lib",
    "/lib64",
    "/etc",
    "/proc",
    "/sys",
    "/dev",
    "/opt",
)
_OPEN = re.compile(r"(?:openat|open|creat)\((?:AT_FDCWD(?:<[^>]*>)?, )?\"((?:[^\"\\]|\\.)*)\"(.*?)\) += +(-?\d+)")
_CHANGE = re.compile(
    r"(?:unlink|unlinkat|rename|renameat2?|mkdir|mkdirat|rmdir|symlink|link|chmod|truncate)\((.*)\) += +0"
)


@pytest.fixture
def hostile(tmp_path) -> Path:
    """Valid clips, and files that refer to others in the same folder, outside it and on the network."""
    videos = tmp_path / "videos"
    videos.mkdir()
    private = tmp_path / "private"
    private.mkdir()
    write(private / "target.mp4", scene(10, (8, 8)))
    write(videos / "good.mp4", scene(20, (8, 8)))
    for build, name in (
        (concat_list, "concat.mp4"),
        (hls_list, "hls.mp4"),
        (random_bytes, "random.mp4"),
        (without_moov, "moov.mp4"),
        (bomb, "bomb.mp4"),
    ):
        build(videos / name)
    for target in ("target.mp4", "target.ts"):
        (videos / target).rename(private / f"its-{target}")
    (videos / "abs.mp4").write_text(f"ffconcat version 1.0\nfile {private / 'target.mp4'}\n")
    (videos / "net.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:9/a.ts\n")
    (videos / "sdp.mp4").write_text("v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n")
    (videos / "http:127.0.0.1:9.mp4").write_bytes((videos / "good.mp4").read_bytes())
    return tmp_path


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_a_batch_accesses_only_its_inputs_and_results(hostile):
    log, temporary = hostile / "log", hostile / "tmp"
    temporary.mkdir()
    program = "from tests.helpers.failing_jobs import main; main()"
    trace = ["strace", "-f", "-qq", "-s", "64", "-e", "trace=%file,socket,connect,bind,sendto", "-o", log]
    batch = [sys.executable, "-c", program, "batch", hostile / "videos", "--out", hostile / "out", "--workers", "1"]
    quiet = os.environ | {"TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([*trace, *batch], cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=300)
    if "ptrace" in done.stderr:
        pytest.skip("processes cannot be traced here")
    assert done.returncode == 1 and "2 ok, 0 degraded, 8 failed" in done.stdout, done.stdout + done.stderr
    calls = log.read_text(errors="replace")
    assert "good.mp4" in calls and re.search(r"execve\(.*fervid.jobs.worker", calls), "the trace is empty"
    assert not re.findall(r".*(?:socket|connect|bind|sendto)\(.*AF_INET.*", calls)
    given, changing = (f"{hostile}/videos", f"{hostile}/out", str(temporary)), (f"{hostile}/out", str(temporary))
    for path, how, result in _OPEN.findall(calls):
        if int(result) < 0 or not path.startswith("/"):
            continue
        assert path.startswith((*OWN, *given)), f"opened {path}"
        if re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", how):
            assert path.startswith((*changing, "/dev/")), f"opened {path} to write"
    for arguments in _CHANGE.findall(calls):
        named = re.findall(r"\"(/[^\"]*)\"", arguments)
        assert all(path.startswith(changing) for path in named), f"changed {named}"
    assert str(hostile / "private") not in calls
