"""The report page in a real browser: offline, without errors, with pointer, keyboard, video, phone and dark theme."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fervid
from tests.helpers.browser import (
    ADDRESSES,
    BOX_DRAWN,
    COLOURS,
    FOCUS,
    POOR_CONTRAST,
    TOO_WIDE,
    Visit,
    chromium,
    number_shown,
    over_chart,
    ready,
)
from tests.helpers.clips import with_audio, write_clip
from tests.helpers.timelines import (
    HOSTILE_NAME,
    LABELS,
    crowd,
    face_readings,
    one_row,
    provenance,
    rows,
    timeline_of,
    write,
)

pytestmark = pytest.mark.slow

SAMPLE = Path(__file__).parents[2] / "sample_videos" / "two_faces.mp4"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Process two_faces.mp4 and write its page, and pages of other kinds."""
    folder = tmp_path_factory.mktemp("pages")
    timeline, faces = folder / "t.parquet", folder / "f.parquet"
    fervid.process(SAMPLE, timeline, faces=faces)
    fervid.report(timeline, folder / "video.html", video=SAMPLE, faces=faces)
    fervid.report(timeline, folder / "plain.html")
    long = crowd(folder / "long.parquet", seconds=3 * 3600, tracks=40)
    fervid.report(long, folder / "long.html")
    no_rows = {name: column[:0] for name, column in one_row(0).items()}
    fervid.report(write(folder / "n.parquet", no_rows, 5, lost=(3,)), folder / "faceless.html")
    fervid.report(write(folder / "e.parquet", no_rows, 0), folder / "empty.html")
    facts = provenance(name=HOSTILE_NAME) | {"status": "degraded", "reasons": ["truncated"]}
    fervid.report(write(folder / "h.parquet", one_row(0), 2, facts=facts, video=HOSTILE_NAME), folder / "hostile.html")
    results = folder / "results"
    results.mkdir()
    for name in ("b", "a", HOSTILE_NAME.replace("/", "|")):
        write(results / f"{name}.parquet", one_row(0), 4 if name == "a" else 9)
    (results / "broken.parquet").write_text("words")
    fervid.report(results, folder / "index")
    pages = {path.stem: path for path in folder.glob("*.html")}
    return pages | {
        "timeline": timeline,
        "faces": faces,
        "long_timeline": long,
        "index": folder / "index" / "index.html",
    }


KINDS = ("video", "plain", "long", "faceless", "empty", "hostile", "index")


# -- all pages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_pages_open_offline_and_without_errors(browser: Any, made: dict[str, Path], kind: str) -> None:
    with Visit(browser, made[kind], offline=True) as visit:
        visit.page.wait_for_timeout(300)
        assert visit.messages == [] and visit.dialogs == []
        assert visit.external_requests() == []
        assert visit(ADDRESSES) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_phone_does_not_scroll_sideways(browser: Any, made: dict[str, Path], kind: str) -> None:
    with Visit(browser, made[kind], **PHONE) as visit:
        visit.page.wait_for_timeout(200)
        assert visit("document.documentElement.scrollWidth") == 390
        assert visit(TOO_WIDE) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["video", "hostile", "index"])
def test_text_has_contrast_in_both_themes(browser: Any, made: dict[str, Path], kind: str, scheme: str) -> None:
    with Visit(browser, made[kind], color_scheme=scheme) as visit:
        assert visit(POOR_CONTRAST) == []
        ground = visit("getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number)")
        assert (max(ground) < 40) == (scheme == "dark")


def test_hostile_names_are_escaped(browser: Any, made: dict[str, Path]) -> None:
    with Visit(browser, made["hostile"]) as visit:
        assert visit.page.locator("h1").inner_text() == HOSTILE_NAME
        assert visit("document.scripts.length") == 5 and visit("document.querySelectorAll('h1 *').length") == 0


