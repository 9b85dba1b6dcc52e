"""Recognise the layout of a data set and list it: tables, lists, RAF-DB, CK+, class folders, file names."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from fervid.errors import DataError
from fervid.files import files_below
from fervid.lab.data.fer2013 import read_kaggle_csv, read_parquet
from fervid.lab.data.images import SUFFIXES, images_below
from fervid.lab.data.listing import Listing, split_named
from fervid.labels import emotion, emotions_in

__all__ = ["RAFDB", "read_layout"]

#: The class names of RAF-DB's numbers 1 to 7 (Li et al. 2017).
RAFDB = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
_RAFDB_NUMBERS = {str(i): name for i, name in enumerate(RAFDB, 1)}
_RAFDB_LISTS = ("list_patition_label.txt", "list_partition_label.txt", "train_labels.csv", "test_labels.csv")
_RAFDB_PICTURE = re.compile(r"(train|test)_(\d+)(_aligned)?(\.\w+)?$")
_JAFFE_PICTURE = re.compile(r"[A-Z]{2}[._-](AN|DI|FE|HA|SA|SU|NE)\d([._-]\d+)?$", re.IGNORECASE)
_JAFFE = {
    "AN": "anger",
    "DI": "disgust",
    "FE": "fear",
    "HA": "happiness",
    "SA": "sadness",
    "SU": "surprise",
    "NE": "neutral",
}
#: The class names of CK+'s numbers; a file beside a sequence labels its last frame (Lucey et al. 2010).
_CK_NUMBERS = {
    "0": "neutral",
    "1": "anger",
    "2": "contempt",
    "3": "disgust",
    "4": "fear",
    "5": "happiness",
    "6": "sadness",
    "7": "surprise",
}
_CK_PICTURE = re.compile(r"S\d{3}_\d{3}_\d{8}$")
_KAGGLE = ("fer2013.csv", "icml_face_data.csv", "ckextended.csv")
#: Accepted names of a list's columns: file, label, split.
_LIST_COLUMNS = (
    {"file", "filename", "file_name", "image", "img", "path", "pth", "name", "picture"},
    {"label", "labels", "emotion", "expression", "class", "category"},
    {"split", "usage", "set", "subset"},
)


def read_layout(path: Path) -> Listing:
    """List the images and labels of a data set without opening any image.

    Parameters
    ----------
    path : Path
        A folder, or a .parquet, .csv or .txt file.

    Returns
    -------
    Listing

    Raises
    ------
    DataError
        Naming what was expected and what was found.
    """
    if not path.exists():
        raise DataError(f"{path}: no such data set; expected a folder, or a .parquet, .csv or .txt file")
    if path.is_dir():
        return _read_folder(path)
    if path.suffix == ".parquet":
        return read_parquet(path)
    if path.name in _RAFDB_LISTS:
        root = path.parent.parent if path.parent.name == "EmoLabel" else path.parent
        if listed := _rafdb_pictures(images_below(root)):
            return _read_rafdb(path, [path], listed)
    if path.suffix == ".csv":
        return _read_csv(path)
    raise DataError(
        f"{path}: expected a folder, a .parquet, a .csv or RAF-DB's .txt, found {path.suffix or 'no suffix'}"
    )


def _read_folder(root: Path) -> Listing:
    for name in _KAGGLE:
        if (root / name).is_file():
            return read_kaggle_csv(root / name)
    images = images_below(root)
    if not images:
        raise DataError(f"{root}: expected images or {' or '.join(_KAGGLE)}; found {_abbreviate(root)}")
    if rafdb := _rafdb_pictures(images):
        lists = _rafdb_lists(root)
        if lists or all(p.parent.name in _RAFDB_NUMBERS for p in images):
            return _read_rafdb(root, lists, rafdb)
    frames = {p.stem: p for p in images if _CK_PICTURE.match(p.stem)}
    if frames and (labels := [path for path in files_below(root) if path.name.endswith("_emotion.txt")]):
        return _read_ck(root, labels, frames)
    if not any(_class_folder(p, root) for p in images):
        tables = sorted(root.glob("*.csv"))
        if len(tables) > 1:
            raise DataError(f"{root}: several lists ({', '.join(t.name for t in tables)}); pass the one to read")
        if tables:
            return _read_csv(tables[0])
    raw_label = _classes(images, root)
    return Listing(root, images, raw_label, [_split_folder(p, root) for p in images], [str(p) for p in images])


def _classes(images: list[Path], root: Path) -> list[str]:
    """Label each image by its folder or its name; among class folders, an unknown folder keeps its own name."""
    by_folder = [_class_folder(p, root) for p in images]
    by_name = [_class_named(p.stem) for p in images]
    if any(by_name) and not any(by_folder):
        return by_name
    return [folder or name or _foreign_folder(p, root) for p, folder, name in zip(images, by_folder, by_name)]


def _foreign_folder(image: Path, root: Path) -> str:
    """Give the folders above an image that name neither a class nor a split, or ""."""
    return "/".join(part for part in image.relative_to(root).parts[:-1] if not split_named(part))


def _abbreviate(folder: Path) -> str:
    names = sorted(p.name for p in folder.iterdir())
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if names else "nothing"


def _class_folder(image: Path, root: Path) -> str:
    """Give the emotion named by the nearest folder above an image (`0_angry`, `Happiness`, `fear (h)`), or ""."""
    for part in reversed(image.relative_to(root).parts[:-1]):
        if len(names := emotions_in(part)) == 1:
            return names[0]
    return ""


def _class_named(stem: str) -> str:
    """Give the emotion in a file name (happy_001, JAFFE's KA.AN1.39), or ""; several are joined by "and"."""
    if match := _JAFFE_PICTURE.match(stem):
        return _JAFFE[match[1].upper()]
    names = emotions_in(stem)
    return " and ".join(names)


def _split_folder(image: Path, root: Path) -> str:
    """Give the split named by a folder above an image, the topmost first, else by the root itself."""
    parts = image.relative_to(root).parts[:-1]
    name = root.resolve().name
    return next((split for split in map(split_named, parts) if split), split_named(name) if name.isalpha() else "")


def _rafdb_pictures(images: list[Path]) -> dict[tuple[str, int], Path]:
    """Index RAF-DB's images by split and number; an aligned one takes precedence over the original."""
    found: dict[tuple[str, int], Path] = {}
    for image in images:
        if match := _RAFDB_PICTURE.match(image.name):
            key = match[1], int(match[2])
            if key not in found or match[3]:
                found[key] = image
    return found


def _rafdb_lists(root: Path) -> list[Path]:
    """Find RAF-DB's label files, in the folder of the images or above it."""
    folders = (root, *root.resolve().parents[:3])
    for folder in (inner for f in folders for inner in (f, f / "EmoLabel", f / "basic" / "EmoLabel")):
        if lists := [folder / name for name in _RAFDB_LISTS if (folder / name).is_file()]:
            return lists
    return []


def _read_rafdb(path: Path, lists: list[Path], images: dict[tuple[str, int], Path]) -> Listing:
    """List RAF-DB; without label files its folders are the classes. Splits without images here are skipped."""
    present = {split for split, _ in images}
    raw_label = {} if lists else {key: image.parent.name for key, image in images.items()}
    for file in lists:
        for where, key, label in _rafdb_rows(file):
            if key in images:
                raw_label[key] = label
            elif key[0] in present and file.is_relative_to(path):  # otherwise `path` is only a part of the data set
                raise DataError(f"{where}: no image {key[0]}_{key[1]:05d} in the folder of the list or below it")
    listed = {split for split, _ in raw_label}
    for key, image in images.items():
        if key not in raw_label and (key[0] in listed or not raw_label):
            raise DataError(f"{image}: no label in {' or '.join(str(file) for file in lists)}")
    keys = sorted(raw_label)
    found = [images[key] for key in keys]
    splits, labels = [key[0] for key in keys], [raw_label[key] for key in keys]
    return Listing(path, found, labels, splits, [str(image) for image in found], _RAFDB_NUMBERS)


def _rafdb_rows(file: Path) -> Iterator[tuple[str, tuple[str, int], str]]:
    """Parse `train_00001.jpg 5` or `train_00001_aligned.jpg,5` into (position, key of the image, number)."""
    for number, line in enumerate(_lines(file), 1):
        cells = re.split(r"[\s,]+", line.strip())
        match = _RAFDB_PICTURE.match(cells[0])
        if not line.strip() or (number == 1 and not match):  # header of the CSV
            continue
        if not match or len(cells) != 2 or cells[1] not in _RAFDB_NUMBERS:
            raise DataError(
                f"{file} row {number}: expected a line like 'train_00001.jpg 5' with a number from 1 to 7, "
                f"found {line.strip()!r}"
            )
        yield f"{file} row {number}", (match[1], int(match[2])), cells[1]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as e:
        raise DataError(f"{file}: not text in UTF-8 ({e})") from e


def _read_ck(root: Path, labels: list[Path], frames: dict[str, Path]) -> Listing:
    """List the labelled frames of CK+: `S005_001_00000011_emotion.txt` holds "3.0000000e+00"."""
    images, raw_label = [], []
    for file in labels:
        stem, text = file.name.removesuffix("_emotion.txt"), " ".join(_lines(file)).strip()
        number = text.split(".")[0]
        if number not in _CK_NUMBERS:
            raise DataError(f"{file}: expected a number from 0 to 7 such as 3.0000000e+00, found {text!r}")
        if stem not in frames:
            raise DataError(f"{file}: no image {stem}.png below {root}")
        images.append(frames[stem])
        raw_label.append(number)
    return Listing(root, images, raw_label, [""] * len(raw_label), [str(image) for image in images], _CK_NUMBERS)


def _read_csv(path: Path) -> Listing:
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = [cell.strip() for cell in file.readline().split(",")]
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: not text in UTF-8 ({e})") from e
    return read_kaggle_csv(path) if "pixels" in header else _read_list(path)


def _read_list(path: Path) -> Listing:
    """List a CSV of files and labels. Rows count from 1, the header included, as in an editor."""
    lines = _lines(path)
    reader = csv.reader(lines, delimiter=next((d for d in ",;\t" if lines and d in lines[0]), ","))
    rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells)]
    if not rows:
        raise DataError(f"{path}: empty; expected one row per file, with its label")
    (at_file, at_label, at_split), first = _columns(rows[0][1], path)
    known = {key: image for image in images_below(path.parent) for key in (image.stem, image.name)}
    files, raw_label, splits = [], [], []
    for number, cells in rows[first:]:
        where = f"{path} row {number}"
        if len(cells) <= max(at_file, at_label, at_split) or not cells[at_label]:
            raise DataError(f"{where}: no label; found {','.join(cells)!r}")
        raw_label.append(_checked(cells[at_label], where))
        file = path.parent / cells[at_file]
        files.append(file if file.is_file() else known.get(file.name, file))
        if not files[-1].is_file():
            raise DataError(f"{where}: no file {cells[at_file]} in the folder of the list or below it")
        splits.append(split_named(cells[at_split]) if at_split >= 0 else "")
        if at_split >= 0 and not splits[-1]:
            raise DataError(f"{where}: unknown split {cells[at_split]!r}; expected train, val or test")
    return Listing(path, files, raw_label, splits, [str(file) for file in files])


def _columns(cells: list[str], path: Path) -> tuple[tuple[int, int, int], int]:
    """Give the column numbers of file, label and split (-1 for none), and the number of header rows."""
    names = [cell.lower() for cell in cells]
    at = [next((i for i, n in enumerate(names) if n in known), -1) for known in _LIST_COLUMNS]
    if at[0] >= 0 and at[1] >= 0:
        return (at[0], at[1], at[2]), 1
    if len(cells) == 2:
        first_is_face = Path(cells[0]).suffix.lower() in SUFFIXES or bool(emotions_in(cells[1]))
        return (0, 1, -1), 0 if first_is_face else 1
    raise DataError(f"{path} row 1: expected two columns, file and label, found {', '.join(cells)}")


def _checked(label: str, where: str) -> str:
    try:
        return emotion(label)
    except DataError as e:
        raise DataError(f"{where}: {e}") from e
