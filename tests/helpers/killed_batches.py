"""Batches that are killed at random moments, a worker or all of it, and have to end as if nothing had been."""

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

ROOT = Path(__file__).parents[2]
_ENDS_S = 120


def start(*args: object) -> subprocess.Popen:
    """Run `fervid batch ARGS` with fake models and real workers, in a process of its own."""
    program = [sys.executable, "-c", "from tests.helpers.failing_jobs import main; main()", "batch", *map(str, args)]
    return subprocess.Popen(
        program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def tree(folder: Path) -> dict[str, bytes]:
    """Every result by its place; the manifest knows the clock and is left out."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.name not in (MANIFEST, ".fervid.lock"))
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def rows(out: Path) -> dict[str, dict]:
    """The manifest's rows by name, without what the clock decided; no name comes twice."""
    table = pq.read_table(out / MANIFEST).to_pylist()
    found = {row["path"]: {k: v for k, v in row.items() if k not in ("taken_s", "finished")} for row in table}
    assert len(found) == len(table), "a video has two rows"
    return found


def finish(videos: Path, out: Path, workers: int = 1) -> int:
    """Let a batch end in peace -> its exit code."""
    with start(videos, "--out", out, "--workers", workers, "--quiet") as process:
        _, said = process.communicate(timeout=_ENDS_S)
        assert process.returncode in (0, 1), said
        return process.returncode


def disturb(videos: Path, out: Path, seed: int, kills: int, *, workers_too: bool = True) -> Counter[str]:
    """Kill a batch so many times, and begin it again whenever it is dead or done -> what was killed."""
    chance, done = random.Random(seed), Counter[str]()
    n = sum(path.is_file() for path in videos.rglob("*"))
    while done.total() < kills:
        with start(videos, "--out", out, "--workers", 2, "--quiet") as process:
            while process.poll() is None and done.total() < kills:
                _wait(process, out, chance, n)
                victims = _children(process.pid) if workers_too and chance.random() < 0.6 else []
                if process.poll() is None:
                    _kill(victims[chance.randrange(len(victims))] if victims else process.pid)
                    done["worker" if victims else "batch"] += 1
            process.kill()
    return done


def _wait(process: subprocess.Popen, out: Path, chance: random.Random, n: int) -> None:
    """Until some moment: after so many seconds (the start, with its books, too), or so many results from now."""
    if chance.random() < 0.3:
        time.sleep(chance.random() * 2)
        return
    reached = _results(out) + chance.randrange(max(1, n // 4))
    while process.poll() is None and _results(out) < min(reached, n - 1):
        time.sleep(0.02)
    time.sleep(chance.random() * 0.2)


def _results(out: Path) -> int:
    return sum(not path.name.startswith(".") for path in out.rglob("*.mp4.parquet"))


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # it was quicker
        os.kill(pid, signal.SIGKILL)


def check(out: Path, whole: Path) -> list[str]:
    """What is lost, doubled or different, compared with an undisturbed run."""
    mine, theirs = tree(out), tree(whole)
    found = [f"{name}: lost" for name in theirs.keys() - mine.keys()]
    found += [f"{name}: too many" for name in mine.keys() - theirs.keys()]
    found += [f"{name}: other bytes" for name in theirs.keys() & mine.keys() if mine[name] != theirs[name]]
    found += [] if rows(out) == rows(whole) else ["the manifests differ"]
    return found
