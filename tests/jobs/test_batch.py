"""The batch command: real worker processes, kills at random moments, exit codes, and what is displayed."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from pyarrow.dataset import dataset
from rich.console import Console
from rich.progress import Progress as Bar
from typer.testing import CliRunner

import fervid
from fervid.cli import app
from fervid.errors import ConfigError, DataError
from fervid.jobs.batch import BatchStarted, JobFinished, Summary
from fervid.jobs.engine import JobProgress
from fervid.jobs.job import Job
from fervid.jobs.manifest import MANIFEST, Row
from fervid.views import batch_progress as view
from tests.helpers import failing_jobs
from tests.helpers.killed_batches import find_differences, kill_repeatedly, read_results, run_to_end, start
from tests.helpers.scenes import scene, write

SAMPLES = Path(__file__).parents[2] / "sample_videos"
N = 6


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("batch") / "videos"
    (folder / "deep").mkdir(parents=True)
    for i in range(N):
        write(folder / ("deep" if i % 2 else "") / f"{i}.mp4", scene(30 + i, (8, 8 + 4 * i)))
    return folder


class Whole(dict):
    """The content of the results of an undisturbed run by path, and their folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(read_results(folder))
        self.folder = folder


@pytest.fixture(scope="module")
def whole(videos, tmp_path_factory) -> Whole:
    """The results of an undisturbed run of one worker."""
    out = tmp_path_factory.mktemp("whole")
    fake(videos, "--out", out, "--workers", 1)
    return Whole(out)


