"""Find the roles of the columns of a coder's table by the names that are common for them."""

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path

from fervid.errors import DataError
from fervid.labels import EMOTIONS, emotion

__all__ = ["Columns", "find_columns", "is_header"]

_TIME = {"time", "t", "second", "seconds", "sec", "secs", "timestamp", "timecode", "position", "s", "ms", "frametime"}
_START = {"start", "onset", "begin", "from", "start_time", "onset_time", "begin_time", "time_start"}
_END = {"end", "offset", "stop", "to", "end_time", "offset_time", "stop_time", "time_end"}
_DURATION = {"duration", "dur", "length"}
_RATER = {"rater", "coder", "annotator", "observer", "judge"}
_LABEL = {
    "label", "emotion", "expression", "category", "code", "annotation", "behavior", "behaviour", "dominant", "affect",
    "rating",
}  # fmt: skip
_SCORE = {"score", "intensity", "rating", "value", "level"}
_UNITS_S = {
    "s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0, "ss_msec": 1.0, "hh_mm_ss_ms": 1.0,
    "ms": 1e-3, "msec": 1e-3, "milliseconds": 1e-3, "millis": 1e-3,
}  # fmt: skip
_RATER_NAME = re.compile(r"(?:(?:rater|coder|annotator|observer|judge)_?\w+|[rc]_?\d+|\d+)")
#: Names of the columns that can appear once, by role.
_ROLES = {
    "time": _TIME,
    "start": _START,
    "end": _END,
    "duration": _DURATION,
    "rater": _RATER | {f"{name}_id" for name in _RATER} | {f"{name}_name" for name in _RATER},
    "person": {"person"},
    "track": {"track"},
    "offset": {"time_offset"},
    "media": {"media_file_name", "media_file_path", "media_file"},
    "source": {"source"},
    "media_durations": {"media_duration"},
    "observation": {"observation_id"},
    "tier": {"tier", "tier_id", "tier_name"},
}
#: Names of columns that may say which rows start and which rows stop a state, the most likely first.
_EVENT = ("behavior_type", "behaviour_type", "event_type", "status", "type", "comment")
_SUBJECT = {"subject", "subjects", "participant"}
_MODIFIER = re.compile(r"modifiers?(_\d+)?")
#: The columns that only a timeline has; its times count from the first frame.
_TIMELINE = {"video", "second", "status", "n_sampled", "face_seconds", "dominant"}
_ACCEPTED = (
    "a time column (second, time, t, timestamp) or start with end or duration (start, onset, begin; end, offset, "
    "stop), and a label column (label, emotion), one per rater (rater1, rater2), or score columns (happiness, "
    "sadness_r2)"
)


@dataclass
class Columns:
    """Indices of the columns by role."""

    time: int | None = None
    start: int | None = None
    end: int | None = None
    duration: int | None = None
    rater: int | None = None
    person: int | None = None
    track: int | None = None
    offset: int | None = None
    """What was added to the times of the media file, as BORIS does."""
    media: int | None = None
    """The video file of the row."""
    source: int | None = None
    """All video files of the observation."""
    media_durations: int | None = None
    """Their durations."""
    observation: int | None = None
    tier: int | None = None
    subjects: list[int] = field(default_factory=list)
    """Columns that name the person or track that a row is about."""
    events: list[int] = field(default_factory=list)
    """Columns that may say which rows start and which rows stop a state, the most likely first."""
    modifiers: list[int] = field(default_factory=list)
    weight: int | None = None
    """The column face_seconds of an exported timeline."""
    labels: list[tuple[str, int]] = field(default_factory=list)
    """Rater that the column is named after, or "", and column."""
    scores: list[tuple[str, str, int]] = field(default_factory=list)
    """Rater or "", emotion, column."""
    unused: list[str] = field(default_factory=list)
    """Names of the columns without a role."""
    unit_s: dict[int, float] = field(default_factory=dict)
    """Unit of each time column, in seconds."""

    @property
    def emotions(self) -> tuple[str, ...]:
        """Emotions that have a score column, in the order of the timeline."""
        return tuple(name for name in EMOTIONS if any(name == scored for _, scored, _ in self.scores))


def is_header(cells: list[str]) -> bool:
    """Report whether cells are the names of a time column and of one more column with a role.

    Parameters
    ----------
    cells : list of str

    Returns
    -------
    bool
    """
    found = _find(cells)
    return (found.time is not None or found.start is not None) and bool(found.labels or found.scores)


