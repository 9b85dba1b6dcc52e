"""Read the first sheet of a workbook (.xlsx, ECMA-376 part 1) as text cells."""

import re
import struct
import zipfile
import zlib
from io import BytesIO
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree as ET

from fervid.errors import DataError

__all__ = ["read_workbook"]

_SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_LINK = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
#: The largest uncompressed file within a workbook, in bytes.
_MAX_BYTES = 200_000_000
_MAX_COLUMNS = 16_384
#: What damage, encryption and unknown compression raise.
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, ET.ParseError, EOFError, OSError, LookupError, ValueError,
    RuntimeError, StopIteration,
)  # fmt: skip


def read_workbook(path: Path, data: bytes) -> list[tuple[int, list[str]]]:
    """Read the rows of the first sheet.

    Parameters
    ----------
    path : Path
        For the message.
    data : bytes
        The content.

    Returns
    -------
    list of (int, list of str)
        Number and cells of every row that is not empty.

    Raises
    ------
    DataError
        If the file is not such a workbook.
    """
    try:
        with zipfile.ZipFile(BytesIO(data)) as book:
            strings = _strings(book)
            sheet = ET.fromstring(_content(book, _first_sheet(book)))
            rows = [(_number(row, n), _cells(row, strings)) for n, row in enumerate(sheet.iter(f"{_SHEET}row"), 1)]
    except _DAMAGE as e:
        raise DataError(f"{path}: a workbook that is not a readable .xlsx; save it as CSV") from e
    return [(number, cells) for number, cells in rows if any(cell.strip() for cell in cells)]


def _content(book: zipfile.ZipFile, name: str) -> bytes:
    if book.getinfo(name).file_size > _MAX_BYTES:
        raise ValueError(f"{name}: more than {_MAX_BYTES} bytes")
    return book.read(name)


def _first_sheet(book: zipfile.ZipFile) -> str:
    """Return the name of the file of the first sheet."""
    sheet = next(ET.fromstring(_content(book, "xl/workbook.xml")).iter(f"{_SHEET}sheet"))
    links = ET.fromstring(_content(book, "xl/_rels/workbook.xml.rels"))
    target = next(link.get("Target", "") for link in links if link.get("Id") == sheet.get(_LINK))
    return str(PurePosixPath("xl") / target).removeprefix("/")


def _strings(book: zipfile.ZipFile) -> list[str]:
    if "xl/sharedStrings.xml" not in book.namelist():
        return []
    table = ET.fromstring(_content(book, "xl/sharedStrings.xml"))
    return ["".join(text.text or "" for text in item.iter(f"{_SHEET}t")) for item in table]


def _number(row: ET.Element, otherwise: int) -> int:
    return int(row.get("r") or otherwise)


def _cells(row: ET.Element, strings: list[str]) -> list[str]:
    cells: list[str] = []
    for cell in row:
        at = _column(cell.get("r"), len(cells))
        cells += [""] * (at - len(cells))
        value = cell.findtext(f"{_SHEET}v") or ""
        if cell.get("t") == "s":
            value = strings[int(value)]
        elif cell.get("t") == "inlineStr":
            value = "".join(text.text or "" for text in cell.iter(f"{_SHEET}t"))
        cells.append(value)
    return cells


def _column(reference: str | None, otherwise: int) -> int:
    """Return the index of the column of a cell such as "AB7"."""
    letters = re.match("[A-Z]+", reference or "")
    if not letters:
        return otherwise
    index = 0
    for letter in letters[0]:
        index = index * 26 + ord(letter) - 64
    if not otherwise < index <= _MAX_COLUMNS:
        raise ValueError(f"{reference}: not a cell to the right of the others")
    return index - 1
