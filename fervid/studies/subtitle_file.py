"""Read subtitles (SubRip, WebVTT) whose lines are labels, as `fervid export` writes them."""

import re
from pathlib import Path

from fervid.errors import DataError
from fervid.studies.rating_table import RatingTable

__all__ = ["is_subtitles", "read_subtitles"]

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{2})[,.](\d{1,3})"
_SPAN = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_OWN = re.compile(r"(track \d+): (.+?)(?: \d+%)?")
_MARKUP = re.compile(r"</?[a-z][^>]*>|\{\\[^}]*\}", re.I)
_MAX_PREAMBLE = 20


def is_subtitles(text: str) -> bool:
    """Report whether a text has the form of subtitles: a span of time stands in one of the first lines.

    Parameters
    ----------
    text : str

    Returns
    -------
    bool
    """
    return any(_SPAN.fullmatch(line) for line in text.splitlines()[:_MAX_PREAMBLE])


def read_subtitles(path: Path, text: str) -> RatingTable:
    """Read one row per line of each subtitle, either "track 0: happiness 80%" or a label alone.

    Parameters
    ----------
    path : Path
        For the messages.
    text : str
        The content.

    Returns
    -------
    RatingTable
        Its rows have the line numbers of the file.

    Raises
    ------
    DataError
        If no subtitle has a text.
    """
    rows: list[tuple[int, list[str]]] = []
    span: tuple[str, str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        found = _SPAN.fullmatch(line)
        words = _MARKUP.sub("", line).strip()
        if found:
            span = _seconds(found.groups()[:4]), _seconds(found.groups()[4:])
        elif not words:
            span = None
        elif span:
            own = _OWN.fullmatch(words)
            rows.append((number, [*span, *(own.groups() if own else ("", words))]))
    if not rows:
        raise DataError(f"{path}: subtitles without text; expected labels")
    return RatingTable(path, ["start", "end", "subject", "label"], rows, unit="line")


def _seconds(parts: tuple[str | None, ...]) -> str:
    hours, minutes, seconds, fraction = parts
    return f"{int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)}.{(fraction or '0').ljust(3, '0')}"
