"""`fervid score`: one row per file, including unreadable ones."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image
from typer.testing import CliRunner

from fervid.cli import app
from fervid.errors import DataError, OutputError
from fervid.lab.data.datasets import FER2013
from fervid.lab.data.images import find_images, main_faces, read_image
from fervid.lab.evaluation.score import ScoreSummary, score_folder
from tests.helpers.command_line import ONE_FACE
from tests.helpers.fakes import FakeDetector, draw_faces

ASTRONAUT = skimage.data.astronaut()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of readable images, a crop, an image without a face, and files that only look like images."""
    images = tmp_path_factory.mktemp("score") / "images"
    (images / "b" / "c").mkdir(parents=True)
    Image.fromarray(ASTRONAUT).save(images / "portrait.jpg", quality=95)
    Image.fromarray(ASTRONAUT[50:180, 160:290]).resize((48, 48)).convert("L").save(images / "b" / "crop.PNG")
    Image.fromarray(skimage.data.coffee()).save(images / "b" / "c" / "no_face.png")
    (images / "a text.png").write_text("words")
    (images / "empty.jpg").touch()
    (images / "cut.jpg").write_bytes((images / "portrait.jpg").read_bytes()[:3000])
    (images / "gone.jpg").symlink_to(images.parent / "nothing.jpg")
    (images / "link.jpg").symlink_to(images / "portrait.jpg")
    (images / "loop").symlink_to(images, target_is_directory=True)
    os.mkfifo(images / "pipe.jpg")
    (images / "notes.txt").write_text("not an image, gets no row")
    (images / ".hidden.jpg").write_text("also gets no row")
    return images


def run(*args: object) -> tuple[int, str, list[dict[str, str]]]:
    result = CliRunner().invoke(app, ["score", *map(str, args), "--device", "cpu"])
    out = Path(str(args[args.index("--out") + 1]))
    rows = list(csv.DictReader(out.read_text("utf-8").splitlines())) if out.is_file() else []
    return result.exit_code, result.stdout, rows


@pytest.fixture(scope="module")
def scored(folder: Path) -> tuple[int, str, list[dict[str, str]]]:
    return run(folder, "--out", folder.parent / "s.csv", "--json")


def test_one_row_per_file(folder: Path, scored: tuple[int, str, list[dict[str, str]]]) -> None:
    code, printed, rows = scored
    assert code == 1  # some images cannot be read
    face = {row["path"]: row["face"] for row in rows}
    assert face == {
        "a text.png": "", "b/c/no_face.png": "none", "b/crop.PNG": "given", "cut.jpg": "", "empty.jpg": "",
        "gone.jpg": "", "link.jpg": "found", "pipe.jpg": "", "portrait.jpg": "found",
    }  # fmt: skip
    assert list(face) == sorted(face, key=lambda name: Path(name).parts)
    assert json.loads(printed) == {
        "out": str(folder.parent / "s.csv"), "pictures": 9, "scored": 3, "no_face": 1, "unreadable": 5,
    }  # fmt: skip
    reasons = {row["path"]: row["reason"] for row in rows}
    assert "empty" in reasons["empty.jpg"] and "regular file" in reasons["pipe.jpg"] and "link" in reasons["gone.jpg"]
    for row in rows:
        assert bool(row["reason"]) == (row["face"] in ("", "none")) == (row["happiness"] == "")
        assert bool(row["x0"]) == (row["face"] == "found")


def test_row_has_probabilities_and_face_box(scored: tuple[int, str, list[dict[str, str]]]) -> None:
    _, _, rows = scored
    row = rows[-1]
    prob = [float(row[name]) for name in FER2013]
    assert max(prob) == float(row["happiness"]) and sum(prob) == pytest.approx(1, abs=1e-4)
    x0, y0, x1, y1 = (float(row[name]) for name in ("x0", "y0", "x1", "y1"))
    assert 160 < x0 < 200 < 250 < x1 < 290 and 40 < y0 < 80 < 160 < y1 < 190
    assert {k: v for k, v in row.items() if k != "path"} == {
        k: v for k, v in rows[-3].items() if k != "path"
    }  # the link


