"""Which column of a coder's table is what, by the names that people give them."""

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path

from fervid.errors import DataError
from fervid.labels import EMOTIONS, emotion

__all__ = ["Columns", "find_columns"]

_TIME = {"time", "t", "second", "seconds", "sec", "secs", "timestamp", "timecode", "position", "s", "ms", "frametime"}
_START = {"start", "onset", "begin", "from", "start_time", "onset_time", "begin_time", "time_start"}
_END = {"end", "offset", "stop", "to", "end_time", "offset_time", "stop_time", "time_end"}
_DURATION = {"duration", "dur", "length"}
_PEOPLE = {"rater", "coder", "annotator", "observer", "judge"}
_LABEL = {
    "label",
    "emotion",
    "expression",
    "category",
    "code",
    "annotation",
    "behavior",
    "behaviour",
    "dominant",
    "affect",
    "rating",
}
_SCORE = {"score", "intensity", "rating", "value", "level"}
_UNITS = {
    "s": 1.0,
    "sec": 1.0,
    "secs": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "ss_msec": 1.0,
    "hh_mm_ss_ms": 1.0,
    "ms": 1e-3,
    "msec": 1e-3,
    "milliseconds": 1e-3,
    "millis": 1e-3,
}
_WHO = re.compile(r"(?:(?:rater|coder|annotator|observer|judge)_?\w+|[rc]_?\d+|\d+)")
_ACCEPTED = (
    "a time column (second, time, t, timestamp) or start with end or duration (start, onset, begin; end, offset, "
    "stop), and a label column (label, emotion), one a rater (rater1, rater2), or score columns (happiness, sadness_r2)"
)


@dataclass
class Columns:
    """Column numbers by their role. `labels` and `scores` have the rater that a column's name tells, or ""."""

    time: int | None = None
    start: int | None = None
    end: int | None = None
    duration: int | None = None
    rater: int | None = None
    person: int | None = None
    track: int | None = None
    labels: list[tuple[str, int]] = field(default_factory=list)
    scores: list[tuple[str, str, int]] = field(default_factory=list)
    """Rater, emotion, column."""
    unused: list[str] = field(default_factory=list)
    unit_s: dict[int, float] = field(default_factory=dict)
    """Seconds of one unit, for columns of time."""

    @property
    def emotions(self) -> tuple[str, ...]:
        """The emotions with a score column, in the timeline's order."""
        return tuple(name for name in EMOTIONS if any(name == one for _, one, _ in self.scores))


def find_columns(path: Path, header: list[str]) -> Columns:
    """Find every column's role; DataError tells what was found and what is accepted."""
    found = Columns()
    for i, name in enumerate(header):
        if not _take(found, i, re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")):
            found.unused.append(name)
    _check(path, header, found)
    return found


def _take(found: Columns, i: int, key: str) -> bool:
    """Note the role of one column; False if it has none. The first of a role has it."""
    stem, unit_s = _unit(key)
    roles = {
        "time": _TIME,
        "start": _START,
        "end": _END,
        "duration": _DURATION,
        "rater": _PEOPLE | {f"{who}_id" for who in _PEOPLE} | {f"{who}_name" for who in _PEOPLE},
        "person": {"person"},
        "track": {"track"},
    }
    for role, names in roles.items():
        if (key in names or stem in names) and getattr(found, role) is None:
            setattr(found, role, i)
            found.unit_s[i] = unit_s
            return True
    who, what = _split(key)
    if what in _LABEL or (what == "" and who):
        if any(who == other for other, _ in found.labels):
            return False
        found.labels.append((who, i))
        return True
    name = _emotion(what)
    if name is None or any((who, name) == (other, one) for other, one, _ in found.scores):
        return False
    found.scores.append((who, name, i))
    return True


def _unit(key: str) -> tuple[str, float]:
    """A name without its unit, and the seconds of that unit."""
    for unit in sorted(_UNITS, key=len, reverse=True):
        if key == unit:
            return key, _UNITS[unit]
        if key.endswith(f"_{unit}"):
            return key.removesuffix(f"_{unit}"), _UNITS[unit]
    return key, 1.0


def _split(key: str) -> tuple[str, str]:
    """ "happiness_r1", "r1_happiness" -> ("r1", "happiness"); "rater1" -> ("rater1", ""); a score's word falls away."""
    words = key.split("_")
    for cut in range(1, len(words)):
        head, tail = "_".join(words[:cut]), "_".join(words[cut:])
        if _WHO.fullmatch(tail) and _known(head):
            return tail, _bare(head)
        if _WHO.fullmatch(head) and _known(tail):
            return head, _bare(tail)
    return (key, "") if _WHO.fullmatch(key) and not key.isdigit() else ("", _bare(key))


def _known(text: str) -> bool:
    return _bare(text) in _LABEL or _emotion(_bare(text)) is not None


def _bare(key: str) -> str:
    words = key.split("_")
    inner = [word for word in words if word not in _SCORE]
    return "_".join(inner) if inner and _emotion("_".join(inner)) else key


def _emotion(text: str) -> str | None:
    try:
        return emotion(text)
    except DataError:
        return None


def _check(path: Path, header: list[str], found: Columns) -> None:
    problem = ""
    if found.start is not None and found.end is None and found.duration is None:
        problem = f"{header[found.start]!r} needs an end or a duration beside it"
    elif found.time is not None and found.duration is not None and found.start is None and found.end is None:
        found.start, found.time = found.time, None  # a time with a duration is an interval
    elif found.time is not None and found.end is not None and found.start is None:
        problem = f"{header[found.end]!r} needs a start beside it"
    elif found.time is None and found.start is None:
        problem = "no column of times"
    if not problem and not found.labels and not found.scores:
        problem = "no column of labels or scores"
    wide = sorted({who for who, _ in found.labels} | {who for who, *_ in found.scores} - {""})
    if not problem and found.rater is not None and any(wide):
        problem = f"a column {header[found.rater]!r} and columns of single raters ({', '.join(filter(None, wide))})"
    if problem:
        near = [f"{name!r} (did you mean {hint[0]!r}?)" for name in found.unused if (hint := _near(name))]
        also = f"; not understood: {', '.join(near)}" if near else ""
        raise DataError(f"{path}: {problem}; found {', '.join(header)}{also}; expected {_ACCEPTED}")


def _near(name: str) -> list[str]:
    return difflib.get_close_matches(name.lower(), [*EMOTIONS, *_TIME, *_START, *_END, *_LABEL, *_PEOPLE], 1, 0.75)
