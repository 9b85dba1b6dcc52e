"""Writing timelines atomically with their columns, and reading them back."""

import errno
import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fervid
from fervid.errors import DataError, OutputError, RunError
from fervid.files import write_atomically
from fervid.timeline.aggregate import fill_gaps, summarise
from fervid.timeline.read import describe_timeline, load_timeline, read_provenance
from fervid.timeline.schema import to_table
from fervid.timeline.write import FacesWriter, write_table
from tests.helpers.fakes import LABELS, Face, Seen, emotion_batch, video

VIDEO = video(200, 100)
HAPPY, ANGRY, CALM = (1, 0, 0), (0, 1, 0), (0, 0, 1)


def table_of(samples: list[Seen], end_s: float = 0.0, name: str = "a.mp4", provenance: dict | None = None) -> pa.Table:
    rows = fill_gaps(summarise([emotion_batch(samples)] if samples else [], LABELS), LABELS, 0, lambda: end_s)
    return to_table(rows, LABELS, name, provenance or {"version": "test"})


#: Second 0: track 0 is happy throughout, track 1 angry for a quarter. Second 1: no face. Second 2: no data. Second 3:
#: track 2 is calm for half of it.
SAMPLES = [
    *(Seen(t, (Face(track=0, prob=HAPPY), *([Face(track=1, prob=ANGRY)] if t == 0 else []))) for t in (0, 0.25, 0.5)),
    Seen(0.75, (Face(track=0, prob=HAPPY),)),
    Seen(1.0),
    *(Seen(t, (Face(track=2, prob=CALM),)) for t in (3.0, 3.25)),
]
SAMPLES = [Seen(sample.pts_s, sample.faces, 0.25) for sample in SAMPLES]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def timeline(tmp_path: Path) -> Path:
    path = tmp_path / "timeline.parquet"
    write_table(table_of(SAMPLES, 4.0), path)
    return path


# -- the schema -----------------------------------------------------------------------------------------


def test_a_timeline_has_the_documented_columns():
    word, real = pa.dictionary(pa.int32(), pa.string()), pa.float32()
    columns = {field.name: field.type for field in table_of(SAMPLES).schema}
    assert list(columns.items()) == [
        ("video", word), ("second", pa.int32()), ("shot", pa.int32()), ("track", pa.int32()), ("status", word),
        ("n_sampled", pa.int32()), ("n_faces", pa.int32()), ("face_seconds", real),
        ("anger", real), ("happiness", real), ("neutral", real),  # of this classifier, in the order of EMOTIONS
        ("dominant", word),
        ("entropy", real), ("spread", real), ("score", real), ("face_px", real),
        ("x", real), ("y", real), ("w", real), ("h", real),
    ]  # fmt: skip


def test_emotion_columns_have_the_order_of_emotions():
    labels = ("contempt", "surprise", "fear", "neutral", "anger", "disgust", "sadness", "happiness")
    rows = fill_gaps([], labels, 0, lambda: 1.0)
    assert to_table(rows, labels, "a", {}).column_names[8:16] == [
        "anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt",
    ]  # fmt: skip


def test_probabilities_are_in_the_column_of_their_emotion():
    first = table_of(SAMPLES).slice(0, 2).to_pylist()
    assert [(r["track"], r["happiness"], r["anger"], r["neutral"], r["dominant"]) for r in first] == [
        (0, 1, 0, 0, "happiness"), (1, 0, 1, 0, "anger"),
    ]  # fmt: skip


def test_without_a_face_there_are_nulls_and_never_nan():
    table = table_of(SAMPLES, 4.0)
    rows = table.to_pylist()
    assert [r["status"] for r in rows] == ["ok", "ok", "no_face", "no_data", "ok"]
    filled = {"video", "second", "status", "n_sampled", "n_faces", "face_seconds"}
    for row in rows[2:4]:
        assert {name for name, value in row.items() if value is not None} - {"shot"} == filled
        assert (row["n_faces"], row["face_seconds"]) == (0, 0)
    assert [r["shot"] for r in rows] == [0, 0, 0, None, 0]
    assert not any(value is None for row in (*rows[:2], rows[4]) for value in row.values())


def test_a_timeline_without_rows_has_its_columns():
    assert table_of([]).num_rows == 0
    assert table_of([]).schema.equals(table_of(SAMPLES).schema)


