"""Batches in one process: which videos are finished, the manifest, and forgetting. Real files, fake models."""

import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fervid.config import Config
from fervid.errors import DataError, OutputError, RunError
from fervid.files import remove_stale, remove_temporaries, temporary_path
from fervid.jobs.batch import BatchStarted, JobFinished, Request, Summary, forget, run_batch
from fervid.jobs.job import Job, run_job
from fervid.jobs.manifest import MANIFEST, open_manifest, read_manifest
from fervid.networks.weights import bundled
from fervid.pipeline import process_video
from fervid.views.batch_progress import print_summary
from tests.helpers.failing_jobs import load_fakes
from tests.helpers.in_process_engine import InProcessEngine
from tests.helpers.killed_batches import read_results


def batch(
    *inputs: Path, out: Path, interrupt_after: int | None = None, config: Config | None = None, on_event=None, **request
):
    """Run a batch and return the names of the processed videos, and the summary."""
    engine = InProcessEngine(config or Config(), interrupt_after=interrupt_after)
    summary = run_batch(Request(tuple(map(str, inputs)), out, **request), config or Config(), engine, on_event)
    return engine.names, summary


def statuses(summary: Summary) -> dict[str, str]:
    return {row.path: row.status for row in summary.rows}


# -- resuming ---------------------------------------------------------------------------------------------


def test_every_input_has_a_row_and_every_valid_one_a_timeline(videos, tmp_path):
    (videos / "broken.mp4").write_text("no video")
    events: list = []
    _, summary = batch(videos, out=tmp_path / "out", on_event=events.append, listed=(str(tmp_path / "gone.mp4"),))
    rows = {row["path"]: row for row in pq.read_table(tmp_path / "out" / MANIFEST).to_pylist()}
    assert {name: row["status"] for name, row in rows.items()} == statuses(summary) == {
        "a.mkv": "ok", "a.mp4": "ok", "broken.mp4": "failed", "deep/b.mp4": "ok", "gone.mp4": "failed",
    }  # fmt: skip
    assert (rows["broken.mp4"]["reason"], rows["gone.mp4"]["reason"]) == ("not_media", "missing")
    assert rows["a.mp4"]["frames_decoded"] == 7 and rows["a.mp4"]["looks"] == 2 and rows["a.mp4"]["taken_s"] > 0
    assert rows["a.mp4"]["key"] and not rows["gone.mp4"]["key"]
    assert set(read_results(tmp_path / "out")) == {"a.mkv.parquet", "a.mp4.parquet", "deep/b.mp4.parquet"}
    assert isinstance(events[0], BatchStarted) and events[0].jobs == 5
    assert [e.row.path for e in events if isinstance(e, JobFinished)] == [row.path for row in summary.rows]
    assert summary.exit_code == 1 and [row.path for row in summary.troubles] == ["broken.mp4", "gone.mp4"]


def test_finished_videos_are_skipped(videos, tmp_path):
    out = tmp_path / "out"
    assert batch(videos, out=out)[1].exit_code == 0
    before = read_results(out)
    done, summary = batch(videos, out=out)
    assert done == [] and summary.skipped == 3 and summary.exit_code == 0 and read_results(out) == before


def test_an_interrupted_batch_resumes(videos, tmp_path):
    out, expected = tmp_path / "out", tmp_path / "expected"
    batch(videos, out=expected)
    with pytest.raises(KeyboardInterrupt):
        batch(videos, out=out, interrupt_after=2)
    assert [row.path for row in read_manifest(out)] == ["a.mkv", "a.mp4"]
    assert batch(videos, out=out)[0] == ["deep/b.mp4"]
    assert read_results(out) == read_results(expected)


def test_changed_videos_are_processed_again(videos, tmp_path, face_clips):
    out = tmp_path / "out"
    batch(videos, out=out)
    shutil.copy(face_clips[3], videos / "a.mp4")
    assert batch(videos, out=out)[0] == ["a.mp4"]
    os.utime(videos / "a.mp4")  # touched, not changed
    assert batch(videos, out=out)[0] == []
    assert len(batch(videos, out=out, config=Config(fps=2.0))[0]) == 3
    assert len(batch(videos, out=out, config=Config(fps=2.0), fresh=True)[0]) == 3
    (out / "a.mp4.parquet").write_bytes(b"from elsewhere")
    (out / "a.mkv.parquet").unlink()
    assert batch(videos, out=out, config=Config(fps=2.0))[0] == ["a.mkv", "a.mp4"]


