"""Reading face data sets: every supported layout, FER+ votes, and duplicates between two sets."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from fervid.errors import DataError
from fervid.lab.data.datasets import (
    FER2013,
    FERPLUS,
    FaceSet,
    compare_classes,
    load_faces,
    load_training,
    load_validation,
)
from fervid.lab.data.duplicates import find_duplicates
from fervid.lab.data.fer2013 import TAGS, majority
from fervid.lab.data.holdout import holdout
from fervid.lab.data.images import luma
from fervid.lab.data.layouts import RAFDB
from fervid.lab.data.listing import OWN_PX, split_named
from fervid.labels import EMOTIONS, emotions_in
from tests.helpers.face_sets import encoded, some_faces, write_parquet

NOISE = np.random.default_rng(0)
CKPLUS = (*FER2013, "contempt")
VOTES_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def write_images(root: Path, *names: str, grey: int = 90) -> None:
    """Write a small image of one grey value under each name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (6, 6), grey).save(path)


def label_names(faces: FaceSet) -> list[str]:
    """The name of each face's label."""
    return [faces.labels[i] for i in faces.label]


def labels_by_file(faces: FaceSet) -> dict[str, str]:
    """The label of each file, by file name."""
    return {Path(source).name: label for source, label in zip(faces.source, label_names(faces))}


@pytest.fixture
def little() -> FaceSet:
    label = np.arange(20) % 7
    return FaceSet("little", FER2013, NOISE.integers(0, 256, (20, 48, 48), np.uint8), label)


def kaggle_csv(path: Path, faces: FaceSet, usage: list[str], header: str = "emotion,pixels,Usage") -> Path:
    lines = [header]
    order = [name.strip() for name in header.split(",")]
    for x, y, use in zip(faces.image, faces.label, usage):
        row = {"emotion": str(y), "pixels": " ".join(map(str, x.ravel())), "Usage": use}
        lines.append(",".join(row[name] for name in order))
    path.write_text("\n".join(lines))
    return path


USAGE = ["Training"] * 12 + ["PublicTest"] * 4 + ["PrivateTest"] * 4


def test_ck_plus_in_its_released_layout(tmp_path: Path) -> None:
    """CK+ holds whole sequences; a separate file labels the last image of each."""
    for stem in ("S005/001/S005_001_00000001", "S005/001/S005_001_00000011", "S010/002/S010_002_00000014"):
        write_images(tmp_path, f"cohn-kanade-images/{stem}.png")
    for stem, number in (("S005/001/S005_001_00000011", 3), ("S010/002/S010_002_00000014", 2)):
        file = tmp_path / "Emotion" / f"{stem}_emotion.txt"
        file.parent.mkdir(parents=True)
        file.write_text(f"   {number:.7e}\n")
    faces = load_faces(tmp_path)
    assert labels_by_file(faces) == {"S005_001_00000011.png": "disgust", "S010_002_00000014.png": "contempt"}
    file.write_text("   9.0000000e+00\n")
    with pytest.raises(DataError, match=r"00000014_emotion\.txt: expected a number from 0 to 7 such as .*, found '9"):
        load_faces(tmp_path)
    file.rename(file.with_name("S010_002_00000015_emotion.txt")).write_text("1.0000000e+00")
    with pytest.raises(DataError, match=r"no image S010_002_00000015\.png below"):
        load_faces(tmp_path)


# --- FER2013 as tables


def test_ck_plus_in_fer2013_format_has_contempt(little: FaceSet, tmp_path: Path) -> None:
    kaggle_csv(tmp_path / "ckextended.csv", replace(little, labels=CKPLUS, label=np.arange(20) % 8), USAGE)
    faces = load_faces(tmp_path, "all")
    assert label_names(faces)[:8] == [*FER2013, "contempt"] and len(faces) == 20
    train = load_faces(tmp_path, "train")
    assert train.labels == faces.labels == CKPLUS and len(train) == 12


@pytest.mark.parametrize(
    ("name", "header"), [("fer2013.csv", "emotion,pixels,Usage"), ("icml_face_data.csv", "emotion, Usage, pixels")]
)
def test_kaggle_csv_keeps_splits_separate(little: FaceSet, tmp_path: Path, name: str, header: str) -> None:
    path = kaggle_csv(tmp_path / name, little, USAGE, header)
    for where in (path, tmp_path):  # the file, or its folder
        train, public, private = (load_faces(where, split) for split in ("train", "public", "PrivateTest"))
        assert (train.image == little.image[:12]).all() and (train.label == little.label[:12]).all()
        assert (public.image == little.image[12:16]).all() and len(private) == 4
        assert train.labels == FER2013 and train.votes is None
        assert public.name == f"{path.stem}/public"
        assert public.source[0] == f"{path} row 12"
        assert (load_validation(where).label == public.label).all()
    with pytest.raises(DataError, match=r"choose one of its splits: train, public, private, or all"):
        load_faces(path)
    with pytest.raises(DataError, match=r"no split 'test'; it has train, public, private"):
        load_faces(path, "test")


