"""How faces with labels lie on people's disks -> Listing: tables, lists, RAF-DB, folders, names of files."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from fervid.errors import DataError
from fervid.files import files_below
from fervid.lab.data.fer2013 import read_kaggle_csv, read_parquet
from fervid.lab.data.listing import Listing, split_named
from fervid.lab.data.pictures import SUFFIXES, pictures_below
from fervid.labels import emotion, emotions_in

__all__ = ["RAFDB", "read_layout"]

#: RAF-DB's numbers 1..7 by name (Li et al. 2017).
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
#: CK+'s numbers in its own release, where a file beside a sequence labels its last frame (Lucey et al. 2010).
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
#: What a list may call its columns: file, label, split.
_LIST_COLUMNS = (
    {"file", "filename", "file_name", "image", "img", "path", "pth", "name", "picture"},
    {"label", "labels", "emotion", "expression", "class", "category"},
    {"split", "usage", "set", "subset"},
)


def read_layout(path: Path) -> Listing:
    """List a data set by what lies at `path`; no picture is opened. DataError says what was expected and found."""
    if not path.exists():
        raise DataError(f"{path}: no such data set; expected a folder, or a .parquet, .csv or .txt file")
    if path.is_dir():
        return _read_folder(path)
    if path.suffix == ".parquet":
        return read_parquet(path)
    if path.name in _RAFDB_LISTS:
        root = path.parent.parent if path.parent.name == "EmoLabel" else path.parent
        if listed := _rafdb_pictures(pictures_below(root)):
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
    pictures = pictures_below(root)
    if not pictures:
        raise DataError(f"{root}: no pictures and no {' or '.join(_KAGGLE)} here; found {_glimpse(root)}")
    if rafdb := _rafdb_pictures(pictures):
        lists = _rafdb_lists(root)
        if lists or all(p.parent.name in _RAFDB_NUMBERS for p in pictures):
            return _read_rafdb(root, lists, rafdb)
    frames = {p.stem: p for p in pictures if _CK_PICTURE.match(p.stem)}
    if frames and (labels := [path for path in files_below(root) if path.name.endswith("_emotion.txt")]):
        return _read_ck(root, labels, frames)
    if not any(_class_folder(p, root) for p in pictures):
        tables = sorted(root.glob("*.csv"))
        if len(tables) > 1:
            raise DataError(f"{root}: several lists, {', '.join(t.name for t in tables)}; name the one to read")
        if tables:
            return _read_csv(tables[0])
    said = _classes(pictures, root)
    return Listing(root, pictures, said, [_split_folder(p, root) for p in pictures], [str(p) for p in pictures])


def _classes(pictures: list[Path], root: Path) -> list[str]:
    """What folders or names call each picture; in a set of class folders, a folder that is no class as it stands."""
    by_folder = [_class_folder(p, root) for p in pictures]
    by_name = [_class_named(p.stem) for p in pictures]
    if any(by_name) and not any(by_folder):
        return by_name
    return [folder or name or _foreign_folder(p, root) for p, folder, name in zip(pictures, by_folder, by_name)]


def _foreign_folder(picture: Path, root: Path) -> str:
    """The folders above a picture that name neither class nor split, or ""."""
    return "/".join(part for part in picture.relative_to(root).parts[:-1] if not split_named(part))


def _glimpse(folder: Path) -> str:
    names = sorted(p.name for p in folder.iterdir())
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if names else "nothing"


def _class_folder(picture: Path, root: Path) -> str:
    """The emotion that the nearest folder above a picture names, or "": `0_angry`, `Happiness`, `fear (h)`."""
    for part in reversed(picture.relative_to(root).parts[:-1]):
        if len(names := emotions_in(part)) == 1:
            return names[0]
    return ""


def _class_named(stem: str) -> str:
    """The emotion in a file's name (happy_001, JAFFE's KA.AN1.39), or "" for none; two are told as they stand."""
    if match := _JAFFE_PICTURE.match(stem):
        return _JAFFE[match[1].upper()]
    names = emotions_in(stem)
    return " and ".join(names)


def _split_folder(picture: Path, root: Path) -> str:
    """The split that a folder above a picture names, the topmost first; or the root's own name."""
    parts = picture.relative_to(root).parts[:-1]
    name = root.resolve().name
    return next((split for split in map(split_named, parts) if split), split_named(name) if name.isalpha() else "")


def _rafdb_pictures(pictures: list[Path]) -> dict[tuple[str, int], Path]:
    """RAF-DB's pictures by split and number; an aligned one is preferred to the original."""
    found: dict[tuple[str, int], Path] = {}
    for picture in pictures:
        if match := _RAFDB_PICTURE.match(picture.name):
            key = match[1], int(match[2])
            if key not in found or match[3]:
                found[key] = picture
    return found


