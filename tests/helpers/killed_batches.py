"""Batches that are killed at random moments, one worker or all of them, and rerun until they are complete."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq

from fervid.jobs.manifest import MANIFEST

__all__ = ["ROOT", "find_differences", "kill_repeatedly", "read_results", "read_rows", "run_to_end", "start"]

ROOT = Path(__file__).parents[2]
_TIMEOUT_S = 120
#: Columns of the manifest that depend on the clock.
_CLOCK_COLUMNS = ("taken_s", "finished")


def start(*args: object) -> subprocess.Popen:
    """Start `fervid batch ARGS` with fake models and real workers in a process of its own."""
    program = [sys.executable, "-c", "from tests.helpers.failing_jobs import main; main()", "batch", *map(str, args)]
    return subprocess.Popen(
        program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def read_results(folder: Path) -> dict[str, bytes]:
    """Return the content of every file of a results folder by its path, without manifest and lock."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.name not in (MANIFEST, ".fervid.lock"))
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def read_rows(out: Path) -> dict[str, dict]:
    """Return the rows of the manifest by name, without the columns that depend on the clock."""
    table = pq.read_table(out / MANIFEST).to_pylist()
    found = {row["path"]: {k: v for k, v in row.items() if k not in _CLOCK_COLUMNS} for row in table}
    assert len(found) == len(table), "a video has two rows"
    return found


def run_to_end(videos: Path, out: Path, workers: int = 1) -> int:
    """Run a batch to its end and return its exit code."""
    with start(videos, "--out", out, "--workers", workers, "--quiet") as process:
        _, stderr = process.communicate(timeout=_TIMEOUT_S)
        assert process.returncode in (0, 1), stderr
        return process.returncode


def kill_repeatedly(videos: Path, out: Path, seed: int, kills: int, *, workers_too: bool = True) -> Counter[str]:
    """Kill a batch `kills` times, rerunning it whenever it has ended, and count what was killed."""
    rng, done = random.Random(seed), Counter[str]()
    n = sum(path.is_file() for path in videos.rglob("*"))
    while done.total() < kills:
        with start(videos, "--out", out, "--workers", 2, "--quiet") as process:
            while process.poll() is None and done.total() < kills:
                _wait(process, out, rng, n)
                victims = _children(process.pid) if workers_too and rng.random() < 0.6 else []
                if process.poll() is None:
                    _kill(victims[rng.randrange(len(victims))] if victims else process.pid)
                    done["worker" if victims else "batch"] += 1
            process.kill()
    return done


def _wait(process: subprocess.Popen, out: Path, rng: random.Random, n: int) -> None:
    """Wait for a random time, which may fall into the start-up, or for a random number of results."""
    if rng.random() < 0.3:
        time.sleep(rng.random() * 2)
        return
    target = _count_results(out) + rng.randrange(max(1, n // 4))
    while process.poll() is None and _count_results(out) < min(target, n - 1):
        time.sleep(0.02)
    time.sleep(rng.random() * 0.2)


def _count_results(out: Path) -> int:
    return sum(not path.name.startswith(".") for path in out.rglob("*.mp4.parquet"))


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # it has exited already
        os.kill(pid, signal.SIGKILL)


def find_differences(out: Path, expected: Path) -> list[str]:
    """Return what is missing, additional or different in comparison with the results of an undisturbed run."""
    found, reference = read_results(out), read_results(expected)
    differences = [f"{name}: missing" for name in reference.keys() - found.keys()]
    differences += [f"{name}: unexpected" for name in found.keys() - reference.keys()]
    shared = reference.keys() & found.keys()
    differences += [f"{name}: different bytes" for name in shared if found[name] != reference[name]]
    differences += [] if read_rows(out) == read_rows(expected) else ["the manifests differ"]
    return differences
