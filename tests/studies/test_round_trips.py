"""What `export` writes, and what BORIS and ELAN make of it, `agree` reads: the same labels in the same seconds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fervid
from fervid.clock import FileClock
from fervid.errors import DataError
from fervid.studies.ratings import Film, RatingOptions, Ratings, read_ratings
from fervid.timeline.read import open_timeline
from fervid.views.export.export import intervals_to_show
from fervid.views.export.formats import FORMATS
from tests.helpers.annotation_files import WRITERS, Span, boris_aggregated, boris_tabular, elan_text
from tests.helpers.clip_timelines import Row, face_at, process, rewrite, with_rows, write_frames
from tests.helpers.command_line import run
from tests.helpers.hypothesis_settings import steady

#: One track, with seconds without a face and without data; it ends in the middle of a second.
ONE_TRACK: list[Row] = [
    (0, 0, "happiness"), (1, 0, "happiness"), (2, None, "no_face"), (3, None, "no_data"), (4, 1, "anger"),
    (5, 1, "happiness"), (6, 1, "neutral"),
]  # fmt: skip
TWO_TRACKS: list[Row] = [
    (0, 0, "happiness"), (0, 1, "anger"), (1, 0, "happiness"), (1, 1, "neutral"), (2, 0, "anger"), (2, 1, "neutral"),
    (3, 0, "neutral"), (3, 1, "happiness"),
]  # fmt: skip
#: Every format and suffix of `fervid export`.
EXPORTS = [(name, suffix) for name, entry in FORMATS.items() for suffix in entry.suffixes]
#: When the first frame is shown, in seconds on the file's clock.
ORIGINS = [0.0, 0.04, 2.5, 7.0333667, -0.021]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return process(write_frames(tmp_path_factory.mktemp("clips") / "film.mp4", [face_at(40)] * 5))[0]


def timeline(
    template: Path, out: Path, rows: list[Row], *, origin_s: float = 0.0, duration_s: float, **config: Any
) -> Path:
    """Copy a timeline with other rows, another late start of the video, and another duration."""
    with_rows(template, out, rows)
    table = pq.read_table(out)
    facts = json.loads(table.schema.metadata[b"fervid"])
    facts["source"] |= {"origin_s": origin_s, "duration_s": duration_s}
    facts["config"] |= config
    pq.write_table(table.replace_schema_metadata({b"fervid": json.dumps(facts)}), out)
    return out


def spans(path: Path) -> list[Span]:
    """Return the intervals of a timeline that have a face, as a coder would note them."""
    return [Span(i.label, i.start_s, i.end_s) for i in intervals_to_show(open_timeline(path)) if i.track is not None]


def labels(found: Ratings, rater: int = 0) -> list[tuple[int, str]]:
    return [(int(s), found.emotions[i]) for s, i in zip(found.second, found.label[rater]) if i >= 0]


def perfect(path: Path, ratings: Path, seconds: int, **options: Any) -> None:
    """Check that the ratings agree with the timeline in all of its seconds with a face."""
    facts = fervid.agree(path, ratings, **options).facts
    assert facts["coverage"]["compared_seconds"] == facts["coverage"]["machine_seconds"] == seconds
    assert facts["labels"]["agreement"] == 1 and facts["labels"]["kappa"]["value"] == pytest.approx(1)


# -- the contract -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin_s", ORIGINS)
@pytest.mark.parametrize(("name", "suffix"), EXPORTS)
def test_agree_reads_every_export(name: str, suffix: str, origin_s: float, template: Path, tmp_path: Path) -> None:
    path = timeline(template, tmp_path / "t.parquet", ONE_TRACK, origin_s=origin_s, duration_s=6.3)
    fervid.export(path, tmp_path / f"t{suffix}", name)
    perfect(path, tmp_path / f"t{suffix}", 5)


@pytest.mark.parametrize(("name", "suffix"), EXPORTS)
@pytest.mark.parametrize("track", [0, 1])
def test_agree_reads_one_track_of_every_export(
    name: str, suffix: str, track: int, template: Path, tmp_path: Path
) -> None:
    path = timeline(template, tmp_path / "t.parquet", TWO_TRACKS, origin_s=2.5, duration_s=4.0)
    fervid.export(path, tmp_path / f"t{suffix}", name)
    perfect(path, tmp_path / f"t{suffix}", 4, track=track)
    code, _, error = run("agree", path, tmp_path / f"t{suffix}")
    if name == "csv":  # it has the time for which each face was visible
        assert code == 0
    else:
        assert code == 2 and "more than one track (0, 1); choose by --track" in error and error.count("\n") == 1


@pytest.mark.parametrize(("name", "suffix"), EXPORTS)
@pytest.mark.parametrize(("person", "seconds"), [(0, 5), (1, 4)])
def test_agree_reads_one_person_of_every_export(
    name: str, suffix: str, person: int, seconds: int, template: Path, tmp_path: Path
) -> None:
    """Person 0 is track 0 and, after a cut, track 2, which share a second; person 1 is track 1."""
    rows: list[Row] = [*TWO_TRACKS, (3, 2, "neutral"), (4, 2, "happiness")]
    path = timeline(template, tmp_path / "t.parquet", rows, origin_s=2.5, duration_s=5.0)
    path = rewrite(path, tmp_path / "p.parquet", lambda f: f.assign(person=f["track"].where(f["track"] != 2, 0)))
    fervid.export(path, tmp_path / f"t{suffix}", name)
    perfect(path, tmp_path / f"t{suffix}", seconds, person=person)


@pytest.mark.parametrize("origin_s", ORIGINS)
@pytest.mark.parametrize("kind", WRITERS)
def test_agree_reads_what_other_programs_write(kind: str, origin_s: float, template: Path, tmp_path: Path) -> None:
    path = timeline(template, tmp_path / "t.parquet", ONE_TRACK, origin_s=origin_s, duration_s=6.3)
    name, write = WRITERS[kind]
    (tmp_path / name).write_text(write(spans(path)), "utf-8")
    perfect(path, tmp_path / name, 5)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("kind", WRITERS)
def test_encodings(kind: str, encoding: str, template: Path, tmp_path: Path) -> None:
    path = timeline(template, tmp_path / "t.parquet", ONE_TRACK, duration_s=7.0)
    name, write = WRITERS[kind]
    (tmp_path / name).write_bytes(write(spans(path)).replace("\n", "\r\n").encode(encoding))
    perfect(path, tmp_path / name, 5)


def test_the_part_that_was_processed_is_exported(template: Path, tmp_path: Path) -> None:
    path = timeline(template, tmp_path / "t.parquet", ONE_TRACK[4:], duration_s=60.0, start_s=4.7, end_s=6.2)
    assert [(s.start_s, s.end_s) for s in spans(path)] == [(4.7, 5), (5, 6), (6, 6.2)]
    for name, suffix in EXPORTS:
        fervid.export(path, tmp_path / f"t{suffix}", name)
        perfect(path, tmp_path / f"t{suffix}", 3)


words = st.sampled_from(["anger", "happiness", "neutral"])


@steady
@given(st.lists(words, min_size=3, max_size=12), st.floats(0, 20), st.sampled_from(sorted(WRITERS)))
def test_any_timeline_makes_the_round_trip(
    template: Path, tmp_path_factory: pytest.TempPathFactory, shown: list[str], origin_s: float, kind: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    rows: list[Row] = [(s, 0, word) for s, word in enumerate(shown)]
    path = timeline(template, folder / "t.parquet", rows, origin_s=origin_s, duration_s=float(len(rows)))
    name, write = WRITERS[kind]
    (folder / name).write_text(write(spans(path)))
    facts = fervid.agree(path, folder / name).facts
    assert facts["labels"]["agreement"] == 1 and facts["coverage"]["compared_seconds"] == len(rows)


# -- the file's clock -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin_s", "table"),
    [
        (2.5, "start,end,label\n2.5,4.5,happy\n4.5,8.5,sad\n"),
        (2.5, "t,label\n2.51,happy\n4.49,happy\n4.5,sad\n5.5,sad\n6.6,sad\n7.7,sad\n"),
        (0.04, "second,label\n0,happy\n1,happy\n2,sad\n3,sad\n4,sad\n5,sad\n"),  # whole seconds of a player
        (3.0, "second,label\n3,happy\n4,happy\n5,sad\n6,sad\n7,sad\n8,sad\n"),
    ],
)
def test_ratings_are_on_the_clock_of_a_player(origin_s: float, table: str, template: Path, tmp_path: Path) -> None:
    rows: list[Row] = [(s, 0, "happiness" if s < 2 else "anger") for s in range(6)]
    path = timeline(template, tmp_path / "t.parquet", rows, origin_s=origin_s, duration_s=6.0)
    (tmp_path / "coder.csv").write_text(table.replace("sad", "anger"))
    perfect(path, tmp_path / "coder.csv", 6)


# -- events of BORIS --------------------------------------------------------------------------------------------

SIX = [(s, "happiness") for s in range(4)] + [(4, "sadness"), (5, "sadness")]
STATES = [Span("happiness", 0, 3.999, "child"), Span("sadness", 4, 6, "child")]
POINT = Span("point to toy", 2.5, 2.5, "child")


@pytest.fixture
def read(tmp_path: Path):
    def read(text: str, video: str | None = None, **options: Any) -> Ratings:
        (tmp_path / "coder.csv").write_text(text, "utf-8")
        return read_ratings(tmp_path / "coder.csv", RatingOptions(**options), Film(video))

    return read


@pytest.mark.parametrize("write", [boris_tabular, boris_aggregated])
def test_states_are_intervals_and_points_are_left_out(write, read) -> None:
    for points, n in (((), 0), ((POINT,), 1), ((POINT, Span("happiness", 1, 1)), 2)):
        found = read(write(STATES, points=points))
        assert labels(found) == SIX
        assert found.facts["kind"] == "intervals" and found.facts["points_ignored"] == n


def test_point_events_alone_rate_moments(read) -> None:
    points = [Span("happiness", 0.5, 0.5), Span("sadness", 2.25, 2.25)]
    for write in (boris_tabular, boris_aggregated):
        found = read(write([], points=points))
        assert labels(found) == [(0, "happiness"), (2, "sadness")] and found.facts["kind"] == "moments"
        found = read(write([Span("walking", 0, 9)], points=points), ignore_unknown=True)
        assert labels(found) == [(0, "happiness"), (2, "sadness")] and found.facts["kind"] == "moments"


def test_rows_that_are_left_out_may_have_any_time(read) -> None:
    """The state "walking" never stops, and "talking" ends before it starts."""
    text = boris_tabular(STATES) + boris_tabular([Span("walking", 1, 2)]).splitlines()[1] + "\n"
    assert labels(read(text, ignore_unknown=True)) == SIX
    with pytest.raises(DataError, match="unknown label 'walking'"):
        read(text)
    text = "start,end,label\n0,4,happy\n9,8,talking\nlater,,talking\n4,6,sad\n"
    assert labels(read(text, ignore_unknown=True)) == SIX


def test_an_old_export_of_boris_has_lines_above_its_header(read) -> None:
    text = (
        "Observation id,obs1,,,,,,,\n,,,,,,,,\nMedia file(s),,,,,,,,\nPlayer #1,film.mp4,,,,,,,\n"
        "Time offset (s),0.0,,,,,,,\n"
        ",,,,,,,,\nTime,Media file path,Total length,FPS,Subject,Behavior,Behavioral category,Comment,Status\n"
        "0.000,film.mp4,6,30,child,happiness,,,START\n3.999,film.mp4,6,30,child,happiness,,,STOP\n"
        "4.000,film.mp4,6,30,child,sadness,,,START\n6.000,film.mp4,6,30,child,sadness,,,STOP\n"
    )
    assert labels(read(text)) == SIX
    assert [s for s, _ in labels(read(text.replace("offset (s),0.0", "offset (s),-10")))] == [10, 11, 12, 13, 14, 15]


def test_rows_in_any_order_and_repeated_headers(read) -> None:
    head, *rows = boris_tabular(STATES).splitlines()
    assert labels(read("\n".join([head, *reversed(rows)]))) == SIX
    assert labels(read("\n".join([head, *rows[:2], head, *rows[2:]]))) == SIX


def test_states_are_paired_by_subject_and_modifiers(read) -> None:
    head = "Time;Subject;Behavior;Modifier #1;Behavior type\n"
    body = "0,0;A;joy;weak;START\n2,0;A;joy;weak;STOP\n2,0;A;joy;strong;START\n4,0;A;joy;strong;STOP\n"
    assert labels(read(head + body)) == SIX[:4]
    other = "0,0;B;sad;;START\n4,0;B;sad;;STOP\n"
    assert labels(read(head + body + other, subject="b")) == [(s, "sadness") for s in range(4)]
    with pytest.raises(DataError, match=r"more than one subject \(A, B\); choose by --subject"):
        read(head + body + other)
    found = read(head + body.replace(";A;", ";No focal subject;") + other, subject="no focal subject")
    assert labels(found) == SIX[:4]
    with pytest.raises(DataError, match="no row is about subject 'C'; found a, b"):
        read(head + body + other, subject="C")


def test_a_state_may_stop_and_start_at_the_same_time(read) -> None:
    head = "Time,Behavior,Status\n"
    assert labels(read(head + "0,joy,START\n2,joy,START\n2,joy,STOP\n4,joy,STOP\n")) == SIX[:4]
    assert read(head + "0,joy,START\n4,joy,STOP\n5,joy,START\n5,joy,STOP\n").facts["points_ignored"] == 1


def test_the_time_offset_of_boris_is_subtracted(read) -> None:
    for write in (boris_tabular, boris_aggregated):
        assert labels(read(write(STATES, offset_s=3600))) == SIX
        assert labels(read(write([Span("joy", 8, 9)], offset_s=-5.5))) == [(8, "happiness")]


def test_one_of_several_videos_of_an_observation(read) -> None:
    """BORIS plays a.mp4 (10 s), then b.mp4, on one clock."""
    several = {"source": "player #1:C:/films/a.mp4;C:/films/b.mp4", "durations": "10.000;20.000", "media": "NA"}
    text = boris_tabular([Span("joy", 8, 12), Span("sad", 12, 14)], **several)
    assert labels(read(text, "A.mp4")) == [(8, "happiness"), (9, "happiness")]
    assert labels(read(text, "b.mp4")) == [(0, "happiness"), (1, "happiness"), (2, "sadness"), (3, "sadness")]
    with pytest.raises(DataError, match=r"rates several videos \(a.mp4, b.mp4\); expected c.mp4 among them"):
        read(text, "c.mp4")
    with pytest.raises(DataError, match=r"expected the duration of each .* found '10.000'"):
        read(boris_tabular([Span("joy", 8, 12)], **several | {"durations": "10.000"}), "b.mp4")


def test_several_observations_are_raters_or_videos(read) -> None:
    first = boris_tabular(STATES, observation="Anna")
    second = boris_tabular([Span("sadness", 0, 6)], observation="Ben")
    both = first + second.split("\n", 1)[1]
    found = read(both, "film.mp4")
    assert found.raters == ("Anna", "Ben")
    assert labels(found) == SIX and labels(found, 1) == [(s, "sadness") for s in range(6)]
    other = boris_tabular([Span("anger", 0, 6)], observation="Ben", source="player #1:other.mp4", media="other.mp4")
    found = read(first + other.split("\n", 1)[1], "film.mp4")
    assert found.raters == ("rater",) and labels(found) == SIX


# -- ELAN -------------------------------------------------------------------------------------------------------


def eaf(tiers: str, media: str = "", slots: str = "0 2000 4000 6000") -> str:
    """Write a small EAF document; tiers have annotations between its time slots ts1, ts2, ..."""
    order = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="ts{n}"' + (f' TIME_VALUE="{ms}"/>' if ms != "-" else "/>")
        for n, ms in enumerate(slots.split(), 1)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ANNOTATION_DOCUMENT AUTHOR="" DATE="2026-01-05T10:00:00+00:00" '
        f'FORMAT="3.0" VERSION="3.0"><HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">{media}</HEADER>'
        f"<TIME_ORDER>{order}</TIME_ORDER>{tiers}</ANNOTATION_DOCUMENT>"
    )


def tier(name: str, *notes: tuple[int, int, str], **attributes: str) -> str:
    given = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return (
        f'<TIER TIER_ID="{name}" LINGUISTIC_TYPE_REF="t"{given}>'
        + "".join(
            f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="{name}{n}" TIME_SLOT_REF1="ts{a}" '
            f'TIME_SLOT_REF2="ts{b}">'
            f"<ANNOTATION_VALUE>{value}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>"
            for n, (a, b, value) in enumerate(notes)
        )
        + "</TIER>"
    )


def test_tiers_without_emotions_are_left_out(read) -> None:
    text = eaf(tier("speech", (1, 4, "hello")) + tier("face", (1, 3, "happy"), (3, 4, "sad")))
    found = read(text)
    assert labels(found) == SIX and found.raters == ("rater",)
    assert found.facts["columns_not_used"] == ["tier speech"]
    with pytest.raises(DataError, match=r"no tier with emotions \(tiers: speech; labels such as hello\)"):
        read(eaf(tier("speech", (1, 4, "hello"))))
    with pytest.raises(DataError, match=r"annotation 2, column 'annotation': unknown label 'hapy'"):
        read(eaf(tier("face", (1, 2, "sad"), (2, 3, "hapy"))))


def test_tiers_are_raters_and_participants_are_subjects(read) -> None:
    two = (1, 3, "happy"), (1, 3, "sad")
    assert read(eaf(tier("x", two[0], ANNOTATOR="Anna") + tier("y", two[1], ANNOTATOR="Ben"))).raters == ("Anna", "Ben")
    assert read(eaf(tier("x", two[0]) + tier("y", two[1]))).raters == ("x", "y")
    people = eaf(tier("x", two[0], PARTICIPANT="Mia") + tier("y", two[1], PARTICIPANT="Tom"))
    assert labels(read(people, subject="Tom")) == [(s, "sadness") for s in range(4)]
    with pytest.raises(DataError, match=r"annotations 1 and 2 of rater overlap, .* subject \(Mia, Tom\)"):
        read(people)


def test_elan_annotations_that_refer_to_others_have_their_times(read) -> None:
    notes = "".join(
        f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="r{n}" ANNOTATION_REF="face0"><ANNOTATION_VALUE>{word}'
        "</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>"
        for n, word in enumerate(("happy", "sad"))
    )
    child = f'<TIER TIER_ID="emotion" LINGUISTIC_TYPE_REF="t" PARENT_REF="face">{notes}</TIER>'
    assert labels(read(eaf(child + tier("face", (1, 3, "visible"))))) == [
        (0, "happiness"), (1, "happiness"), (2, "sadness"), (3, "sadness"),
    ]  # fmt: skip


def test_time_origin_of_elan_is_added(read) -> None:
    media = '<MEDIA_DESCRIPTOR MEDIA_URL="file:///x/{}" MIME_TYPE="video/mp4"{}/>'
    one = media.format("a%20b.mp4", ' TIME_ORIGIN="3000"')
    two = one + media.format("b.mp4", ' TIME_ORIGIN="1000"') + media.format("c.mp4", "")
    face = tier("face", (1, 2, "happy"))
    assert [s for s, _ in labels(read(eaf(face, one), "b.mp4"))] == [3, 4]  # a copy of another name
    for name, seconds in (("a b.mp4", [3, 4]), ("b.mp4", [1, 2]), ("c.mp4", [0, 1])):
        assert [s for s, _ in labels(read(eaf(face, two), name))] == seconds


def test_annotations_without_times_are_errors_only_where_they_rate(read) -> None:
    slots = "0 2000 - 6000"
    words = tier("words", (1, 3, "hello"), (3, 4, "there"))
    assert len(labels(read(eaf(words + tier("face", (1, 2, "happy")), slots=slots)))) == 2
    with pytest.raises(DataError, match=r"annotation 1, column 'start_ms': expected a time .* found ''"):
        read(eaf(tier("face", (1, 3, "happy")), slots=slots))


# -- bad input --------------------------------------------------------------------------------------------------

EVENTS = "Time,Subject,Behavior,Behavior type\n"
BAD = {
    "start without stop": (
        EVENTS + "0,A,joy,START\n4,B,joy,STOP\n",
        "row 2 starts a state at 0 s; expected a STOP row after it",
    ),
    "stop without start": (
        EVENTS + "1,A,joy,STOP\n2,A,joy,START\n",
        "row 2 stops a state at 1 s; expected a START row before it",
    ),
    "two starts": (EVENTS + "0,A,joy,START\n1,A,joy,START\n2,A,joy,STOP\n", "but row 3 starts it again at 1 s"),
    "another word": (
        EVENTS + "0,A,joy,START\n4,A,joy,STOPS\n",
        "row 3, column 'Behavior type': expected START, STOP or POINT, found 'stops'",
    ),
    "no word": (EVENTS + "0,A,joy,START\n4,A,joy,STOP\n5,A,joy,\n", "expected START, STOP or POINT, found nothing"),
    "overlapping states": (
        EVENTS + "0,A,joy,START\n3,A,sad,START\n4,A,joy,STOP\n5,A,sad,STOP\n",
        "rows 2 and 3 of rater overlap",
    ),
    "no time": (EVENTS + "soon,A,joy,START\n4,A,joy,STOP\n", "row 2, column 'Time': expected a time"),
    "damaged EAF": ('<?xml version="1.0"?><ANNOTATION_DOCUMENT><HEADER>', "a damaged ELAN file"),
    "empty EAF": (eaf(tier("face")), "an ELAN file without annotations (tiers: face)"),
    "EAF with words as times": (eaf(tier("face", (1, 2, "sad")), slots="0 two"), "a time that is not a whole number"),
    "subtitles with words": ("1\n00:00:01,000 --> 00:00:02,000\nHello!\n", "line 3, column 'label': unknown label"),
    "empty subtitles": ("1\n00:00:01,000 --> 00:00:02,000\n\n", "subtitles without text"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_give_one_sentence(kind: str, read, tmp_path: Path) -> None:
    text, words = BAD[kind]
    with pytest.raises(DataError) as error:
        read(text)
    assert words in str(error.value) and str(tmp_path / "coder.csv") in str(error.value)
    assert "\n" not in str(error.value)


def test_damaged_workbooks_are_errors(template: Path, tmp_path: Path) -> None:
    path = timeline(template, tmp_path / "t.parquet", ONE_TRACK, duration_s=7.0)
    fervid.export(path, tmp_path / "t.xlsx")
    data = (tmp_path / "t.xlsx").read_bytes()
    for n in np.random.default_rng(1).integers(4, len(data), 40):
        for broken in (data[:n], data[:n] + bytes([data[n] ^ 0x55]) + data[n + 1 :]):
            (tmp_path / "bad.xlsx").write_bytes(broken)
            try:
                read_ratings(tmp_path / "bad.xlsx")
            except DataError as e:
                assert "bad.xlsx" in str(e) and "\n" not in str(e)


def test_the_command_says_what_is_left_out(template: Path, tmp_path: Path) -> None:
    path = timeline(template, tmp_path / "t.parquet", ONE_TRACK, origin_s=2.5, duration_s=7.0)
    (tmp_path / "coder.csv").write_text(boris_tabular(spans(path), points=[POINT]))
    code, printed, _ = run("agree", path, tmp_path / "coder.csv")
    assert code == 0
    assert "1 event without duration" in printed and "first frame at 2.5 s" in printed


def test_the_command_says_if_another_video_was_rated(template: Path, tmp_path: Path) -> None:
    path = timeline(template, tmp_path / "t.parquet", ONE_TRACK, duration_s=7.0)
    for name, said in (("Film.mp4", False), ("other.mp4", True)):
        text = boris_tabular(spans(path), source=f"player #1:C:\\x\\{name}", media=name)
        (tmp_path / "coder.csv").write_text(text)
        assert ("the ratings name other.mp4" in run("agree", path, tmp_path / "coder.csv")[1]) == said
    fervid.export(path, tmp_path / "t.eaf")
    assert "the ratings name" not in run("agree", path, tmp_path / "t.eaf")[1]


def test_elan_text_needs_its_usual_columns(read) -> None:
    assert labels(read(elan_text(STATES))) == SIX
    with pytest.raises(DataError, match="no column of times"):
        read("face\t0\t4\thappy\nface\t4\t6\tsad\n")


HEADS = st.sampled_from([
    "Time", "Start (s)", "Stop (s)", "Duration (s)", "Behavior", "Behavior type", "Status", "comment", "Subject",
    "Tier", "Observation id", "Time offset (s)", "Media file name", "Source", "Media duration (s)", "Modifier #1",
    "happiness", "coder", "track", "person", "video", "second", "status", "n_sampled", "face_seconds", "dominant",
])  # fmt: skip
CELLS = st.sampled_from([
    "", "0", "1", "2.5", "0:04", "NA", "joy", "sad", "START", "STOP", "POINT", "STATE", "start", "stop", "A", "track 0",
    "person 1", "a.mp4", "b.mp4", "player #1:a.mp4;b.mp4", "player #1:a.mp4|player #2:b.mp4", "10;20", "10|20", "ok",
    "no_face", "no focal subject",
])  # fmt: skip


@steady
@given(
    st.lists(HEADS, min_size=2, max_size=9),
    st.lists(st.lists(CELLS, max_size=9), min_size=1, max_size=6),
    st.sampled_from([None, "a.mp4", "b.mp4"]),
    st.sampled_from([RatingOptions(ignore_unknown=True), RatingOptions(subject="A"), RatingOptions(track=0)]),
)
def test_any_event_table_is_read_or_rejected_with_one_sentence(tmp_path_factory, heads, body, video, options) -> None:
    path = tmp_path_factory.mktemp("any") / "any.csv"
    path.write_text("\n".join(",".join(cells) for cells in [heads, *body]), "utf-8")
    try:
        found = read_ratings(path, options, Film(video, FileClock(1.3), 0.0, 4.4))
    except DataError as e:
        assert str(path) in str(e) and "\n" not in str(e)
    else:
        assert found.score.shape == (len(found.raters), len(found.second), len(found.emotions))


@steady
@given(st.data())
def test_any_states_make_the_round_trip(tmp_path_factory, data) -> None:
    """Two subjects with random states, in any order of rows."""
    made: dict[str, list[Span]] = {}
    for subject in ("child", "mother"):
        at_s = 0.0
        made[subject] = []
        for word in data.draw(st.lists(words, min_size=1, max_size=6)):
            at_s += data.draw(st.integers(0, 3))
            made[subject].append(Span(word, at_s, at_s + data.draw(st.integers(1, 4)), subject))
            at_s = made[subject][-1].end_s
    head, *rows = boris_tabular([span for own in made.values() for span in own]).splitlines()
    path = tmp_path_factory.mktemp("any") / "any.csv"
    path.write_text("\n".join([head, *data.draw(st.permutations(rows))]), "utf-8")
    for subject, own in made.items():
        expected = [(s, span.label) for span in own for s in range(int(span.start_s), int(span.end_s))]
        assert labels(read_ratings(path, RatingOptions(subject=subject))) == expected
