"""Annotated copies of videos keep frame times, orientation and sound, and redacted faces are gone."""

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import fervid
from fervid.errors import ConfigError, DataError, OutputError
from fervid.timeline.read import open_timeline
from fervid.views.overlay.face_boxes import boxes_of_readings, boxes_of_seconds, boxes_to_redact
from fervid.views.overlay.yuv_drawing import YuvColours, outline, paste, redact
from tests.helpers import clips
from tests.helpers.clip_timelines import BLIND, FACE, face_at, process, rewrite, write_frames
from tests.helpers.command_line import run

VFR = {
    "n": 30,
    "time_base": Fraction(1, 1000),
    "pts": [0, 40, 80, 83, 200, 240, 700, 733, 767, 800, *range(1000, 2000, 50)],
}


def frames(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def packets(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    """Return the packets of the first stream of a kind, with their times."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        found = [(p.pts * p.time_base, bytes(p)) for p in container.demux(stream) if p.size]
    return sorted(found)


def luma(frame: av.VideoFrame) -> np.ndarray:
    return frame.to_ndarray(format="gray").astype(float)


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Return a clip of 40 frames with a chequered face that moves by 4 pixels per frame, its timeline, its readings."""
    folder = tmp_path_factory.mktemp("moving")
    clip = write_frames(folder / "moving.mp4", [face_at(20 + 4 * i) for i in range(40)])
    return clip, *process(clip)


# -- timing, orientation, size --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vfr.mp4", VFR),
        ("vfr.mkv", VFR),
        ("film.mp4", {"rate": Fraction(24000, 1001)}),
        ("late.mp4", {"n": 10, "pts": range(25, 35)}),
        ("film.avi", {"codec": "mpeg4", "rate": 30}),
        ("film.ts", {"rate": 25}),
    ],
)
def test_each_frame_keeps_its_time(tmp_path: Path, name: str, options: dict) -> None:
    clip = clips.write_clip(tmp_path / name, **options)
    timeline, _ = process(clip, BLIND)
    fervid.overlay(clip, timeline, tmp_path / "out.mp4")
    made, wanted = frames(tmp_path / "out.mp4"), clips.times(**options)
    zero = made[0].pts * made[0].time_base
    assert [float(f.pts * f.time_base - zero) for f in made] == pytest.approx(wanted, abs=1e-5)
    assert [clips.read_number(luma(f)) for f in made] == list(range(len(wanted)))


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotated_video_is_drawn_upright(tmp_path: Path, rotation: int) -> None:
    clip = clips.write_clip(tmp_path / "turned.mp4", n=10, rotation=rotation)
    timeline, _ = process(clip, BLIND)
    fervid.overlay(clip, timeline, tmp_path / "out.mp4")
    made = frames(tmp_path / "out.mp4")
    assert {(f.width, f.height, f.rotation) for f in made} == {(clips.WIDTH, clips.HEIGHT, 0)}
    assert [clips.read_number(luma(f)) for f in made] == list(range(10))


