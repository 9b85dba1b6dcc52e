"""The static parts of a report as escaped HTML: key figures, bar of expressions, warnings, provenance."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import numpy as np

from fervid.clock import clock
from fervid.timeline.read import timeline_notes, timeline_summary
from fervid.views.report.data import LanedTimeline
from fervid.views.terminal import CLEAR
from fervid.views.wording import as_sentence, counters, options, shown

__all__ = ["bar", "duration", "figures", "legend", "provenance", "shares", "subtitle", "warnings"]

#: One sentence per reason for which a result is degraded.
_REASONS = {
    "truncated": "The file ends before its declared end.",
    "damaged": "Some packets could not be decoded and were skipped.",
    "seconds_lost": "At least one second has no decodable frame.",
    "synthetic_time": "The file has no usable timestamps; times were computed from the declared frame rate.",
    "duration_mismatch": "The frames do not last as long as the file declares.",
    "time_jumps": "The timestamps jump, as in a concatenated file; its parts were placed one after another.",
}
#: The page warns if the median face is lower than this.
_SMALL_PX = 24


def figures(timeline: LanedTimeline) -> str:
    """Format the key figures: seconds with a face, number of faces, most frequent expression, clear share.

    Parameters
    ----------
    timeline : LanedTimeline

    Returns
    -------
    str
        HTML for a definition list.
    """
    facts = timeline_summary(timeline.frame, timeline.provenance)
    seconds, seen = facts["seconds"], facts["seconds_with_face"]
    dominant = next(iter(facts["dominant"].items()), None)
    persons = sum(lane.name.startswith("Person") for lane in timeline.lanes)
    faces = _count(persons, "person", "persons") if persons else _count(facts["tracks"], "track", "tracks")
    longest = timeline.lanes[0] if timeline.lanes else None
    cells = [
        (
            "Time with a face",
            clock(seen),
            f"of {clock(seconds)} in whole seconds, {_percent(seen / seconds if seconds else 0)}",
        ),
        ("Faces", faces, f"longest {duration(longest.face_seconds)}, {longest.name}" if longest else "no face"),
        (
            "Most frequent expression",
            dominant[0] if dominant else "none",
            f"{_percent(dominant[1])} of face time" if dominant else "",
        ),
        (
            "Clear expression",
            _percent(facts["clear"]) if dominant else "none",
            "of face time (one at 50% or more)",
        ),
    ]
    return "".join(
        f'<div class="figure"><dt>{escape(label)}</dt><dd><b>{escape(value)}</b><span>{escape(more)}</span></dd></div>'
        for label, value, more in cells
    )


def subtitle(timeline: LanedTimeline) -> str:
    """Describe the video file in one line: length, size, frame rate, codec.

    Parameters
    ----------
    timeline : LanedTimeline

    Returns
    -------
    str
        Escaped text.
    """
    source = timeline.source
    rate = source.get("frame_rate")
    top, _, bottom = str(rate or "0").partition("/")
    parts = [
        duration(source["duration_s"]) if source.get("duration_s") else "",
        f"{source.get('width_px')} × {source.get('height_px')}" if source.get("width_px") else "",
        f"{float(top) / float(bottom or 1):.5g} fps" if rate else "",
        str(source.get("codec") or ""),
    ]
    return " · ".join(escape(part) for part in parts if part)


def shares(timeline: LanedTimeline) -> dict[str, float]:
    """Compute in which share of all face time each emotion was the most probable one.

    Parameters
    ----------
    timeline : LanedTimeline

    Returns
    -------
    dict
        Shares by emotion; they sum to 1, or are 0 without a face.
    """
    dominant = timeline_summary(timeline.frame, timeline.provenance)["dominant"]
    total = sum(dominant.values())
    return {name: dominant.get(name, 0.0) / total if total else 0.0 for name in timeline.labels}


def bar(parts: Mapping[str, float]) -> str:
    """Draw shares as one bar.

    Parameters
    ----------
    parts : mapping
        Shares by emotion.

    Returns
    -------
    str
        SVG, with the shares as text for screen readers.
    """
    label = ", ".join(f"{name} {_percent(share)}" for name, share in _ranked(parts)) or "no face"
    cells, at = [], 0.0
    for name, share in parts.items():
        if share > 0:
            cells.append(f'<rect class="e-{name}" x="{100 * at:.2f}%" width="{100 * share:.2f}%" height="100%"/>')
        at += share
    return f'<svg class="bar" role="img" aria-label="{escape(label)}">{"".join(cells)}</svg>'


def legend(parts: Mapping[str, float]) -> str:
    """List the shares of a bar, the largest first.

    Parameters
    ----------
    parts : mapping
        Shares by emotion.

    Returns
    -------
    str
        HTML list items.
    """
    return "".join(
        f'<li><i class="swatch e-{name}"></i>{name} <b>{_percent(share)}</b></li>' for name, share in _ranked(parts)
    )


def warnings(timeline: LanedTimeline, more: Iterable[str]) -> str:
    """List what limits the trust in the figures.

    Parameters
    ----------
    timeline : LanedTimeline
    more : iterable of str
        Further sentences, unescaped.

    Returns
    -------
    str
        An HTML list; empty if there are no warnings.
    """
    facts = timeline_summary(timeline.frame, timeline.provenance)
    found = [_REASONS.get(word, f"The result is degraded: {word}.") for word in timeline.provenance.get("reasons", [])]
    if facts["seconds_without_data"]:
        found.append(f"{_count(facts['seconds_without_data'], 'second', 'seconds')} could not be decoded: no data.")
    if not facts["seconds"]:
        found.append("The timeline is empty: it does not contain a single second.")
    elif not timeline.lanes:
        found.append("No face was found. A lower --min-face finds smaller faces.")
    else:
        if facts["clear"] < CLEAR:
            found.append(
                f"One expression reaches 50% in only {_percent(facts['clear'])} of the face time: most faces were "
                "between expressions or hard to classify. Interpret the most frequent expression with caution."
            )
        height = float(np.nanmedian(timeline.frame["face_px"].to_numpy(float)))
        if height < _SMALL_PX:
            found.append(
                f"Faces are small: their median height is {height:.0f} pixels. The model was trained on larger ones."
            )
        found += [as_sentence(note) for note in timeline_notes(facts, timeline.provenance)]
    items = "".join(f"<li>{escape(text)}</li>" for text in [*found, *more])
    return f'<ul class="warnings" aria-label="Warnings">{items}</ul>' if items else ""


def provenance(timeline: LanedTimeline, version: str) -> str:
    """List how the numbers were made.

    Parameters
    ----------
    timeline : LanedTimeline
    version : str
        The version of fervid that writes the page.

    Returns
    -------
    str
        HTML for a definition list.
    """
    facts = timeline.provenance
    model = facts.get("model", {})
    config = {name: value for name, value in facts.get("config", {}).items() if value is not None}
    rows = {
        "Video": timeline.video,
        "SHA-256": timeline.source.get("sha256"),
        "Model": f"{model.get('name')}, temperature {model.get('temperature')}",
        "Model SHA-256": model.get("sha256"),
        "Face detector": facts.get("detector"),
        "Made with": f"fervid {facts.get('version')}, schema {facts.get('schema')}; page by fervid {version}",
        "Options": _listed(options(config)),
        "Counters": _listed(counters(facts)),
        "Status": ", ".join([str(facts.get("status")), *map(str, facts.get("reasons", []))]),
    }
    return "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(str(v))}</dd></div>" for k, v in rows.items() if v)


def _listed(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {shown(value)}" for name, value in facts.items())


def _ranked(parts: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(((name, share) for name, share in parts.items() if share >= 0.005), key=lambda item: -item[1])


def duration(seconds: float) -> str:
    """Format a duration.

    Parameters
    ----------
    seconds : float

    Returns
    -------
    str
        Such as "4.2 s" below a minute, "m:ss" or "h:mm:ss" above.
    """
    return f"{seconds:.1f} s" if seconds < 60 else clock(seconds)


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"
