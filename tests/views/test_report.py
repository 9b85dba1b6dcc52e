"""The report page as a file: its data, its texts, its errors. test_report_page.py tests it in a browser."""

import base64
import hashlib
import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fervid
from fervid.config import Config, load_config
from fervid.errors import ConfigError, DataError, OutputError, VideoError
from fervid.video.open import read_video
from fervid.video.writers.browser_support import browser_support
from fervid.views.report.data import pack_boxes, pack_timeline, read_lanes
from tests.helpers.broken_clips import cut
from tests.helpers.clips import read_number, times, with_audio, write_clip
from tests.helpers.command_line import run
from tests.helpers.timelines import (
    HOSTILE_NAME,
    LABELS,
    crowd,
    face_readings,
    one_row,
    provenance,
    timeline_of,
    write,
)

ASSETS = Path(fervid.__file__).parent / "views" / "report" / "assets"


def data_of(page: Path) -> dict[str, Any]:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.S)
    return json.loads(found)


def unpack(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


# -- the data ----------------------------------------------------------------------------------------------


def test_the_page_contains_the_timeline(tmp_path: Path) -> None:
    timeline = crowd(tmp_path / "t.parquet", seconds=400, tracks=5)
    data = pack_timeline(read_lanes(timeline))
    frame = fervid.load_timeline(timeline)
    track = np.repeat([lane["tracks"][0] for lane in data["lanes"]], [lane["rows"] for lane in data["lanes"]])
    packed = pd.DataFrame({"second": unpack(data["second"], "<u4"), "track": track})
    prob = unpack(data["prob"], "<u2").reshape(len(LABELS), -1) / 10_000
    for i, name in enumerate(data["emotions"]):
        packed[name] = prob[i]
    packed["entropy"] = unpack(data["entropy"], "<u2") / 10_000
    stored = frame[frame["status"] == "ok"].sort_values(["track", "second"])
    packed = packed.sort_values(["track", "second"])
    for name in ("second", "track", *LABELS, "entropy"):
        np.testing.assert_allclose(packed[name].to_numpy(float), stored[name].to_numpy(float), atol=5.1e-5)
    status = frame.drop_duplicates("second")["status"].map({"ok": 0, "no_face": 1, "no_data": 2}).to_numpy(int)
    assert {1, 2} <= set(status) and np.array_equal(unpack(data["status"], "u1"), status)
    on_screen = [lane["time"] for lane in data["lanes"]]
    assert on_screen == sorted(on_screen, reverse=True)


def test_tracks_of_one_person_share_a_lane_and_shots_are_marked(tmp_path: Path) -> None:
    seen = [one_row(0, 0), one_row(1, 1), one_row(1, 2), one_row(2, 2)]
    joined = {name: np.concatenate([part[name] for part in seen]) for name in seen[0]}
    shots, persons = [0, 1, 1, 2, None], [7, 7, 7, None, None]
    timeline = write(tmp_path / "t.parquet", joined, 4, shot=np.array(shots, object), person=np.array(persons, object))
    data = pack_timeline(read_lanes(timeline))
    lanes = {lane["name"]: (lane["tracks"], lane["rows"]) for lane in data["lanes"]}
    assert lanes == {"Person 7": ([0, 1, 2], 2), "Track 2": ([2], 1)}  # two tracks in second 1 share one row
    assert data["shots"] == [1, 2]
    assert unpack(data["weight"], "<u2").tolist() == [10_000] * 3


def test_boxes_are_packed_by_track_with_the_longest_gap(tmp_path: Path) -> None:
    timeline = write(tmp_path / "t.parquet", one_row(0), 2)
    readings = {
        "pts_s": [0.0, 0.0, 0.2, 0.2], "track": np.array([1, 0, 0, 1], np.int32), "x": [0.5, 0.1, 0.2, -0.1],
        "y": [0.0] * 4, "w": [0.2] * 4, "h": [0.3] * 4,
    }  # fmt: skip
    packed = pack_boxes(read_lanes(timeline), face_readings(timeline, tmp_path / "f.parquet", readings))
    assert (packed["tracks"], packed["counts"]) == ([0, 1], [2, 2])
    assert unpack(packed["ms"], "<u4").tolist() == [0, 200, 0, 200]
    assert unpack(packed["box"], "<i2").reshape(4, 4)[0].tolist() == [1000, 2000, 5000, -1000]
    assert packed["gap"] == 320  # 1.6 sampling steps of 0.2 s


# -- the page ----------------------------------------------------------------------------------------------


def test_the_same_timeline_gives_the_same_page(tmp_path: Path) -> None:
    timeline = crowd(tmp_path / "t.parquet", seconds=100, tracks=3)
    pages = [tmp_path / "a.html", tmp_path / "b.html"]
    for page in pages:
        fervid.report(timeline, page)
    assert pages[0].read_bytes() == pages[1].read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html", "t.parquet"]


def test_the_page_has_a_strict_content_security_policy(tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    fervid.report(write(tmp_path / "t.parquet", one_row(0), 2), page)
    text = page.read_text("utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1].replace("&#x27;", "'")
    assert policy.startswith("default-src 'none'") and "http" not in policy and "unsafe" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    for body in [*scripts, *re.findall(r"<style>(.*?)</style>", text, re.S)]:
        assert base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() in policy
    assert len(scripts) == 2
    attributes = re.findall(r'(?:src|href|action|content)="([^"]*)"', text)
    assert not [value for value in attributes if "//" in value]


def test_vendored_files_are_as_published() -> None:
    listed = (ASSETS / "VENDORED.md").read_text()
    for name in ("uPlot.iife.min.js", "uPlot.min.css"):
        assert f"`{hashlib.sha256((ASSETS / name).read_bytes()).hexdigest()}`" in listed
    assert "MIT License" in (ASSETS / "uPlot.LICENSE").read_text()


def test_names_are_escaped(tmp_path: Path) -> None:
    timeline = write(tmp_path / "t.parquet", one_row(0), 2, facts=provenance(name=HOSTILE_NAME), video=HOSTILE_NAME)
    fervid.report(timeline, tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text("utf-8")
    assert "<script>alert" not in text and "&lt;script&gt;alert" in text and "{{content}}{{data}}.mp4" in text
    assert data_of(tmp_path / "r.html")["first"] == 0


def test_a_timeline_without_faces_or_seconds_gets_a_page_with_a_warning(tmp_path: Path) -> None:
    no_rows = {name: column[:0] for name, column in one_row(0).items()}
    fervid.report(write(tmp_path / "faceless.parquet", no_rows, 3), tmp_path / "faceless.html")
    assert "No face was found" in (tmp_path / "faceless.html").read_text("utf-8")
    fervid.report(write(tmp_path / "empty.parquet", no_rows, 0), tmp_path / "empty.html")
    assert "The timeline is empty" in (tmp_path / "empty.html").read_text("utf-8")


def test_a_degraded_result_has_its_reasons_on_the_page(tmp_path: Path) -> None:
    facts = provenance() | {"status": "degraded", "reasons": ["truncated", "new_reason"]}
    fervid.report(write(tmp_path / "t.parquet", one_row(0), 3, lost=(2,), facts=facts), tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text("utf-8")
    assert "The file ends before its declared end." in text and "new_reason" in text and "1 second could not" in text


def test_options_and_counters_have_the_names_of_today(tmp_path: Path) -> None:
    facts = provenance() | {"config": Config().to_dict(), "counters": {"looks": 30, "frames_left_out": 5, "shots": 1}}
    fervid.report(write(tmp_path / "t.parquet", one_row(0), 3, facts=facts), tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text("utf-8")
    assert "detect_shots yes" in text and "baseline no" in text and "track_start_score 0.9" in text
    assert "frames skipped 5, frames sampled 30, shots 1" in text
    assert not re.search(
        r"birth_score|max_gap_s|picture_px|\bcuts (True|yes)|looks 30|True\b",
        text.split("<footer>")[1].split("</footer>")[0],
    )


# -- the video ---------------------------------------------------------------------------------------------


def test_the_video_is_embedded_or_linked(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "a #1 100%: x.mp4", n=10)
    timeline = timeline_of(video, tmp_path / "t.parquet")
    facts = fervid.report(timeline, tmp_path / "in.html", video=video)
    text = (tmp_path / "in.html").read_text("utf-8")
    inside = re.search(r'id="video-content">([^<]*)</script>', text)[1]
    assert base64.b64decode(inside) == video.read_bytes() and "embedded" in facts["film"]
    assert "everyone who receives the page receives the faces" in text and "\0" not in text
    (tmp_path / "pages").mkdir()
    facts = fervid.report(timeline, tmp_path / "pages" / "out.html", video=video, embed_mb=0)
    assert facts["film"] == "./../a%20%231%20100%25%3A%20x.mp4"
    text = (tmp_path / "pages" / "out.html").read_text("utf-8")
    assert data_of(tmp_path / "pages" / "out.html")["video"]["url"] == facts["film"]
    assert 'id="video-content"></script>' in text and "must stay there" in text


def test_another_video_or_other_readings_need_force(tmp_path: Path) -> None:
    video, other = write_clip(tmp_path / "a.mp4", n=5), write_clip(tmp_path / "b.mp4", n=6)
    timeline, page = timeline_of(video, tmp_path / "t.parquet"), tmp_path / "r.html"
    with pytest.raises(DataError, match=r"b\.mp4: is not the video that .* was made from \(a\.mp4; .*--force"):
        fervid.report(timeline, page, video=other)
    readings = {name: [0.0] for name in ("pts_s", "x", "y", "w", "h")} | {"track": [0]}
    faces = face_readings(timeline_of(other, tmp_path / "u.parquet"), tmp_path / "f.parquet", readings)
    with pytest.raises(DataError, match=r"f\.parquet: these are face readings of another video"):
        fervid.report(timeline, page, video=video, faces=faces)
    assert not page.exists()
    fervid.report(timeline, page, video=other, faces=faces, force=True)
    text = page.read_text("utf-8")
    assert "is not the file that the timeline was made from" in text and "read from another file" in text


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("x265.mp4", {"codec": "libx265"}, r"HEVC \(H\.265\)"),
        ("part2.mp4", {"codec": "mpeg4"}, "MPEG-4 part 2"),
        ("deep.mp4", {"pix_fmt": "yuv422p10le"}, "H.264 with pixels of yuv422p10le"),
        ("h264.mkv", {}, "container, matroska"),
        ("mpeg2.ts", {"codec": "mpeg2video"}, "MPEG-2"),
    ],
)
def test_a_video_that_browsers_cannot_play_is_an_error(tmp_path: Path, name: str, options: Any, reason: str) -> None:
    video = write_clip(tmp_path / name, n=10, **options)
    with pytest.raises(VideoError, match=rf"{reason}.*--transcode"):
        fervid.report(timeline_of(video, tmp_path / "t.parquet"), tmp_path / "r.html", video=video)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "t.parquet"])


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.webm"])
def test_a_video_that_browsers_play_is_accepted(tmp_path: Path, name: str) -> None:
    codec = "libvpx-vp9" if name.endswith("webm") else "libx264"
    found = browser_support(write_clip(tmp_path / name, n=5, codec=codec))
    assert (found.unsupported, found.unsupported_audio) == ("", "")


def shown_in(video: Path) -> tuple[list[float], list[int]]:
    def read(reader: Any) -> tuple[list[float], list[int]]:
        size = reader.info.width_px, reader.info.height_px
        frames = [(frame.pts_s, read_number(frame.rgb(*size))) for frame in reader.frames()]
        return [at for at, _ in frames], [number for _, number in frames]

    return read_video(video, load_config(None), read)[0]


@pytest.mark.parametrize(
    "options",
    [
        {"codec": "libx265"},
        {"codec": "mpeg4", "rotation": 90},
        {"codec": "mpeg4", "sar": Fraction(2)},
        {"codec": "mpeg4", "pts": [0, 1, 2, 5, 9, 10, 11, 30, 31, 33], "time_base": Fraction(1, 30), "n": 10},
        {"codec": "mpeg4", "pts": list(range(250, 275)), "n": 25},
        {"codec": "mpeg4", "full_range": True, "n": 5, "size": (1600, 1600)},
    ],
    ids=["hevc", "rotated", "wide pixels", "vfr", "late", "large"],
)
def test_a_transcoded_video_shows_the_same_frames_at_the_same_times(tmp_path: Path, options: Any) -> None:
    video = write_clip(tmp_path / "a.mp4", **{"n": 20} | options)
    timeline = timeline_of(video, tmp_path / "t.parquet")
    facts = fervid.report(timeline, tmp_path / "r.html", video=video, transcode=True, embed_mb=0)
    copy = tmp_path / "r.film.mp4"
    assert facts["film"] == "./r.film.mp4"
    at, numbers = shown_in(copy)
    assert numbers == list(range(options.get("n", 20)))
    assert at == pytest.approx(times(**{"n": 20} | options), abs=1e-3)
    before, after = (read_video(path, load_config(None), lambda reader: reader.info)[0] for path in (video, copy))
    shrink = min(1.0, 720 / min(before.width_px, before.height_px))
    assert (after.width_px, after.height_px) == (round(before.width_px * shrink), round(before.height_px * shrink))
    assert browser_support(copy).unsupported == ""
    assert after.rotation_deg == 0 and data_of(tmp_path / "r.html")["video"]["offset"] == 0


def test_a_video_that_is_later_than_its_sound_is_shown_on_the_clock_of_its_file(tmp_path: Path) -> None:
    video = with_audio(tmp_path / "a.mp4", video_start=60)
    fervid.report(timeline_of(video, tmp_path / "t.parquet"), tmp_path / "r.html", video=video)
    assert data_of(tmp_path / "r.html")["video"]["offset"] == pytest.approx(2.4, abs=0.05)


def loud_from(video: Path) -> float:
    """Return the time at which the sound of a file becomes audible."""
    with av.open(video) as container:
        start = container.start_time / av.time_base
        for frame in container.decode(audio=0):
            audible = np.flatnonzero(np.abs(frame.to_ndarray()).max(0) > 0.1)
            if len(audible):
                return float(frame.time) + audible[0] / frame.sample_rate - start
    raise AssertionError("silent")


@pytest.mark.parametrize("video_start", [0, 10])
def test_a_transcoded_video_keeps_its_sound_in_sync(tmp_path: Path, video_start: int) -> None:
    """A tone that starts 0.5 s after the first frame still does."""
    video, rate = tmp_path / "a.mkv", 44_100
    with av.open(video, "w") as out:
        stream, sound = out.add_stream("mpeg4", rate=25), out.add_stream("pcm_s16le", rate=rate, layout="mono")
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        wave = np.zeros((1, 3 * rate), np.int16)
        wave[:, round((0.5 + video_start / 25) * rate) :] = 16_000
        for i in range(50):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts, frame.time_base = video_start + i, Fraction(1, 25)
            out.mux(stream.encode(frame))
        for at in range(0, wave.shape[1], 4410):
            part = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[:, at : at + 4410]), "s16", "mono")
            part.sample_rate, part.pts, part.time_base = rate, at, Fraction(1, rate)
            out.mux(sound.encode(part))
        for each in (stream, sound):
            out.mux(each.encode(None))
    timeline = timeline_of(video, tmp_path / "t.parquet")
    fervid.report(timeline, tmp_path / "r.html", video=video, transcode=True, embed_mb=0)
    assert loud_from(tmp_path / "r.film.mp4") == pytest.approx(0.5, abs=0.03)