@pytest.mark.parametrize(
    "options",
    [
        {"sar": Fraction(4, 3)},
        {"sar": Fraction(3, 2), "rotation": 90},
        {"pix_fmt": "yuv422p"},
        {"pix_fmt": "yuv420p10le", "codec": "libx265"},
        {"full_range": True},
        {"size": (129, 97), "codec": "mpeg4"},
    ],
)
def test_every_pixel_format_is_shown_as_in_a_player(tmp_path: Path, options: dict) -> None:
    clip = clips.write_clip(tmp_path / "odd.mp4", n=8, **options)
    timeline, _ = process(clip, BLIND)
    fervid.overlay(clip, timeline, tmp_path / "out.mp4")
    made = frames(tmp_path / "out.mp4")
    shown = fervid.probe(clip)["file"]["displayed"]
    width, height = (int(side) // 2 * 2 for side in shown.split("x"))
    assert (made[0].width, made[0].height) == (width, height)
    assert [clips.read_number(luma(f)) for f in made] == list(range(8))


def test_black_and_white_stay_black_and_white_in_full_range(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "full.mp4", n=4, full_range=True)
    timeline, _ = process(clip, BLIND)
    fervid.overlay(clip, timeline, tmp_path / "out.mp4")
    source, made = (clips.read_cells(luma(frames(p)[0])) for p in (clip, tmp_path / "out.mp4"))
    assert np.abs(source - made).max() < 6


def test_a_damaged_video_is_copied_as_far_as_it_decodes(tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "hurt.mp4", [face_at(20 + i) for i in range(100)])
    data = bytearray(clip.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(range(256)) + bytes(144)
    clip.write_bytes(data)
    timeline, faces = process(clip)
    facts = fervid.overlay(clip, timeline, tmp_path / "out.mp4", faces=faces)
    assert len(frames(tmp_path / "out.mp4")) == facts["frames"] > 50


# -- sound ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, 25])
def test_sound_packets_are_copied_and_stay_in_sync(tmp_path: Path, start: int) -> None:
    clip = clips.with_audio(tmp_path / "loud.mp4", video_start=start)
    timeline, _ = process(clip, BLIND)
    facts = fervid.overlay(clip, timeline, tmp_path / "out.mp4")
    assert facts["sound"] == "aac copied"
    source, made = packets(clip, "audio"), packets(tmp_path / "out.mp4", "audio")
    assert [data for _, data in made] == [data for _, data in source]
    before, after = (p[0][0] - frames(path)[0].time for p, path in ((source, clip), (made, tmp_path / "out.mp4")))
    assert float(after) == pytest.approx(float(before), abs=1e-3)


def test_sound_that_mp4_cannot_hold_is_converted_to_aac_in_sync(tmp_path: Path) -> None:
    clip = clips.with_audio(tmp_path / "old.avi", audio_s=2)
    timeline, _ = process(clip, BLIND)
    assert fervid.overlay(clip, timeline, tmp_path / "out.mp4")["sound"] == "mp2 as aac"
    with av.open(str(tmp_path / "out.mp4")) as made:
        assert made.streams.audio[0].codec_context.name == "aac"
        audio = list(made.decode(audio=0))
    assert sum(f.samples for f in audio) / 48_000 == pytest.approx(2, abs=0.06)
    assert audio[0].time == pytest.approx(0, abs=0.05)


def test_damaged_sound_is_skipped_and_reported(tmp_path: Path) -> None:
    clip = clips.with_audio(tmp_path / "old.avi", audio_s=2)
    with av.open(str(clip)) as container:
        boxes = [(packet.pos, packet.size) for packet in container.demux(audio=0) if packet.size]
    data = bytearray(clip.read_bytes())
    for pos, size in boxes[10:14]:
        data[pos : pos + size] = b"\xff" * size
    clip.write_bytes(data)
    timeline, _ = process(clip, BLIND)
    facts = fervid.overlay(clip, timeline, tmp_path / "out.mp4")
    assert facts["sound"] == "mp2 as aac; damaged parts left out" and facts["frames"] == len(frames(clip))


def test_a_click_stays_in_sync_with_a_flash(tmp_path: Path) -> None:
    """A white frame and a click at 1.2 s of MPEG-TS, whose timestamps do not start at 0; AAC in ADTS, copied to MP4."""
    clip = tmp_path / "click.ts"
    with av.open(str(clip), "w") as out:
        stream, sound = clips.add_video(out, size=clips.SMALL), out.add_stream("aac", rate=48_000, layout="mono")
        images = (np.full(clips.SMALL[::-1], 255 if i == 30 else 0, np.uint8) for i in range(50))
        wave = np.zeros((1, 96_256), np.float32)
        wave[0, 57_600:57_700] = 0.9
        found = list(clips.encode(stream, images, range(50)))
        for at in range(0, wave.shape[1], 1024):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[:, at : at + 1024]), "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, at, Fraction(1, 48_000)
            found += sound.encode(frame)
        out.mux(sorted([*found, *sound.encode(None)], key=lambda p: p.dts * p.time_base))
    timeline, _ = process(clip, BLIND)
    fervid.overlay(clip, timeline, tmp_path / "out.mp4")
    shown_s = next(f.time for f in frames(tmp_path / "out.mp4") if luma(f)[:20].mean() > 128)
    with av.open(str(tmp_path / "out.mp4")) as made:
        audio = [(f.time, f.to_ndarray()) for f in made.decode(audio=0)]
    at, loud = max(audio, key=lambda item: np.abs(item[1]).max())
    assert at + np.abs(loud).argmax() / 48_000 == pytest.approx(shown_s, abs=0.025)


def test_mute_leaves_out_the_sound(tmp_path: Path) -> None:
    clip = clips.with_audio(tmp_path / "loud.mp4")
    timeline, _ = process(clip, BLIND)
    assert fervid.overlay(clip, timeline, tmp_path / "out.mp4", mute=True)["sound"] == "none"
    with av.open(str(tmp_path / "out.mp4")) as made:
        assert not made.streams.audio


# -- boxes ----------------------------------------------------------------------------------------------


def test_the_box_follows_the_face_between_sampled_frames(moving: tuple[Path, Path, Path]) -> None:
    _, timeline, faces = moving
    boxes = boxes_of_readings(faces, open_timeline(timeline))
    for i in range(36):
        ((track, box),) = boxes.at(i / 25)
        assert track == 0
        assert box[0] * 256 == pytest.approx(20 + 4 * i, abs=2.5)


def test_a_box_is_drawn_where_the_face_is(moving: tuple[Path, Path, Path], tmp_path: Path) -> None:
    clip, timeline, faces = moving
    fervid.overlay(clip, timeline, tmp_path / "out.mp4", faces=faces)
    changed = [np.abs(luma(a) - luma(b)) > 60 for a, b in zip(frames(clip), frames(tmp_path / "out.mp4"))]
    for i in (3, 12, 22, 33):
        left = 20 + 4 * i
        rows = slice(60 + 10, 60 + FACE - 10)
        assert changed[i][rows, left - 4 : left + 5].any(1).all()  # the left side of the box
        assert not changed[i][rows, left + 10 : left + FACE - 10].any()  # nothing on the face itself


def test_no_box_is_drawn_in_a_sampled_frame_without_the_face(moving: tuple[Path, Path, Path], tmp_path: Path) -> None:
    _, timeline, faces = moving
    path = rewrite(faces, tmp_path / "f.parquet", lambda f: f[(f["pts_s"] - 0.8).abs() > 0.01])
    shown, hidden = boxes_of_readings(path, open_timeline(timeline)), boxes_to_redact(path, open_timeline(timeline))
    assert shown.at(0.55) and not shown.at(0.8) and shown.at(1.05)
    assert all(hidden.swept(i / 25) for i in range(40))  # to redact, the gap is bridged


def test_no_box_extends_into_another_shot(moving: tuple[Path, Path, Path], tmp_path: Path) -> None:
    _, timeline, faces = moving
    path = rewrite(faces, tmp_path / "f.parquet", lambda f: f.assign(shot=(f["pts_s"] > 0.7).astype("int32")))
    boxes = boxes_of_readings(path, open_timeline(timeline))
    assert len(boxes.stretches) == 2
    ((_, box),) = boxes.at(0.69)
    assert box[0] * 256 == pytest.approx(20 + 4 * 15, abs=2)  # as at 0.6 s


def test_no_box_is_held_across_a_cut(moving: tuple[Path, Path, Path], tmp_path: Path) -> None:
    _, timeline, faces = moving
    late = rewrite(faces, tmp_path / "f.parquet", lambda f: f[f["pts_s"] > 0.9])  # the first reading is at 1.0 s
    shot = {"one": 0, "two": [0, 1]}
    before = [
        bool(boxes_of_readings(late, open_timeline(rewrite(timeline, tmp_path / f"{name}.parquet", _cut(at)))).at(0.95))
        for name, at in shot.items()
    ]
    assert before == [True, False]


def _cut(at):
    return lambda frame: frame.assign(shot=np.array(at, "int32") + np.zeros(len(frame), "int32"))


def test_without_readings_the_mean_boxes_of_seconds_are_used(moving: tuple[Path, Path, Path]) -> None:
    boxes = boxes_of_seconds(open_timeline(moving[1]))
    row = pd.read_parquet(moving[1]).iloc[0]
    ((_, box),) = boxes.at(0.5)
    assert box == pytest.approx([row["x"], row["y"], row["x"] + row["w"], row["y"] + row["h"]])
    assert not boxes.at(-0.5) and not boxes.at(2.6)


# -- redacted faces -------------------------------------------------------------------------------------


def detail(luma: np.ndarray) -> float:
    """Compute the mean difference of neighbouring pixels, a measure of recognisable detail."""
    return float(np.abs(np.diff(luma, axis=0)).mean() + np.abs(np.diff(luma, axis=1)).mean())


def test_no_detail_of_a_redacted_face_is_left_in_any_frame(moving: tuple[Path, Path, Path], tmp_path: Path) -> None:
    clip, timeline, faces = moving
    facts = fervid.overlay(clip, timeline, tmp_path / "out.mp4", faces=faces, blur_faces=True)
    assert facts["faces"] == "hidden"
    for i, (source, made) in enumerate(zip(frames(clip), frames(tmp_path / "out.mp4"))):
        inside = (slice(64, 60 + FACE - 4), slice(20 + 4 * i + 4, 20 + 4 * i + FACE - 4))
        if inside[1].stop > 250:
            break
        # the outline and the badge are drawn over it; therefore check the middle as well
        middle = (slice(60 + 14, 60 + FACE - 14), slice(20 + 4 * i + 14, 20 + 4 * i + FACE - 14))
        assert detail(luma(made)[middle]) < 0.25 * detail(luma(source)[middle])
        assert detail(luma(made)[inside]) < 0.8 * detail(luma(source)[inside])


def test_redact_leaves_a_few_flat_tiles_in_and_around_the_box() -> None:
    random = np.random.default_rng(0)
    planes = [random.integers(0, 256, (200 // s, 300 // s), np.uint8) for s in (1, 2, 2)]
    before = planes[0].copy()
    redact(planes, np.array([100.0, 60, 180, 140]))
    area = planes[0][60 - 28 : 140 + 28, 100 - 28 : 180 + 28]
    assert len(np.unique(area)) <= 16
    assert (np.diff(area.astype(int), axis=1) != 0).any(0).sum() <= 3
    untouched = np.ones_like(before, bool)
    untouched[32:168, 72:208] = False
    assert (planes[0][untouched] == before[untouched]).all()
    for plane in planes[1:]:
        assert len(np.unique(plane[18:82, 38:102])) <= 16


@pytest.mark.parametrize("box", [(-50, -50, 20, 20), (280, 180, 400, 400), (500, 500, 600, 600), (10, 10, 10, 10)])
def test_drawing_outside_the_frame_is_cropped(box: tuple) -> None:
    planes = [np.full((200 // s, 300 // s), 128, np.uint8) for s in (1, 2, 2)]
    colours = YuvColours(bt709=False, full_range=False)
    sprite = colours.sprite(Image.new("RGBA", (33, 17), (255, 0, 0, 255)))
    redact(planes, np.array(box, float))
    outline(planes, np.array(box, float), (colours.convert([255, 0, 0]), colours.convert([0, 0, 0])), 3)
    paste(planes, sprite, box[0], box[1])


@pytest.mark.parametrize("alpha", [0, 100, 255])
def test_a_sprite_is_blended_with_the_frame(alpha: int) -> None:
    planes = [np.full((40 // s, 60 // s), 200, np.uint8) for s in (1, 2, 2)]
    colours = YuvColours(bt709=False, full_range=True)
    paste(planes, colours.sprite(Image.new("RGBA", (10, 8), (255, 0, 0, alpha))), 11, 5)
    share, ink = alpha / 255, colours.convert([255, 0, 0])
    for plane, value, s in zip(planes, ink, (1, 2, 2)):
        assert plane[6 // s, 14 // s] == pytest.approx(200 + share * (value - 200), abs=1.5)
        assert plane[0, 0] == plane[-1, -1] == 200


def test_colours_follow_the_standards() -> None:
    red = np.array([255, 0, 0])
    assert YuvColours(bt709=False, full_range=False).convert(red) == pytest.approx([81.5, 90.2, 240], abs=0.5)
    assert YuvColours(bt709=True, full_range=False).convert(red) == pytest.approx([62.6, 102.3, 240], abs=0.5)
    assert YuvColours(bt709=False, full_range=True).convert(np.array([255, 255, 255])) == pytest.approx([255, 128, 128])


# -- bad input ------------------------------------------------------------------------------------------


def test_another_video_is_an_error_unless_forced(moving: tuple[Path, Path, Path], tmp_path: Path) -> None:
    clip, timeline, _ = moving
    other = write_frames(tmp_path / "other.mp4", [face_at(100)] * 20)
    code, _, error = run("overlay", other, timeline, "--out", tmp_path / "out.mp4")
    assert code == 2 and "--force" in error and "moving.mp4" in error and error.count("\n") == 1
    assert run("overlay", other, timeline, "--out", tmp_path / "out.mp4", "--force", "--quiet")[0] == 0
    renamed = shutil.copy(clip, tmp_path / "renamed.mp4")
    assert run("overlay", renamed, timeline, "--out", tmp_path / "out.mp4", "--json")[0] == 0


def test_a_video_without_faces_gets_a_notice(tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "faceless.mp4", [np.full((192, 256), 20, np.uint8)] * 10)
    timeline, faces = process(clip)
    code, printed, _ = run("overlay", clip, timeline, "--faces", faces, "--out", tmp_path / "out.mp4", "--json")
    assert code == 0 and '"boxes": 0' in printed
    assert luma(frames(tmp_path / "out.mp4")[0])[-25:].max() > 150  # the notice


def test_files_of_the_wrong_kind_are_errors(moving: tuple[Path, Path, Path], tmp_path: Path) -> None:
    clip, timeline, faces = moving
    out = tmp_path / "out.mp4"
    other = write_frames(tmp_path / "other.mp4", [face_at(100)] * 20)
    with pytest.raises(DataError, match="face readings, not a timeline"):
        fervid.overlay(clip, faces, out)
    with pytest.raises(DataError, match=r"not a file of face readings; fervid process --faces"):
        fervid.overlay(clip, timeline, out, faces=timeline)
    with pytest.raises(DataError, match="readings of another video"):
        fervid.overlay(clip, timeline, out, faces=process(other)[1])
    with pytest.raises(OutputError, match=r"ends with \.mp4"):
        fervid.overlay(clip, timeline, tmp_path / "out.gif")
    with pytest.raises(OutputError, match="is the input"):
        fervid.overlay(clip, timeline, clip)
    with pytest.raises(OutputError, match="cannot be written"):
        fervid.overlay(clip, timeline, tmp_path / "nowhere" / "out.mp4")
    assert not out.exists()


def test_readings_that_would_not_redact_every_face_are_errors(moving: tuple[Path, Path, Path], tmp_path: Path) -> None:
    clip, timeline, _ = moving
    with pytest.raises(DataError, match="--faces"):
        fervid.overlay(clip, timeline, tmp_path / "out.mp4", blur_faces=True)
    copy = Path(shutil.copy(clip, tmp_path / "slow.mp4"))
    slow = process(copy, fps="1")
    with pytest.raises(ConfigError, match="--fps 5"):
        fervid.overlay(copy, slow[0], tmp_path / "out.mp4", faces=slow[1], blur_faces=True)
    part = process(copy, end_s=1.0)
    with pytest.raises(ConfigError, match="only a part"):
        fervid.overlay(copy, part[0], tmp_path / "out.mp4", faces=part[1], blur_faces=True)
