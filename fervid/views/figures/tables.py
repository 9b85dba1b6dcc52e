"""Statistics as text, and the tables and documents that accompany a figure."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fervid.files import write_atomically

__all__ = ["cell_text", "interval_text", "write_csv", "write_json"]


def interval_text(one: Mapping[str, Any]) -> str:
    """Format a statistic with its interval.

    Parameters
    ----------
    one : mapping
        `value`, `low` and `high`, or `undefined`, the reason for a missing value.

    Returns
    -------
    str
        Such as "0.81 (0.62 to 0.90)", or "undefined: REASON".
    """
    if one["value"] is None:
        return f"undefined: {one['undefined']}"
    value, low, high = (None if one[k] is None else f"{round(one[k], 2) + 0.0:.2f}" for k in ("value", "low", "high"))
    return f"{value}" if low is None else f"{value} ({low} to {high})"


def cell_text(value: float | str | None) -> str:
    """Format a value for a CSV file.

    Parameters
    ----------
    value : float, str or None

    Returns
    -------
    str
        Six significant digits of a number, without the noise of rounding around 0; empty for None.
    """
    return "" if value is None else value if isinstance(value, str) else f"{round(value, 12) + 0.0:.6g}"


def write_csv(rows: Iterable[Sequence[Any]], out: Path) -> None:
    """Write rows as CSV, atomically.

    Parameters
    ----------
    rows : iterable of sequence
        The header, then the rows.
    out : Path

    Raises
    ------
    OutputError, RunError
        If the file cannot be written, or the disk is full.
    """
    with write_atomically(out) as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def write_json(facts: Mapping[str, Any], out: Path) -> None:
    """Write facts as an indented JSON document, atomically.

    Parameters
    ----------
    facts : mapping
        Plain values.
    out : Path

    Raises
    ------
    OutputError, RunError
        If the file cannot be written, or the disk is full.
    """
    with write_atomically(out) as part:
        part.write_text(json.dumps(facts, indent=2, allow_nan=False) + "\n", "utf-8")
