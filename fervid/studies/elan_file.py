"""Read the annotations of ELAN: .eaf files, and tab-delimited text without a header."""

import re
from collections import defaultdict
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from fervid.errors import DataError
from fervid.studies.rating_table import RatingTable

__all__ = ["is_eaf", "name_elan_columns", "read_eaf"]

_HEADER = ["tier", "annotator", "participant", "start_ms", "end_ms", "annotation"]
#: The forms in which ELAN writes times, beside plain numbers.
_CLOCK = re.compile(r"\d{1,2}:\d{2}:\d{2}[.,]\d{1,3}")
_PLAIN = re.compile(r"\d+(?:[.,]\d+)?")


def is_eaf(text: str) -> bool:
    """Report whether a text is an ELAN annotation document.

    Parameters
    ----------
    text : str

    Returns
    -------
    bool
    """
    return text.lstrip().startswith("<") and "<ANNOTATION_DOCUMENT" in text


def read_eaf(path: Path, data: bytes, video: str | None = None) -> RatingTable:
    """Read the annotations of all tiers of an EAF document (EAFv3.0.xsd and earlier).

    An annotation that refers to another one has its time; those that divide one have equal parts of it.

    Parameters
    ----------
    path : Path
        For the messages.
    data : bytes
        The content.
    video : str, optional
        Name of the video that the ratings are compared with, where the document links several.

    Returns
    -------
    RatingTable
        One row per annotation, on the clock of the video file: TIME_ORIGIN is added.

    Raises
    ------
    DataError
        If the document is damaged or has no annotation.
    """
    try:
        root = ET.fromstring(data)
    except (ET.ParseError, ValueError, LookupError) as e:
        raise DataError(f"{path}: a damaged ELAN file ({e})") from None
    try:
        names, origin_ms = _media(root, video)
        times = _times(root, origin_ms)
        rows = [
            (
                n,
                [
                    *_tier(tier),
                    *map(_text, times.get(_id(note), (None, None))),
                    note.findtext("ANNOTATION_VALUE") or "",
                ],
            )
            for n, (tier, note) in enumerate(_annotations(root), 1)
        ]
    except ValueError as e:
        raise DataError(f"{path}: an ELAN file with a time that is not a whole number ({e})") from None
    if not rows:
        tiers = ", ".join(tier.get("TIER_ID", "") for tier in root.iter("TIER")) or "none"
        raise DataError(f"{path}: an ELAN file without annotations (tiers: {tiers})")
    return RatingTable(path, list(_HEADER), rows, unit="annotation", videos=names)


def _annotations(root: ET.Element) -> list[tuple[ET.Element, ET.Element]]:
    return [(tier, note) for tier in root.iter("TIER") for wrapper in tier for note in wrapper]


def _tier(tier: ET.Element) -> list[str]:
    return [tier.get(name, "") for name in ("TIER_ID", "ANNOTATOR", "PARTICIPANT")]


def _id(note: ET.Element) -> str:
    return note.get("ANNOTATION_ID", "")


def _text(ms: float | None) -> str:
    return "" if ms is None else f"{ms:.3f}"


def _media(root: ET.Element, video: str | None) -> tuple[tuple[str, ...], int]:
    """Return the names of the linked files, and TIME_ORIGIN of the one that is the video, else of the first."""
    media = root.findall("HEADER/MEDIA_DESCRIPTOR")
    names = [re.split(r"[/\\]", unquote(m.get("MEDIA_URL") or m.get("RELATIVE_MEDIA_URL") or ""))[-1] for m in media]
    chosen = media[names.index(video)] if video in names else media[0] if media else None
    return tuple(names), int(chosen.get("TIME_ORIGIN") or 0) if chosen is not None else 0


def _times(root: ET.Element, origin_ms: int) -> dict[str, tuple[float, float]]:
    """Return start and end by annotation, in milliseconds; without those whose time slots have no time."""
    slots = {s.get("TIME_SLOT_ID"): int(s.get("TIME_VALUE", "")) for s in root.iter("TIME_SLOT") if s.get("TIME_VALUE")}
    found: dict[str, tuple[float, float]] = {}
    children: dict[tuple[str, str], list[str]] = defaultdict(list)
    for tier, note in _annotations(root):
        start, end = slots.get(note.get("TIME_SLOT_REF1")), slots.get(note.get("TIME_SLOT_REF2"))
        if start is not None and end is not None:
            found[_id(note)] = (start + origin_ms, end + origin_ms)
        elif parent := note.get("ANNOTATION_REF"):
            children[(tier.get("TIER_ID", ""), parent)].append(_id(note))
    waiting = dict(children)
    while ready := [key for key in waiting if key[1] in found]:
        for key in ready:
            (first, last), own = found[key[1]], waiting.pop(key)
            share = (last - first) / len(own)
            for k, name in enumerate(own):
                found[name] = first + share * k, first + share * (k + 1)
    return found


def name_elan_columns(rows: list[tuple[int, list[str]]]) -> list[str] | None:
    """Name the columns of ELAN's tab-delimited text, which has no header by default.

    Its columns are tier, participant, then begin, end and duration, each in the same one to three forms, and the
    annotation; participant and duration may be missing.

    Parameters
    ----------
    rows : list of (int, list of str)
        Numbers and cells of the rows.

    Returns
    -------
    list of str or None
        Names of the columns; None if the rows have another form.
    """
    cells = [cell.strip() for cell in rows[0][1]]
    clocks = [i for i, cell in enumerate(cells) if _CLOCK.fullmatch(cell)]
    if not 2 <= len(clocks) <= 3 or len({len(row) for _, row in rows}) > 1:
        return None
    first, width = clocks[0], clocks[1] - clocks[0]
    after = first + len(clocks) * width
    times = cells[first:after]
    if after != len(cells) - 1 or not all(_CLOCK.fullmatch(t) or _PLAIN.fullmatch(t) for t in times):
        return None
    names = [f"column {n}" for n in range(1, len(cells) + 1)]
    names[first], names[first + width], names[-1] = "begin time", "end time", "annotation"
    for name, i in zip(("tier", "participant"), range(first)):
        names[i] = name
    return names