def test_parquet_gives_the_same_faces(little: FaceSet, tmp_path: Path) -> None:
    images = [encoded(i, "webp", lossless=True) for i in little.image]
    pq.write_table(pa.table({"image": images, "emotion": little.label}), tmp_path / "a.parquet")
    faces = load_faces(tmp_path / "a.parquet")
    assert (faces.image == little.image).all() and (faces.label == little.label).all() and faces.name == "a"
    pq.write_table(pa.table({"image": images, "emotion": little.label, "usage": USAGE}), tmp_path / "b.parquet")
    assert (load_faces(tmp_path / "b.parquet", "public").image == little.image[12:16]).all()
    only = pa.table({"image": images[:3], "emotion": ["angry", "joy", "contempt"], "usage": ["PublicTest"] * 3})
    pq.write_table(only, tmp_path / "c.parquet")
    faces = load_faces(tmp_path / "c.parquet")
    assert label_names(faces) == ["anger", "happiness", "contempt"] and faces.name == "c"
    with pytest.raises(DataError, match="no split 'train'; it has public"):
        load_faces(tmp_path / "c.parquet", "train")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"emotion": [1]}, "column image missing"),
        ({"image": [b""], "pixels": [1]}, "column emotion missing; found image, pixels"),
        ({"image": [b""], "emotion": [1], "ferplus_anger": [1]}, "column ferplus_contempt, .* missing"),
        ({"image": [b"no image"], "emotion": [1]}, r"x\.parquet row 0: cannot be read as an image"),
        ({"image": [b"", b""], "emotion": [1, 7]}, r"x\.parquet row 1: unknown label '7'; expected 0 anger, 1 disgust"),
        ({"image": [b"", b""], "emotion": [1, None]}, r"x\.parquet row 1: no label"),
        ({"image": [b""], "emotion": [1], "usage": ["Someday"]}, r"x\.parquet row 0: unknown Usage 'Someday'"),
    ],
)
def test_error_in_table_names_file_and_row(columns: dict, words: str, tmp_path: Path) -> None:
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=words):
        load_faces(tmp_path / "x.parquet")


def test_error_in_kaggle_csv_names_file_and_row(little: FaceSet, tmp_path: Path) -> None:
    path = kaggle_csv(tmp_path / "fer2013.csv", little, USAGE)
    good = path.read_text().splitlines()
    for row, (line, words) in enumerate(
        [
            ("3,1 2 3,Training", "row 0: cannot be read as an image .*expected 48x48 numbers .*found 3"),
            (f"3,{'300 ' * 2304},Training", "row 1: cannot be read as an image .*from 0 to 255"),
            (f"3,{'a ' * 2304},Training", "row 2: cannot be read as an image"),
            (f",{'1 ' * 2304},Training", "row 3: no label"),
            (f"9,{'1 ' * 2304},Training", "row 4: unknown label '9'"),
            (f"3,{'1 ' * 2304},Sometimes", "row 5: unknown Usage 'Sometimes'"),
        ]
    ):
        path.write_text("\n".join([*good[: row + 1], line, *good[row + 2 :]]))
        with pytest.raises(DataError, match=rf"fer2013\.csv {words}"):
            load_faces(path, "train")
    path.write_text("pixels,Usage\n1,Training")
    with pytest.raises(DataError, match="column emotion missing; found pixels, Usage"):
        load_faces(path, "train")


# --- FER+


def votes_csv(folder: Path, rows: list[dict[str, int]], usage: list[str]) -> None:
    lines = [VOTES_HEADER]
    for i, (row, use) in enumerate(zip(rows, usage)):
        name = "" if row.get("nf", 0) > 5 else f"fer{i:07d}.png"
        lines.append(f"{use},{name}," + ",".join(str(row.get(tag, 0)) for tag in TAGS))
    (folder / "fer2013new.csv").write_text("\n".join(lines))


CASES = [
    ({"happiness": 9, "neutral": 1}, "happiness"),  # a single vote is an outlier
    ({"neutral": 5, "anger": 5}, None),  # a tie
    ({"nf": 10}, None),
    ({"unknown": 6, "sadness": 4}, None),
    ({"contempt": 4, "neutral": 3, "fear": 1, "anger": 1, "disgust": 1}, "contempt"),  # 4 of the 7 votes that count
    ({"sadness": 4, "fear": 3, "neutral": 2, "anger": 1}, None),  # a plurality, but not a majority
    (dict.fromkeys(TAGS, 1), None),  # no votes left
]


