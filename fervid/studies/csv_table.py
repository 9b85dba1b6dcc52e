"""Read hand-made CSV tables as text cells: any common delimiter and encoding, decimal commas, clock times."""

import csv
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path

from fervid.errors import DataError

__all__ = ["CsvTable", "read_csv_table"]

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_EMPTY = {"", "na", "n/a", "nan", "none", "null", "-", "--", "."}
_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,3}):([0-5]?\d(?:[.,]\d+)?)")
#: A larger number (more than eleven days of video) cannot be a time in seconds.
_MAX_TIME_S = 1e6


@dataclass(frozen=True)
class CsvTable:
    """A table of text cells."""

    path: Path
    header: list[str]
    rows: list[tuple[int, list[str]]]
    """Line number in the file, where the header is row 1, and cells."""
    delimiter: str

    def where(self, row: int, column: int) -> str:
        """Return the position of a cell, for a message.

        Parameters
        ----------
        row : int
            Line number in the file.
        column : int
            Index of the column.

        Returns
        -------
        str
            File, row and column.
        """
        return f"{self.path}: row {row}, column {self.header[column]!r}"

    def text(self, cells: list[str], column: int | None) -> str | None:
        """Return the text of a cell.

        Parameters
        ----------
        cells : list of str
            Cells of a row.
        column : int or None
            Index of the column; None for a column that does not exist.

        Returns
        -------
        str or None
            None if the cell is empty or contains a word such as NA.
        """
        if column is None or column >= len(cells):
            return None
        text = cells[column].strip()
        return None if text.lower() in _EMPTY else text

    def value(self, row: int, cells: list[str], column: int) -> float:
        """Return the number in a cell.

        Parameters
        ----------
        row : int
            Line number in the file.
        cells : list of str
            Cells of the row.
        column : int
            Index of the column.

        Returns
        -------
        float
            NaN if the cell is empty. A percent sign is ignored.

        Raises
        ------
        DataError
            If the cell does not contain a number.
        """
        text = self.text(cells, column)
        if text is None:
            return math.nan
        number = self._number(text.removesuffix("%").strip())
        if number is None:
            raise DataError(f"{self.where(row, column)}: expected a number, found {text!r}")
        return number

    def time(self, row: int, cells: list[str], column: int, unit_s: float) -> float:
        """Return the time in a cell, written as a number, m:ss or h:mm:ss.

        Parameters
        ----------
        row : int
            Line number in the file.
        cells : list of str
            Cells of the row.
        column : int
            Index of the column.
        unit_s : float
            Unit of plain numbers, in seconds.

        Returns
        -------
        float
            Seconds.

        Raises
        ------
        DataError
            If the cell does not contain a time, or one that is too large.
        """
        text = self.text(cells, column) or ""
        number, clock = self._number(text), _CLOCK.fullmatch(text)
        if clock:
            hours, minutes, seconds = clock.groups()
            number = int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds.replace(",", "."))
        elif number is not None:
            number *= unit_s
        if number is None:
            raise DataError(f"{self.where(row, column)}: expected a time as seconds, m:ss or h:mm:ss, found {text!r}")
        if abs(number) > _MAX_TIME_S:
            raise DataError(
                f"{self.where(row, column)}: {text} is {number:.3g} s; if these are milliseconds, name the column "
                f"{self.header[column]}_ms"
            )
        return number

    def _number(self, text: str) -> float | None:
        if self.delimiter != ",":
            text = text.replace(",", ".")
        try:
            number = float(text)
        except ValueError:
            return None
        return number if math.isfinite(number) else None


def read_csv_table(path: Path) -> CsvTable:
    """Read a CSV file of any common dialect.

    Parameters
    ----------
    path : Path
        The file. The delimiter is detected from the header, or read from a first line such as `sep=;`.

    Returns
    -------
    CsvTable
        With at least one row.

    Raises
    ------
    DataError
        If the file cannot be read or does not contain a table.
    """
    lines = _decode(path).splitlines()
    declared = re.fullmatch(r"sep=(.)", lines[0].strip()) if lines else None  # Excel declares the delimiter so
    skipped = 1 if declared else 0
    delimiter = declared[1] if declared else _detect_delimiter(lines)
    reader = csv.reader(io.StringIO("\n".join(lines[skipped:])), delimiter=delimiter)
    try:
        table = [(reader.line_num + skipped, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as e:
        raise DataError(f"{path}: row {reader.line_num + skipped} is not valid CSV ({e})") from None
    if not table:
        raise DataError(f"{path}: empty; expected a header with a time column and a label or score columns")
    header = [cell.strip() for cell in table[0][1]]
    if len(table) == 1:
        raise DataError(f"{path}: a header ({', '.join(header)}) without ratings below it")
    for row, cells in table[1:]:
        if any(cell.strip() for cell in cells[len(header) :]):
            raise DataError(
                f"{path}: row {row} has {len(cells)} cells, the header {len(header)} (delimiter: "
                f"{_DELIMITERS.get(delimiter, delimiter)}); put text that contains the delimiter in quotes"
            )
    return CsvTable(path, header, table[1:], delimiter)


def _decode(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as e:
        raise DataError(f"{path}: cannot be read ({e.strerror}); expected a CSV file of ratings") from None
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise DataError(f"{path}: a workbook, not a text table; save it as CSV")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = data.decode("utf-16", "replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:  # written by an older spreadsheet program
            text = data.decode("cp1252", "replace")
    if "\0" in text:
        raise DataError(f"{path}: not a text file; expected a CSV file of ratings")
    return text


def _detect_delimiter(lines: list[str]) -> str:
    """Return the delimiter that splits the header into the most columns; a comma if none does."""
    header = next((line for line in lines if line.strip()), "")
    return max(_DELIMITERS, key=lambda mark: len(next(csv.reader([header], delimiter=mark), [])))
