"""Read hand-made CSV tables as text cells: any common delimiter and encoding, lines above the header."""

import csv
import io
import re
from pathlib import Path

from fervid.errors import DataError
from fervid.studies.csv_columns import is_header
from fervid.studies.rating_table import RatingTable

__all__ = ["decode", "make_table", "parse_csv"]

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
#: Programs write up to this many lines about the observation above the header.
_MAX_PREAMBLE = 60


def decode(path: Path, data: bytes) -> str:
    """Decode a text file: UTF-8, UTF-16 with or without a mark, or Windows-1252.

    Parameters
    ----------
    path : Path
        For the message.
    data : bytes

    Returns
    -------
    str

    Raises
    ------
    DataError
        If it is not text.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = data.decode("utf-16", "replace")
    elif len(data) > 3 and (data[0] == 0) != (data[1] == 0):  # the first two characters are ASCII
        text = data.decode("utf-16-be" if data[0] == 0 else "utf-16-le", "replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:  # written by an older spreadsheet program
            text = data.decode("cp1252", "replace")
    if "\0" in text:
        raise DataError(f"{path}: not a text file; expected a CSV file of ratings")
    return text


def parse_csv(path: Path, text: str) -> RatingTable:
    """Parse a CSV file of any common dialect.

    Parameters
    ----------
    path : Path
        For the messages.
    text : str
        The content. The delimiter is detected from the header, or read from a first line such as `sep=;`.

    Returns
    -------
    RatingTable
        With at least one row.

    Raises
    ------
    DataError
        If the text does not contain a table.
    """
    lines = text.splitlines()
    declared = re.fullmatch(r"sep=(.)", lines[0].strip()) if lines else None  # Excel declares the delimiter so
    skipped = 1 if declared else 0
    delimiter = declared[1] if declared else _detect_delimiter(lines)
    reader = csv.reader(io.StringIO("\n".join(lines[skipped:])), delimiter=delimiter)
    try:
        rows = [(reader.line_num + skipped, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as e:
        raise DataError(f"{path}: row {reader.line_num + skipped} is not valid CSV ({e})") from None
    return make_table(path, rows, delimiter)


def make_table(path: Path, rows: list[tuple[int, list[str]]], delimiter: str = "\t") -> RatingTable:
    """Find the header of a table, and check the rows below it.

    Parameters
    ----------
    path : Path
        For the messages.
    rows : list of (int, list of str)
        Line number and cells of every row that is not empty. Lines above the header are skipped, as is a header that
        is repeated, as in files that were joined.
    delimiter : str
        What separates the cells in the file.

    Returns
    -------
    RatingTable
        With at least one row.

    Raises
    ------
    DataError
        If there is no row below the header, or one has more cells than the header.
    """
    if not rows:
        raise DataError(f"{path}: empty; expected a header with a time column and a label or score columns")
    first = next((n for n, (_, cells) in enumerate(rows[:_MAX_PREAMBLE]) if is_header(cells)), 0)
    header = _stripped(rows[first][1])
    body = [(row, cells) for row, cells in rows[first + 1 :] if _stripped(cells) != header]
    if not body:
        raise DataError(f"{path}: a header ({', '.join(header)}) without ratings below it")
    for row, cells in body:
        if any(cell.strip() for cell in cells[len(header) :]):
            raise DataError(
                f"{path}: row {row} has {len(cells)} cells, the header {len(header)} (delimiter: "
                f"{_DELIMITERS.get(delimiter, delimiter)}); put text that contains the delimiter in quotes"
            )
    preamble = {cells[0].strip().lower(): cells[1].strip() for _, cells in rows[:first] if len(cells) > 1}
    return RatingTable(path, header, body, delimiter, preamble=preamble)


def _stripped(cells: list[str]) -> list[str]:
    """Return the cells without spaces around them, and without empty ones at the end."""
    filled = [n for n, cell in enumerate(cells, 1) if cell.strip()]
    return [cell.strip() for cell in cells[: filled[-1] if filled else 0]]


def _split(line: str, mark: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=mark), [])
    except csv.Error:  # a cell of more than 128 KiB
        return []


def _detect_delimiter(lines: list[str]) -> str:
    """Return the delimiter that makes a header of one of the first lines; else the one that splits the first most."""
    nonempty = [line for line in lines if line.strip()][:_MAX_PREAMBLE]
    for line in nonempty:
        for mark in _DELIMITERS:
            if is_header(_split(line, mark)):
                return mark
    first = nonempty[0] if nonempty else ""
    return max(_DELIMITERS, key=lambda mark: len(_split(first, mark)))