def test_output_is_reproducible(folder: Path, tmp_path: Path) -> None:
    for name in "ab":
        score_folder(folder / "b", tmp_path / f"{name}.csv", device="cpu")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_output_must_be_a_csv_file(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"is a folder; name a file, such as .*scores\.csv"):
        score_folder(folder, tmp_path, device="cpu")
    for name in ("s.parquet", "s"):
        with pytest.raises(OutputError, match=r"ends with \.csv"):
            score_folder(folder, tmp_path / name, device="cpu")
    assert not list(tmp_path.iterdir())


def test_no_detect_uses_whole_crops(folder: Path, tmp_path: Path) -> None:
    code, _, rows = run(folder / "b", "--out", tmp_path / "s.csv", "--no-detect")
    assert code == 0 and [row["face"] for row in rows] == ["given", "given"]
    assert all(row["happiness"] and not row["x0"] for row in rows)


def test_hint_at_no_detect_when_many_crops_have_no_face(folder: Path, tmp_path: Path) -> None:
    code, printed, _ = run(folder / "b", "--out", tmp_path / "s.csv")
    assert code == 0 and "no face was found in 1 of 2 images" in printed and "--no-detect" in printed
    assert not ScoreSummary(tmp_path, pictures=25, scored=19, no_face=1, unreadable=5).hint
    assert ScoreSummary(tmp_path, pictures=24, scored=18, no_face=1, unreadable=5).hint


def test_single_image(folder: Path, tmp_path: Path) -> None:
    code, _, rows = run(folder / "portrait.jpg", "--out", tmp_path / "s.csv")
    assert code == 0 and [row["path"] for row in rows] == ["portrait.jpg"]


def test_a_video_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["score", str(ONE_FACE), "--out", str(tmp_path / "s.csv")])
    assert result.exit_code == 2 and "is not an image; fervid process reads videos" in result.stderr
    assert not list(tmp_path.iterdir())


def test_folder_without_images_exits_2(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", "--out", tmp_path / "s.csv")[0] == 2
    assert run(tmp_path / "nothing", "--out", tmp_path / "s.csv")[0] == 2
    assert not (tmp_path / "s.csv").exists()


# -- images -------------------------------------------------------------------------------------------


def test_images_follow_exif_orientation_and_keep_their_range(tmp_path: Path) -> None:
    left = np.zeros((10, 20), np.uint8)
    left[:, :10] = 200
    image, exif = Image.fromarray(left), Image.Exif()
    exif[0x0112] = 6  # rotate 90 degrees clockwise: left becomes top
    image.save(tmp_path / "turned.png", exif=exif)
    turned = read_image(tmp_path / "turned.png")
    assert turned.shape == (20, 10, 3) and (turned[:10] == 200).all() and (turned[10:] == 0).all()
    Image.fromarray(left.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert (read_image(tmp_path / "deep.png")[..., 0] == left).all()


def test_decompression_bomb_is_refused_before_decoding(tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    with pytest.raises(DataError, match="more than 64000000 pixels"):
        read_image(tmp_path / "bomb.png")


def test_symlink_loop_is_read_once(folder: Path) -> None:
    assert len(find_images(folder)) == 9
    with pytest.raises(DataError, match="no such"):
        find_images(folder / "nowhere")


def test_main_face_is_large_and_central() -> None:
    # 60 px in the middle, 70 px on the left, 20 px at the top
    image = draw_faces((290, 170, 350, 230), (10, 165, 80, 235), (310, 5, 330, 25), size=(640, 400))
    (face,) = main_faces([np.repeat(image[..., None], 3, 2)], FakeDetector())
    assert face.box_px.tolist() == [290, 170, 350, 230]
    (weak,) = main_faces(
        [np.repeat(draw_faces((290, 170, 350, 230), size=(640, 400), bright=200)[..., None], 3, 2)], FakeDetector()
    )
    assert weak is None  # below Config.track_start_score


@pytest.mark.parametrize("size", [(1280, 800), (96, 60)])
def test_boxes_are_in_pixels_of_the_image(size: tuple[int, int]) -> None:
    width, height = size
    box = (width * 0.375, height * 0.3, width * 0.625, height * 0.7)
    images = [np.repeat(draw_faces(*boxes, size=size)[..., None], 3, 2) for boxes in ([box], [], [box])]
    first, missing, last = main_faces(images, FakeDetector())
    assert missing is None and (first.box_px == last.box_px).all()
    assert np.allclose(first.box_px, box, atol=width / 100)