def test_majority_votes_computed_by_hand(little: FaceSet, tmp_path: Path) -> None:
    some = little.take(np.arange(len(CASES)))
    usage = ["Training"] * len(CASES)
    path = kaggle_csv(tmp_path / "fer2013.csv", some, usage)
    with pytest.raises(DataError, match=r"no FER\+ votes; expected fer2013new\.csv"):
        load_faces(path, "train", labels="ferplus")
    votes_csv(tmp_path, [row for row, _ in CASES], usage)
    faces = load_faces(path, "train", labels="ferplus")
    assert faces.labels == faces.vote_labels == FERPLUS
    assert label_names(faces) == [label for _, label in CASES if label]
    assert list(faces.source) == [f"{path} row 0", f"{path} row 4"]
    assert faces.votes[0].tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    assert faces.votes[1, FERPLUS.index("contempt")] == pytest.approx(4 / 7)

    both = load_faces(path, "train")  # FER2013's labels, with all original votes for emotions
    assert (both.label == some.label).all() and both.vote_labels == FERPLUS
    assert both.votes[0].tolist() == pytest.approx([0.1, 0.9, 0, 0, 0, 0, 0, 0])
    assert both.votes[2].sum() == 0 and both.votes[3, FERPLUS.index("sadness")] == 1
    assert load_faces(path, "train", labels="hard").votes is None
    with pytest.raises(DataError, match="expected one of auto, hard, ferplus, found 'soft'"):
        load_faces(path, "train", labels="soft")


def test_votes_must_match_the_faces(little: FaceSet, tmp_path: Path) -> None:
    path = kaggle_csv(tmp_path / "fer2013.csv", little, USAGE)
    votes_csv(tmp_path, [{"fear": 10}] * 19, USAGE[:19])
    with pytest.raises(DataError, match=r"fer2013new\.csv: 19 rows, but .*fer2013\.csv has 20"):
        load_faces(path, "train")
    votes_csv(tmp_path, [{"fear": 10}] * 20, USAGE[::-1])
    with pytest.raises(DataError, match=r"fer2013new\.csv row 0: PrivateTest, but .* has Training"):
        load_faces(path, "train")


def test_parquet_with_only_votes_is_labelled_by_majority(little: FaceSet, tmp_path: Path) -> None:
    votes = {f"ferplus_{tag}": [row.get(tag, 0) for row, _ in CASES] for tag in TAGS}
    images = [encoded(i) for i in little.image[: len(CASES)]]
    pq.write_table(pa.table({"image": images, **votes}), tmp_path / "v.parquet")
    assert label_names(load_faces(tmp_path / "v.parquet")) == ["happiness", "contempt"]
    with pytest.raises(DataError, match="row 0: no label"):
        load_faces(tmp_path / "v.parquet", labels="hard")


@given(hnp.arrays(np.int64, (5, 10), elements=st.integers(0, 10)))
def test_majority_needs_more_than_half_of_the_kept_votes(counts: np.ndarray) -> None:
    label, kept = majority(counts)
    for winner, row in zip(label, kept):
        tops = [i for i in range(10) if 2 * row[i] > row.sum()]
        assert winner == (tops[0] if tops and tops[0] < 8 else -1)
    assert not (kept == 1).any()


def test_votes_become_soft_targets_matched_by_name() -> None:
    votes = np.zeros((3, 8), np.float32)
    votes[0, [FERPLUS.index("happiness"), FERPLUS.index("neutral")]] = 0.75, 0.25
    votes[1, [FERPLUS.index("contempt"), FERPLUS.index("anger")]] = 0.75, 0.25
    image, label = np.zeros((3, 8, 8), np.uint8), np.array([3, 0, 4])
    targets = FaceSet("x", FER2013, image, label, votes, FERPLUS).targets(vote_weight=0.5)
    assert targets.dtype == np.float32
    assert targets[0].tolist() == [0, 0, 0, 0.5 + 0.375, 0, 0, 0.125]
    assert targets[1].tolist() == [1, 0, 0, 0, 0, 0, 0]  # no contempt class: anger takes all of the weight
    assert targets[2].tolist() == [0, 0, 0, 0, 1, 0, 0]  # no votes: only the label


@given(
    hnp.arrays(np.float32, (4, 8), elements=st.floats(0, 1, width=32)), st.floats(0, 1), st.permutations(list(EMOTIONS))
)
def test_targets_sum_to_one(raw: np.ndarray, weight: float, order: list[str]) -> None:
    total = raw.sum(1, keepdims=True)
    votes = np.where(total > 0, raw / np.where(total > 0, total, 1), 0).astype(np.float32)
    faces = FaceSet("x", tuple(order[:5]), np.zeros((4, 8, 8), np.uint8), np.arange(4), votes, FERPLUS)
    targets = faces.targets(weight)
    assert np.allclose(targets.sum(1), 1, atol=1e-4) and (targets >= 0).all()


# --- folders, names, lists


def test_fer2013_as_folders(tmp_path: Path) -> None:
    names = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    write_images(tmp_path, *(f"{s}/{name}/{i}.jpg" for s in ("train", "test") for name in names for i in range(2)))
    train, test = load_faces(tmp_path, "train"), load_faces(tmp_path, "test")
    assert train.labels == test.labels == FER2013 and len(train) == len(test) == 14
    assert np.bincount(train.label).tolist() == [2] * 7
    assert all("/train/" in source for source in train.source)
    assert label_names(load_faces(tmp_path / "test")) == label_names(test)
    with pytest.raises(DataError, match="no split 'train'; it has test"):
        load_faces(tmp_path / "test", "train")
    with pytest.raises(DataError, match="no split 'public'; it has train, test"):
        load_faces(tmp_path, "public")
    with pytest.raises(DataError, match="to validate on; found test, train"):
        load_validation(tmp_path)