# -- the numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["timeline", "long_timeline"])
def test_the_chart_shows_what_pandas_gives(browser: Any, made: dict[str, Path], which: str) -> None:
    frame = fervid.load_timeline(made[which], by="second")
    with Visit(browser, made["plain" if which == "timeline" else "long"]) as visit:
        shown = visit(
            "(n) => Array.from({ length: Math.ceil(n / 5) }, (_, i) => fervid.mean(5 * i, 5 * i + 1))", len(frame)
        )
    means = np.array([values or [np.nan] * len(LABELS) for values in shown], float)
    np.testing.assert_allclose(means, frame[list(LABELS)].to_numpy(float)[::5], atol=1e-4)


def test_hovering_shows_the_values(browser: Any, made: dict[str, Path]) -> None:
    row = fervid.load_timeline(made["timeline"], by="second").iloc[3]
    with Visit(browser, made["video"]) as visit:
        visit.page.mouse.move(*over_chart(visit, 3.5))
        text = visit.page.locator(".tip").inner_text().replace("\n", " ")
        assert text.startswith("0:03") and f"happiness {row['happiness']:.0%}" in text
        strip = visit.page.locator(".lane .strip").nth(1)
        strip.scroll_into_view_if_needed()
        box = strip.bounding_box()
        visit.page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 5)
        text = visit.page.locator(".tip").inner_text().replace("\n", " ")
        lane = fervid.load_timeline(made["timeline"]).query("track == 1 and second == 3").iloc[0]
        assert text.startswith("Track 1, 0:03") and f"neutral {lane['neutral']:.0%}" in text
        visit.page.mouse.move(5, 5)
        assert visit.page.locator(".tip").is_hidden()


def test_tracks_can_be_deselected(browser: Any, made: dict[str, Path]) -> None:
    frame = fervid.load_timeline(made["timeline"])
    with Visit(browser, made["video"]) as visit:
        assert visit.page.locator(".lane").count() == 2
        visit.page.get_by_role("checkbox", name="Track 0").uncheck()
        other = frame.query("track == 1 and second == 2").iloc[0]
        assert visit("fervid.mean(2, 3)[6]") == pytest.approx(other["neutral"], abs=1e-4)
        assert "1 of 2" in visit.page.locator("#faces-note").inner_text()
        visit.page.locator("#all-off").click()
        assert visit("fervid.mean(2, 3)") is None
        visit.page.locator(".lane").first.hover()
        visit.page.get_by_role("button", name="Only Track 0").click()
        only = frame.query("track == 0 and second == 2").iloc[0]
        assert visit("fervid.mean(2, 3)[3]") == pytest.approx(only["happiness"], abs=1e-4)
        visit.page.locator("#all-on").click()
        both = fervid.load_timeline(made["timeline"], by="second").iloc[2]
        assert visit("fervid.mean(2, 3)[3]") == pytest.approx(both["happiness"], abs=1e-4)
        assert visit.messages == []


def test_zooming_and_panning(browser: Any, made: dict[str, Path]) -> None:
    with Visit(browser, made["long"]) as visit:
        page, view = visit.page, lambda: visit("[fervid.view.min, fervid.view.max]")
        whole = view()
        page.mouse.move(*over_chart(visit, 3000))
        page.mouse.down()
        page.mouse.move(*over_chart(visit, 6000), steps=4)
        page.mouse.up()
        assert view() == pytest.approx([3000, 6000], abs=30)
        page.keyboard.press("Tab")
        page.locator("#chart").focus()
        page.keyboard.press("PageDown")
        assert view() == pytest.approx([4500, 7500], abs=30)
        page.mouse.move(*over_chart(visit, 6000))
        page.keyboard.down("Control")
        page.mouse.wheel(0, -120)
        page.keyboard.up("Control")
        page.wait_for_timeout(100)
        zoomed = view()
        assert zoomed[1] - zoomed[0] < 2900 and zoomed[0] < 6000 < zoomed[1]
        rail = page.locator("#rail").bounding_box()
        page.mouse.click(rail["x"] + rail["width"] / 2, rail["y"] + 5)
        assert sum(view()) / 2 == pytest.approx(5400, abs=30)
        page.locator("#zoom-fit").click()
        assert view() == whole
        for form in ("#as-lines", "#as-areas"):
            page.locator(form).click()
            assert page.locator(form).get_attribute("aria-pressed") == "true"
        page.locator("#emotions button").nth(2).click()
        page.locator("#more").click()
        assert page.locator(".lane").count() == 40 and page.locator("#more").is_hidden()
        assert visit.messages == []


