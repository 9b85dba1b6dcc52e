"""Progress of a batch on the terminal: counts, remaining time, bars and the final summary."""

import os
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress as Bar

from fervid.jobs.batch import BatchStarted, JobFinished, Summary
from fervid.jobs.engine import JobProgress
from fervid.jobs.job import Job
from fervid.jobs.manifest import Row
from fervid.views import batch_progress


def row(name: str, status: str = "ok", video_s: float = 60.0, message: str = "") -> Row:
    return Row(name, "key", status, "", message, {}, video_s, 1.0, "", "", 0, 0, "", 0)


def job(name: str) -> Job:
    return Job(Path(name), name, Path("t.parquet"), 1000)


def test_the_progress_estimates_the_remaining_time():
    now = [0.0]
    progress = batch_progress.BatchProgress(lambda: now[0])
    progress.take(BatchStarted(4, 4000, [row("before", "degraded")]))
    assert progress.left_s is None and progress.done == 1 and progress.total == 5
    now[0] = 10.0
    progress.take(JobFinished(row("a"), job("a")))
    assert progress.speed == pytest.approx(6) and progress.left_s == pytest.approx(30)
    progress.take(JobProgress(0, job("b"), 30.0, 120.0))  # b is twice as long, and a quarter done
    assert progress.left_s == pytest.approx((90 + 120) / 9)
    progress.take(JobProgress(0, None))
    progress.take(JobFinished(row("b", "failed", 0.0), job("b")))
    assert progress.text() == "3 of 5  ok 1  degraded 1  failed 1  0:20 left  6.0x real time"


def test_bars_show_workers_and_totals():
    console = Console(force_terminal=True, width=140, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    from rich.progress import TextColumn

    with Bar(TextColumn("{task.fields[label]} {task.fields[text]}"), console=console) as bar:
        bars = batch_progress._Bars(bar)
        bars(BatchStarted(2, 2000, []))
        bars(JobProgress(0, job("[b]odd\x1b.mp4"), 5.0, 65.0))
        bar.refresh()
        bars(JobFinished(row("bad.mp4", "failed", message="bad.mp4: no video"), job("bad.mp4")))
    console.file.close()
    output = console.export_text()
    assert "2 videos to do" in output and "[b]odd\\x1b.mp4 0:05 of 1:05" in output
    assert "failed    bad.mp4: no video" in output and "1 of 2  ok 0  degraded 0  failed 1" in output


def test_a_long_name_keeps_both_ends():
    names = [f"series one, interview {i:02} with a guest.mp4" for i in range(99)] + [
        f"a guest of series one, interview {i:02}.mp4" for i in range(99)
    ]
    assert {len(batch_progress._short(name)) for name in names} == {30}
    assert (
        len({batch_progress._short(name) for name in names[99:]}) == 99
        and batch_progress._short("short.mp4") == "short.mp4"
    )


def test_a_long_list_of_problems_is_cut(capsys):
    troubles = [row(f"{i:03}.mp4", "failed", message="x") for i in range(99)]
    batch_progress.print_summary(Summary(Path("out"), [*troubles, row("good")], 0, 10.0, 60.0))
    output = capsys.readouterr().out
    assert "100: 1 ok, 0 degraded, 99 failed" in output and "and 59 more, in out/manifest.parquet" in output
