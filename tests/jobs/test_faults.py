"""Every file operation of a batch fails in turn: the run stops or a row reports it, and valid results stay intact."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fervid.config import Config
from fervid.errors import FervidError, RunError
from fervid.jobs.batch import Request, Summary, run_batch
from fervid.jobs.job import Job
from fervid.jobs.local_engine import LocalEngine
from fervid.jobs.manifest import read_manifest
from tests.helpers.faulty_filesystem import VARIABLE, Faults, inject, load_with_faults
from tests.helpers.in_process_engine import InProcessEngine
from tests.helpers.killed_batches import ROOT, read_results
from tests.helpers.scenes import scene, write

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
NAMES = ["a.mp4", "c.mp4", "deep/new.mp4", "deep/renamed.mp4", "text.mp4"]


class HalfDone:
    """A half-finished batch: one video finished, one renamed, one damaged since, one new, one never valid."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.videos, self.before = folder, folder / "videos", folder / "before"
        self.videos.mkdir()
        for i, name in enumerate(("a.mp4", "b.mp4", "c.mp4")):
            write(self.videos / name, scene(8 + i, (8, 8 + 4 * i)))
        (self.videos / "text.mp4").write_text("no video")
        self.run(self.before)
        (self.videos / "deep").mkdir()
        (self.videos / "b.mp4").rename(self.videos / "deep" / "renamed.mp4")
        (self.videos / "c.mp4").write_text("no video any more")
        write(self.videos / "deep" / "new.mp4", scene(14, (8, 24)))
        (self.before / ".left.parquet.99999999.tmp").touch()
        self.run(shutil.copytree(self.before, folder / "expected"))
        self.expected = read_results(folder / "expected")
        out = self.prepare()
        with inject(Faults((str(folder),))) as faults:
            self.run(out)
        self.calls = faults.calls

    def run(self, out: Path, engine: LocalEngine | InProcessEngine | None = None) -> Summary:
        return run_batch(Request((str(self.videos),), out), Config(), engine or InProcessEngine(Config()))

    def prepare(self) -> Path:
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        return shutil.copytree(self.before, out)

    def fail(self, at: int, error: int, more: int = 0) -> None:
        """Run with failures, check what is left, and rerun."""
        out = self.prepare()
        with inject(Faults((str(self.folder),), at, error, more)) as faults:
            try:
                self.check_rows(self.run(out))
            except FervidError as e:
                assert e.exit_code in (2, 3) and "\n" not in str(e)
        assert len(faults.calls) > at
        self.check_results(out)
        self.run(out)
        mine = f"-{os.getpid()}.tmp"  # a temporary file that could not be removed; the next process removes it
        assert {name: data for name, data in read_results(out).items() if not name.endswith(mine)} == self.expected
        assert sorted(row.path for row in read_manifest(out)) == NAMES

    def check_rows(self, summary: Summary) -> None:
        """Check that no row reports an error of the disk as a bug of fervid."""
        assert {row.reason for row in summary.troubles} <= {"not_media", "not_written", "unreadable"}

    def check_results(self, out: Path) -> None:
        """Check that every file is complete, in its old or its new version, and that valid results exist."""
        before = read_results(self.before)
        now = {name: data for name, data in read_results(out).items() if not Path(name).name.startswith(".")}
        for name, data in now.items():
            assert data in (before.get(name), self.expected.get(name)), f"{name} is damaged"
        assert "a.mp4.parquet" in now
        assert "b.mp4.parquet" in now or "deep/renamed.mp4.parquet" in now


@pytest.fixture(scope="module")
def half_done(tmp_path_factory) -> HalfDone:
    return HalfDone(tmp_path_factory.mktemp("faults"))


def test_every_kind_of_operation_is_counted(half_done):
    kinds = {call.split()[0] for call in half_done.calls}
    assert {"open", "write", "fsync", "replace", "mkdir", "unlink", "stat", "scandir", "write_table"} <= kinds
    assert len(half_done.calls) > 100


@pytest.mark.parametrize("turn", range(9))
def test_a_sample_of_operations_fails_in_turn(half_done, turn):
    for at in range(turn, len(half_done.calls), 36):
        half_done.fail(at, ERRORS[at % 3])


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("more", [0, 10**9], ids=["once", "from then on"])
def test_every_operation_fails_in_turn(half_done, error, more):
    """Each operation fails once, and then all operations from it on, each time with another error."""
    for at in range((ERRORS.index(error) + bool(more)) % 3, len(half_done.calls), 3):
        half_done.fail(at, error, more)


# -- in the worker ----------------------------------------------------------------------------------------