def test_a_long_timeline_redraws_fast(browser: Any, made: dict[str, Path]) -> None:
    """A rough bound for three hours of 40 tracks; tests.benchmarks.report measures it."""
    with Visit(browser, made["long"]) as visit:
        visit("""async () => {
            for (let i = 0; i < 20; i++) {
                fervid.setView(i * 100, 10800 - i * 200);
                await new Promise(requestAnimationFrame);
            }
        }""")
        assert np.median(visit("fervid.redraws")) < 100


# -- the video ---------------------------------------------------------------------------------------------


def test_a_click_in_the_chart_seeks(browser: Any, made: dict[str, Path]) -> None:
    with Visit(browser, made["video"]) as visit:
        ready(visit)
        visit.page.mouse.click(*over_chart(visit, 4.2))
        visit.wait("!video.seeking")
        assert visit("video.currentTime") == pytest.approx(4.2, abs=0.02)
        assert visit("fervid.playhead.t") == pytest.approx(4.2, abs=0.05)
        line, wanted = visit.page.locator("#playhead").bounding_box(), over_chart(visit, 4.2)[0]
        assert line["x"] == pytest.approx(wanted, abs=3)
        assert visit.page.locator("#moment h2").inner_text().startswith("0:04")
        visit("video.currentTime = 1.5")
        visit.wait("Math.abs(fervid.playhead.t - 1.5) < 0.05")


def test_playing_moves_the_playhead(browser: Any, made: dict[str, Path]) -> None:
    with Visit(browser, made["video"]) as visit:
        ready(visit)
        before = visit.page.locator("#playhead").bounding_box()["x"]
        visit("video.play()")
        visit.wait("video.currentTime > 0.8")
        visit("video.pause()")
        visit.page.wait_for_timeout(150)
        assert visit("fervid.playhead.t") == pytest.approx(visit("video.currentTime"), abs=0.1)
        assert visit.page.locator("#playhead").bounding_box()["x"] > before + 80


def test_the_page_works_by_keyboard(browser: Any, made: dict[str, Path]) -> None:
    with Visit(browser, made["video"]) as visit:
        ready(visit)
        page, reached = visit.page, []
        for _ in range(60):
            page.keyboard.press("Tab")
            here = visit(FOCUS)
            if here[0] == "BODY":
                break
            if here[0] != "video":
                assert here[1] != "none" and here[2] >= 1, f"no focus is seen on {here}"
            reached.append(here[0])
        order = [
            reached.index(name) for name in ("skip", "video", "boxes-on", "as-areas", "zoom-fit", "chart", "all-on")
        ]
        assert order == sorted(order) and reached.count("only") == 2
        chart = page.locator("#chart")
        chart.focus()
        for key, at in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("Shift+ArrowRight", 6), ("Home", 0)):
            page.keyboard.press(key)
            assert visit("fervid.playhead.t") == pytest.approx(at, abs=0.01)
        visit.wait("!video.seeking && video.currentTime < 0.01")
        page.keyboard.press("ArrowRight")
        visit.wait("!video.seeking && Math.abs(video.currentTime - 1) < 0.01")
        assert chart.get_attribute("aria-valuenow") == "1"
        assert chart.get_attribute("aria-valuetext").startswith("0:01, happiness")
        page.keyboard.press("Space")
        visit.wait("!video.paused && fervid.playhead.t > 1.3")
        page.keyboard.press("Space")
        assert visit("video.paused")
        page.keyboard.press("+")
        page.wait_for_timeout(50)
        assert visit("fervid.view.max - fervid.view.min") < 6
        page.keyboard.press("0")
        page.wait_for_timeout(50)
        assert visit("fervid.view.max - fervid.view.min") == 6


