"""Export a timeline as an ELAN annotation file, EAF 3.0 (Max Planck Institute for Psycholinguistics, EAFv3.0.xsd)."""

import mimetypes
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree as ET

from fervid.timeline.intervals import Interval
from fervid.timeline.read import Timeline

__all__ = ["write_eaf"]

_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_LANGUAGE = {"LANG_ID": "und", "LANG_LABEL": "undetermined (und)", "LANG_DEF": "http://cdb.iso.org/lg/CDB-00130975-001"}
#: The format requires a date; a constant one, so that equal timelines give equal bytes.
_NO_DATE = "1970-01-01T00:00:00+00:00"
_FACELESS = "no face"


def write_eaf(timeline: Timeline, intervals: list[Interval], part: Path) -> int:
    """Write one tier per track, named "track N", and the tier "no face" for seconds without a face.

    Times are milliseconds. The emotions are a controlled vocabulary, so that coders can continue with the same words.
    The video is linked by its name: ELAN finds it beside the file, or shows a dialog.

    Parameters
    ----------
    timeline : Timeline
    intervals : list of Interval
        The merged seconds of the timeline.
    part : Path
        The temporary file of `fervid.files.write_atomically`.

    Returns
    -------
    int
        Number of intervals.
    """
    root = ET.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": f"fervid {timeline.provenance['version']}",
            "DATE": _NO_DATE,
            "FORMAT": "3.0",
            "VERSION": "3.0",
            f"{{{_XSI}}}noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
        },
    )
    _add_header(root, timeline.video, len(intervals))
    slot = _add_times(root, intervals)
    person = _persons(timeline)
    tiers: dict[int | None, ET.Element] = {}
    for track in dict.fromkeys(i.track for i in intervals):
        name = _FACELESS if track is None else f"track {track}"
        attributes = {"TIER_ID": name, "LINGUISTIC_TYPE_REF": "status" if track is None else "emotion"}
        if track in person:
            attributes["PARTICIPANT"] = f"person {person[track]}"
        tiers[track] = ET.SubElement(root, "TIER", attributes)
    for n, interval in enumerate(intervals, 1):
        start, end = slot[_ms(interval.start_s)], slot[_ms(interval.end_s)]
        attributes = {"ANNOTATION_ID": f"a{n}", "TIME_SLOT_REF1": start, "TIME_SLOT_REF2": end}
        wrapper = ET.SubElement(tiers[interval.track], "ANNOTATION")
        annotation = ET.SubElement(wrapper, "ALIGNABLE_ANNOTATION", attributes)
        ET.SubElement(annotation, "ANNOTATION_VALUE").text = interval.label
    _add_types(root, {"emotion": timeline.labels, "status": ("no_face", "no_data")})
    ET.register_namespace("xsi", _XSI)
    ET.indent(root)
    ET.ElementTree(root).write(part, "UTF-8", xml_declaration=True)
    return len(intervals)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _add_header(root: ET.Element, video: str, annotations: int) -> None:
    header = ET.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    url, kind = f"./{quote(video)}", mimetypes.guess_type(video)[0] or "video/unknown"
    ET.SubElement(header, "MEDIA_DESCRIPTOR", {"MEDIA_URL": url, "MIME_TYPE": kind, "RELATIVE_MEDIA_URL": url})
    ET.SubElement(header, "PROPERTY", {"NAME": "lastUsedAnnotationId"}).text = str(annotations)


def _add_times(root: ET.Element, intervals: list[Interval]) -> dict[int, str]:
    """Add one time slot per millisecond at which an interval starts or ends; return their names by millisecond."""
    order = ET.SubElement(root, "TIME_ORDER")
    times = sorted({_ms(s) for i in intervals for s in (i.start_s, i.end_s)})
    slot = {ms: f"ts{n}" for n, ms in enumerate(times, 1)}
    for ms, name in slot.items():
        ET.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": name, "TIME_VALUE": str(ms)})
    return slot


def _persons(timeline: Timeline) -> dict[int | None, int]:
    """Return the person of each track; empty if the timeline has no column `person`."""
    if "person" not in timeline.faces:
        return {}
    pairs = timeline.faces[["track", "person"]].dropna().drop_duplicates("track")
    return {int(track): int(person) for track, person in pairs.itertuples(index=False)}


def _add_types(root: ET.Element, words: dict[str, tuple[str, ...]]) -> None:
    """Add one tier type per vocabulary, the language "undetermined", and the vocabularies themselves."""
    for name in words:
        attributes = {"LINGUISTIC_TYPE_ID": name, "TIME_ALIGNABLE": "true", "GRAPHIC_REFERENCES": "false"}
        ET.SubElement(root, "LINGUISTIC_TYPE", attributes | {"CONTROLLED_VOCABULARY_REF": name})
    ET.SubElement(root, "LANGUAGE", _LANGUAGE)
    for name, entries in words.items():
        vocabulary = ET.SubElement(root, "CONTROLLED_VOCABULARY", {"CV_ID": name})
        ET.SubElement(vocabulary, "DESCRIPTION", {"LANG_REF": "und"})
        for n, entry in enumerate(entries):
            meaning = ET.SubElement(vocabulary, "CV_ENTRY_ML", {"CVE_ID": f"{name}_{n}"})
            ET.SubElement(meaning, "CVE_VALUE", {"DESCRIPTION": "", "LANG_REF": "und"}).text = entry