def fake(*args: object) -> tuple[int, str, str]:
    """Run `fervid batch ARGS` with fake models in real workers; return exit code, stdout and stderr."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fervid.jobs.open_engine.LocalEngine", failing_jobs.FakeEngine)
        result = CliRunner().invoke(app, ["batch", *map(str, args)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def rows(out: Path) -> dict[str, dict]:
    table = pq.read_table(out / MANIFEST).to_pylist()
    found = {row["path"]: row for row in table}
    assert len(found) == len(table)
    return found


# -- the same bytes in any case ----------------------------------------------------------------------------


def test_two_workers_give_the_same_bytes_as_one(videos, whole, tmp_path):
    code, _, told = fake(videos, "--out", tmp_path, "--workers", 2)
    assert code == 0 and read_results(tmp_path) == whole and len(whole) == N
    assert f"{N} videos to do" in told and "ok        deep/1.mp4" in told


def test_a_killed_batch_resumes(videos, whole, tmp_path):
    kill_repeatedly(videos, tmp_path / "out", seed=0, kills=2)
    assert run_to_end(videos, tmp_path / "out") == 0
    assert find_differences(tmp_path / "out", whole.folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 10))
def test_a_repeatedly_killed_batch_resumes(videos, whole, tmp_path, seed):
    kill_repeatedly(videos, tmp_path / "out", seed, kills=6)
    assert run_to_end(videos, tmp_path / "out") == 0
    assert find_differences(tmp_path / "out", whole.folder) == []


def test_ctrl_c_stops_in_seconds_and_resumes(videos, whole, tmp_path):
    hanging = tmp_path / "videos"
    shutil.copytree(videos, hanging)
    shutil.copy(videos / "0.mp4", hanging / "hang.mp4")
    out = tmp_path / "out"
    with start(hanging, "--out", out, "--workers", 1) as process:
        while not (out / "deep" / "1.mp4.parquet").exists() and not (out / "4.mp4.parquet").exists():
            assert process.poll() is None
            time.sleep(0.02)
        stopped = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 130 and "rerun to resume" in said
        assert time.monotonic() - stopped < 10
    assert not list(out.rglob("*.tmp"))
    assert rows(out)
    (hanging / "hang.mp4").unlink()
    assert fake(hanging, "--out", out, "--workers", 1)[0] == 0
    assert read_results(out) == whole


# -- failures and exit codes ------------------------------------------------------------------------------


def test_a_crash_fails_one_video_and_is_reported(videos, whole, tmp_path):
    bad = tmp_path / "videos"
    shutil.copytree(videos, bad)
    shutil.copy(videos / "0.mp4", bad / "crash\x1b[31m.mp4")
    (bad / "text.mp4").write_text("no video")
    code, said, _ = fake(bad, "--out", tmp_path / "out", "--workers", 1)
    assert code == 1 and read_results(tmp_path / "out") == whole
    assert f"{N + 2}: {N} ok, 0 degraded, 2 failed" in said
    assert "crashed" in said and "not_media" in said and "--retry-failed" in said
    assert "\x1b" not in said and "crash\\x1b[31m.mp4" in said
    code, said, _ = fake(bad, "--out", tmp_path / "out", "--json")
    told = json.loads(said)
    assert code == 1 and (told["ok"], told["failed"], told["skipped"]) == (N, 2, N + 2)
    assert {row["reason"] for row in told["troubles"]} == {"crashed", "not_media"}
    code, said, begun = fake(bad, "--out", tmp_path / "out")
    assert f"nothing to do; {N + 2} finished before" in begun and "real time" not in said


def test_exit_codes(videos, tmp_path):
    (tmp_path / "empty").mkdir()
    for args, code, what in (
        ((tmp_path / "empty", "--out", tmp_path / "out"), 2, "contains no video"),
        (("--from-file", tmp_path / "none", "--out", tmp_path / "out"), 2, "the list cannot be read"),
        ((videos, "--out", tmp_path / "out", "--workers", 0), 2, "expected a number above 0"),
        ((videos, "--out", tmp_path / "out", "--weights", "none"), 2, "no such weights"),
        ((videos, "--out", videos), 2, "also the folder for the results"),
    ):
        found, _, said = fake(*args)
        assert found == code and what in said and len(said.splitlines()) == 1
    full = tmp_path / "full.mp4"
    shutil.copy(videos / "0.mp4", full)
    assert fake(full, "--out", tmp_path / "out", "--workers", 1)[0] == 3
    assert not (tmp_path / "empty" / MANIFEST).exists()


def test_lists_are_read(videos, tmp_path):
    (tmp_path / "list").write_text(f"{videos / '0.mp4'}\n{tmp_path / 'gone.mp4'}\n")
    code, _, _ = fake("--from-file", tmp_path / "list", "--out", tmp_path / "out", "--workers", 1)
    assert code == 1
    assert {name: row["status"] for name, row in rows(tmp_path / "out").items()} == {
        "0.mp4": "ok",
        "gone.mp4": "failed",
    }


# -- the real models, and the Python API ------------------------------------------------------------------


def test_a_batch_gives_the_same_values_as_process(tmp_path):
    out = tmp_path / "out"
    summary = fervid.batch(SAMPLES, out, workers=1, end_s=1.0)
    assert summary.exit_code == 0 and summary.count("ok") == 3
    alone = fervid.process(SAMPLES / "one_face.mp4", end_s=1.0).to_pandas()
    pd.testing.assert_frame_equal(
        alone.drop(columns="video"),
        fervid.load_timeline(out / "one_face.mp4.parquet").drop(columns="video"),
        check_categorical=False,
        check_dtype=False,
    )
    everything = fervid.load_timelines(out, by="video")
    assert sorted(everything["video"]) == ["cut_to_nobody.mp4", "one_face.mp4", "two_faces.mp4"]
    with pytest.raises(DataError, match="not a folder"):
        fervid.load_timelines(out / "one_face.mp4.parquet")
    forgotten = CliRunner().invoke(app, ["forget", str(SAMPLES / "one_face.mp4"), "--out", str(out)])
    assert forgotten.exit_code == 0 and "one_face.mp4" in forgotten.stdout and "not erased" in forgotten.stdout
    assert len(fervid.load_timelines(out, by="video")) == 2


def test_options_of_the_python_api_are_checked(tmp_path):
    for name in ("workers", "timeout_s", "stall_s", "memory_gb"):
        with pytest.raises(ConfigError, match="expected a number above 0"):
            fervid.batch(SAMPLES, tmp_path, **{name: -1})
    with pytest.raises(ConfigError, match="unknown key"):
        fervid.batch(SAMPLES, tmp_path, nonsense=1)


# -- what is shown ----------------------------------------------------------------------------------------


def row(name: str, status: str = "ok", video_s: float = 60.0, message: str = "") -> Row:
    return Row(name, "key", status, "", message, {}, video_s, 1.0, "", "", 0, 0, "", 0)


def job(name: str) -> Job:
    return Job(Path(name), name, Path("t.parquet"), 1000)


def test_the_tally_estimates_the_remaining_time():
    now = [0.0]
    tally = view.BatchProgress(lambda: now[0])
    tally.take(BatchStarted(4, 4000, [row("before", "degraded")]))
    assert tally.left_s is None and tally.done == 1 and tally.total == 5
    now[0] = 10.0
    tally.take(JobFinished(row("a"), job("a")))
    assert tally.speed == pytest.approx(6) and tally.left_s == pytest.approx(30)
    tally.take(JobProgress(0, job("b"), 30.0, 120.0))  # b is twice as long, and a quarter done
    assert tally.left_s == pytest.approx((90 + 120) / 9)
    tally.take(JobProgress(0, None))
    tally.take(JobFinished(row("b", "failed", 0.0), job("b")))
    assert tally.text() == "3 of 5  ok 1  degraded 1  failed 1  0:20 left  6.0x real time"


def test_bars_show_workers_and_totals():
    console = Console(force_terminal=True, width=140, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    from rich.progress import TextColumn

    with Bar(TextColumn("{task.fields[label]} {task.fields[text]}"), console=console) as bar:
        bars = view._Bars(bar)
        bars(BatchStarted(2, 2000, []))
        bars(JobProgress(0, job("[b]odd\x1b.mp4"), 5.0, 65.0))
        bar.refresh()
        bars(JobFinished(row("bad.mp4", "failed", message="bad.mp4: no video"), job("bad.mp4")))
    console.file.close()
    said = console.export_text()
    assert "2 videos to do" in said and "[b]odd\\x1b.mp4 0:05 of 1:05" in said
    assert "failed    bad.mp4: no video" in said and "1 of 2  ok 0  degraded 0  failed 1" in said


def test_a_long_name_keeps_both_ends():
    names = [f"series one, interview {i:02} with somebody.mp4" for i in range(99)] + [
        f"somebody of series one, interview {i:02}.mp4" for i in range(99)
    ]
    assert {len(view._short(name)) for name in names} == {30}
    assert len({view._short(name) for name in names[99:]}) == 99 and view._short("short.mp4") == "short.mp4"


def test_a_long_list_of_troubles_is_cut(capsys):
    troubles = [row(f"{i:03}.mp4", "failed", message="x") for i in range(99)]
    view.print_summary(Summary(Path("out"), [*troubles, row("good")], 0, 10.0, 60.0))
    said = capsys.readouterr().out
    assert "100: 1 ok, 0 degraded, 99 failed" in said and "and 59 more, in out/manifest.parquet" in said


# -- the folder as one dataset- ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(videos, tmp_path_factory) -> Path:
    """Results of videos with and without a suffix, in folders, with names similar to the manifest's."""
    folder = tmp_path_factory.mktemp("mixed")
    shutil.copytree(videos, folder / "videos")
    shutil.copy(videos / "0.mp4", folder / "videos" / "no suffix")
    shutil.copy(videos / "2.mp4", folder / "videos" / "manifest.mp4")
    (folder / "videos" / "text.mp4").write_text("no video")
    assert fake(folder / "videos", "--out", folder / "out", "--workers", 1)[0] == 1
    return folder / "out"


