"""The batch command: real worker processes, kills at random moments, exit codes, and the results as one dataset."""

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
from typer.testing import CliRunner

import fervid
from fervid.cli import app
from fervid.errors import ConfigError, DataError
from fervid.jobs.manifest import MANIFEST
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


class Results(dict):
    """The content of the results of an undisturbed run by path, and their folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(read_results(folder))
        self.folder = folder


@pytest.fixture(scope="module")
def expected(videos, tmp_path_factory) -> Results:
    """Run a batch with one worker, undisturbed."""
    out = tmp_path_factory.mktemp("expected")
    fake(videos, "--out", out, "--workers", 1)
    return Results(out)


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


def test_two_workers_give_the_same_bytes_as_one(videos, expected, tmp_path):
    code, _, stderr = fake(videos, "--out", tmp_path, "--workers", 2)
    assert code == 0 and read_results(tmp_path) == expected and len(expected) == N
    assert f"{N} videos to do" in stderr and "ok        deep/1.mp4" in stderr


def test_a_killed_batch_resumes(videos, expected, tmp_path):
    kill_repeatedly(videos, tmp_path / "out", seed=0, kills=2)
    assert run_to_end(videos, tmp_path / "out") == 0
    assert find_differences(tmp_path / "out", expected.folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 10))
def test_a_repeatedly_killed_batch_resumes(videos, expected, tmp_path, seed):
    kill_repeatedly(videos, tmp_path / "out", seed, kills=6)
    assert run_to_end(videos, tmp_path / "out") == 0
    assert find_differences(tmp_path / "out", expected.folder) == []


def test_ctrl_c_stops_in_seconds_and_resumes(videos, expected, tmp_path):
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
        _, stderr = process.communicate(timeout=20)
        assert process.returncode == 130 and "rerun to resume" in stderr
        assert time.monotonic() - stopped < 10
    assert not list(out.rglob("*.tmp"))
    assert rows(out)
    (hanging / "hang.mp4").unlink()
    assert fake(hanging, "--out", out, "--workers", 1)[0] == 0
    assert read_results(out) == expected


# -- failures and exit codes ------------------------------------------------------------------------------


def test_a_crash_fails_one_video_and_is_reported(videos, expected, tmp_path):
    bad = tmp_path / "videos"
    shutil.copytree(videos, bad)
    shutil.copy(videos / "0.mp4", bad / "crash\x1b[31m.mp4")
    (bad / "text.mp4").write_text("no video")
    code, stdout, _ = fake(bad, "--out", tmp_path / "out", "--workers", 1)
    assert code == 1 and read_results(tmp_path / "out") == expected
    assert f"{N + 2}: {N} ok, 0 degraded, 2 failed" in stdout
    assert "crashed" in stdout and "not_media" in stdout and "--retry-failed" in stdout
    assert "\x1b" not in stdout and "crash\\x1b[31m.mp4" in stdout
    code, stdout, _ = fake(bad, "--out", tmp_path / "out", "--json")
    summary = json.loads(stdout)
    assert code == 1 and (summary["ok"], summary["failed"], summary["skipped"]) == (N, 2, N + 2)
    assert {row["reason"] for row in summary["troubles"]} == {"crashed", "not_media"}
    code, stdout, stderr = fake(bad, "--out", tmp_path / "out")
    assert f"nothing to do; {N + 2} finished before" in stderr and "real time" not in stdout


def test_exit_codes(videos, tmp_path):
    (tmp_path / "empty").mkdir()
    for args, code, message in (
        ((tmp_path / "empty", "--out", tmp_path / "out"), 2, "contains no video"),
        (("--from-file", tmp_path / "none", "--out", tmp_path / "out"), 2, "the list cannot be read"),
        ((videos, "--out", tmp_path / "out", "--workers", 0), 2, "expected a number above 0"),
        ((videos, "--out", tmp_path / "out", "--weights", "none"), 2, "no such weights"),
        ((videos, "--out", videos), 2, "also the folder for the results"),
    ):
        found, _, stderr = fake(*args)
        assert found == code and message in stderr and len(stderr.splitlines()) == 1
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


# -- the folder as one dataset ---------------------------------------------------------------------------


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