@pytest.mark.parametrize(
    "folders",
    [
        ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise"),  # CK+48
        ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"),  # SFEW, JAFFE on Kaggle
        ("anger (h)", "contempt (h)", "fear (h)", "happiness (h)", "neutral", "sadness (h)", "surprise (h)"),  # TFEID
        ("0_angry", "1_disgust", "2-fear", "03 Happy", "4.sad", "5_Surprised", "6_NEUTRAL"),
        ("happy", "sad"),
    ],
)
def test_one_folder_per_class(folders: tuple[str, ...], tmp_path: Path) -> None:
    write_images(tmp_path / "set", *(f"{folder}/S010_004_{i}.png" for folder in folders for i in range(2)))
    write_images(tmp_path / "set", "__MACOSX/happy/._1.png", ".cache/odd/1.png")
    faces = load_faces(tmp_path / "set")
    expected = {emotions_in(folder)[0] for folder in folders}
    assert set(faces.labels) == expected and len(faces.labels) == len(folders)
    assert faces.labels == tuple(name for name in EMOTIONS if name in expected)
    assert len(faces) == 2 * len(folders) and faces.name == "set"
    assert len(load_faces(tmp_path / "set", "train")) == len(load_validation(tmp_path / "set")) == len(faces)
    with pytest.raises(DataError, match="has no splits"):
        load_faces(tmp_path / "set", "test")


def test_sfew_test_split_has_no_labels(tmp_path: Path) -> None:
    write_images(tmp_path, "Train/Angry/a.png", "Train/Happy/b.png", "Val_Aligned_Faces/Angry/c.png", "Test/d.png")
    assert label_names(load_faces(tmp_path, "train")) == ["anger", "happiness"]
    assert label_names(load_faces(tmp_path, "val")) == label_names(load_validation(tmp_path)) == ["anger"]
    assert load_faces(tmp_path, "val").labels == ("anger", "happiness")
    with pytest.raises(DataError, match=r"Test/d\.png: no label"):
        load_faces(tmp_path, "test")


@pytest.mark.parametrize("others", [("train/happy/a.png", "train/sad/b.png"), ()])
def test_error_names_a_folder_that_is_not_a_class(others: tuple[str, ...], tmp_path: Path) -> None:
    write_images(tmp_path, *others, "train/confusion/c.png")
    with pytest.raises(DataError, match=r"confusion/c\.png: unknown label 'confusion'; expected a name: anger"):
        load_faces(tmp_path, "train")


def test_error_names_an_image_outside_the_splits(tmp_path: Path) -> None:
    write_images(tmp_path, "train/happy/a.png", "test/happy/b.png", "happy/c.png")
    with pytest.raises(DataError, match=r"happy/c\.png is outside its splits train, test"):
        load_faces(tmp_path, "train")


def test_labels_in_file_names(tmp_path: Path) -> None:
    write_images(tmp_path, "happy_001.jpg", "anger12.png", "SadFace.png", "03-surprised.bmp")
    labels = {"happy_001.jpg": "happiness", "anger12.png": "anger", "SadFace.png": "sadness"}
    assert labels_by_file(load_faces(tmp_path)) == labels | {"03-surprised.bmp": "surprise"}
    write_images(tmp_path, "IMG_1.jpg")
    with pytest.raises(DataError, match=r"IMG_1\.jpg: no label; expected a name: anger"):
        load_faces(tmp_path)
    (tmp_path / "IMG_1.jpg").rename(tmp_path / "happy_sad.jpg")
    with pytest.raises(DataError, match=r"happy_sad\.jpg: unknown label 'happiness and sadness'"):
        load_faces(tmp_path)


def test_jaffe_file_names(tmp_path: Path) -> None:
    names = ("KA.AN1.39.tiff", "KA.DI1.42.tiff", "KL.FE1.174.tiff", "KM.HA2.5.tiff", "NM.SA3.120.tiff")
    write_images(tmp_path, *names, "TM.SU1.195.tiff", "YM.NE1.49.tiff")
    assert [labels_by_file(load_faces(tmp_path))[name] for name in names] == list(EMOTIONS[:5])
    assert set(load_faces(tmp_path).labels) == set(FER2013)


@pytest.mark.parametrize(
    "text",
    [
        "a.png,Happy\nsub/b.png,sadness\nc.png,joy\n",
        "file,label\na.png,happy\nsub/b.png,sad\nc.png,happy",
        "\ufeffsome image;what it shows\r\na.png;HAPPY\r\nb.png;Sad\r\n\r\nc;happy\r\n",
        ",pth,label,size\n0,a.png,happy,6\n1,b.png,sad,6\n2,c.png,happy,6\n",
    ],
)
def test_list_of_files_and_labels(text: str, tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "sub/b.png", "c.png")
    (tmp_path / "list.csv").write_text(text, "utf-8")
    for path in (tmp_path / "list.csv", tmp_path):
        assert labels_by_file(load_faces(path)) == {"a.png": "happiness", "b.png": "sadness", "c.png": "happiness"}