def _rafdb_lists(root: Path) -> list[Path]:
    """RAF-DB's label files, in the folder of the pictures or above it."""
    folders = (root, *root.resolve().parents[:3])
    for folder in (inner for f in folders for inner in (f, f / "EmoLabel", f / "basic" / "EmoLabel")):
        if lists := [folder / name for name in _RAFDB_LISTS if (folder / name).is_file()]:
            return lists
    return []


def _read_rafdb(path: Path, lists: list[Path], pictures: dict[tuple[str, int], Path]) -> Listing:
    """List RAF-DB; without lists its folders are the classes. Splits and folders that lie elsewhere are left out."""
    present = {split for split, _ in pictures}
    said = {} if lists else {key: picture.parent.name for key, picture in pictures.items()}
    for file in lists:
        for where, key, label in _rafdb_rows(file):
            if key in pictures:
                said[key] = label
            elif key[0] in present and file.is_relative_to(path):  # else `path` is only a part of the data set
                raise DataError(f"{where}: no picture of {key[0]}_{key[1]:05d} beside the list or below")
    listed = {split for split, _ in said}
    for key, picture in pictures.items():
        if key not in said and (key[0] in listed or not said):
            raise DataError(f"{picture}: no label in {' or '.join(str(file) for file in lists)}")
    keys = sorted(said)
    found = [pictures[key] for key in keys]
    splits, labels = [key[0] for key in keys], [said[key] for key in keys]
    return Listing(path, found, labels, splits, [str(picture) for picture in found], _RAFDB_NUMBERS)


def _rafdb_rows(file: Path) -> Iterator[tuple[str, tuple[str, int], str]]:
    """Lines `train_00001.jpg 5` or `train_00001_aligned.jpg,5` -> (where, picture's key, label's number)."""
    for number, line in enumerate(_lines(file), 1):
        cells = re.split(r"[\s,]+", line.strip())
        match = _RAFDB_PICTURE.match(cells[0])
        if not line.strip() or (number == 1 and not match):  # the CSV's header
            continue
        if not match or len(cells) != 2 or cells[1] not in _RAFDB_NUMBERS:
            raise DataError(
                f"{file} row {number}: expected like 'train_00001.jpg 5' with 1 to 7, found {line.strip()!r}"
            )
        yield f"{file} row {number}", (match[1], int(match[2])), cells[1]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as e:
        raise DataError(f"{file}: not a text in UTF-8 ({e})") from e


def _read_ck(root: Path, labels: list[Path], frames: dict[str, Path]) -> Listing:
    """List the frames of CK+ that have a label: `S005_001_00000011_emotion.txt` holds "3.0000000e+00"."""
    pictures, said = [], []
    for file in labels:
        stem, text = file.name.removesuffix("_emotion.txt"), " ".join(_lines(file)).strip()
        number = text.split(".")[0]
        if number not in _CK_NUMBERS:
            raise DataError(f"{file}: expected a number like 3.0000000e+00 from 0 to 7, found {text!r}")
        if stem not in frames:
            raise DataError(f"{file}: no picture {stem}.png below {root}")
        pictures.append(frames[stem])
        said.append(number)
    return Listing(root, pictures, said, [""] * len(said), [str(picture) for picture in pictures], _CK_NUMBERS)


def _read_csv(path: Path) -> Listing:
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = [cell.strip() for cell in file.readline().split(",")]
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: not a text in UTF-8 ({e})") from e
    return read_kaggle_csv(path) if "pixels" in header else _read_list(path)


def _read_list(path: Path) -> Listing:
    """List a CSV of files and labels; rows count from 1 as in an editor, the header too."""
    lines = _lines(path)
    reader = csv.reader(lines, delimiter=next((d for d in ",;\t" if lines and d in lines[0]), ","))
    rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells)]
    if not rows:
        raise DataError(f"{path}: empty; expected rows of a file and its label")
    (at_file, at_label, at_split), first = _columns(rows[0][1], path)
    known = {key: picture for picture in pictures_below(path.parent) for key in (picture.stem, picture.name)}
    files, said, splits = [], [], []
    for number, cells in rows[first:]:
        where = f"{path} row {number}"
        if len(cells) <= max(at_file, at_label, at_split) or not cells[at_label]:
            raise DataError(f"{where}: no label; found {','.join(cells)!r}")
        said.append(_checked(cells[at_label], where))
        file = path.parent / cells[at_file]
        files.append(file if file.is_file() else known.get(file.name, file))
        if not files[-1].is_file():
            raise DataError(f"{where}: no file {cells[at_file]} beside the list or below")
        splits.append(split_named(cells[at_split]) if at_split >= 0 else "")
        if at_split >= 0 and not splits[-1]:
            raise DataError(f"{where}: unknown split {cells[at_split]!r}; expected train, val or test")
    return Listing(path, files, said, splits, [str(file) for file in files])


def _columns(cells: list[str], path: Path) -> tuple[tuple[int, int, int], int]:
    """Where file, label and split (-1 for none) stand in a list, and how many rows its header takes."""
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
