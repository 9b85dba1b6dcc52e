"""`fervid score`: every file is a row, whatever is in it."""

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
from fervid.lab.evaluation.score import Summary, score_folder
from tests.helpers.fakes import FakeDetector, draw_faces

ASTRONAUT = skimage.data.astronaut()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good images, a crop, no face, and what calls itself an image."""
    pictures = tmp_path_factory.mktemp("score") / "images"
    (pictures / "b" / "c").mkdir(parents=True)
    Image.fromarray(ASTRONAUT).save(pictures / "portrait.jpg", quality=95)
    Image.fromarray(ASTRONAUT[50:180, 160:290]).resize((48, 48)).convert("L").save(pictures / "b" / "crop.PNG")
    Image.fromarray(skimage.data.coffee()).save(pictures / "b" / "c" / "nobody.png")
    (pictures / "a text.png").write_text("words")
    (pictures / "empty.jpg").touch()
    (pictures / "cut.jpg").write_bytes((pictures / "portrait.jpg").read_bytes()[:3000])
    (pictures / "gone.jpg").symlink_to(pictures.parent / "nothing.jpg")
    (pictures / "link.jpg").symlink_to(pictures / "portrait.jpg")
    (pictures / "loop").symlink_to(pictures, target_is_directory=True)
    os.mkfifo(pictures / "pipe.jpg")
    (pictures / "notes.txt").write_text("no image, and no row")
    (pictures / ".hidden.jpg").write_text("no row either")
    return pictures


def run(*args: object) -> tuple[int, str, list[dict[str, str]]]:
    result = CliRunner().invoke(app, ["score", *map(str, args), "--device", "cpu"])
    out = Path(str(args[args.index("--out") + 1]))
    rows = list(csv.DictReader(out.read_text("utf-8").splitlines())) if out.is_file() else []
    return result.exit_code, result.stdout, rows


@pytest.fixture(scope="module")
def scored(folder: Path) -> tuple[int, str, list[dict[str, str]]]:
    return run(folder, "--out", folder.parent / "s.csv", "--json")


def test_every_file_is_a_row(folder: Path, scored: tuple[int, str, list[dict[str, str]]]) -> None:
    code, printed, rows = scored
    assert code == 1  # some cannot be read
    face = {row["path"]: row["face"] for row in rows}
    assert face == {
        "a text.png": "", "b/c/nobody.png": "none", "b/crop.PNG": "given", "cut.jpg": "", "empty.jpg": "",
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


def test_a_row_holds_the_classes_and_where_the_face_is(scored: tuple[int, str, list[dict[str, str]]]) -> None:
    _, _, rows = scored
    row = rows[-1]
    prob = [float(row[name]) for name in FER2013]
    assert max(prob) == float(row["happiness"]) and sum(prob) == pytest.approx(1, abs=1e-4)
    x0, y0, x1, y1 = (float(row[name]) for name in ("x0", "y0", "x1", "y1"))
    assert 160 < x0 < 200 < 250 < x1 < 290 and 40 < y0 < 80 < 160 < y1 < 190
    assert {k: v for k, v in row.items() if k != "path"} == {
        k: v for k, v in rows[-3].items() if k != "path"
    }  # the link


def test_the_same_folder_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    for name in "ab":
        score_folder(folder / "b", tmp_path / f"{name}.csv", device="cpu")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_a_table_is_csv_and_says_so(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"is a folder; name a file, such as .*scores\.csv"):
        score_folder(folder, tmp_path, device="cpu")
    for name in ("s.parquet", "s"):
        with pytest.raises(OutputError, match=r"ending in \.csv, found"):
            score_folder(folder, tmp_path / name, device="cpu")
    assert not list(tmp_path.iterdir())


def test_aligned_crops_are_used_whole(folder: Path, tmp_path: Path) -> None:
    code, _, rows = run(folder / "b", "--out", tmp_path / "s.csv", "--no-detect")
    assert code == 0 and [row["face"] for row in rows] == ["given", "given"]
    assert all(row["happiness"] and not row["x0"] for row in rows)


def test_many_crops_without_a_face_are_told_how_to_be_taken(folder: Path, tmp_path: Path) -> None:
    code, printed, _ = run(folder / "b", "--out", tmp_path / "s.csv")
    assert code == 0 and "no face was found in 1 of 2 images" in printed and "--no-detect" in printed
    assert not Summary(tmp_path, pictures=25, scored=19, no_face=1, unreadable=5).hint
    assert Summary(tmp_path, pictures=24, scored=18, no_face=1, unreadable=5).hint


def test_one_picture_is_a_folder_of_one(folder: Path, tmp_path: Path) -> None:
    code, _, rows = run(folder / "portrait.jpg", "--out", tmp_path / "s.csv")
    assert code == 0 and [row["path"] for row in rows] == ["portrait.jpg"]


def test_a_folder_without_pictures_is_a_wrong_request(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", "--out", tmp_path / "s.csv")[0] == 2
    assert run(tmp_path / "nothing", "--out", tmp_path / "s.csv")[0] == 2
    assert not (tmp_path / "s.csv").exists()


# -- images -------------------------------------------------------------------------------------------


def test_pictures_stand_upright_and_keep_their_range(tmp_path: Path) -> None:
    left = np.zeros((10, 20), np.uint8)
    left[:, :10] = 200
    image, exif = Image.fromarray(left), Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter: what is left is above
    image.save(tmp_path / "turned.png", exif=exif)
    turned = read_image(tmp_path / "turned.png")
    assert turned.shape == (20, 10, 3) and (turned[:10] == 200).all() and (turned[10:] == 0).all()
    Image.fromarray(left.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert (read_image(tmp_path / "deep.png")[..., 0] == left).all()


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    with pytest.raises(DataError, match="more than 64000000 pixels"):
        read_image(tmp_path / "bomb.png")


def test_a_folder_reached_twice_is_read_once(folder: Path) -> None:
    assert len(find_images(folder)) == 9
    with pytest.raises(DataError, match="no such"):
        find_images(folder / "nowhere")


def test_the_main_face_is_large_and_central() -> None:
    # in the middle 60 px, to the left 70 px, and above all 20 px
    picture = draw_faces((290, 170, 350, 230), (10, 165, 80, 235), (310, 5, 330, 25), size=(640, 400))
    (face,) = main_faces([np.repeat(picture[..., None], 3, 2)], FakeDetector())
    assert face.box_px.tolist() == [290, 170, 350, 230]
    (weak,) = main_faces(
        [np.repeat(draw_faces((290, 170, 350, 230), size=(640, 400), bright=200)[..., None], 3, 2)], FakeDetector()
    )
    assert weak is None  # below Config.track_start_score the line would see nobody


@pytest.mark.parametrize("size", [(1280, 800), (96, 60)])
def test_boxes_count_in_pixels_of_the_picture(size: tuple[int, int]) -> None:
    width, height = size
    box = (width * 0.375, height * 0.3, width * 0.625, height * 0.7)
    pictures = [np.repeat(draw_faces(*boxes, size=size)[..., None], 3, 2) for boxes in ([box], [], [box])]
    first, nobody, last = main_faces(pictures, FakeDetector())
    assert nobody is None and (first.box_px == last.box_px).all()
    assert np.allclose(first.box_px, box, atol=width / 100)
