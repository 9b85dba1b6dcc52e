"""Figures show the values of the timeline, and any timeline can be drawn."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

import fervid
from fervid.errors import ConfigError, DataError, OutputError
from fervid.timeline.read import open_timeline
from fervid.views.figures.axes import clock_times, drawable
from fervid.views.figures.timeline import Style, average_screen, average_tracks, draw, plot_timeline
from tests.helpers.clip_timelines import ROWS, face_at, process, rewrite, with_duration, with_rows, write_frames
from tests.helpers.command_line import run

SMALL = {"dpi": 60}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clip = write_frames(tmp_path_factory.mktemp("clips") / "$a$ 東京 film.mp4", [face_at(40)] * 5)
    path = process(clip)[0]
    return with_duration(path, path.with_stem("long"), 36_000.0)


@pytest.fixture(scope="module")
def story(template: Path) -> Path:
    return with_rows(template, template.with_stem("story"), ROWS)


@pytest.fixture(scope="module")
def hours(template: Path) -> Path:
    """Return three hours of 40 intermittent tracks, with a cut every 9 seconds."""
    random = np.random.default_rng(0)
    words = ("anger", "happiness", "neutral")
    rows = []
    for second in range(0, 10_800):
        seen = {k for k in range(40) if (second // 50 + 7 * k) % 40 < 2} if second // 600 % 3 else set()
        rows += [(second, k, words[random.integers(3)]) for k in sorted(seen)]
        if not seen:
            rows.append((second, None, "no_data" if second // 600 == 3 else "no_face"))
    plain = with_rows(template, template.with_stem("hours"), rows)
    return rewrite(plain, template.with_stem("shots"), lambda f: f.assign(shot=(f["second"] // 9).astype("Int32")))


# -- what is averaged -----------------------------------------------------------------------------------


def test_one_second_bins_equal_load_timeline(story: Path) -> None:
    timeline, rows = open_timeline(story), fervid.load_timeline(story, by="second")
    series = average_screen(timeline, 1)
    np.testing.assert_array_equal(series.prob, rows[list(timeline.labels)].to_numpy(float))
    assert list(series.edges_s) == [0, 1, 2, 3, 4, 5, 6]
    assert list(series.faces) == [1, 1, 0, 0, 2, 2]


def test_longer_bins_weight_faces_by_visible_time(story: Path, tmp_path: Path) -> None:
    # seconds 4, 5: track 1 is angry (0.8, neutral 0.2), then happy (0.8, anger 0.2); track 2 neutral (0.8, 0.2 happy)
    def shorten(frame):  # track 1 is visible for a quarter of second 5
        return frame.assign(
            face_seconds=frame["face_seconds"].mask((frame["second"] == 5) & (frame["track"] == 1), 0.25)
        )

    timeline = open_timeline(rewrite(story, tmp_path / "t.parquet", shorten))
    screen = dict(zip(timeline.labels, average_screen(timeline, 2).prob[2]))
    assert screen["anger"] == pytest.approx((0.8 + 0.25 * 0.2) / 3.25)
    assert screen["happiness"] == pytest.approx((0.25 * 0.8 + 2 * 0.2) / 3.25)
    first, second = average_tracks(timeline, 2, [1, 2])
    assert dict(zip(timeline.labels, first.prob[2]))["anger"] == pytest.approx((0.8 + 0.25 * 0.2) / 1.25)
    assert np.isnan(first.prob[:2]).all() and second.faces[2] == pytest.approx(1)


def test_long_timeline_is_averaged_and_captioned(hours: Path) -> None:
    timeline = open_timeline(hours)
    figure, caption = draw(timeline, [], Style())
    assert "one value per 30 s" in caption
    assert "1,200 shots, too many to mark" in caption
    assert [t.get_text() for t in figure.axes[-1].get_xticklabels()][:3] == ["0:00:00", "0:30:00", "1:00:00"]


def test_a_narrow_figure_has_longer_bins(hours: Path) -> None:
    assert "per 2 min" in draw(open_timeline(hours), [], Style(width_in=4))[1]


# -- what is drawn --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["area", "lines"])
def test_no_face_and_no_data_look_different(story: Path, tmp_path: Path, kind: str) -> None:
    figure, _ = draw(open_timeline(story), [], Style(kind=kind))
    shades = [c for c in figure.axes[0].collections if c.get_zorder() == 0.5]
    spans = [[(p.vertices[:, 0].min(), p.vertices[:, 0].max()) for p in c.get_paths()] for c in shades]
    assert spans == [[(2, 3)], [(3, 4)]]
    assert shades[0].get_hatch() is None and shades[1].get_hatch()
    assert not np.array_equal(shades[0].get_facecolor(), shades[1].get_facecolor())
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "no face" in words and "no data" in words


def test_shots_are_marked_where_they_begin(story: Path, tmp_path: Path) -> None:
    shot = {0: 0, 1: 1, 2: 1, 4: 2, 5: 2}
    path = rewrite(story, tmp_path / "t.parquet", lambda f: f.assign(shot=f["second"].map(shot).astype("Int32")))
    figure, caption = draw(open_timeline(path), [], Style())
    marks = [c for c in figure.axes[0].collections if hasattr(c, "get_segments")]
    assert [sorted(s[0][0] for s in m.get_segments()) for m in marks] == [[1, 4], [1, 4]]
    assert "a new shot" in caption


def test_gaps_break_the_lines_and_an_isolated_second_is_a_dot(template: Path, tmp_path: Path) -> None:
    rows = [(s, None, "no_face") if s != 40 else (s, 0, "anger") for s in range(80)]
    figure, _ = draw(open_timeline(with_rows(template, tmp_path / "t.parquet", rows)), [], Style(kind="lines"))
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert all(list(dot.get_xdata()) == [40.5] for dot in dots)


def test_the_same_timeline_gives_the_same_bytes(story: Path, tmp_path: Path) -> None:
    for name in ("a.png", "a.svg"):
        once, again = tmp_path / name, tmp_path / f"again_{name}"
        fervid.plot(story, once, each=True, **SMALL)
        fervid.plot(story, again, each=True, **SMALL)
        assert once.read_bytes() == again.read_bytes()
    ET.parse(tmp_path / "a.svg")
    assert b"<dc:date>" not in (tmp_path / "a.svg").read_bytes()


def test_a_figure_is_returned_with_its_caption(story: Path) -> None:
    figure = plot_timeline(story, tracks=[1, 2])
    assert len(figure.axes) == 2 and "2 of 3 tracks" in figure.caption
    assert any(text.get_text().replace("\n", " ") == figure.caption for text in figure.texts)
    with pytest.raises(DataError, match="no track 9"):
        plot_timeline(story, tracks=[9])


def test_size_and_resolution_are_as_requested(story: Path, tmp_path: Path) -> None:
    fervid.plot(story, tmp_path / "a.png", width_in=6, height_in=3, dpi=100)
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (600, 300)


@pytest.mark.parametrize("options", [["--track", 1], ["--track", 2, "--track", 0], ["--each-track", "--kind", "lines"]])
def test_rows_for_tracks(story: Path, tmp_path: Path, options: list) -> None:
    code, printed, _ = run("plot", story, "--out", tmp_path / "t.png", "--dpi", 60, *options, "--json")
    assert code == 0
    assert '"panels": ' + str(options.count("--track") or 3) in printed


@pytest.mark.slow
def test_three_hours_of_forty_tracks_are_drawn(hours: Path, tmp_path: Path) -> None:
    figure = fervid.plot(hours, tmp_path / "t.png", each=True, **SMALL)
    assert figure.panels == 40
    assert "one value per 2 min" in figure.caption


@pytest.mark.parametrize("word", ["no_face", "no_data"])
def test_a_timeline_without_faces_is_labelled_so(template: Path, tmp_path: Path, word: str) -> None:
    path = with_rows(template, tmp_path / "t.parquet", [(s, None, word) for s in range(3)])
    figure, _ = draw(open_timeline(path), [], Style())
    assert any("no face in any of the 3 seconds" in text.get_text() for text in figure.axes[0].texts)
    for options in ((), ("--each-track",)):
        assert run("plot", path, "--out", tmp_path / "t.png", "--dpi", 60, *options)[0] == 0


def test_a_single_second_can_be_drawn(template: Path, tmp_path: Path) -> None:
    fervid.plot(
        with_rows(template, tmp_path / "t.parquet", [(7, 0, "anger")]), tmp_path / "t.png", kind="lines", **SMALL
    )


def test_clock_times() -> None:
    assert clock_times([0, 59, 61, 600], False) == ["0:00", "0:59", "1:01", "10:00"]
    assert clock_times([0, 3661], True) == ["0:00:00", "1:01:01"]


def test_any_name_can_be_a_title() -> None:
    assert drawable("$x$ é 東\n") == r"\$x\$ é □□"


# -- bad input ------------------------------------------------------------------------------------------


def test_bad_requests_are_errors(story: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"ends with \.png or \.svg"):
        fervid.plot(story, tmp_path / "t.pdf")
    with pytest.raises(ConfigError, match="area or lines"):
        fervid.plot(story, tmp_path / "t.png", kind="pie")
    with pytest.raises(ConfigError, match="width"):
        fervid.plot(story, tmp_path / "t.png", width_in=0)
    with pytest.raises(DataError, match=r"has no track 9; found 0 to 2"):
        fervid.plot(story, tmp_path / "t.png", tracks=[9])
    code, _, error = run("plot", story.parent, "--out", tmp_path / "t.png")
    assert code == 2 and re.search(r"is a folder; name one timeline in it, such as .*\.parquet", error)
    assert not list(tmp_path.iterdir())


def test_a_damaged_timeline_is_an_error(story: Path, tmp_path: Path) -> None:
    data = bytearray(story.read_bytes())
    data[4:200] = b"\xff" * 196
    (tmp_path / "hurt.parquet").write_bytes(data)
    code, _, error = run("plot", tmp_path / "hurt.parquet", "--out", tmp_path / "t.png")
    assert code == 2 and "damaged timeline" in error and error.count("\n") == 1