def test_list_with_splits(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "b.png")
    (tmp_path / "list.csv").write_text("file,label,split\na.png,happy,train\nb.png,sad,test\n")
    assert labels_by_file(load_faces(tmp_path, "test")) == {"b.png": "sadness"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,label\na.png,happy\na.png,hapy\n", "row 3: unknown emotion 'hapy'"),
        ("a.png,happy\na.png,\n", "row 2: no label"),
        ("a.png,happy\na.png\n", "row 2: no label"),
        ("a.png,3\n", "row 1: unknown emotion '3'"),
        ("a.png,happy\nz.png,happy\n", r"row 2: no file z\.png"),
        ("a,b,c\n1,2,3\n", "row 1: expected two columns, file and label, found a, b, c"),
        ("file,label,split\na.png,happy,late\n", "row 2: unknown split 'late'"),
        ("", "empty"),
    ],
)
def test_error_in_list_names_file_and_row(text: str, words: str, tmp_path: Path) -> None:
    write_images(tmp_path, "a.png")
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=rf"list\.csv:? ?{words}"):
        load_faces(tmp_path / "list.csv")


# --- RAF-DB

RAF_FILES = {f"{s}_{i:05d}": i % 7 + 1 for s, n in (("train", 14), ("test", 7)) for i in range(1, n + 1)}


def raf_text(separator: str, suffix: str, split: str = "") -> str:
    rows = [f"{name}{suffix}{separator}{number}" for name, number in RAF_FILES.items() if name.startswith(split)]
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize("layout", ["beside", "aligned", "official", "kaggle", "folders"])
def test_rafdb_layouts(layout: str, tmp_path: Path) -> None:
    text = raf_text(" ", ".jpg")
    if layout == "beside":
        write_images(tmp_path, *(f"{name}_aligned.jpg" for name in RAF_FILES))
        (tmp_path / "list_partition_label.txt").write_text(text)
    if layout == "aligned":
        write_images(tmp_path, *(f"aligned/{name}_aligned.jpg" for name in RAF_FILES))
        (tmp_path / "list_patition_label.txt").write_text(text)
    if layout == "official":
        write_images(tmp_path, *(f"basic/Image/aligned/{name}_aligned.jpg" for name in RAF_FILES))
        write_images(tmp_path, *(f"basic/Image/original/{name}.jpg" for name in RAF_FILES))
        (tmp_path / "basic" / "EmoLabel").mkdir()
        (tmp_path / "basic" / "EmoLabel" / "list_patition_label.txt").write_text(text)
    if layout in ("kaggle", "folders"):
        write_images(tmp_path, *(f"DATASET/{n.split('_')[0]}/{k}/{n}_aligned.jpg" for n, k in RAF_FILES.items()))
    if layout == "kaggle":
        for split in ("train", "test"):
            rows = raf_text(",", "_aligned.jpg", split)
            (tmp_path / f"{split}_labels.csv").write_text(f"image,label\n{rows}")
    train, test = load_faces(tmp_path, "train"), load_faces(tmp_path, "test")
    assert train.labels == RAFDB and (len(train), len(test)) == (14, 7)
    for name, label in labels_by_file(train).items():
        assert name.endswith("_aligned.jpg") and label == RAFDB[RAF_FILES[name.removesuffix("_aligned.jpg")] - 1]
    folder = Path(test.source[0]).parent
    inner = load_faces(folder, "test")  # the folder of images; the list is in a parent folder
    assert set(labels_by_file(inner).items()) <= set(labels_by_file(test).items()) and len(inner)
    for file in tmp_path.rglob("*_la*.*"):
        if "abel" in file.name:
            assert len(load_faces(file, "test" if "test" in file.name else "train"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train_00001.jpg 8", r"row 1: .* 'train_00001\.jpg 5' with a number from 1 to 7, found 'train_00001\.jpg 8'"),
        ("train_00001.jpg", "row 1: expected a line like"),
        ("train_00009.jpg 1", "row 1: no image train_00009"),
        ("", r"no label in .*list_patition_label\.txt"),
    ],
)
def test_error_in_rafdb_list_names_file_and_row(line: str, words: str, tmp_path: Path) -> None:
    write_images(tmp_path, "aligned/train_00001_aligned.jpg", "aligned/train_00002_aligned.jpg")
    (tmp_path / "list_patition_label.txt").write_text(f"{line}\ntrain_00002.jpg 3\n")
    with pytest.raises(DataError, match=words):
        load_faces(tmp_path, "train")


# --- images


