"""The written parts of a report, as escaped HTML: figures, bar of expressions, warnings, provenance."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import numpy as np

from fervid.timeline.read import timeline_summary
from fervid.views.report.data import Timeline
from fervid.views.terminal import CLEAR, clock

__all__ = ["bar", "figures", "lasting", "legend", "provenance", "shares", "subtitle", "warnings"]

#: What a degraded result lacks, a sentence a reason.
_REASONS = {
    "truncated": "The file ends before its declared end.",
    "damaged": "Some packets could not be decoded; they were left out.",
    "seconds_lost": "At least one second has no decodable frame.",
    "synthetic_time": "The file has no usable timestamps: frames were counted at the declared rate.",
    "time_jumps": "The file's clock jumps (a concatenation); its parts follow one another.",
}
#: Below this share of clear face time, and below this height of the median face, the page says so.
_SMALL_PX = 24


def figures(timeline: Timeline) -> str:
    """The four figures at the top: time with a face, faces followed, the usual expression, how clear it is."""
    says = timeline_summary(timeline.frame, timeline.provenance)
    seconds, seen = says["seconds"], says["seconds_with_face"]
    dominant = next(iter(says["dominant"].items()), None)
    persons = sum(lane.name.startswith("Person") for lane in timeline.lanes)
    faces = _count(persons, "person", "persons") if persons else _count(says["tracks"], "track", "tracks")
    longest = timeline.lanes[0] if timeline.lanes else None
    cells = [
        (
            "Someone on screen",
            clock(seen),
            f"of {clock(seconds)} in whole seconds, {_percent(seen / seconds if seconds else 0)}",
        ),
        ("Faces followed", faces, f"longest {lasting(longest.face_seconds)}, {longest.name}" if longest else "no face"),
        (
            "Most often",
            dominant[0] if dominant else "none",
            f"{_percent(dominant[1])} of face time" if dominant else "",
        ),
        ("Clear expression", _percent(says["clear"]) if dominant else "none", "of face time (one above 50%)"),
    ]
    return "".join(
        f'<div class="figure"><dt>{escape(label)}</dt><dd><b>{escape(value)}</b><span>{escape(more)}</span></dd></div>'
        for label, value, more in cells
    )


def subtitle(timeline: Timeline) -> str:
    """One line on the file: length, size, frame rate, codec."""
    source = timeline.provenance.get("source", {})
    rate = source.get("frame_rate")
    top, _, bottom = str(rate or "0").partition("/")
    parts = [
        lasting(source["duration_s"]) if source.get("duration_s") else "",
        f"{source.get('width_px')} × {source.get('height_px')}" if source.get("width_px") else "",
        f"{float(top) / float(bottom or 1):.5g} fps" if rate else "",
        str(source.get("codec") or ""),
    ]
    return " · ".join(escape(part) for part in parts if part)


def shares(timeline: Timeline) -> dict[str, float]:
    """For which part of all face time each emotion was the most probable one."""
    total = sum(lane.face_seconds for lane in timeline.lanes)
    return {
        name: sum(lane.shares[name] * lane.face_seconds for lane in timeline.lanes) / total if total else 0.0
        for name in timeline.labels
    }


def bar(parts: Mapping[str, float]) -> str:
    """Shares as one bar (SVG), with what it shows in words for those who do not see it."""
    told = ", ".join(f"{name} {_percent(share)}" for name, share in _ranked(parts)) or "no face"
    cells, at = [], 0.0
    for name, share in parts.items():
        if share > 0:
            cells.append(f'<rect class="e-{name}" x="{100 * at:.2f}%" width="{100 * share:.2f}%" height="100%"/>')
        at += share
    return f'<svg class="bar" role="img" aria-label="{escape(told)}">{"".join(cells)}</svg>'


def legend(parts: Mapping[str, float]) -> str:
    """The shares of a bar in words, the largest first."""
    return "".join(
        f'<li><i class="swatch e-{name}"></i>{name} <b>{_percent(share)}</b></li>' for name, share in _ranked(parts)
    )


def warnings(timeline: Timeline, more: Iterable[str]) -> str:
    """What to know before the figures are believed, as a list; empty where there is nothing."""
    says = timeline_summary(timeline.frame, timeline.provenance)
    told = [_REASONS.get(word, f"The result is degraded: {word}.") for word in timeline.provenance.get("reasons", [])]
    if says["seconds_without_data"]:
        told.append(f"{_count(says['seconds_without_data'], 'second', 'seconds')} could not be read: no data there.")
    if not says["seconds"]:
        told.append("The timeline is empty: not one second was looked at.")
    elif not timeline.lanes:
        told.append("No face was found. If there are small ones, a lower --min-face finds more.")
    else:
        if says["clear"] < CLEAR:
            told.append(
                f"In only {_percent(says['clear'])} of the face time one expression reaches 50%: faces were mostly "
                "between expressions or hard to read. Do not read much into the most frequent one."
            )
        height = float(np.nanmedian(timeline.frame["face_px"].to_numpy(float)))
        if height < _SMALL_PX:
            told.append(f"Faces are small: {height:.0f} pixels in the middle. The model learned from larger ones.")
    items = "".join(f"<li>{escape(text)}</li>" for text in [*told, *more])
    return f'<ul class="warnings" aria-label="Warnings">{items}</ul>' if items else ""


def provenance(timeline: Timeline, version: str) -> str:
    """How the numbers were made: the source and its hash, model, options, counters."""
    facts = timeline.provenance
    source, model = facts.get("source", {}), facts.get("model", {})
    options = {name: value for name, value in facts.get("config", {}).items() if value is not None}
    rows = {
        "Video": timeline.name,
        "SHA-256": source.get("sha256"),
        "Model": f"{model.get('name')}, temperature {model.get('temperature')}",
        "Model SHA-256": model.get("sha256"),
        "Faces by": facts.get("detector"),
        "Made with": f"fervid {facts.get('version')}, schema {facts.get('schema')}; page by fervid {version}",
        "Options": _listed(options),
        "Counted": _listed(facts.get("counters", {})),
        "Status": ", ".join([str(facts.get("status")), *map(str, facts.get("reasons", []))]),
    }
    return "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(str(v))}</dd></div>" for k, v in rows.items() if v)


def _listed(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _ranked(parts: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(((name, share) for name, share in parts.items() if share >= 0.005), key=lambda item: -item[1])


def lasting(seconds: float) -> str:
    """A length of time: short ones in tenths of a second."""
    return f"{seconds:.1f} s" if seconds < 60 else clock(seconds)


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"