def test_boxes_follow_the_faces(browser: Any, made: dict[str, Path]) -> None:
    """At a reading, the box is that of the reading; halfway to the next one, it is halfway in between."""
    readings = pd.read_parquet(made["faces"])
    track = readings[readings["track"] == 0].reset_index()
    with Visit(browser, made["video"]) as visit:
        for i in (0, 7, 20):
            one, next_one = track.loc[i], track.loc[i + 1]
            for part in (0.0, 0.5):
                at = (1 - part) * one["pts_s"] + part * next_one["pts_s"]
                faces = visit("(t) => fervid.facesAt(t)", float(at))
                (found,) = [face["place"] for face in faces if face["name"] == "Track 0"]
                wanted = (1 - part) * one[list("xywh")] + part * next_one[list("xywh")]
                assert found == pytest.approx(list(wanted), abs=0.003)
        ready(visit)
        visit("video.currentTime = 2")
        visit.wait("!video.seeking && fervid.playhead.t > 1.9")
        assert visit(BOX_DRAWN)
        visit.page.locator("#boxes-on").uncheck()
        assert not visit(BOX_DRAWN)


def test_no_box_is_shown_across_a_gap(browser: Any, tmp_path: Path) -> None:
    video = write_clip(tmp_path / "a.mp4", n=100)
    timeline = timeline_of(video, tmp_path / "t.parquet", 4)
    at = [0.0, 0.2, 0.4, 2.0, 2.2]
    faces = {"pts_s": at, "track": np.zeros(5, np.int32), "x": at, "y": [0.1] * 5, "w": [0.2] * 5, "h": [0.2] * 5}
    fervid.report(
        timeline, tmp_path / "r.html", video=video, faces=face_readings(timeline, tmp_path / "f.parquet", faces)
    )
    with Visit(browser, tmp_path / "r.html") as visit:
        seen = {t: len(visit("(t) => fervid.facesAt(t)", t)) for t in (0.0, 0.3, 0.5, 0.7, 1.5, 1.9, 2.1, 2.3, 3.0)}
    assert seen == {0.0: 1, 0.3: 1, 0.5: 1, 0.7: 0, 1.5: 0, 1.9: 0, 2.1: 1, 2.3: 1, 3.0: 0}


