"""Open a file of ratings: CSV, a workbook, ELAN annotations or subtitles, recognised by content."""

from pathlib import Path

from fervid.errors import DataError
from fervid.studies.csv_columns import is_header
from fervid.studies.csv_table import decode, make_table, parse_csv
from fervid.studies.elan_file import is_eaf, name_elan_columns, read_eaf
from fervid.studies.rating_table import RatingTable
from fervid.studies.subtitle_file import is_subtitles, read_subtitles
from fervid.studies.workbook import read_workbook

__all__ = ["read_rating_table"]


def read_rating_table(path: Path, video: str | None = None) -> RatingTable:
    """Read a file of ratings as a table of text cells.

    Parameters
    ----------
    path : Path
        CSV of any common dialect, .xlsx, ELAN's .eaf or tab-delimited text, SubRip or WebVTT.
    video : str, optional
        Name of the video that the ratings are compared with.

    Returns
    -------
    RatingTable
        With at least one row.

    Raises
    ------
    DataError
        If the file cannot be read or does not contain a table.
    """
    try:
        data = path.read_bytes()
    except OSError as e:
        raise DataError(
            f"{path}: cannot be read ({e.strerror}); expected ratings as CSV, .xlsx, .eaf or .srt"
        ) from None
    if data.startswith(b"PK\x03\x04"):
        return make_table(path, read_workbook(path, data))
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise DataError(f"{path}: a workbook of an old format; save it as CSV or .xlsx")
    text = decode(path, data)
    if is_eaf(text):
        return read_eaf(path, data, video)
    if is_subtitles(text):
        return read_subtitles(path, text)
    rows = [(n, line.split("\t")) for n, line in enumerate(text.splitlines(), 1) if "\t" in line]
    if rows and not is_header(rows[0][1]) and (names := name_elan_columns(rows)):
        return RatingTable(path, names, rows)
    return parse_csv(path, text)
