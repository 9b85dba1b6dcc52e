"""Export a timeline as an ELAN annotation file, EAF 3.0 (Max Planck Institute for Psycholinguistics, EAFv3.0.xsd)."""

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
#: MIME types by container, as FFmpeg calls it (IANA's registry, and the names in use where it has none). ELAN chooses a
#: player by them.
_MIME_TYPES = {
    "matroska": "video/x-matroska", "avi": "video/x-msvideo", "mpegts": "video/mp2t", "mpeg": "video/mpeg",
    "flv": "video/x-flv", "asf": "video/x-ms-wmv", "mxf": "video/mxf", "ogg": "video/ogg", "h264": "video/h264",
    "hevc": "video/h265", "ivf": "video/x-ivf", "dv": "video/dv", "mov": "video/mp4",
}  # fmt: skip
#: Types of one container that differ by suffix only.
_MIME_TYPES_BY_SUFFIX = {
    "mov": {
        ".mov": "video/quicktime",
        ".qt": "video/quicktime",
        ".3gp": "video/3gpp",
        ".3gpp": "video/3gpp",
        ".3g2": "video/3gpp2",
        ".mj2": "video/mj2",
    },
    "matroska": {".webm": "video/webm"},
}
#: What ELAN writes for a video of a type that it does not know.
_ANY_VIDEO = "video/*"


def write_eaf(timeline: Timeline, intervals: list[Interval], part: Path) -> int:
    """Write one tier per track, named "track N", and the tier "no face" for seconds without a face.

    Times are milliseconds on the clock of the video file, so that TIME_ORIGIN is not needed. The emotions are a
    controlled vocabulary, so that coders can continue with the same words. The video is linked by its
    name, and where it is if it is found beside the document or the timeline; else ELAN shows a dialog.

    Parameters
    ----------
    timeline : Timeline
    intervals : list of Interval
        What to write, on the clock of the video file.
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
    _add_header(root, timeline, part.parent, len(intervals))
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


def _add_header(root: ET.Element, timeline: Timeline, folder: Path, annotations: int) -> None:
    header = ET.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    relative = f"./{quote(timeline.video)}"
    places = (folder / timeline.video).absolute(), (timeline.path.parent / timeline.video).absolute()
    url = next((path.as_uri() for path in places if path.is_file()), relative)
    media = {"MEDIA_URL": url, "MIME_TYPE": _mime_type(timeline), "RELATIVE_MEDIA_URL": relative}
    ET.SubElement(header, "MEDIA_DESCRIPTOR", media)
    ET.SubElement(header, "PROPERTY", {"NAME": "lastUsedAnnotationId"}).text = str(annotations)


def _mime_type(timeline: Timeline) -> str:
    """Return the MIME type of the container that was read; the suffix counts only among types of the same one."""
    container = timeline.source.get("container", "")
    by_suffix = _MIME_TYPES_BY_SUFFIX.get(container, {})
    return by_suffix.get(Path(timeline.video).suffix.lower()) or _MIME_TYPES.get(container, _ANY_VIDEO)


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