@pytest.mark.parametrize(
    ("name", "options", "transcode"),
    [
        ("plain.mp4", {}, False),
        ("rotated.mp4", {"rotation": 90}, False),
        ("late.mp4", {"pts": list(range(250, 300))}, False),
        ("vp9.webm", {"codec": "libvpx-vp9"}, False),
        ("hevc.mp4", {"codec": "libx265"}, True),
        ("part2.mp4", {"codec": "mpeg4", "rotation": 270}, True),
        ("rotated.mkv", {"rotation": 180}, True),
    ],
)
def test_the_player_shows_the_frame_of_the_timeline(
    browser: Any, tmp_path: Path, name: str, options: Any, transcode: bool
) -> None:
    """Numbered frames at 25 per second: at 1.02 s of the timeline, the player shows frame 25 upright."""
    video = write_clip(tmp_path / name, **options)
    timeline = timeline_of(video, tmp_path / "t.parquet", 2)
    fervid.report(timeline, tmp_path / "r.html", video=video, transcode=transcode)
    with Visit(browser, tmp_path / "r.html") as visit:
        ready(visit)
        visit.page.mouse.click(*over_chart(visit, 1.02))
        visit.wait("!video.seeking && video.currentTime > 0.9")
        at = visit("fervid.playhead.t")
        assert at == pytest.approx(1.02, abs=0.01)
        assert number_shown(visit, tmp_path) == int(at * 25)
        assert visit.messages == []


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("silent.mp4", partial(write_clip, pts=list(range(20, 70)))),
        ("silent.mov", partial(write_clip, pts=list(range(20, 70)))),
        ("silent.webm", partial(write_clip, pts=list(range(20, 70)), codec="libvpx-vp9")),
        ("sound_first.mp4", partial(with_audio, video_start=20)),
        ("sound_first.mov", partial(with_audio, video_start=20)),
    ],
)
def test_a_video_that_starts_late_is_not_shifted(browser: Any, tmp_path: Path, name: str, write: Any) -> None:
    """Browsers count from timestamp 0, also where no stream begins there: the frame of 1.02 s is at 1.82 s."""
    video = write(tmp_path / name)
    fervid.report(timeline_of(video, tmp_path / "t.parquet", 2), tmp_path / "r.html", video=video)
    with Visit(browser, tmp_path / "r.html") as visit:
        ready(visit)
        visit.page.mouse.click(*over_chart(visit, 1.02))
        visit.wait("!video.seeking && video.currentTime > 1.7")
        assert visit("fervid.playhead.t") == pytest.approx(1.02, abs=0.01)
        assert number_shown(visit, tmp_path) == 25


def test_a_linked_video_plays(browser: Any, tmp_path: Path) -> None:
    video = write_clip(tmp_path / "a #1 100%: x.mp4")
    fervid.report(timeline_of(video, tmp_path / "t.parquet"), tmp_path / "r.html", video=video, embed_mb=0)
    with Visit(browser, tmp_path / "r.html") as visit:
        ready(visit)
        assert [url.startswith("file:") for url in visit.external_requests()] == [True] and visit.messages == []
    video.unlink()
    with Visit(browser, tmp_path / "r.html") as visit:
        visit.wait("document.getElementById('video-note').textContent !== ''")
        assert "cannot play" in visit.page.locator("#video-note").inner_text()


# -- the index, and gaps -----------------------------------------------------------------------------------


def test_the_index_sorts_filters_and_links(browser: Any, made: dict[str, Path]) -> None:
    with Visit(browser, made["index"]) as visit:
        page = visit.page
        names = lambda: [text.split("\n")[0][:1] for text in page.locator("tbody th:visible").all_inner_texts()]  # noqa: E731
        assert names() == ["<", "a", "b", "b"]
        page.get_by_role("button", name="Length").click()
        assert page.locator("thead th[aria-sort]").inner_text().startswith("Length") and names()[:2] == ["b", "a"]
        page.get_by_role("searchbox").fill("a.parquet")
        assert names() == ["a"]
        page.get_by_role("link", name="a.parquet").click()
        visit.wait("window.fervid")
        assert visit.messages == []


def test_no_face_and_no_data_differ_and_shots_show(browser: Any, tmp_path: Path) -> None:
    seen = rows(np.array([0, 1, 8, 9]), np.zeros(4, int), np.full((4, 7), 1 / 7))
    timeline = write(tmp_path / "t.parquet", seen, 10, lost=(5, 6, 7), shot=np.array([0, 0, *[None] * 6, 1, 2], object))
    fervid.report(timeline, tmp_path / "r.html")
    with Visit(browser, tmp_path / "r.html") as visit:
        visit.page.locator("#chart").scroll_into_view_if_needed()
        assert visit(COLOURS, [0.25, 15]) == 1  # flat
        assert visit(COLOURS, [0.65, 15]) > 3  # hatched
        key = visit.page.locator("#key").inner_text()
        assert "no face" in key and "no data" in key and "2 changes of shot" in key
        for second, label in ((3, "no face"), (6, "no data")):
            visit.page.mouse.move(*over_chart(visit, second + 0.5))
            assert label in visit.page.locator(".tip").inner_text()