def worker_calls(half_done: HalfDone) -> list[str]:
    """Return the operations of a worker, counted in this process."""
    out, names = half_done.prepare(), ("c.mp4", "deep/new.mp4")
    with inject(Faults((str(half_done.folder),))) as faults:
        list(
            InProcessEngine(Config()).run(
                [Job(half_done.videos / name, name, out / f"{name}.parquet") for name in names]
            )
        )
    return faults.calls


def fail_in_worker(half_done: HalfDone, monkeypatch: pytest.MonkeyPatch, at: int, error: int) -> str:
    """Fail one operation of each worker, and return how the run ended."""
    out = half_done.prepare()
    known = {"roots": [str(half_done.folder)], "at": at, "error": error}
    with monkeypatch.context() as patch:
        patch.setenv(VARIABLE, json.dumps(known))
        try:
            summary = half_done.run(out, LocalEngine(Config(), 1, load=load_with_faults))
            half_done.check_rows(summary)
            ended = "rows"
        except RunError as e:
            ended = str(e)
    half_done.check_results(out)
    half_done.run(out)
    assert read_results(out) == half_done.expected
    return ended


def test_a_full_disk_in_a_worker_stops_the_run(half_done, monkeypatch):
    at = next(i for i, call in enumerate(worker_calls(half_done)) if call.startswith("fsync"))
    assert "No space left on device" in fail_in_worker(half_done, monkeypatch, at, errno.ENOSPC)


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
def test_every_operation_of_a_worker_fails_in_turn(half_done, monkeypatch, error):
    for at in range(ERRORS.index(error), len(worker_calls(half_done)), 3):
        fail_in_worker(half_done, monkeypatch, at, error)


# -- a disk that is in fact full--------------------------------------------------------------------------


@pytest.fixture(scope="module")
def six(tmp_path_factory) -> tuple[Path, dict[str, bytes]]:
    """Return six videos and their results."""
    folder = tmp_path_factory.mktemp("six")
    (folder / "videos").mkdir()
    for i in range(6):
        write(folder / "videos" / f"{i}.mp4", scene(30 + i, (8, 8 + 4 * i)))
    assert complete(folder / "videos", folder / "expected") == 0
    return folder / "videos", read_results(folder / "expected")


def complete(videos: Path, out: Path) -> int:
    """Complete a batch in this process, on a disk with free space, and return its exit code."""
    return run_batch(Request((str(videos),), out), Config(), InProcessEngine(Config())).exit_code


def run_on_small_disk(videos: Path, out: Path, kib: int) -> subprocess.CompletedProcess:
    """Run a batch with a file system of this size for its results, and copy them to `out`."""
    disk = out.with_name("disk")
    disk.mkdir()
    program = "from tests.helpers.failing_jobs import main; main()"
    script = (
        f"mount -t tmpfs -o size={kib}k tmpfs {disk} || exit 99; {sys.executable} -c '{program}' "
        f"batch {videos} --out {disk} --workers 1 --quiet; code=$?; cp -a {disk} {out} || exit 98; exit $code"
    )
    return subprocess.run(["unshare", "-rm", "sh", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
@pytest.mark.parametrize(
    "kib", [28, *(pytest.param(k, marks=pytest.mark.slow) for k in (4, 8, 12, 16, 20, 24, 32, 36, 40, 44, 48, 52, 56))]
)
def test_a_full_disk_stops_the_run_and_more_space_completes_it(six, tmp_path, kib):
    videos, expected = six
    done = run_on_small_disk(videos, tmp_path / "out", kib)
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip("file systems cannot be mounted here")
    assert done.returncode == 3, done.stderr
    assert "No space left on device; free some space" in done.stderr and len(done.stderr.splitlines()) == 1
    left = {name: data for name, data in read_results(tmp_path / "out").items() if not Path(name).name.startswith(".")}
    assert left.items() <= expected.items()
    assert complete(videos, tmp_path / "out") == 0
    assert read_results(tmp_path / "out") == expected


@pytest.mark.parametrize("most", [1000, pytest.param(5000, marks=pytest.mark.slow)])
def test_a_file_size_limit_stops_the_run(six, tmp_path, most):
    videos, expected = six
    program = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({most},) * 2); "
    program += "from tests.helpers.failing_jobs import main; main()"
    command = [sys.executable, "-c", program, "batch", videos, "--out", tmp_path / "out", "--workers", "1", "--quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 3 and "ulimit -f" in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert complete(videos, tmp_path / "out") == 0
    assert read_results(tmp_path / "out") == expected


def test_a_worker_that_cannot_be_started_is_an_error(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4, hard))
    try:
        with pytest.raises(RunError, match="cannot start a worker"):
            list(LocalEngine(Config()).run([Job(tmp_path / "a.mp4", "a.mp4", tmp_path / "a.mp4.parquet")]))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