def test_another_model_processes_all_videos_again(videos, tmp_path):
    weights = tmp_path / "mine.safetensors"
    for path in (bundled()["seresnet"], bundled()["seresnet"].with_suffix(".json")):
        shutil.copy(path, weights.with_suffix(path.suffix))
    config, facts = Config(weights=str(weights)), weights.with_suffix(".json")
    batch(videos, out=tmp_path / "out", config=config)
    assert batch(videos, out=tmp_path / "out", config=config)[0] == []
    facts.write_text(facts.read_text() + " ")
    assert len(batch(videos, out=tmp_path / "out", config=config)[0]) == 3


def test_an_upgrade_that_changes_results_processes_all_videos_again(videos, tmp_path, monkeypatch):
    batch(videos, out=tmp_path / "out")
    monkeypatch.setattr("fervid.provenance.RESULTS_VERSION", 99)
    assert len(batch(videos, out=tmp_path / "out")[0]) == 3
    assert batch(videos, out=tmp_path / "out")[0] == []


def test_a_folder_that_mixes_versions_is_reported(videos, tmp_path, monkeypatch, capsys):
    """Timelines of videos that are gone stay; after an upgrade they are of an earlier version than the others."""
    batch(videos, out=tmp_path / "out")
    (videos / "a.mp4").unlink()
    assert batch(videos, out=tmp_path / "out")[1].outdated == 0
    monkeypatch.setattr("fervid.provenance.RESULTS_VERSION", 99)
    done, summary = batch(videos, out=tmp_path / "out")
    assert len(done) == 2 and summary.outdated == summary.to_dict()["outdated"] == 1
    print_summary(summary)
    assert "outdated" in (printed := capsys.readouterr().out) and "1 timelines of other videos" in printed
    assert forget(str(videos / "a.mp4"), tmp_path / "out") == ["a.mp4"]
    assert batch(videos, out=tmp_path / "out")[1].outdated == 0


def test_a_timeline_with_another_key_than_its_row_is_replaced(videos, tmp_path):
    """A run with other options was killed after it wrote a timeline and before it wrote the row."""
    out = tmp_path / "out"
    batch(videos, out=out)
    expected = read_results(out)
    other = Config(fps=2.0)
    assert process_video(videos / "a.mp4", out / "a.mp4.parquet", other, load_fakes(other), name="a.mp4").status == "ok"
    assert read_results(out) != expected
    assert batch(videos, out=out)[0] == ["a.mp4"]
    assert read_results(out) == expected


def test_a_renamed_file_is_recognised(videos, tmp_path):
    out, expected = tmp_path / "out", tmp_path / "expected"
    batch(videos, out=out)
    (videos / "new").mkdir()
    (videos / "deep" / "b.mp4").rename(videos / "new" / "c.mp4")
    done, summary = batch(videos, out=out)
    assert done == [] and list(statuses(summary)) == ["a.mkv", "a.mp4", "new/c.mp4"]
    batch(videos, out=expected)
    assert read_results(out) == read_results(expected)  # as if it had been processed under this name
    assert [row.path for row in read_manifest(out)] == ["a.mkv", "a.mp4", "new/c.mp4"]
    assert not (out / "deep").exists()


def test_swapped_files_are_recognised(videos, tmp_path):
    out, expected = tmp_path / "out", tmp_path / "expected"
    batch(videos, out=out)
    (videos / "a.mp4").rename(videos / "x")
    (videos / "a.mkv").rename(videos / "a.mp4")
    (videos / "x").rename(videos / "a.mkv")
    batch(videos, out=out)
    batch(videos, out=expected)
    assert read_results(out) == read_results(expected)


def test_a_copy_gets_its_own_result(videos, tmp_path):
    out = tmp_path / "out"
    batch(videos, out=out)
    shutil.copy(videos / "a.mp4", videos / "copy.mp4")
    done, summary = batch(videos, out=out)
    assert done == [] and len(summary.rows) == 4 and len(read_results(out)) == 4


