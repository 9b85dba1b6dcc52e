"""Finding videos, naming them, and telling which are finished: real files, fake models, no processes."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fervid.config import Config
from fervid.errors import DataError, OutputError, RunError, UsageError
from fervid.files import remove_stale, remove_temporaries, temporary_path
from fervid.jobs.batch import BatchStarted, JobFinished, Request, Summary, forget, run_batch
from fervid.jobs.inputs import Input, find_videos, looks_like_video, name_inputs, read_list
from fervid.jobs.job import Job, Outcome, run_job, timeline_path
from fervid.jobs.manifest import MANIFEST, open_manifest, read_manifest
from fervid.networks.weights import bundled
from fervid.pipeline import process_video
from tests.helpers import broken_clips, clips
from tests.helpers.failing_jobs import load_fakes
from tests.helpers.killed_batches import tree
from tests.helpers.scenes import scene, write


class Here:
    """An engine without processes; `until` is how many jobs it does before it is interrupted."""

    def __init__(self, config: Config, until: int | None = None) -> None:
        self.config, self.until, self.done = config, until, []

    def run(self, jobs, on_progress=None) -> Iterator[Outcome]:
        models = load_fakes(self.config)
        for job in jobs:
            if len(self.done) == self.until:
                raise KeyboardInterrupt
            self.done.append(job.name)
            yield run_job(job, self.config, models)


@pytest.fixture(scope="module")
def stock(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("stock")
    return [write(folder / f"{i}.mp4", scene(8 + i, (8, 8 + 4 * i))) for i in range(4)]


@pytest.fixture
def videos(tmp_path, stock) -> Path:
    """a.mp4, a.mkv (bytes of an MP4: content counts), deep/b.mp4, and things that are no videos."""
    folder = tmp_path / "videos"
    (folder / "deep").mkdir(parents=True)
    for source, name in zip(stock, ("a.mp4", "a.mkv", "deep/b.mp4")):
        shutil.copy(source, folder / name)
    (folder / "notes.txt").write_text("no video")
    (folder / ".hidden.mp4").write_text("no video")
    return folder


def batch(*given: Path, out: Path, until: int | None = None, config: Config | None = None, on_event=None, **request):
    """Run a batch -> the names that were processed, and the summary."""
    engine = Here(config or Config(), until)
    summary = run_batch(Request(tuple(map(str, given)), out, **request), config or Config(), engine, on_event)
    return engine.done, summary


def statuses(summary: Summary) -> dict[str, str]:
    return {row.path: row.status for row in summary.rows}


# -- finding ----------------------------------------------------------------------------------------------


def found(*given: Path, out: Path = Path("nowhere"), **other) -> list[str]:
    return [str(one.path.name) for one in find_videos(given, out=out, **other)]


def test_folders_are_searched_by_content(videos, stock):
    shutil.copy(stock[0], videos / "no suffix")
    (videos / "broken.mp4").write_text("damaged files are accounted for")
    assert found(videos) == ["a.mkv", "a.mp4", "broken.mp4", "no suffix", "b.mp4"]


@pytest.mark.parametrize("codec, suffix", [
    ("libx264", "mp4"), ("libx264", "mkv"), ("mpeg4", "avi"), ("libx264", "ts"), ("libx264", "flv"),
    ("libvpx-vp9", "webm"), ("libx264", "h264"), ("libx265", "hevc"), ("libx264", "mov"), ("libvpx-vp9", "ivf"),
])  # fmt: skip
def test_containers_are_known_by_their_first_bytes(codec, suffix, tmp_path):
    clip = clips.write_clip(tmp_path / f"x.{suffix}", n=3, codec=codec)
    assert looks_like_video(clip.rename(tmp_path / "x"))


@pytest.mark.parametrize(
    "build",
    [
        broken_clips.random_bytes,
        broken_clips.picture,
        broken_clips.pipe,
        broken_clips.concat_list,
        broken_clips.hls_list,
    ],
)
def test_other_things_are_not_videos(build, tmp_path):
    assert not looks_like_video(build(tmp_path / "x"))


def test_loops_and_repeats_are_entered_once(videos):
    (videos / "loop").symlink_to(videos)
    (videos / "deep" / "up").symlink_to(videos / "deep")
    (videos / "link.mp4").symlink_to(videos / "a.mp4")
    (videos / "z-hard.mp4").hardlink_to(videos / "a.mp4")
    assert found(videos, videos / "a.mp4", videos / "deep") == ["a.mkv", "a.mp4", "b.mp4"]


def test_globs_and_lists(videos, monkeypatch):
    assert found(videos / "*.mp4") == ["a.mp4"]
    assert found(videos / "**" / "*.mp4") == ["a.mp4", "b.mp4"]
    assert found(listed=[str(videos / "gone.mp4"), str(videos / "a.mp4"), str(videos / "gone.mp4")]) == [
        "gone.mp4",
        "a.mp4",
    ]
    monkeypatch.chdir(videos)
    assert found(Path("*.mkv")) == ["a.mkv"]


def test_the_results_are_not_searched(videos):
    out = videos / "results"
    out.mkdir()
    shutil.copy(videos / "a.mp4", out / "within.mp4")
    assert "within.mp4" not in found(videos, out=out)
    with pytest.raises(UsageError, match="also the folder for the results"):
        found(videos, out=videos)


def test_requests_that_find_nothing_are_told(tmp_path, videos):
    for given, what in (
        ((tmp_path / "none.mp4",), "no such file"),
        ((tmp_path / "*.mp4",), "matches nothing"),
        ((videos / "notes.d",), "no such file"),
        ((), "contains no video"),
    ):
        with pytest.raises(UsageError, match=what):
            found(*given)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"empty: contains no video"):
        found(tmp_path / "empty")


def test_lists_end_names_by_line_or_nul(tmp_path):
    (tmp_path / "list").write_bytes(b"a b.mp4\n\n c\xff.mp4\r\n")
    assert read_list(tmp_path / "list") == ["a b.mp4", " c\udcff.mp4"]
    assert read_list(None, b"a\nb\0c\0") == ["a\nb", "c"]
    with pytest.raises(UsageError, match="cannot be read"):
        read_list(tmp_path / "none")


# -- naming -----------------------------------------------------------------------------------------------


def named(*paths: str, inner: int = 1, known: dict[str, str] | None = None) -> list[str]:
    inputs = [Input(Path(p), tuple(p.split("/")[1:]), inner) for p in paths]
    return [name for name, _ in name_inputs(inputs, known or {})]


def test_names_that_collide_take_their_folders_along(tmp_path):
    assert named("/x/a.mp4", "/y/a.mp4", "/z/y/a.mp4") == ["a.mp4", "y/a.mp4", "z/y/a.mp4"]
    assert named("/x/manifest") == ["x/manifest"]  # its timeline would be manifest.parquet
    assert named("/manifest") == ["root/manifest"]


def test_a_name_stays_with_its_file(tmp_path):
    for folder in "xy":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.mp4").touch()
    x, y = str(tmp_path / "x" / "a.mp4"), str(tmp_path / "y" / "a.mp4")
    assert named(y, x, known={"a.mp4": x}) == ["y/a.mp4", "a.mp4"]
    assert named(y, known={"a.mp4": str(tmp_path / "gone.mp4")}) == ["a.mp4"]


def test_long_names_have_a_place(tmp_path):
    out = timeline_path(tmp_path, f"{'ü' * 120}.mp4")
    out.with_name(f".{out.name}.1234567.tmp").touch()
    assert out != timeline_path(tmp_path, f"{'ü' * 119}u.mp4")


# -- accounting -------------------------------------------------------------------------------------------


def test_every_input_has_a_row_and_every_good_one_a_timeline(videos, tmp_path):
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
    assert set(tree(tmp_path / "out")) == {"a.mkv.parquet", "a.mp4.parquet", "deep/b.mp4.parquet"}
    assert isinstance(events[0], BatchStarted) and events[0].jobs == 5
    assert [e.row.path for e in events if isinstance(e, JobFinished)] == [row.path for row in summary.rows]
    assert summary.exit_code == 1 and [row.path for row in summary.troubles] == ["broken.mp4", "gone.mp4"]


def test_what_is_finished_is_skipped(videos, tmp_path):
    out = tmp_path / "out"
    assert batch(videos, out=out)[1].exit_code == 0
    before = tree(out)
    done, summary = batch(videos, out=out)
    assert done == [] and summary.skipped == 3 and summary.exit_code == 0 and tree(out) == before


def test_an_interrupted_batch_goes_on(videos, tmp_path):
    out, whole = tmp_path / "out", tmp_path / "whole"
    batch(videos, out=whole)
    with pytest.raises(KeyboardInterrupt):
        batch(videos, out=out, until=2)
    assert [row.path for row in read_manifest(out)] == ["a.mkv", "a.mp4"]
    assert batch(videos, out=out)[0] == ["deep/b.mp4"]
    assert tree(out) == tree(whole)


def test_what_changed_is_done_again(videos, tmp_path, stock):
    out = tmp_path / "out"
    batch(videos, out=out)
    shutil.copy(stock[3], videos / "a.mp4")
    assert batch(videos, out=out)[0] == ["a.mp4"]
    os.utime(videos / "a.mp4")  # touched, not changed
    assert batch(videos, out=out)[0] == []
    assert len(batch(videos, out=out, config=Config(fps=2.0))[0]) == 3
    assert len(batch(videos, out=out, config=Config(fps=2.0), fresh=True)[0]) == 3
    (out / "a.mp4.parquet").write_bytes(b"from elsewhere")
    (out / "a.mkv.parquet").unlink()
    assert batch(videos, out=out, config=Config(fps=2.0))[0] == ["a.mkv", "a.mp4"]


def test_another_model_is_another_result(videos, tmp_path):
    weights = tmp_path / "mine.safetensors"
    for path in (bundled()["seresnet"], bundled()["seresnet"].with_suffix(".json")):
        shutil.copy(path, weights.with_suffix(path.suffix))
    config, facts = Config(weights=str(weights)), weights.with_suffix(".json")
    batch(videos, out=tmp_path / "out", config=config)
    assert batch(videos, out=tmp_path / "out", config=config)[0] == []
    facts.write_text(facts.read_text() + " ")
    assert len(batch(videos, out=tmp_path / "out", config=config)[0]) == 3


def test_an_upgrade_that_changes_results_does_everything_again(videos, tmp_path, monkeypatch):
    batch(videos, out=tmp_path / "out")
    monkeypatch.setattr("fervid.provenance.RESULTS_VERSION", 99)
    assert len(batch(videos, out=tmp_path / "out")[0]) == 3
    assert batch(videos, out=tmp_path / "out")[0] == []


def test_a_timeline_that_is_not_what_its_row_says_is_made_again(videos, tmp_path):
    """A run with other options was killed after it had written a timeline, before it wrote the row."""
    out = tmp_path / "out"
    batch(videos, out=out)
    whole = tree(out)
    other = Config(fps=2.0)
    assert process_video(videos / "a.mp4", out / "a.mp4.parquet", other, load_fakes(other), name="a.mp4").status == "ok"
    assert tree(out) != whole
    assert batch(videos, out=out)[0] == ["a.mp4"]
    assert tree(out) == whole


def test_a_renamed_file_is_recognised(videos, tmp_path):
    out, whole = tmp_path / "out", tmp_path / "whole"
    batch(videos, out=out)
    (videos / "new").mkdir()
    (videos / "deep" / "b.mp4").rename(videos / "new" / "c.mp4")
    done, summary = batch(videos, out=out)
    assert done == [] and list(statuses(summary)) == ["a.mkv", "a.mp4", "new/c.mp4"]
    batch(videos, out=whole)
    assert tree(out) == tree(whole)  # the bytes that processing it gives
    assert [row.path for row in read_manifest(out)] == ["a.mkv", "a.mp4", "new/c.mp4"]
    assert not (out / "deep").exists()


def test_files_that_change_places_are_told_apart(videos, tmp_path):
    out, whole = tmp_path / "out", tmp_path / "whole"
    batch(videos, out=out)
    (videos / "a.mp4").rename(videos / "x")
    (videos / "a.mkv").rename(videos / "a.mp4")
    (videos / "x").rename(videos / "a.mkv")
    batch(videos, out=out)
    batch(videos, out=whole)
    assert tree(out) == tree(whole)


def test_a_copy_has_a_result_of_its_own(videos, tmp_path):
    out = tmp_path / "out"
    batch(videos, out=out)
    shutil.copy(videos / "a.mp4", videos / "copy.mp4")
    done, summary = batch(videos, out=out)
    assert done == [] and len(summary.rows) == 4 and len(tree(out)) == 4


def test_a_folder_that_moved_and_a_new_copy_in_it_both_stand(videos, tmp_path):
    batch(videos, out=tmp_path / "out")
    moved = videos.rename(tmp_path / "moved")
    shutil.copy(moved / "a.mp4", moved / "z.mp4")
    done, summary = batch(moved, out=tmp_path / "out")
    assert done == [] and set(statuses(summary)) == {"a.mp4", "a.mkv", "deep/b.mp4", "z.mp4"}
    assert len(tree(tmp_path / "out")) == 4


def test_failed_ones_are_tried_again_when_asked(videos, tmp_path, stock):
    out = tmp_path / "out"
    (videos / "bad.mp4").write_text("no video")
    batch(videos, out=out)
    done, summary = batch(videos, out=out)
    assert done == [] and summary.exit_code == 1
    assert batch(videos, out=out, retry_failed=True)[0] == ["bad.mp4"]
    shutil.copy(stock[3], videos / "bad.mp4")
    assert batch(videos, out=out)[1].exit_code == 0


def test_a_video_that_now_fails_leaves_no_old_timeline(videos, tmp_path):
    batch(videos, out=tmp_path / "out")
    (videos / "a.mp4").write_text("no video")
    batch(videos, out=tmp_path / "out")
    assert "a.mp4.parquet" not in tree(tmp_path / "out")


def test_a_video_that_vanished_keeps_its_result_and_is_told(videos, tmp_path):
    out, names = tmp_path / "out", [str(videos / "a.mp4"), str(videos / "deep" / "b.mp4")]
    batch(out=out, listed=names)
    before = tree(out)
    (videos / "a.mp4").unlink()
    for config in (Config(), Config(fps=2.0)):
        _, summary = batch(out=out, listed=names, config=config)
        assert statuses(summary) == {"a.mp4": "failed", "b.mp4": "ok"} and summary.exit_code == 1
        assert [row.reason for row in summary.troubles] == ["missing"]
        assert tree(out)["a.mp4.parquet"] == before["a.mp4.parquet"]
        assert {row.path: row.status for row in read_manifest(out)} == {"a.mp4": "ok", "b.mp4": "ok"}


def test_a_result_that_could_not_be_written_is_tried_again(videos, tmp_path):
    out = tmp_path / "out"
    (out / "deep").mkdir(parents=True)
    (out / "deep" / "b.mp4.parquet").mkdir()
    assert batch(videos, out=out)[1].troubles[0].reason == "not_written"
    (out / "deep" / "b.mp4.parquet").rmdir()
    done, summary = batch(videos, out=out)
    assert done == ["deep/b.mp4"] and summary.exit_code == 0


def test_a_deleted_copy_goes_a_deleted_video_stays(videos, tmp_path):
    out = tmp_path / "out"
    shutil.copy(videos / "a.mp4", videos / "copy.mp4")
    batch(videos, out=out)
    (videos / "copy.mp4").unlink()
    (videos / "deep" / "b.mp4").unlink()
    batch(videos, out=out)
    assert set(tree(out)) == {"a.mkv.parquet", "a.mp4.parquet", "deep/b.mp4.parquet"}


def test_two_folders_with_the_same_names_do_not_meet(videos, tmp_path, stock):
    other, out = tmp_path / "other", tmp_path / "out"
    other.mkdir()
    shutil.copy(stock[3], other / "a.mp4")
    batch(videos, out=out)
    before = tree(out)
    done, _ = batch(other, out=out)
    assert done == ["other/a.mp4"] and before.items() <= tree(out).items()
    assert batch(other, videos, out=out)[0] == []


# -- the books --------------------------------------------------------------------------------------------


def test_one_batch_at_a_time(videos, tmp_path):
    with open_manifest(tmp_path / "out"), pytest.raises(OutputError, match=rf"another batch \(process {os.getpid()}\)"):
        batch(videos, out=tmp_path / "out")
    assert batch(videos, out=tmp_path / "out")[1].exit_code == 0


@pytest.mark.parametrize("damage", ["garbage", "foreign", "older"])
def test_books_that_are_not_ours_are_told_and_left(damage, videos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    batch(videos, out=out)
    path = out / MANIFEST
    if damage == "garbage":
        path.write_bytes(b"PAR1 not")
    elif damage == "foreign":
        shutil.copy(out / "a.mp4.parquet", path)
    else:
        pq.write_table(pq.read_table(path).replace_schema_metadata({b"fervid_manifest": b"0"}), path)
    before = {**tree(out), MANIFEST: path.read_bytes()}
    with pytest.raises(DataError, match=r"manifest.parquet: expected .*--fresh"):
        batch(videos, out=out)
    assert {**tree(out), MANIFEST: path.read_bytes()} == before
    assert len(batch(videos, out=out, fresh=True)[0]) == 3


def test_a_torn_journal_loses_one_line(videos, tmp_path):
    out = tmp_path / "out"
    batch(videos, out=out)
    rows = (out / MANIFEST).read_bytes()
    with open_manifest(out) as books:
        journal = out / ".manifest.journal"
        books.drop("a.mp4")
        books.add(books.rows["a.mkv"])
        torn = journal.read_bytes()[:-5]
    (out / MANIFEST).write_bytes(rows)
    journal.write_bytes(torn)
    with open_manifest(out) as books:
        assert set(books.rows) == {"a.mkv", "deep/b.mp4"}


def test_parts_of_dead_processes_are_removed(tmp_path):
    (tmp_path / "deep").mkdir()
    dead, mine = tmp_path / "deep" / ".x.parquet.99999999.tmp", tmp_path / f".y.{os.getpid()}.tmp"
    other = tmp_path / ".notes.tmp"
    for path in (dead, mine, other):
        path.touch()
    remove_stale(tmp_path)
    assert not dead.exists() and mine.exists() and other.exists()


def test_parts_of_other_machines_wait_a_week_or_for_their_job(tmp_path):
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
    batch(videos, out=tmp_path / "whole")
    assert tree(out) == tree(tmp_path / "whole")


def test_results_that_cannot_be_written_are_told(videos, tmp_path):
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
    assert set(tree(out)) == {"a.mkv.parquet", "a.mp4.parquet"} and not (out / "deep").exists()
    assert not any(b"b.mp4" in data for data in [*tree(out).values(), (out / MANIFEST).read_bytes()])
    (videos / "a.mp4").unlink()
    assert forget("a.mp4", out) == ["a.mp4"]
    with pytest.raises(DataError, match="has no results of it"):
        forget("a.mp4", out)
    with pytest.raises(DataError, match="no such file"):
        forget("a.mp4", tmp_path)
    assert batch(videos, out=out)[0] == ["deep/b.mp4"]


def test_forget_takes_copies_with_it_however_the_video_is_named(videos, tmp_path):
    shutil.copy(videos / "a.mp4", videos / "copy.mp4")
    for n, video in enumerate(("copy.mp4", videos / "a.mp4")):
        out = tmp_path / str(n)
        batch(videos, out=out)
        assert sorted(forget(video, out)) == ["a.mp4", "copy.mp4"]
        assert not {"a.mp4.parquet", "copy.mp4.parquet"} & set(tree(out))


def test_a_bug_with_one_file_is_a_row(tmp_path, stock, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("fervid.jobs.job.process_video", broken)
    outcome = run_job(Job(stock[0], "0.mp4", tmp_path / "t.parquet"), Config(), load_fakes(Config()))
    assert (outcome.status, outcome.reason) == ("failed", "error") and "ZeroDivisionError" in outcome.message