def test_images_of_every_mode_become_grey_squares(tmp_path: Path) -> None:
    folder = tmp_path / "happy"
    folder.mkdir()
    colour = np.zeros((40, 60, 3), np.uint8)
    colour[:, 10:50] = (255, 0, 0)  # black outside the central square
    Image.fromarray(colour).save(folder / "wide.png")
    palette = Image.new("P", (30, 30), 1)
    palette.putpalette([0, 0, 0, 200, 200, 200])
    palette.save(folder / "palette.png", transparency=b"\x00\xff")
    Image.fromarray(np.full((20, 20), 200 * 256, np.uint16)).save(folder / "sixteen.png")
    Image.fromarray(np.full((20, 20, 4), (200, 200, 200, 10), np.uint8)).save(folder / "alpha.png")
    stripes = np.tile(np.array([0, 255], np.uint8), (96, 48))
    Image.fromarray(stripes).save(folder / "stripes.png")
    faces = load_faces(tmp_path, size_px=24)
    grey = {Path(source).stem: image for source, image in zip(faces.source, faces.image)}
    assert faces.image.shape == (5, 24, 24)
    assert (grey["wide"] == 76).all()  # 0.299 of 255
    assert (grey["palette"] == 200).all() and (grey["sixteen"] == 200).all() and (grey["alpha"] == 200).all()
    assert np.abs(grey["stripes"].astype(int) - 128).max() <= 10  # antialiased, not subsampled


def test_colour_images_keep_their_own_resolution(tmp_path: Path) -> None:
    write_images(tmp_path, "happy/a.png")
    colours = NOISE.integers(0, 256, (60, 50, 3), np.uint8)
    Image.fromarray(colours).save(tmp_path / "happy" / "b.png")
    Image.fromarray(np.full((20, 30), 77, np.uint8)).save(tmp_path / "happy" / "c.png")
    faces = load_faces(tmp_path, size_px=None, colour=True)
    assert faces.image.shape == (3, 50, 50, 3) and faces.colour and faces.size_px == 50
    by_file = {Path(source).stem: image for source, image in zip(faces.source, faces.image)}
    assert (by_file["b"] == colours[5:55]).all()  # the central square, pixel by pixel
    assert (by_file["a"][..., :1] == by_file["a"]).all() and (by_file["c"] == 77).all()  # grey in three channels
    assert load_faces(tmp_path, size_px=None).image.shape == (3, 50, 50)
    Image.fromarray(np.zeros((400, 300, 3), np.uint8)).save(tmp_path / "happy" / "d.png")
    assert load_faces(tmp_path, size_px=None).size_px == OWN_PX


def test_grey_images_stay_grey_in_a_set_for_a_colour_model(tmp_path: Path) -> None:
    """Stored as RGB, as WebP always is: a third of the memory."""
    grey = NOISE.integers(0, 256, (4, 48, 48), np.uint8)
    write_parquet(tmp_path / "grey.parquet", FaceSet("grey", FER2013, grey, np.arange(4)))
    faces = load_faces(tmp_path / "grey.parquet", size_px=None, colour=True)
    assert faces.image.shape == (4, 48, 48) and not faces.colour and (faces.image == grey).all()


def test_luma_equals_that_of_pillow() -> None:
    colours = NOISE.integers(0, 256, (64, 64, 3), np.uint8)
    assert (luma(colours) == np.asarray(Image.fromarray(colours).convert("L"))).all()


@pytest.mark.parametrize("damage", ["empty", "text", "cut"])
def test_error_names_a_damaged_image(damage: str, tmp_path: Path) -> None:
    write_images(tmp_path, "happy/a.png")
    whole = encoded(NOISE.integers(0, 256, (48, 48), np.uint8))
    content = {"empty": b"", "text": b"no image", "cut": whole[: len(whole) // 2]}[damage]
    (tmp_path / "happy" / "b.png").write_bytes(content)
    with pytest.raises(DataError, match=r"happy/b\.png: (cannot be read as an image|the file is empty)"):
        load_faces(tmp_path)
    with pytest.raises(DataError, match=r"happy/b\.png: (cannot be read as an image|the file is empty)"):
        load_faces(tmp_path, size_px=None)


def test_damaged_images_are_counted(tmp_path: Path) -> None:
    write_images(tmp_path, "happy/a.png", "sad/d.png")
    for name in ("happy/b.png", "sad/c.png"):
        (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(DataError, match=r"happy/b\.png: .* \(the first of 2, out of 4 images\)$"):
        load_faces(tmp_path)


def test_error_for_a_path_that_is_not_a_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such data set; expected a folder"):
        load_faces(tmp_path / "missing")
    with pytest.raises(DataError, match=r"expected images or fer2013\.csv .*; found nothing"):
        load_faces(tmp_path)
    for name in ("a.zip", "b.csv", "c.parquet", "d.txt"):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00 nonsense")
        with pytest.raises(DataError, match=name):
            load_faces(tmp_path / name)
    with pytest.raises(DataError, match=r"expected images .*; found a\.zip, b\.csv, c\.parquet, d\.txt"):
        load_faces(tmp_path)


# --- sets, classes, names


def test_taken_faces_keep_votes_and_sources(little: FaceSet) -> None:
    votes = np.eye(8, dtype=np.float32)[np.arange(20) % 8]
    source = np.array([f"row {i}" for i in range(20)])
    full = FaceSet("little", FER2013, little.image, little.label, votes, FERPLUS, source)
    some = full.take(np.array([3, 1]), "some")
    assert some.name == "some" and list(some.source) == ["row 3", "row 1"]
    assert (some.votes == votes[[3, 1]]).all() and some.vote_labels == FERPLUS


def test_placement_belongs_to_each_face(little: FaceSet) -> None:
    places = NOISE.normal(size=(20, 2, 3)).astype(np.float32)
    placed = replace(little, placement=places)
    assert (placed.take(np.array([3, 1])).placement == places[[3, 1]]).all()
    assert little.take(np.arange(3)).placement is None
    assert placed.fingerprint != little.fingerprint == replace(little).fingerprint


def test_classes_are_renumbered_by_name(little: FaceSet) -> None:
    other = little.relabelled(EMOTIONS)
    assert label_names(other) == label_names(little) and other.labels == EMOTIONS
    assert other.present == little.present == {FER2013[k] for k in set(little.label)}


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ("anger", "boredom")},
        {"label": np.full(20, 7)},
        {"image": np.zeros((19, 8, 8), np.uint8)},
        {"image": np.zeros((20, 8, 8), np.float32)},
        {"image": np.zeros((20, 8, 8, 4), np.uint8)},
        {"placement": np.zeros((20, 3, 3), np.float32)},
        {"votes": np.zeros((20, 7), np.float32), "vote_labels": FERPLUS},
    ],
)
def test_face_set_is_validated(change: dict, little: FaceSet) -> None:
    parts = {"labels": FER2013, "image": little.image, "label": little.label} | change
    with pytest.raises(DataError, match="little: "):
        FaceSet("little", **parts)


