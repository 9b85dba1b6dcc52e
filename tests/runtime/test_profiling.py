"""The stopwatch: what stages take adds up, on every thread, and costs nothing where nobody asks."""

import contextvars
import json
import threading
import time
from pathlib import Path

from fervid.runtime.profiling import ELSEWHERE, Profiler, stage
from tests.helpers.command_line import SAMPLES, run


def burn(seconds: float) -> None:
    """Use CPU for this long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def by_name(watch: Profiler) -> dict[str, float]:
    return {spent.stage: spent.cpu_s for spent in watch.stages()}


def test_an_inner_stage_is_taken_from_the_outer():
    with Profiler() as watch, stage("outer"):
        burn(0.02)
        with stage("inner"):
            burn(0.03)
    spent = by_name(watch)
    assert 0.02 <= spent["outer"] < 0.03 <= spent["inner"]


def test_the_stages_add_up_to_the_process():
    with Profiler() as watch:
        with stage("work"):
            burn(0.02)
        burn(0.02)
    spent = by_name(watch)
    assert abs(sum(spent.values()) - watch.cpu_s) < 1e-6
    assert spent[ELSEWHERE] >= 0.02


def test_a_thread_in_a_copy_of_the_context_counts():
    with Profiler() as watch:

        def work() -> None:
            with stage("thread"):
                burn(0.02)

        thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
        thread.start()
        thread.join()
    assert by_name(watch)["thread"] >= 0.02


def test_an_error_passes_and_its_time_counts():
    with Profiler() as watch:
        try:
            with stage("broken"):
                raise KeyError("x")
        except KeyError:
            pass
    assert {spent.stage: spent.calls for spent in watch.stages()}["broken"] == 1


def test_without_a_stopwatch_nothing_is_kept():
    with stage("nobody"):
        pass
    with Profiler() as watch:
        pass
    assert "nobody" not in by_name(watch)


def test_process_tells_where_the_time_went(tmp_path: Path):
    clip = SAMPLES / "one_face.mp4"
    code, printed, _ = run("process", clip, "--out", tmp_path / "t.parquet", "--end", 2, "--profile", "--json")
    facts = json.loads(printed)["profile"]
    assert code == 0
    assert {"decode", "scale", "detect: P-Net", "crop", "track", "classify", "write"} <= facts["stages"].keys()
    assert facts["stages"]["scale"]["calls"] == 10
    code, printed, _ = run("process", clip, "--out", tmp_path / "t.parquet", "--end", 2, "--profile")
    assert "classify" in printed and "in all" in printed