def find_columns(path: Path, header: list[str]) -> Columns:
    """Find the role of every column.

    Parameters
    ----------
    path : Path
        The file, for messages.
    header : list of str
        Names of the columns.

    Returns
    -------
    Columns
        With times and with labels or scores.

    Raises
    ------
    DataError
        If the columns do not suffice; the message lists the accepted names.
    """
    found = _find(header)
    _check(path, header, found)
    return found


def _find(header: list[str]) -> Columns:
    """Assign a role to every column that has one."""
    found = Columns()
    keys = [re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in header]
    for i, key in enumerate(keys):
        if not _assign(found, i, key):
            found.unused.append(header[i])
    found.events.sort(key=lambda i: _EVENT.index(keys[i]))
    if set(keys) >= _TIMELINE:
        found.weight = keys.index("face_seconds")
        found.labels = [pair for pair in found.labels if keys[pair[1]] != "dominant"]  # the highest score
    return found


def _assign(found: Columns, i: int, key: str) -> bool:
    """Assign a role to one column; False if it has none. The first column of a role counts."""
    stem, unit_s = _split_unit(key)
    for role, names in _ROLES.items():
        if (key in names or stem in names) and getattr(found, role) is None:
            setattr(found, role, i)
            found.unit_s[i] = unit_s
            return True
    if key in _SUBJECT:
        found.subjects.append(i)
        return True
    if _MODIFIER.fullmatch(key):
        found.modifiers.append(i)
        return True
    if key in _EVENT:
        found.events.append(i)
        return False
    rater, content = _split_rater(key)
    if content in _LABEL or (content == "" and rater):
        if any(rater == other for other, _ in found.labels):
            return False
        found.labels.append((rater, i))
        return True
    name = _emotion(content)
    if name is None or any((rater, name) == (other, scored) for other, scored, _ in found.scores):
        return False
    found.scores.append((rater, name, i))
    return True


def _split_unit(key: str) -> tuple[str, float]:
    """Return a name without its unit, and the unit in seconds."""
    for unit in sorted(_UNITS_S, key=len, reverse=True):
        if key == unit:
            return key, _UNITS_S[unit]
        if key.endswith(f"_{unit}"):
            return key.removesuffix(f"_{unit}"), _UNITS_S[unit]
    return key, 1.0


def _split_rater(key: str) -> tuple[str, str]:
    """Return rater and content: happiness_r1 or r1_happiness -> (r1, happiness); rater1 -> (rater1, "")."""
    words = key.split("_")
    for cut in range(1, len(words)):
        head, tail = "_".join(words[:cut]), "_".join(words[cut:])
        if _RATER_NAME.fullmatch(tail) and _is_content(head):
            return tail, _without_score(head)
        if _RATER_NAME.fullmatch(head) and _is_content(tail):
            return head, _without_score(tail)
    return (key, "") if _RATER_NAME.fullmatch(key) and not key.isdigit() else ("", _without_score(key))


def _is_content(text: str) -> bool:
    return _without_score(text) in _LABEL or _emotion(_without_score(text)) is not None


def _without_score(key: str) -> str:
    """Return an emotion without a word such as score; other names are unchanged."""
    rest = "_".join(word for word in key.split("_") if word not in _SCORE)
    return rest if rest and _emotion(rest) else key


def _emotion(text: str) -> str | None:
    try:
        return emotion(text)
    except DataError:
        return None


def _check(path: Path, header: list[str], found: Columns) -> None:
    problem = ""
    if found.start is not None and found.end is None and found.duration is None:
        problem = f"{header[found.start]!r} needs an end or a duration column"
    elif found.time is not None and found.duration is not None and found.start is None and found.end is None:
        found.start, found.time = found.time, None  # a time with a duration is an interval
    elif found.time is not None and found.end is not None and found.start is None:
        problem = f"{header[found.end]!r} needs a start column"
    elif found.time is None and found.start is None:
        problem = "no column of times"
    if not problem and not found.labels and not found.scores:
        problem = "no column of labels or scores"
    wide = sorted({rater for rater, _ in found.labels} | {rater for rater, *_ in found.scores} - {""})
    if not problem and found.rater is not None and any(wide):
        problem = f"a column {header[found.rater]!r} and columns of single raters ({', '.join(filter(None, wide))})"
    if problem:
        near = [f"{name!r} (did you mean {hint[0]!r}?)" for name in found.unused if (hint := _near(name))]
        unknown = f"; not recognised: {', '.join(near)}" if near else ""
        raise DataError(f"{path}: {problem}; found {', '.join(header)}{unknown}; expected {_ACCEPTED}")


def _near(name: str) -> list[str]:
    return difflib.get_close_matches(name.lower(), [*EMOTIONS, *_TIME, *_START, *_END, *_LABEL, *_RATER], 1, 0.75)