def test_a_moved_folder_with_a_new_copy_is_recognised(videos, tmp_path):
    batch(videos, out=tmp_path / "out")
    moved = videos.rename(tmp_path / "moved")
    shutil.copy(moved / "a.mp4", moved / "z.mp4")
    done, summary = batch(moved, out=tmp_path / "out")
    assert done == [] and set(statuses(summary)) == {"a.mp4", "a.mkv", "deep/b.mp4", "z.mp4"}
    assert len(read_results(tmp_path / "out")) == 4


def test_failed_videos_are_retried_on_request(videos, tmp_path, face_clips):
    out = tmp_path / "out"
    (videos / "bad.mp4").write_text("no video")
    batch(videos, out=out)
    done, summary = batch(videos, out=out)
    assert done == [] and summary.exit_code == 1
    assert batch(videos, out=out, retry_failed=True)[0] == ["bad.mp4"]
    shutil.copy(face_clips[3], videos / "bad.mp4")
    assert batch(videos, out=out)[1].exit_code == 0


def test_a_video_that_now_fails_loses_its_old_timeline(videos, tmp_path):
    batch(videos, out=tmp_path / "out")
    (videos / "a.mp4").write_text("no video")
    batch(videos, out=tmp_path / "out")
    assert "a.mp4.parquet" not in read_results(tmp_path / "out")


def test_a_deleted_video_keeps_its_result_and_is_reported(videos, tmp_path):
    out, names = tmp_path / "out", [str(videos / "a.mp4"), str(videos / "deep" / "b.mp4")]
    batch(out=out, listed=names)
    before = read_results(out)
    (videos / "a.mp4").unlink()
    for config in (Config(), Config(fps=2.0)):
        _, summary = batch(out=out, listed=names, config=config)
        assert statuses(summary) == {"a.mp4": "failed", "b.mp4": "ok"} and summary.exit_code == 1
        assert [row.reason for row in summary.troubles] == ["missing"]
        assert read_results(out)["a.mp4.parquet"] == before["a.mp4.parquet"]
        assert {row.path: row.status for row in read_manifest(out)} == {"a.mp4": "ok", "b.mp4": "ok"}


def test_a_result_that_could_not_be_written_is_retried(videos, tmp_path):
    out = tmp_path / "out"
    (out / "deep").mkdir(parents=True)
    (out / "deep" / "b.mp4.parquet").mkdir()
    assert batch(videos, out=out)[1].troubles[0].reason == "not_written"
    (out / "deep" / "b.mp4.parquet").rmdir()
    done, summary = batch(videos, out=out)
    assert done == ["deep/b.mp4"] and summary.exit_code == 0


def test_a_deleted_copy_is_removed_and_a_deleted_video_kept(videos, tmp_path):
    out = tmp_path / "out"
    shutil.copy(videos / "a.mp4", videos / "copy.mp4")
    batch(videos, out=out)
    (videos / "copy.mp4").unlink()
    (videos / "deep" / "b.mp4").unlink()
    batch(videos, out=out)
    assert set(read_results(out)) == {"a.mkv.parquet", "a.mp4.parquet", "deep/b.mp4.parquet"}


def test_two_folders_with_equal_names_do_not_collide(videos, tmp_path, face_clips):
    other, out = tmp_path / "other", tmp_path / "out"
    other.mkdir()
    shutil.copy(face_clips[3], other / "a.mp4")
    batch(videos, out=out)
    before = read_results(out)
    done, _ = batch(other, out=out)
    assert done == ["other/a.mp4"] and before.items() <= read_results(out).items()
    assert batch(other, videos, out=out)[0] == []


# -- the manifest -----------------------------------------------------------------------------------------


def test_one_batch_at_a_time(videos, tmp_path):
    with open_manifest(tmp_path / "out"), pytest.raises(OutputError, match=rf"another batch \(process {os.getpid()}\)"):
        batch(videos, out=tmp_path / "out")
    assert batch(videos, out=tmp_path / "out")[1].exit_code == 0