def test_classes_are_compared_by_name() -> None:
    assert compare_classes(FER2013, FERPLUS) == tuple(name for name in FERPLUS if name != "contempt")
    assert compare_classes(FERPLUS, ("sadness", "happiness")) == ("sadness", "happiness")
    with pytest.raises(DataError, match="fewer than two classes"):
        compare_classes(("anger", "fear"), ("fear", "neutral"))


@given(st.sampled_from(EMOTIONS), st.integers(0, 999), st.sampled_from(["{1}_{0}", "{0}{1}", "{1}. {0} (h)", "{0}-x"]))
def test_emotion_is_found_in_any_spelling_of_a_name(name: str, number: int, form: str) -> None:
    for written in (name, name.upper(), name.capitalize()):
        assert emotions_in(form.format(written, number)) == (name,)


def test_emotions_inside_longer_words_are_ignored() -> None:
    assert emotions_in("fearless_sadist_madrid") == emotions_in("DSC_0001") == emotions_in("") == ()


def test_split_names() -> None:
    names = {"Training": "train", "PublicTest": "public", "private_test": "private", "Val_Aligned_Faces": "val"}
    names |= {"TEST": "test", "happy": "", "": "", "0": "", "latest": "", "trained": ""}
    assert {text: split_named(text) for text in names} == names


# --- leakage


def photos(n: int, seed: int) -> np.ndarray:
    """Smooth random images, as different from each other as the most similar of different faces."""
    small = np.random.default_rng(seed).integers(0, 256, (n, 7, 7), np.uint8)
    return np.stack([np.asarray(Image.fromarray(i).resize((56, 56), Image.Resampling.BICUBIC)) for i in small])


def test_altered_copies_of_a_photograph_are_found() -> None:
    train, unrelated = photos(60, 0), photos(40, 1)[:, 4:52, 4:52]
    dimmed = (train[5, 4:52, 4:52] * 0.5 + 40).astype(np.uint8)
    squeezed = np.asarray(Image.open(io.BytesIO(encoded(train[9, 4:52, 4:52], "jpeg", quality=40))))
    altered = [train[2, 4:52, 4:52], dimmed, train[7, 4:52, 51:3:-1], squeezed, train[11, 5:53, 4:52]]
    flat = np.full((2, 48, 48), 9, np.uint8)
    ours = FaceSet("ours", FER2013, np.concatenate([train[:, 4:52, 4:52], flat]), np.arange(62) % 7)
    label = np.concatenate([[2, 0, 0, 2, 4], np.zeros(42, int)])
    other = FaceSet("theirs", FER2013, np.concatenate([altered, unrelated, flat]), label)
    found = find_duplicates(ours, other)
    assert sorted(map(tuple, found.pairs.tolist())) == [(2, 0), (5, 1), (7, 2), (9, 3), (11, 4)]
    assert (np.diff(found.correlation) <= 0).all() and found.correlation[0] == pytest.approx(1, abs=1e-4)
    assert dict(zip(found.pairs[:, 0], found.mirrored)) == {2: False, 5: False, 7: True, 9: False, 11: False}
    assert dict(zip(found.pairs[:, 0], found.disagree)) == {2: False, 5: True, 7: False, 9: False, 11: False}
    expected = (
        "theirs: 5 of 47 faces (10.6%) have near-duplicates among 5 faces of ours; the labels differ in 1 of 5 pairs"
    )
    assert found.summary() == expected
    kept = found.drop(ours)
    assert len(kept) == 57 and len(find_duplicates(kept, other)) == 0
    with pytest.raises(ValueError, match="of 62 faces, found a set of 57"):
        found.drop(kept)


