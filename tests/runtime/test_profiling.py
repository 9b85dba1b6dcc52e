"""The times of the stages add up, on every thread, and nothing is kept without a Profiler."""

import contextvars
import json
import threading
import time
from pathlib import Path

from fervid.runtime.profiling import OTHER, Profiler, stage
from tests.helpers.command_line import SAMPLES, run


def burn(seconds: float) -> None:
    """Use CPU for this long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def cpu_by_stage(profiler: Profiler) -> dict[str, float]:
    return {spent.stage: spent.cpu_s for spent in profiler.stages()}


def test_an_inner_stage_is_subtracted_from_the_outer():
    with Profiler() as profiler, stage("outer"):
        burn(0.02)
        with stage("inner"):
            burn(0.03)
    spent = cpu_by_stage(profiler)
    assert 0.02 <= spent["outer"] < 0.03 <= spent["inner"]


def test_the_stages_add_up_to_the_process():
    with Profiler() as profiler:
        with stage("work"):
            burn(0.02)
        burn(0.02)
    spent = cpu_by_stage(profiler)
    assert abs(sum(spent.values()) - profiler.cpu_s) < 1e-6
    assert spent[OTHER] >= 0.02


def test_a_thread_in_a_copy_of_the_context_counts():
    with Profiler() as profiler:

        def work() -> None:
            with stage("thread"):
                burn(0.02)

        thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
        thread.start()
        thread.join()
    assert cpu_by_stage(profiler)["thread"] >= 0.02


def test_a_stage_that_fails_counts():
    with Profiler() as profiler:
        try:
            with stage("broken"):
                raise KeyError("x")
        except KeyError:
            pass
    assert {spent.stage: spent.calls for spent in profiler.stages()}["broken"] == 1


def test_without_a_profiler_nothing_is_kept():
    with stage("unobserved"):
        pass
    with Profiler() as profiler:
        pass
    assert "unobserved" not in cpu_by_stage(profiler)


def test_process_reports_where_the_time_went(tmp_path: Path):
    clip = SAMPLES / "one_face.mp4"
    code, printed, _ = run("process", clip, "--out", tmp_path / "t.parquet", "--end", 2, "--profile", "--json")
    facts = json.loads(printed)["profile"]
    assert code == 0
    assert {"decode", "scale", "detect: propose", "crop", "track", "classify", "write"} <= facts["stages"].keys()
    assert facts["stages"]["scale"]["calls"] == 10
    code, printed, _ = run("process", clip, "--out", tmp_path / "t.parquet", "--end", 2, "--profile")
    assert "classify" in printed and "total" in printed