def test_a_damaged_video_is_transcoded_as_far_as_it_decodes(tmp_path: Path) -> None:
    video = cut(lambda path: write_clip(path, codec="mpeg4"), 0.6)(tmp_path / "a.mkv")
    timeline = timeline_of(video, tmp_path / "t.parquet")
    fervid.report(timeline, tmp_path / "r.html", video=video, transcode=True, embed_mb=0)
    at, numbers = shown_in(tmp_path / "r.film.mp4")
    assert len(numbers) > 10 and at == pytest.approx([n / 25 for n in numbers], abs=1e-3)


# -- a folder ----------------------------------------------------------------------------------------------


def test_a_folder_gets_an_index(tmp_path: Path) -> None:
    folder, out = tmp_path / "results", tmp_path / "pages"
    (folder / "deep").mkdir(parents=True)
    write(folder / "index.parquet", one_row(0), 4, facts=provenance(name="one.mp4"))
    write(folder / "deep" / "a b#.mp4.parquet", one_row(0), 4, facts=provenance(name="<b>.mp4"))
    (folder / "broken.parquet").write_text("not Parquet")
    pq.write_table(pa.table({"shot": [1]}), folder / "shots.parquet")
    facts = fervid.report(folder, out)
    assert facts == {"index": str(out / "index.html"), "videos": 3, "reports": 2, "unreadable": 1}
    text = (out / "index.html").read_text("utf-8")
    links = re.findall(r'<a href="([^"]*)"', text)
    assert links == ["./deep/a%20b%23.mp4.html", "./index.timeline.html"]
    assert (out / "deep" / "a b#.mp4.html").is_file() and (out / "index.timeline.html").is_file()
    assert 'href="./../index.html">All videos' in (out / "deep" / "a b#.mp4.html").read_text("utf-8")
    assert "unreadable" in text and "broken.parquet: not a timeline" in text and "shots" not in text