def test_a_file_name_may_be_any_bytes():
    names = table_of(SAMPLES, name=os.fsdecode(b"caf\xe9.mp4"))["video"].to_pylist()
    assert set(names) == {r"caf\udce9.mp4"}


# -- writing --------------------------------------------------------------------------------------------


def test_the_same_table_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_table(table_of(SAMPLES, 4.0, provenance={"b": 1, "a": [2]}), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_file_is_replaced_atomically(tmp_path):
    out = tmp_path / "out.parquet"
    out.write_text("before")
    with write_atomically(out) as part:
        part.write_text("after")
        assert out.read_text() == "before"
    assert out.read_text() == "after"
    assert names(tmp_path) == ["out.parquet"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError(errno.EBADF, "bad"), RunError])
@pytest.mark.parametrize("before", [None, "before"])
def test_an_exception_leaves_nothing(tmp_path, error, before):
    out = tmp_path / "out.parquet"
    if before:
        out.write_text(before)
    with pytest.raises(error if isinstance(error, type) else OSError), write_atomically(out) as part:
        part.write_text("half")
        raise error
    assert [p.read_text() for p in tmp_path.iterdir()] == ([before] if before else [])


def test_outputs_that_cannot_be_written_fail_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path, tmp_path / "none" / "out", tmp_path / "file" / "out", Path("/proc/out"), Path("x" * 250)):
        with pytest.raises(OutputError, match="name a file"), write_atomically(out):
            pytest.fail("the block was entered")
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"), write_atomically(tmp_path / "out"):
        pytest.fail("the block was entered")


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(OutputError), write_atomically(tmp_path / ("x" * 300)):
        pytest.fail("the block was entered")


def test_only_plain_files_are_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError), write_atomically(tmp_path / "pipe") as part:
        part.write_text("after")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_stops_the_run(tmp_path, monkeypatch, number):
    def full(_):
        raise OSError(number, os.strerror(number))

    out = tmp_path / "out.parquet"
    out.write_text("before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="free some space"), write_atomically(out) as part:
        part.write_text("after")
    assert names(tmp_path) == ["out.parquet"] and out.read_text() == "before"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_is_full_while_arrow_writes_stops_the_run(tmp_path):
    with pytest.raises(RunError, match="No space left"), write_atomically(tmp_path / "out") as part:
        part.unlink()
        part.symlink_to("/dev/full")
        write_table(table_of(SAMPLES), part)
    assert names(tmp_path) == []


# -- provenance -----------------------------------------------------------------------------------------


def test_provenance_round_trips(tmp_path):
    provenance = {"version": "1", "config": {"fps": None, "end_s": 2.5}, "reasons": ["damaged"], "name": "é\udcff"}
    write_table(table_of(SAMPLES, provenance=provenance), tmp_path / "t.parquet")
    assert read_provenance(tmp_path / "t.parquet") == provenance
    assert read_provenance(str(tmp_path / "t.parquet")) == provenance


def test_other_files_are_not_timelines(tmp_path):
    pq.write_table(pa.table({"second": [1]}), tmp_path / "other.parquet")
    pq.write_table(pa.table({"second": [1]}).replace_schema_metadata({b"fervid": b"{"}), tmp_path / "bad.parquet")
    (tmp_path / "text.parquet").write_text("not a Parquet file")
    (tmp_path / "empty.parquet").touch()
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "other.parquet").read_bytes()[:-9])
    for name in ("other.parquet", "bad.parquet", "text.parquet", "empty.parquet", "cut.parquet", "none.parquet", "."):
        with pytest.raises(DataError, match=str(tmp_path)):
            read_provenance(tmp_path / name)
        if name != ".":
            with pytest.raises(DataError, match=str(tmp_path)):
                load_timeline(tmp_path / name)


def test_describe_summarizes_the_timeline(timeline):
    facts = describe_timeline(timeline)
    assert facts["version"] == "test"
    assert facts["summary"] == {
        "seconds": 4, "seconds_with_face": 2, "seconds_without_data": 1, "tracks": 3, "persons": None,
        "shots": None, "face_seconds": 1.8, "clear": 1.0,
        "dominant": {"happiness": 0.571, "neutral": 0.286, "anger": 0.143},
    }  # fmt: skip


# -- load_timeline --------------------------------------------------------------------------------------


