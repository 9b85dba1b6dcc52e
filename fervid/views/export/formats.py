"""The export formats by name. Reading this table imports nothing heavy, so that command-line help can be made of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fervid.errors import OutputError
from fervid.registry import Entry

__all__ = ["FORMATS", "Format", "choose_format"]


@dataclass(frozen=True)
class Format(Entry):
    """One row of the registry of export formats.

    `target` names a function (timeline, intervals, part) that writes the Timeline, or its merged Intervals, to the
    temporary file `part`, and returns how many of `unit` it wrote.

    Parameters
    ----------
    suffixes : tuple of str
        The suffixes that its files may have. The first format in the table that has a suffix is its default.
    unit : str
        What its files consist of: rows, intervals or subtitles.
    """

    suffixes: tuple[str, ...] = ()
    unit: str = "intervals"


#: To add a format, add one row and its module.
FORMATS: dict[str, Format] = {
    "csv": Format("fervid.views.export.rows:write_csv", "all rows and columns", suffixes=(".csv",), unit="rows"),
    "elan": Format("fervid.views.export.elan:write_eaf", "one tier per track, for ELAN", suffixes=(".eaf",)),
    "srt": Format("fervid.views.export.subtitles:write_srt", "subtitles", suffixes=(".srt",), unit="subtitles"),
    "boris": Format(
        "fervid.views.export.boris:write_events", "start and stop events, for BORIS", suffixes=(".xlsx", ".csv", ".tsv")
    ),
}


def choose_format(out: Path, to: str | None = None) -> str:
    """Choose a format by name, or by the suffix of the output.

    Parameters
    ----------
    out : Path
        The file to write.
    to : str, optional
        The name of a format.

    Returns
    -------
    str
        A key of FORMATS.

    Raises
    ------
    OutputError
        If the name or the suffix is unknown.
    """
    suffix = out.suffix.lower()
    if to is None:
        to = next((name for name, entry in FORMATS.items() if suffix in entry.suffixes), None)
    if to in FORMATS:
        return to
    suffixes = dict.fromkeys(suffix for entry in FORMATS.values() for suffix in entry.suffixes)
    raise OutputError(
        f"{out}: expected --to {_either(FORMATS)}{f', found {to}' if to else ''}, or a name that ends with "
        f"{_either(suffixes)}"
    )


def _either(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