@pytest.mark.parametrize("damage", ["garbage", "foreign", "older"])
def test_a_foreign_manifest_is_an_error_and_unchanged(damage, videos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    batch(videos, out=out)
    path = out / MANIFEST
    if damage == "garbage":
        path.write_bytes(b"PAR1 not")
    elif damage == "foreign":
        shutil.copy(out / "a.mp4.parquet", path)
    else:
        pq.write_table(pq.read_table(path).replace_schema_metadata({b"fervid_manifest": b"0"}), path)
    before = {**read_results(out), MANIFEST: path.read_bytes()}
    with pytest.raises(DataError, match=r"manifest.parquet: expected .*--fresh"):
        batch(videos, out=out)
    assert {**read_results(out), MANIFEST: path.read_bytes()} == before
    assert len(batch(videos, out=out, fresh=True)[0]) == 3


def test_a_truncated_journal_loses_one_line(videos, tmp_path):
    out = tmp_path / "out"
    batch(videos, out=out)
    rows = (out / MANIFEST).read_bytes()
    with open_manifest(out) as manifest:
        journal = out / ".manifest.journal"
        manifest.drop("a.mp4")
        manifest.add(manifest.rows["a.mkv"])
        torn = journal.read_bytes()[:-5]
    (out / MANIFEST).write_bytes(rows)
    journal.write_bytes(torn)
    with open_manifest(out) as manifest:
        assert set(manifest.rows) == {"a.mkv", "deep/b.mp4"}


def test_temporary_files_of_dead_processes_are_removed(tmp_path):
    (tmp_path / "deep").mkdir()
    dead, mine = tmp_path / "deep" / ".x.parquet.99999999.tmp", tmp_path / f".y.{os.getpid()}.tmp"
    other = tmp_path / ".notes.tmp"
    for path in (dead, mine, other):
        path.touch()
    remove_stale(tmp_path)
    assert not dead.exists() and mine.exists() and other.exists()


def test_temporary_files_of_other_machines_are_kept_for_a_week(tmp_path):
    out = tmp_path / "x.parquet"
    theirs, old = (tmp_path / f".{name}.0123456789ab-1.tmp" for name in ("x.parquet", "y.parquet"))
    mine = temporary_path(out)
    for path in (theirs, old, mine):
        path.touch()
    os.utime(old, (0, 0))
    remove_stale(tmp_path)
    assert theirs.exists() and mine.exists() and not old.exists()
    remove_temporaries(out)
    assert not theirs.exists() and not mine.exists()


def test_a_full_disk_stops_the_run_and_loses_nothing(videos, tmp_path, monkeypatch):
    out, real = tmp_path / "out", os.fsync
    left = [12]

    def full(handle: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match="No space left"):
        batch(videos, out=out)
    monkeypatch.undo()
    batch(videos, out=out)
    batch(videos, out=tmp_path / "expected")
    assert read_results(out) == read_results(tmp_path / "expected")


def test_unwritable_results_are_reported(videos, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        batch(videos, out=tmp_path / "file" / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "deep").touch()  # a file where a folder should be
    _, summary = batch(videos, out=tmp_path / "out")
    assert statuses(summary)["deep/b.mp4"] == "failed" and summary.troubles[0].reason == "not_written"


# -- forgetting -------------------------------------------------------------------------------------------


def test_forget_leaves_no_trace(videos, tmp_path):
    out = tmp_path / "out"
    batch(videos, out=out)
    assert forget(videos / "deep" / "b.mp4", out) == ["deep/b.mp4"]
    assert set(read_results(out)) == {"a.mkv.parquet", "a.mp4.parquet"} and not (out / "deep").exists()
    assert not any(b"b.mp4" in data for data in [*read_results(out).values(), (out / MANIFEST).read_bytes()])
    (videos / "a.mp4").unlink()
    assert forget("a.mp4", out) == ["a.mp4"]
    with pytest.raises(DataError, match="has no results of it"):
        forget("a.mp4", out)
    with pytest.raises(DataError, match="no such file"):
        forget("a.mp4", tmp_path)
    assert batch(videos, out=out)[0] == ["deep/b.mp4"]


def test_forget_erases_copies_too(videos, tmp_path):
    shutil.copy(videos / "a.mp4", videos / "copy.mp4")
    for n, video in enumerate(("copy.mp4", videos / "a.mp4")):
        out = tmp_path / str(n)
        batch(videos, out=out)
        assert sorted(forget(video, out)) == ["a.mp4", "copy.mp4"]
        assert not {"a.mp4.parquet", "copy.mp4.parquet"} & set(read_results(out))


def test_a_bug_with_one_video_is_a_row(tmp_path, face_clips, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("fervid.jobs.job.process_video", broken)
    outcome = run_job(Job(face_clips[0], "0.mp4", tmp_path / "t.parquet"), Config(), load_fakes(Config()))
    assert (outcome.status, outcome.reason) == ("failed", "error") and "ZeroDivisionError" in outcome.message