def test_by_track_are_the_rows_as_stored(timeline):
    frame = load_timeline(timeline)
    assert list(frame.columns) == pq.read_schema(timeline).names
    assert frame["track"].tolist() == [0, 1, pd.NA, pd.NA, 2]
    assert frame["track"].dtype == "Int32" and frame["second"].dtype == "int32"
    assert frame["status"].tolist() == ["ok", "ok", "no_face", "no_data", "ok"]
    assert frame["face_seconds"].tolist() == [1, 0.25, 0, 0, 0.5]
    pd.testing.assert_frame_equal(fervid.load_timeline(str(timeline)), frame)


def test_by_second_weights_tracks_by_visible_time(timeline):
    frame = load_timeline(timeline, by="second").set_index("second")
    assert frame.index.tolist() == [0, 1, 2, 3]
    assert frame["status"].tolist() == ["ok", "no_face", "no_data", "ok"]
    assert frame["n_tracks"].tolist() == [2, 0, 0, 1]
    assert frame["n_sampled"].tolist() == [4, 1, 0, 2]
    assert frame["face_seconds"].tolist() == [1.25, 0, 0, 0.5]
    # happy for 1 s, angry for 0.25 s: 1 / 1.25 and 0.25 / 1.25
    assert frame.loc[0, ["happiness", "anger", "neutral"]].tolist() == pytest.approx([0.8, 0.2, 0])
    assert frame.loc[3, ["happiness", "anger", "neutral"]].tolist() == pytest.approx([0, 0, 1])
    assert frame.loc[[1, 2], ["happiness", "anger", "neutral"]].isna().all(axis=None)
    assert frame["dominant"].tolist() == ["happiness", None, None, "neutral"]


def test_by_video_weights_rows_by_visible_time(timeline):
    frame = load_timeline(timeline, by="video")
    (row,) = frame.to_dict("records")
    # 1 s happy, 0.25 s angry, 0.5 s calm, of 1.75 s
    assert row["happiness"] == pytest.approx(1 / 1.75)
    assert row["anger"] == pytest.approx(0.25 / 1.75)
    assert row["neutral"] == pytest.approx(0.5 / 1.75)
    assert (row["video"], row["seconds"], row["seconds_with_face"], row["n_tracks"]) == ("a.mp4", 4, 2, 3)
    assert (row["face_seconds"], row["dominant"]) == (1.75, "happiness")


def test_a_time_index_can_be_resampled(timeline):
    frame = load_timeline(timeline, by="second", time_index=True)
    assert frame.index.names == ["second"]
    seconds = frame
    assert seconds.index.tolist() == [pd.Timedelta(seconds=s) for s in range(4)]
    assert seconds["face_seconds"].resample("2s").sum().tolist() == [1.25, 0.5]
    assert seconds["happiness"].resample("2s").mean().index.tolist() == [pd.Timedelta(seconds=s) for s in (0, 2)]
    folder = load_timeline(timeline.parent, time_index=True)
    assert folder.index.names == ["file", "second"] and set(folder["video"]) == {"a.mp4"}


@pytest.mark.parametrize("by, rows", [("track", 1), ("second", 1), ("video", 1)])
def test_a_video_without_faces_can_be_read(tmp_path, by, rows):
    write_table(table_of([Seen(0.0), Seen(0.2)]), tmp_path / "t.parquet")
    frame = load_timeline(tmp_path / "t.parquet", by=by)
    assert len(frame) == rows and frame["happiness"].isna().all() and frame["dominant"].isna().all()
    assert describe_timeline(tmp_path / "t.parquet")["summary"]["seconds_with_face"] == 0


def test_a_folder_is_read_as_one_frame(tmp_path, timeline):
    (tmp_path / "deep").mkdir()
    write_table(table_of([Seen(0.0), Seen(1.0)], name="b.mp4"), tmp_path / "deep" / "b.parquet")
    faces = FacesWriter(tmp_path / "faces.parquet", LABELS, "a.mp4")
    faces.write(emotion_batch(SAMPLES))
    faces.close({})
    (tmp_path / ".t.parquet.1.tmp").write_text("half")
    assert load_timeline(tmp_path)["video"].value_counts().to_dict() == {"a.mp4": 5, "b.mp4": 2}
    assert len(load_timeline(tmp_path, by="second")) == 6
    by_video = load_timeline(tmp_path, by="video").set_index("video")
    assert by_video["face_seconds"].to_dict() == {"a.mp4": 1.75, "b.mp4": 0}
    assert by_video["seconds_with_face"].to_dict() == {"a.mp4": 2, "b.mp4": 0}
    assert by_video["dominant"].to_dict() == {"a.mp4": "happiness", "b.mp4": None}


