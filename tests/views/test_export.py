"""Timelines for other programs: what is written says the same as the timeline."""

import json
import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fervid
from fervid.errors import DataError, OutputError
from fervid.timeline.intervals import Interval, merge_seconds
from fervid.timeline.read import Timeline, load_timeline, open_timeline
from fervid.views.export.boris import COLUMNS, events
from fervid.views.export.subtitles import cues
from tests.helpers.command_line import run
from tests.helpers.hypothesis_settings import steady
from tests.helpers.stories import by_hand, face_at, rewrite, tell, write_pictures

Row = tuple[int, int | None, str]
#: Second 0 to 1 happy, 2 nobody, 3 lost, 4 to 5 two people, of whom one changes.
ROWS: list[Row] = [
    (0, 0, "happiness"),
    (1, 0, "happiness"),
    (2, None, "no_face"),
    (3, None, "no_data"),
    (4, 1, "anger"),
    (4, 2, "neutral"),
    (5, 1, "happiness"),
    (5, 2, "neutral"),
]
MERGED = [
    (0, "happiness", 0, 2),
    (1, "anger", 4, 5),
    (1, "happiness", 5, 6),
    (2, "neutral", 4, 6),
    (None, "no_face", 2, 3),
    (None, "no_data", 3, 4),
]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A timeline of a real clip with a name beyond ASCII, declared to be an hour long."""
    clip = write_pictures(tmp_path_factory.mktemp("clips") / "Ärger & <Freude> 東京.mp4", [face_at(40)] * 5)
    path = tell(clip)[0]
    return rewrite_length(path, path.with_stem("long"), 3600.0)


def rewrite_length(path: Path, out: Path, seconds: float) -> Path:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    facts = json.loads(table.schema.metadata[b"fervid"])
    facts["source"]["duration_s"] = seconds
    pq.write_table(table.replace_schema_metadata({b"fervid": json.dumps(facts)}), out)
    return out


@pytest.fixture(scope="module")
def story(template: Path) -> Path:
    return by_hand(template, template.with_stem("story"), ROWS)


def plain(intervals: list[Interval]) -> list[tuple]:
    return [(i.track, i.label, i.start_s, i.end_s) for i in intervals]


# -- intervals ------------------------------------------------------------------------------------------


def test_seconds_of_one_emotion_become_one_interval(story: Path) -> None:
    assert plain(merge_seconds(open_timeline(story))) == MERGED


def test_an_interval_ends_with_the_video(tmp_path: Path) -> None:
    out, _ = tell(write_pictures(tmp_path / "short.mp4", [face_at(40)] * 35))
    assert [(i.start_s, i.end_s) for i in merge_seconds(open_timeline(out))] == [(0, pytest.approx(1.4))]


words = st.sampled_from(["anger", "happiness", "neutral"])
visible = st.dictionaries(st.integers(0, 4), words, max_size=3)


@given(seconds=st.lists(st.one_of(visible, st.sampled_from(["no_face", "no_data"])), min_size=1, max_size=30))
@steady
def test_merging_loses_nothing_and_joins_all_that_touches(seconds: list) -> None:
    intervals = merge_seconds(_timeline(seconds))
    told: set[tuple] = set()
    for i in intervals:
        assert i.end_s > i.start_s
        told |= {(s, i.track, i.label) for s in range(round(i.start_s), round(i.end_s))}
    assert told == set(_rows(seconds))
    assert sum(i.end_s - i.start_s for i in intervals) == len(told)  # so none overlap
    ends = {(i.track, i.label, i.end_s) for i in intervals}
    assert not any((i.track, i.label, i.start_s) in ends for i in intervals)


@given(seconds=st.lists(st.one_of(visible, st.sampled_from(["no_face", "no_data"])), min_size=1, max_size=30))
@steady
def test_cues_never_overlap_and_say_every_interval(seconds: list) -> None:
    intervals = merge_seconds(_timeline(seconds))
    shown = cues(intervals)
    times = [t for start, end, _ in shown for t in (start, end)]
    assert times == sorted(times)
    assert _from_cues(shown) == sorted(x for x in plain(intervals) if x[0] is not None)
    stamps = [event[0] for event in events(intervals)]
    assert stamps == sorted(stamps)


def _rows(seconds: list) -> list[Row]:
    rows: list[Row] = []
    for second, seen in enumerate(seconds):
        faces = {} if isinstance(seen, str) else seen
        rows += [(second, track, word) for track, word in sorted(faces.items())]
        if not faces:
            rows.append((second, None, seen if isinstance(seen, str) else "no_face"))
    return rows


def _timeline(seconds: list) -> Timeline:
    """As open_timeline gives it, without a file."""
    frame = pd.DataFrame(_rows(seconds), columns=["second", "track", "word"])
    ok = frame["track"].notna()
    frame["status"], frame["dominant"] = frame["word"].where(~ok, "ok"), frame["word"].where(ok, None)
    frame["face_seconds"] = ok.astype(float)
    for name in ("anger", "happiness", "neutral"):
        frame[name] = np.where(ok, (frame["word"] == name) * 0.8, np.nan)
    facts = {"source": {"name": "film.mp4", "duration_s": None}, "config": {"end_s": None}}
    return Timeline(Path("film.parquet"), frame.astype({"track": "Int32"}), facts)


def _from_cues(shown: list[tuple[float, float, list[str]]]) -> list[tuple]:
    """Put the intervals together again: a line that goes on in the next cue is one interval."""
    running: dict[tuple, list[float]] = {}
    found = []
    for start, end, lines in shown:
        said = [re.fullmatch(r"track (\d+): (\w+) (\d+)%", line).group(1, 2) for line in lines]
        for key in said:
            if key in running and running[key][1] == start:
                running[key][1] = end
                continue
            if key in running:
                found.append((int(key[0]), key[1], *running[key]))
            running[key] = [start, end]
    found += [(int(track), word, *span) for (track, word), span in running.items()]
    return sorted(found)


# -- formats --------------------------------------------------------------------------------------------


def test_csv_has_every_row_and_column(story: Path, tmp_path: Path) -> None:
    facts = fervid.export(story, tmp_path / "t.csv")
    read, rows = pd.read_csv(tmp_path / "t.csv", dtype={"track": "Int32"}), load_timeline(story)
    assert facts["rows"] == len(read) == len(ROWS)
    assert list(read.columns) == list(rows.columns)
    assert list(read["status"]) == list(rows["status"])
    np.testing.assert_array_equal(read["happiness"].to_numpy(np.float32), rows["happiness"].to_numpy(np.float32))


def test_elan_parses_back_to_the_same_intervals(story: Path, tmp_path: Path) -> None:
    fervid.export(story, tmp_path / "t.eaf")
    root = ET.parse(tmp_path / "t.eaf").getroot()
    assert root.get("FORMAT") == root.get("VERSION") == "3.0"
    times = [(slot.get("TIME_SLOT_ID"), int(slot.get("TIME_VALUE"))) for slot in root.find("TIME_ORDER")]
    assert [ms for _, ms in times] == sorted(ms for _, ms in times)
    at, found = dict(times), []
    for tier in root.iter("TIER"):
        track = int(tier.get("TIER_ID").split()[1]) if tier.get("TIER_ID").startswith("track") else None
        for note in tier.iter("ALIGNABLE_ANNOTATION"):
            start, end = at[note.get("TIME_SLOT_REF1")], at[note.get("TIME_SLOT_REF2")]
            found.append((track, note.find("ANNOTATION_VALUE").text, start / 1000, end / 1000))
    assert found == MERGED


def test_elan_is_in_the_order_of_its_schema_and_refers_to_what_is_there(story: Path, tmp_path: Path) -> None:
    fervid.export(story, tmp_path / "t.eaf")
    root = ET.parse(tmp_path / "t.eaf").getroot()
    kinds = list(dict.fromkeys(child.tag for child in root))
    assert kinds == ["HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "LANGUAGE", "CONTROLLED_VOCABULARY"]
    types = {kind.get("LINGUISTIC_TYPE_ID") for kind in root.iter("LINGUISTIC_TYPE")}
    assert {tier.get("LINGUISTIC_TYPE_REF") for tier in root.iter("TIER")} <= types
    assert {k.get("CONTROLLED_VOCABULARY_REF") for k in root.iter("LINGUISTIC_TYPE")} == {
        v.get("CV_ID") for v in root.iter("CONTROLLED_VOCABULARY")
    }
    ids = [note.get("ANNOTATION_ID") for note in root.iter("ALIGNABLE_ANNOTATION")]
    assert len(set(ids)) == len(ids) == len(MERGED)


def test_elan_links_a_video_whose_name_is_not_ascii(story: Path, tmp_path: Path) -> None:
    from urllib.parse import unquote

    fervid.export(story, tmp_path / "t.eaf")
    media = ET.parse(tmp_path / "t.eaf").getroot().find("HEADER/MEDIA_DESCRIPTOR")
    assert unquote(media.get("RELATIVE_MEDIA_URL")) == "./Ärger & <Freude> 東京.mp4"
    assert media.get("MIME_TYPE") == "video/mp4"


def test_people_are_participants_where_the_timeline_knows_them(story: Path, tmp_path: Path) -> None:
    path = rewrite(story, tmp_path / "people.parquet", lambda f: f.assign(person=f["track"].where(f["track"] != 2, 1)))
    fervid.export(path, tmp_path / "t.eaf")
    tiers = {t.get("TIER_ID"): t.get("PARTICIPANT") for t in ET.parse(tmp_path / "t.eaf").getroot().iter("TIER")}
    assert tiers == {"track 0": "person 0", "track 1": "person 1", "track 2": "person 1", "no face": None}


def test_srt_parses_back_to_the_same_intervals(story: Path, tmp_path: Path) -> None:
    fervid.export(story, tmp_path / "t.srt")
    shown = []
    for n, block in enumerate((tmp_path / "t.srt").read_text("utf-8").strip().split("\n\n"), 1):
        number, span, *lines = block.split("\n")
        assert int(number) == n
        assert re.fullmatch(r"\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}", span)
        start, end = (_seconds(t) for t in span.split(" --> "))
        shown.append((start, end, lines))
    assert _from_cues(shown) == sorted(x for x in MERGED if x[0] is not None)
    assert shown[0] == (0, 2, ["track 0: happiness 80%"])


def _seconds(text: str) -> float:
    hours, minutes, seconds = text.replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def test_boris_has_a_start_and_a_stop_for_each_state(story: Path, tmp_path: Path) -> None:
    fervid.export(story, tmp_path / "t.tsv", "boris")
    read = pd.read_csv(tmp_path / "t.tsv", sep="\t", keep_default_na=False)
    assert tuple(read.columns) == COLUMNS
    found = []
    for (subject, code), rows in read.groupby(["subject", "code"]):
        assert list(rows["comment"]) == ["start", "stop"] * (len(rows) // 2)
        times = rows["time"].tolist()
        track = int(subject.split()[1]) if subject else None
        found += [(track, code, a, b) for a, b in zip(times[::2], times[1::2])]
    assert sorted(found, key=str) == sorted(MERGED, key=str)


def test_boris_as_a_workbook_holds_the_same_cells(story: Path, tmp_path: Path) -> None:
    fervid.export(story, tmp_path / "t.xlsx")
    fervid.export(story, tmp_path / "t.tsv", "boris")
    with zipfile.ZipFile(tmp_path / "t.xlsx") as book:
        for name in book.namelist():
            ET.fromstring(book.read(name))
        sheet = ET.fromstring(book.read("xl/worksheets/sheet1.xml"))
    rows = [["".join(cell.itertext()) for cell in row] for row in sheet.iter() if row.tag.endswith("}row")]
    assert rows == [line.split("\t") for line in (tmp_path / "t.tsv").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("name", ["t.csv", "t.eaf", "t.srt", "t.xlsx"])
def test_the_same_timeline_gives_the_same_bytes(story: Path, tmp_path: Path, name: str) -> None:
    fervid.export(story, tmp_path / name)
    first = (tmp_path / name).read_bytes()
    fervid.export(story, tmp_path / name)
    assert (tmp_path / name).read_bytes() == first


@pytest.mark.parametrize("name", ["t.csv", "t.eaf", "t.srt", "t.xlsx"])
def test_a_timeline_without_a_face_is_exported_too(template: Path, tmp_path: Path, name: str) -> None:
    path = by_hand(template, tmp_path / "nobody.parquet", [(0, None, "no_face"), (1, None, "no_face")])
    assert run("export", path, "--out", tmp_path / name)[0] == 0
    assert (tmp_path / name).exists()


# -- bad input ------------------------------------------------------------------------------------------


def test_unknown_formats_and_suffixes_are_told(story: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"--to csv, elan, srt or boris, found spss"):
        fervid.export(story, tmp_path / "t.csv", "spss")
    with pytest.raises(OutputError, match=r"expected --to"):
        fervid.export(story, tmp_path / "t.txt")
    with pytest.raises(OutputError, match=r"ends with \.eaf"):
        fervid.export(story, tmp_path / "t.csv", "elan")


def test_what_is_no_timeline_is_told(story: Path, tmp_path: Path) -> None:
    clip = write_pictures(tmp_path / "a.mp4", [face_at(40)] * 5)
    faces = tell(clip)[1]
    (tmp_path / "text.parquet").write_text("no parquet")
    empty = rewrite(story, tmp_path / "empty.parquet", lambda frame: frame.iloc[:0])
    bad = {
        faces: "face readings", tmp_path / "text.parquet": "not a timeline", tmp_path: "is a folder",
        empty: "without a single second", tmp_path / "missing.parquet": "no such file",
    }  # fmt: skip
    for path, words in bad.items():
        with pytest.raises(DataError, match=words):
            fervid.export(path, tmp_path / "t.csv")
    assert not (tmp_path / "t.csv").exists()


def test_a_place_that_cannot_be_written_is_told(story: Path, tmp_path: Path) -> None:
    code, _, error = run("export", story, "--out", tmp_path / "nowhere" / "t.csv")
    assert code == 2 and "cannot be written" in error and error.count("\n") == 1
    with pytest.raises(OutputError, match="is the input"):
        fervid.export(story.rename(story.with_suffix(".csv")), story.with_suffix(".csv"))
    story.with_suffix(".csv").rename(story)
