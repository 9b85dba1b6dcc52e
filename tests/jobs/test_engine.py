"""Workers that crash, stall or exceed their memory: each fails its own job only."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fervid.config import Config
from fervid.errors import DeviceError, RunError, WeightsError
from fervid.jobs.engine import JobProgress, Limits, default_limits, default_workers
from fervid.jobs.job import Job
from fervid.jobs.local_engine import LocalEngine
from tests.helpers import failing_jobs

ROOT = Path(__file__).parents[2]


def engine(workers: int = 1, load=failing_jobs.load_nothing, **limits) -> LocalEngine:
    return LocalEngine(Config(), workers, Limits(**limits), load=load, work=failing_jobs.run_by_name)


def run(names: list[str], folder: Path, on_progress=None, **options) -> dict:
    jobs = [Job(folder / name, name, folder / f"{name}.parquet") for name in names]
    outcomes = list(engine(**options).run(jobs, on_progress))
    assert sorted(o.job.name for o in outcomes) == sorted(names)  # exactly one outcome per job
    return {o.job.name: o for o in outcomes}


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_one_worker_runs_all_jobs_in_order_and_exits(tmp_path):
    done = run(["a", "b", "c"], tmp_path)
    assert list(done) == ["a", "b", "c"]
    (pid,) = {int(o.message) for o in done.values()}
    assert pid != os.getpid() and not alive(pid)


def test_two_workers_share_the_jobs(tmp_path):
    done = run(["meet a", "meet b"], tmp_path, workers=2)
    assert len({outcome.message for outcome in done.values()}) == 2


def test_without_jobs_no_worker_starts():
    assert list(engine().run([])) == []


def test_a_crash_fails_one_video(tmp_path):
    done = run(["crash", "segfault", "a"], tmp_path)
    assert {name: o.status for name, o in done.items()} == {"crash": "failed", "a": "ok", "segfault": "failed"}
    assert done["crash"].reason == done["segfault"].reason == "crashed"
    assert "exit code 9" in done["crash"].message and "tried 2 times" in done["crash"].message
    assert "SIGSEGV" in done["segfault"].message and "failing_jobs.py" in done["segfault"].message


def test_a_kill_from_outside_does_not_fail_the_video(tmp_path):
    assert run(["killed-once", "a"], tmp_path)["killed-once"].status == "ok"


def test_a_stalled_job_is_killed_and_retried_exclusively(tmp_path):
    done = run(["hang", "slow-once"], tmp_path, stall_s=1.0)
    assert (done["hang"].status, done["hang"].reason) == ("failed", "stalled")
    assert done["slow-once"].status == "ok"


def test_progress_prevents_the_stall_limit_but_not_the_timeout(tmp_path):
    reports: list[JobProgress] = []
    done = run(["creep"], tmp_path, stall_s=1.5, timeout_s=3.0, on_progress=reports.append)
    assert done["creep"].reason == "timeout" and "--timeout" in done["creep"].message
    assert max(report.done_s for report in reports) >= 4
    assert reports[-1].job is None


def test_a_job_over_its_memory_limit_is_killed(tmp_path):
    done = run(["hog", "a"], tmp_path, memory_bytes=400 * 2**20)
    assert (done["hog"].status, done["hog"].reason) == ("failed", "memory")
    assert "--memory" in done["hog"].message
    assert done["a"].status == "ok"


def test_run_errors_stop_the_run(tmp_path):
    with pytest.raises(RunError, match="disk full"):
        run(["a", "full", "b"], tmp_path)
    with pytest.raises(RunError, match=r"(?s)report this.*ZeroDivisionError: a bug"):
        run(["bug"], tmp_path)


def test_errors_while_loading_models_are_raised_unchanged(tmp_path):
    with pytest.raises(WeightsError, match="no such weights"):
        run(["a"], tmp_path, load=failing_jobs.load_missing_weights)


def test_workers_that_die_before_they_are_ready_stop_the_run(tmp_path):
    with pytest.raises(RunError, match=r"before they are ready: the worker died \(exit code 3\)"):
        run(["a"], tmp_path, load=failing_jobs.load_and_exit)


def test_closing_stops_the_workers_at_once(tmp_path):
    jobs = [Job(tmp_path / name, name, tmp_path / name) for name in ("a", "hang")]
    outcomes = engine().run(jobs)
    pid = int(next(outcomes).message)
    started = time.monotonic()
    outcomes.close()
    assert time.monotonic() - started < 5 and not alive(pid)


def test_workers_die_with_their_parent(tmp_path):
    program = """
import os, sys, threading
from pathlib import Path
from fervid.config import Config
from fervid.jobs.engine import Limits
from fervid.jobs.job import Job
from fervid.jobs.local_engine import LocalEngine
from tests.helpers import failing_jobs
engine = LocalEngine(Config(), 1, Limits(), load=failing_jobs.load_nothing, work=failing_jobs.run_by_name)
jobs = [Job(Path(name), name, Path(name)) for name in ("a", "hang")]
for outcome in engine.run(jobs, lambda _: None):
    print(outcome.message, flush=True)
    threading.Timer(0.5, os._exit, [0]).start()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    pid = int(done.stdout)
    for _ in range(50):
        if not alive(pid):
            break
        time.sleep(0.1)
    assert not alive(pid)


def test_workers_on_a_gpu_are_limited(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(64))
    monkeypatch.setattr("fervid.jobs.engine.machine_memory", lambda: 10**12)
    monkeypatch.setattr("fervid.jobs.engine._GPU_DRIVERS", ("/dev/null",))
    monkeypatch.setattr("fervid.runtime.device.resolve_device", lambda device: "cpu" if device == "cpu" else "cuda:0")
    assert [default_workers(device) for device in ("cpu", "auto", "cuda:0")] == [64, 4, 4]
    monkeypatch.setattr("fervid.jobs.engine._GPU_DRIVERS", ())
    assert default_workers("auto") == 64


def test_a_missing_gpu_is_an_error_before_any_worker_starts(tmp_path):
    with pytest.raises(DeviceError, match="--device cuda:7"):
        default_workers("cuda:7")


def test_losses_are_counted(tmp_path):
    local = engine()
    list(local.run([Job(tmp_path / "crash", "crash", tmp_path / "x.parquet")]))
    assert local.losses == {"crashed": 2}


def test_defaults_fit_the_machine():
    n = default_workers()
    assert 1 <= n <= len(os.sched_getaffinity(0))
    assert default_limits(n).memory_bytes * n <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