def test_duplicates_between_sets_of_different_sizes_and_classes() -> None:
    large = photos(12, 2)
    small = np.stack([np.asarray(Image.fromarray(i).resize((32, 32), Image.Resampling.BILINEAR)) for i in large[:6]])
    ours = FaceSet("a", FER2013, large, np.full(12, FER2013.index("fear")))
    other = FaceSet("b", ("neutral", "fear"), small, np.array([1, 1, 1, 0, 0, 0]))
    found = find_duplicates(ours, other)
    assert sorted(map(tuple, found.pairs.tolist())) == [(i, i) for i in range(6)]
    assert found.disagree.sum() == 3


def test_duplicates_between_grey_and_colour() -> None:
    grey = photos(6, 7)
    tinted = np.stack([grey * 0.6, grey * 0.9, grey * 0.4], 3).astype(np.uint8)
    ours, other = (FaceSet(name, FER2013, image, np.zeros(6, int)) for name, image in (("a", grey), ("b", tinted)))
    assert sorted(map(tuple, find_duplicates(ours, other).pairs.tolist())) == [(i, i) for i in range(6)]


# --- holding out


def test_holdout_keeps_copies_of_a_photograph_together_and_classes_in_proportion() -> None:
    image = np.concatenate([photos(400, 11), photos(400, 11)[:60, :, ::-1]])  # 60 mirrored copies
    label = np.concatenate([np.arange(400) % 2, np.arange(60) % 2])
    held = holdout(image, label)
    assert (held[:60] == held[400:]).all() and 0 < held[400:].sum() < 60
    for k in (0, 1):
        assert 23 <= held[label == k].sum() <= 24  # 10% of 230, and at most the copy of the last one
    assert (held == holdout(image, label)).all()


def test_holdout_of_a_few_faces_has_one_of_each_class() -> None:
    held = holdout(photos(9, 12), np.array([0, 0, 0, 0, 1, 1, 1, 1, 2]))
    assert [held[:4].sum(), held[4:8].sum(), held[8]] == [1, 1, 0]


def test_the_same_faces_are_held_out_under_every_labelling(tmp_path: Path) -> None:
    image = photos(600, 13)
    table = {"image": [encoded(one) for one in image], "emotion": np.arange(600) % 7}
    votes = {f"ferplus_{tag}": np.zeros(600, int) for tag in TAGS}
    votes["ferplus_neutral"][::2] = 9  # half of the faces have a majority
    pq.write_table(pa.table(table | votes), tmp_path / "f.parquet")
    rest, held = load_training(tmp_path / "f.parquet", size_px=None)
    _, by_votes = load_training(tmp_path / "f.parquet", labels="ferplus")
    assert set(by_votes.source) == {name for name in held.source if int(name.split()[-1]) % 2 == 0}
    again = load_faces(tmp_path / "f.parquet", "holdout")
    assert list(again.source) == list(held.source) and again.name == "f, a tenth held out"
    assert len(rest) + len(held) == 600 and len(held) == 5 * 9 + 2 * 8  # five classes of 86 faces, two of 85
    for faces in (rest, held):
        rows = [int(name.split()[-1]) for name in faces.source]
        assert (faces.image == image[rows]).all() and (faces.label == np.array(rows) % 7).all()
    assert not set(rest.source) & set(held.source)


def test_holdout_is_of_the_training_split(little: FaceSet, tmp_path: Path) -> None:
    path = kaggle_csv(tmp_path / "fer2013.csv", little, ["Training"] * 14 + ["PublicTest"] * 6)
    held = load_faces(path, "holdout")
    assert 0 < len(held) < 14 and all(int(name.split()[-1]) < 14 for name in held.source)


def test_sets_without_duplicates() -> None:
    ours, other = (FaceSet(name, FER2013, photos(9, i), np.zeros(9, int)) for i, name in ((3, "a"), (4, "b")))
    found = find_duplicates(ours, other)
    assert len(found) == 0 and found.summary() == "a and b: no near-duplicates"
    assert len(found.drop(ours)) == 9
    assert len(find_duplicates(ours, other.take(np.zeros(9, bool)))) == 0


def test_labelling_says_whose_labels_the_data_have(tmp_path: Path) -> None:
    faces = some_faces(14)
    numbers = write_parquet(tmp_path / "numbers.parquet", faces)
    assert load_faces(numbers).labelling == "fer2013"
    table = pq.read_table(numbers)
    names = pa.array([faces.labels[k] for k in faces.label])
    pq.write_table(table.set_column(1, "emotion", names), tmp_path / "names.parquet")
    assert load_faces(tmp_path / "names.parquet").labelling == ""
    for tag in TAGS:
        table = table.append_column(f"ferplus_{tag}", pa.array([9 if tag == "fear" else 0] * 14))
    pq.write_table(table, tmp_path / "votes.parquet")
    assert load_faces(tmp_path / "votes.parquet").labelling == "fer2013"
    assert load_faces(tmp_path / "votes.parquet", labels="ferplus").labelling == "ferplus"
    assert load_faces(tmp_path / "votes.parquet").take(np.arange(3)).labelling == "fer2013"