def test_the_index_of_a_batch_lists_failed_videos(tmp_path: Path) -> None:
    from fervid.jobs.job import Job, Outcome
    from fervid.jobs.manifest import Row, open_manifest

    folder = tmp_path / "results"
    folder.mkdir()
    write(folder / "good.mp4.parquet", one_row(0), 4)
    outcomes = [("good.mp4", "ok", "", ""), ("<i>bad.mp4", "failed", "not_media", "/home/ada/<i>bad.mp4: is <none>")]
    with open_manifest(folder) as manifest:
        for name, *came in outcomes:
            job = Job(Path(name), name, folder / f"{name}.parquet")
            manifest.add(Row.of(Outcome(job, *came), "key", "hash", folder))
    facts = fervid.report(folder, tmp_path / "pages")
    assert (facts["videos"], facts["reports"]) == (2, 1)
    text = (tmp_path / "pages" / "index.html").read_text("utf-8")
    assert "2 videos: 1 ok, 1 failed" in text and "not_media" in text
    assert "&lt;i&gt;bad.mp4" in text and "is &lt;none&gt;" in text and "/home/ada" not in text


# -- errors ------------------------------------------------------------------------------------------------


def test_bad_requests_are_errors(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "a.mp4", n=5)
    timeline, page = timeline_of(video, tmp_path / "t.parquet"), tmp_path / "r.html"
    plain = tmp_path / "plain.parquet"
    pq.write_table(pa.table({"second": [1]}), plain)
    copy = tmp_path / "b.film.mp4"
    copy.write_bytes(video.read_bytes())
    (tmp_path / "empty").mkdir()
    cases: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (DataError, "no such file", {"timeline": tmp_path / "none.parquet", "out": page}),
        (DataError, "not one that fervid wrote", {"timeline": plain, "out": page}),
        (DataError, "not a timeline", {"timeline": video, "out": page}),
        (DataError, "no timeline in this folder", {"timeline": tmp_path / "empty", "out": tmp_path / "o"}),
        (OutputError, "name it, such as .*r.html", {"timeline": timeline, "out": tmp_path / "r.txt"}),
        (OutputError, "such as .*empty/report.html", {"timeline": timeline, "out": tmp_path / "empty"}),
        (OutputError, "cannot be written", {"timeline": timeline, "out": tmp_path / "none" / "r.html"}),
        (OutputError, "many pages", {"timeline": tmp_path, "out": page}),
        (ConfigError, "add --video", {"timeline": timeline, "out": page, "transcode": True}),
        (ConfigError, "add --video", {"timeline": timeline, "out": page, "faces": timeline}),
        (ConfigError, "one timeline", {"timeline": tmp_path, "out": tmp_path / "o", "video": video}),
        (ConfigError, "0 to 350 MB", {"timeline": timeline, "out": page, "video": video, "embed_mb": 1000}),
        (OutputError, "is the video itself", {"timeline": timeline, "out": tmp_path / "b.html", "transcode": True,
                                              "video": copy}),
        (DataError, "not a file of face readings", {"timeline": timeline, "out": page, "video": video,
                                                    "faces": timeline}),
        (VideoError, "no such file", {"timeline": timeline, "out": page, "video": tmp_path / "none.mp4"}),
        (VideoError, "not a video", {"timeline": timeline, "out": page, "video": plain, "force": True}),
    ]  # fmt: skip
    for error, message, arguments in cases:
        with pytest.raises(error, match=message):
            fervid.report(**arguments)
    assert not page.exists() and not (tmp_path / "o").exists()


# -- the command -------------------------------------------------------------------------------------------


def test_the_command_writes_reports_and_exits(tmp_path: Path) -> None:
    video, other = write_clip(tmp_path / "a.mp4", n=5), write_clip(tmp_path / "b.mkv", n=6)
    timeline, page = timeline_of(video, tmp_path / "t.parquet"), tmp_path / "r.html"
    code, printed, _ = run("report", timeline, "--video", video, "--out", page, "--json")
    assert code == 0 and json.loads(printed)["film"].startswith("embedded") and page.is_file()
    code, _, error = run("report", timeline, "--video", other, "--out", page)
    assert code == 2 and "--force" in error and error.count("\n") == 1
    code, _, error = run("report", timeline, "--video", other, "--out", page, "--force")
    assert code == 1 and "--transcode" in error
    assert re.search(
        r"video +embedded \(\d\.\d MB\)\nboxes +none\n", run("report", timeline, "--video", video, "--out", page)[1]
    )
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "x.parquet").write_text("words")
    code, printed, _ = run("report", tmp_path / "results", "--out", tmp_path / "pages")
    assert code == 1 and "unreadable" in printed