def test_by_video_reports_degraded_results(tmp_path):
    (tmp_path / "a").mkdir()  # a/b.parquet is read before a.parquet, but its name sorts after it
    damaged = {"status": "degraded", "reasons": ["truncated", "seconds_lost"]}
    write_table(table_of(SAMPLES, 6.0, provenance=damaged), tmp_path / "a" / "b.parquet")
    write_table(table_of(SAMPLES, provenance={"status": "ok", "reasons": []}), tmp_path / "a.parquet")
    frame = load_timeline(tmp_path, by="video").set_index("file")[["status", "reason", "seconds_without_data"]]
    assert frame.loc["a/b.parquet"].tolist() == ["degraded", "truncated, seconds_lost", 3]
    assert frame.loc["a.parquet"].tolist() == ["ok", "", 1]
    alone = load_timeline(tmp_path / "a" / "b.parquet", by="video").iloc[0]
    assert (alone["status"], alone["seconds"], alone["seconds_without_data"]) == ("degraded", 6, 3)


def test_a_damaged_timeline_in_a_folder_is_an_error(tmp_path, timeline):
    (tmp_path / "cut.parquet").write_bytes(timeline.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"cut\.parquet"):
        load_timeline(tmp_path)


def test_bad_requests_are_errors(tmp_path, timeline):
    with pytest.raises(DataError, match='expected "track", "second" or "video"'):
        load_timeline(timeline, by="minute")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no timeline in this folder"):
        load_timeline(tmp_path / "none")


# -- the faces file -------------------------------------------------------------------------------------


def write_faces(path: Path, *batches: list[Seen]) -> Path:
    writer = FacesWriter(path, LABELS, "a.mp4")
    for batch in batches:
        writer.write(emotion_batch(batch))
    writer.close({"version": "test"})
    return path


def test_every_face_reading_is_kept(tmp_path):
    face = Face((20, 30, 60, 70), 0.75, 4, (0.5, 0.25, 0.25))
    frame = pd.read_parquet(write_faces(tmp_path / "faces.parquet", SAMPLES[:4], [Seen(1.2, (face,))]))
    assert frame["pts_s"].tolist() == [0, 0, 0.25, 0.5, 0.75, 1.2]
    assert frame["track"].tolist() == [0, 1, 0, 0, 0, 4]
    last = frame.iloc[-1]
    # of 200 x 100 pixels; the nose is in the middle, at 0.6 of the height (fakes.MARKS)
    assert last[["x", "y", "w", "h"]].tolist() == pytest.approx([0.1, 0.3, 0.2, 0.4])
    assert last[["nose_x", "nose_y"]].tolist() == pytest.approx([0.2, 0.54])
    assert last[["video", "score", *LABELS]].tolist() == ["a.mp4", 0.75, 0.5, 0.25, 0.25]


def test_samples_without_a_face_leave_no_reading(tmp_path):
    assert len(pd.read_parquet(write_faces(tmp_path / "faces.parquet", [Seen(0.0)], SAMPLES[:1], [Seen(0.5)]))) == 2


def test_the_faces_file_has_its_provenance(tmp_path):
    path = write_faces(tmp_path / "faces.parquet", SAMPLES)
    assert read_provenance(path) == {"version": "test"}
    assert describe_timeline(path) == {"summary": {"face_readings": 7}, "version": "test"}


def test_the_faces_file_is_not_a_timeline(tmp_path):
    with pytest.raises(DataError, match="face readings"):
        load_timeline(write_faces(tmp_path / "faces.parquet", SAMPLES))


def test_the_provenance_is_json_with_sorted_keys(tmp_path):
    write_table(table_of(SAMPLES, provenance={"b": 1, "a": {"d": None, "c": []}}), tmp_path / "t.parquet")
    text = pq.read_metadata(tmp_path / "t.parquet").metadata[b"fervid"]
    assert text == b'{"a": {"c": [], "d": null}, "b": 1}'