def test_pyarrow_reads_the_folder_as_one_dataset(mixed):
    data = dataset(mixed, ignore_prefixes=[".", "_", MANIFEST])
    frame = data.to_table().to_pandas()
    assert sorted(frame["video"].unique()) == sorted(fervid.load_timelines(mixed)["video"].unique())
    assert len(frame) == len(fervid.load_timelines(mixed)) and "manifest.mp4" in set(frame["video"])


def test_duckdb_reads_the_folder_as_one_dataset(mixed):
    duckdb = pytest.importorskip("duckdb")
    db = duckdb.connect()
    db.execute(f"""SET VARIABLE timelines = (SELECT list('{mixed}/' || timeline)
                   FROM '{mixed}/manifest.parquet' WHERE timeline <> '')""")
    counts = "SELECT count(*), count(DISTINCT video) FROM read_parquet({}, union_by_name = true)"
    assert db.execute(counts.format("getvariable('timelines')")).fetchone() == (
        len(fervid.load_timelines(mixed)),
        N + 2,
    )
    with_suffix = db.execute(counts.format(f"'{mixed}/**/*.*.parquet'")).fetchone()
    assert with_suffix[1] == N + 1
    assert dict(db.execute(f"SELECT status, count(*) FROM '{mixed}/manifest.parquet' GROUP BY status").fetchall()) == {
        "ok": N + 2, "failed": 1,
    }  # fmt: skip
