"""A table of ratings as text cells, whatever file it comes from: numbers, decimal commas and clock times."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from fervid.errors import DataError

__all__ = ["RatingTable"]

_EMPTY = {"", "na", "n/a", "nan", "none", "null", "-", "--", "."}
_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,3}):([0-5]?\d(?:[.,]\d+)?)")
#: A larger number (more than eleven days of video) cannot be a time in seconds.
_MAX_TIME_S = 1e6


@dataclass(frozen=True)
class RatingTable:
    """A table of text cells."""

    path: Path
    header: list[str]
    rows: list[tuple[int, list[str]]]
    """Line number in the file, of a CSV file with a header in line 1 from 2 on; and cells."""
    delimiter: str = "\t"
    """A comma is no decimal mark where it separates the cells."""
    unit: str = "row"
    """What messages call a row: the annotations of other programs have no lines."""
    preamble: dict[str, str] = field(default_factory=dict)
    """First and second cell of the lines above the header, the first in lower case."""
    videos: tuple[str, ...] = ()
    """Names of the video files that the file links."""

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
        return f"{self.path}: {self.unit} {row}, column {self.header[column]!r}"

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
