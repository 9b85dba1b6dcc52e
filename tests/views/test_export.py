"""Exports contain the same values as the timeline."""

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
from fervid.views.export.formats import FORMATS, Format
from fervid.views.export.subtitles import cues
from tests.helpers.clip_timelines import (
    ROWS,
    Row,
    face_at,
    process,
    rewrite,
    with_duration,
    with_rows,
    with_source,
    write_frames,
)
from tests.helpers.command_line import run
from tests.helpers.hypothesis_settings import steady

#: The intervals of ROWS.
MERGED = [
    (0, "happiness", 0, 2),
    (1, "anger", 4, 5),
    (1, "happiness", 5, 6),
    (2, "neutral", 4, 6),
    (None, "no_face", 2, 3),
    (None, "no_data", 3, 4),
]
#: One file of every format.
FILES = [f"t{entry.suffixes[0]}" for entry in FORMATS.values()]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the timeline of a clip with a non-ASCII name and a declared duration of an hour."""
    clip = write_frames(tmp_path_factory.mktemp("clips") / "Ärger & <Freude> 東京.mp4", [face_at(40)] * 5)
    path = process(clip)[0]
    return with_duration(path, path.with_stem("long"), 3600.0)


@pytest.fixture(scope="module")
def story(template: Path) -> Path:
    return with_rows(template, template.with_stem("story"), ROWS)


def plain(intervals: list[Interval]) -> list[tuple]:
    return [(i.track, i.label, i.start_s, i.end_s) for i in intervals]


# -- intervals ------------------------------------------------------------------------------------------


def test_consecutive_seconds_of_one_emotion_are_merged(story: Path) -> None:
    assert plain(merge_seconds(open_timeline(story))) == MERGED


def test_an_interval_ends_with_the_video(tmp_path: Path) -> None:
    out, _ = process(write_frames(tmp_path / "short.mp4", [face_at(40)] * 35))
    assert [(i.start_s, i.end_s) for i in merge_seconds(open_timeline(out))] == [(0, pytest.approx(1.4))]


words = st.sampled_from(["anger", "happiness", "neutral"])
visible = st.dictionaries(st.integers(0, 4), words, max_size=3)


@given(seconds=st.lists(st.one_of(visible, st.sampled_from(["no_face", "no_data"])), min_size=1, max_size=30))
@steady
def test_merging_keeps_every_second_and_is_maximal(seconds: list) -> None:
    intervals = merge_seconds(_timeline(seconds))
    covered: set[tuple] = set()
    for i in intervals:
        assert i.end_s > i.start_s
        covered |= {(s, i.track, i.label) for s in range(round(i.start_s), round(i.end_s))}
    assert covered == set(_rows(seconds))
    assert sum(i.end_s - i.start_s for i in intervals) == len(covered)  # so none overlap
    ends = {(i.track, i.label, i.end_s) for i in intervals}
    assert not any((i.track, i.label, i.start_s) in ends for i in intervals)


@given(seconds=st.lists(st.one_of(visible, st.sampled_from(["no_face", "no_data"])), min_size=1, max_size=30))
@steady
def test_cues_do_not_overlap_and_cover_every_interval(seconds: list) -> None:
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
    """Build a timeline in memory, as open_timeline returns it."""
    frame = pd.DataFrame(_rows(seconds), columns=["second", "track", "word"])
    ok = frame["track"].notna()
    frame["status"], frame["dominant"] = frame["word"].where(~ok, "ok"), frame["word"].where(ok, None)
    frame["face_seconds"] = ok.astype(float)
    for name in ("anger", "happiness", "neutral"):
        frame[name] = np.where(ok, (frame["word"] == name) * 0.8, np.nan)
    facts = {"source": {"name": "film.mp4", "duration_s": None}, "config": {"end_s": None}}
    return Timeline(Path("film.parquet"), frame.astype({"track": "Int32"}), facts)


def _from_cues(shown: list[tuple[float, float, list[str]]]) -> list[tuple]:
    """Recover the intervals: equal lines in consecutive cues are one interval."""
    running: dict[tuple, list[float]] = {}
    found = []
    for start, end, lines in shown:
        keys = [re.fullmatch(r"track (\d+): (\w+) (\d+)%", line).group(1, 2) for line in lines]
        for key in keys:
            if key in running and running[key][1] == start:
                running[key][1] = end
                continue
            if key in running:
                found.append((int(key[0]), key[1], *running[key]))
            running[key] = [start, end]
    found += [(int(track), word, *span) for (track, word), span in running.items()]
    return sorted(found)


# -- formats --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", FORMATS.values(), ids=FORMATS)
def test_every_format_has_a_writer_a_help_text_and_suffixes(entry: Format) -> None:
    assert callable(entry.load()) and entry.help
    assert entry.suffixes and all(suffix.startswith(".") for suffix in entry.suffixes)


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


def test_elan_elements_have_the_order_of_the_schema_and_valid_references(story: Path, tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("name", "container", "kind"),
    [
        ("00001.MTS", "mpegts", "mp2t"), ("rec.ts", "mpegts", "mp2t"), ("a.mpg", "mpeg", "mpeg"),
        ("a.vob", "mpeg", "mpeg"), ("clip.3gp", "mov", "3gpp"), ("clip.3g2", "mov", "3gpp2"),
        ("a.mov", "mov", "quicktime"), ("a.m4v", "mov", "mp4"), ("no suffix", "mov", "mp4"),
        ("a.txt", "mov", "mp4"), ("a.mkv", "matroska", "x-matroska"), ("a.webm", "matroska", "webm"),
        ("a.webm", "mpegts", "mp2t"), ("a.mp4", "matroska", "x-matroska"), ("talk.ogg", "ogg", "ogg"),
        ("a.avi", "avi", "x-msvideo"), ("a.wmv", "asf", "x-ms-wmv"), ("a.flv", "flv", "x-flv"),
        ("a.mxf", "mxf", "mxf"), ("a.h264", "h264", "h264"), ("a.265", "hevc", "h265"), ("a.ivf", "ivf", "x-ivf"),
        ("a.dv", "dv", "dv"), ("a.gif", "gif", "*"), ("a.apng", "apng", "*"), ("a.mp4", "another", "*"),
    ],
)  # fmt: skip
def test_elan_gets_a_video_type_of_the_container(
    name: str, container: str, kind: str, story: Path, tmp_path: Path
) -> None:
    path = with_source(story, tmp_path / "t.parquet", name=name, container=container)
    fervid.export(path, tmp_path / "t.eaf")
    media = ET.parse(tmp_path / "t.eaf").getroot().find("HEADER/MEDIA_DESCRIPTOR")
    assert media.get("MIME_TYPE") == f"video/{kind}"


def test_elan_finds_a_video_beside_the_timeline(story: Path, tmp_path: Path) -> None:
    video = tmp_path / "films" / "a b.mp4"
    video.parent.mkdir()
    path = with_source(story, video.with_suffix(".parquet"), name=video.name)
    for exists in (False, True):
        fervid.export(path, tmp_path / "t.eaf")
        media = ET.parse(tmp_path / "t.eaf").getroot().find("HEADER/MEDIA_DESCRIPTOR")
        assert media.get("MEDIA_URL") == (video.as_uri() if exists else "./a%20b.mp4")
        assert media.get("RELATIVE_MEDIA_URL") == "./a%20b.mp4"
        video.touch()


@pytest.mark.parametrize(
    ("origin_s", "start_s", "end_s"), [(2.5, 2.5, 4.5), (-0.021, 0.0, 1.979), (1 / 3, 0.333, 2.333)]
)
def test_times_are_those_that_a_player_shows(
    origin_s: float, start_s: float, end_s: float, story: Path, tmp_path: Path
) -> None:
    path = with_source(story, tmp_path / "t.parquet", origin_s=origin_s)
    for suffix in (".srt", ".eaf", ".tsv", ".csv"):
        fervid.export(path, tmp_path / f"t{suffix}")
    span = (tmp_path / "t.srt").read_text("utf-8").split("\n")[1]
    assert [_seconds(t) for t in span.split(" --> ")] == [start_s, end_s]
    slots = [int(slot.get("TIME_VALUE")) for slot in ET.parse(tmp_path / "t.eaf").getroot().iter("TIME_SLOT")]
    assert slots[:2] == [round(start_s * 1000), round(end_s * 1000)]
    assert pd.read_csv(tmp_path / "t.tsv", sep="\t")["time"].tolist()[:2] == [start_s, end_s]
    assert pd.read_csv(tmp_path / "t.csv")["second"].tolist()[:2] == [0, 1]  # of the timeline


def test_persons_become_participants(story: Path, tmp_path: Path) -> None:
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


def test_boris_has_a_start_and_a_stop_per_state(story: Path, tmp_path: Path) -> None:
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


def test_a_boris_workbook_has_the_same_cells_as_the_tsv(story: Path, tmp_path: Path) -> None:
    fervid.export(story, tmp_path / "t.xlsx")
    fervid.export(story, tmp_path / "t.tsv", "boris")
    with zipfile.ZipFile(tmp_path / "t.xlsx") as book:
        for name in book.namelist():
            ET.fromstring(book.read(name))
        sheet = ET.fromstring(book.read("xl/worksheets/sheet1.xml"))
    rows = [["".join(cell.itertext()) for cell in row] for row in sheet.iter() if row.tag.endswith("}row")]
    assert rows == [line.split("\t") for line in (tmp_path / "t.tsv").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("name", FILES)
def test_the_same_timeline_gives_the_same_bytes(story: Path, tmp_path: Path, name: str) -> None:
    fervid.export(story, tmp_path / name)
    first = (tmp_path / name).read_bytes()
    fervid.export(story, tmp_path / name)
    assert (tmp_path / name).read_bytes() == first


@pytest.mark.parametrize("name", FILES)
def test_a_timeline_without_a_face_can_be_exported(template: Path, tmp_path: Path, name: str) -> None:
    path = with_rows(template, tmp_path / "faceless.parquet", [(0, None, "no_face"), (1, None, "no_face")])
    assert run("export", path, "--out", tmp_path / name)[0] == 0
    assert (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["t.csv", "t.eaf", "t.srt", "t.xlsx"])
def test_what_was_written_is_counted(story: Path, template: Path, tmp_path: Path, name: str) -> None:
    faceless = with_rows(template, tmp_path / "faceless.parquet", [(0, None, "no_face"), (1, None, "no_face")])
    for path, expected in (
        (story, {"t.csv": {"rows": len(ROWS)}, "t.srt": {"subtitles": 3}}.get(name, {"intervals": len(MERGED)})),
        (faceless, {"t.csv": {"rows": 2}, "t.srt": {"subtitles": 0}}.get(name, {"intervals": 1})),
    ):
        facts = fervid.export(path, tmp_path / name)
        assert {unit: count for unit, count in facts.items() if unit not in ("written", "format")} == expected


# -- bad input ------------------------------------------------------------------------------------------


def test_unknown_formats_and_suffixes_are_errors(story: Path, tmp_path: Path) -> None:
    *most, last = FORMATS
    with pytest.raises(OutputError, match=f"--to {', '.join(most)} or {last}, found spss"):
        fervid.export(story, tmp_path / "t.csv", "spss")
    with pytest.raises(OutputError, match=r"expected --to"):
        fervid.export(story, tmp_path / "t.txt")
    with pytest.raises(OutputError, match=r"ends with \.eaf \(for --to elan\)"):
        fervid.export(story, tmp_path / "t.csv", "elan")


def test_other_files_are_errors(story: Path, tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "a.mp4", [face_at(40)] * 5)
    faces = process(clip)[1]
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


def test_an_output_that_cannot_be_written_is_an_error(story: Path, tmp_path: Path) -> None:
    code, _, error = run("export", story, "--out", tmp_path / "nowhere" / "t.csv")
    assert code == 2 and f"cannot be written (no folder {tmp_path / 'nowhere'})" in error and error.count("\n") == 1
    with pytest.raises(OutputError, match="is the input"):
        fervid.export(story.rename(story.with_suffix(".csv")), story.with_suffix(".csv"))
    story.with_suffix(".csv").rename(story)
