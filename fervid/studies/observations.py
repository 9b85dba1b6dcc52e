"""What event logs such as those of BORIS say beside labels: starts and stops of states, videos, time offsets."""

import re
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from itertools import groupby

from fervid.errors import DataError
from fervid.studies.csv_columns import Columns
from fervid.studies.rating_table import RatingTable

__all__ = ["Event", "Recording", "find_events", "find_other_videos", "find_recordings", "pair_states"]

_START, _STOP, _POINT, _STATE = "start", "stop", "point", "state"
_WORDS = {
    "start": _START, "state start": _START, "begin": _START, "onset": _START,
    "stop": _STOP, "state stop": _STOP, "end": _STOP, "offset": _STOP,
    "point": _POINT, "point event": _POINT, "state": _STATE, "state event": _STATE,
}  # fmt: skip
#: What BORIS writes where an event belongs to no file.
_NO_MEDIA = {"not found", ""}


@dataclass(frozen=True)
class Event:
    """A row that starts or stops a state. Rows of the same `key` make pairs."""

    row: int
    at_s: float
    key: Hashable
    is_start: bool


@dataclass(frozen=True)
class Recording:
    """The part of an observation that is about one of its videos."""

    shift_s: float = 0.0
    """When the video begins on the clock of the observation."""
    end_s: float | None = None
    """When it ends on its own clock; None if nothing follows it."""


def find_events(table: RatingTable, columns: Columns) -> dict[int, str] | None:
    """Read which rows start or stop a state, and which are events without duration.

    Parameters
    ----------
    table : RatingTable
    columns : Columns
        `events` lists the columns that may say so; the one that does is removed from `unused`.

    Returns
    -------
    dict or None
        "start", "stop", "point" or "state" by row; None if no column says so.

    Raises
    ------
    DataError
        If a column says so, but not for every row.
    """
    for column in columns.events:
        texts = {row: (table.text(cells, column) or "").lower() for row, cells in table.rows}
        words = {_WORDS.get(text) for text in texts.values()} - {None}
        is_type = table.header[column].lower() != "comment"
        if not ({_START, _STOP} <= words or (is_type and words)):
            continue
        for row, text in texts.items():
            if text not in _WORDS or (_WORDS[text] == _STATE and columns.start is None):
                raise DataError(f"{table.where(row, column)}: expected START, STOP or POINT, found {_quoted(text)}")
        if table.header[column] in columns.unused:
            columns.unused.remove(table.header[column])
        return {row: _WORDS[text] for row, text in texts.items()}
    return None


def pair_states(table: RatingTable, events: Iterable[Event]) -> dict[int, tuple[float, float]]:
    """Pair the starts and stops of states.

    Parameters
    ----------
    table : RatingTable
        For the messages.
    events : iterable of Event
        In any order.

    Returns
    -------
    dict
        Start and end of each state, by the row of its start.

    Raises
    ------
    DataError
        If a state starts twice, or stops without a start, or never stops.
    """
    by_key: dict[Hashable, list[Event]] = defaultdict(list)
    for event in sorted(events, key=lambda event: event.at_s):
        by_key[event.key].append(event)
    found: dict[int, tuple[float, float]] = {}
    for own in by_key.values():
        started: Event | None = None
        for _, group in groupby(own, key=lambda event: event.at_s):
            # of a stop and a start at the same time, the one that is due comes first
            waiting: dict[bool, deque[Event]] = {True: deque(), False: deque()}
            for event in group:
                waiting[event.is_start].append(event)
            while waiting[True] or waiting[False]:
                due = started is None
                event = waiting[due if waiting[due] else not due].popleft()
                if event.is_start:
                    if started:
                        raise _unpaired(table, started, f"row {event.row} starts it again at {event.at_s:g} s")
                    started = event
                elif started is None:
                    raise _unpaired(table, event, "no row starts it before")
                else:
                    found[started.row] = started.at_s, event.at_s
                    started = None
        if started:
            raise _unpaired(table, started, "no row stops it")
    return found


def _unpaired(table: RatingTable, event: Event, found: str) -> DataError:
    this, other = ("starts", "STOP row after it") if event.is_start else ("stops", "START row before it")
    return DataError(
        f"{table.path}: row {event.row} {this} a state at {event.at_s:g} s; expected a {other} (same label, subject "
        f"and modifiers), but {found}"
    )


def find_recordings(table: RatingTable, columns: Columns, video: str | None) -> dict[int, Recording]:
    """Find the rows that are about one video, and its place on the clock of their observation.

    BORIS plays several files one after the other, on one clock, and can export several observations into one table.

    Parameters
    ----------
    table : RatingTable
    columns : Columns
    video : str or None
        Name of the video; None to keep every row.

    Returns
    -------
    dict
        A Recording by row. If the table names no video or a single one, that of every row, whatever its name.

    Raises
    ------
    DataError
        If there are several videos, and it is not clear which rows are about this one, or when it begins.
    """
    groups: dict[tuple[str | None, str | None], list[int]] = defaultdict(list)
    media: dict[tuple[str | None, str | None], set[str]] = defaultdict(set)
    for row, cells in table.rows:
        key = table.text(cells, columns.observation), table.text(cells, columns.source)
        groups[key].append(row)
        media[key] |= {_file_name(table.text(cells, columns.media) or "")} - _NO_MEDIA
    playlists = {key: _playlists(key[1] or "") or [[name] for name in media[key]] for key in groups}
    named = {name for lists in playlists.values() for playlist in lists for name in playlist}
    if video is None or len(named) < 2:
        return {row: Recording() for row, _ in table.rows}
    name = _file_name(video)
    if name not in named:
        raise DataError(f"{table.path}: rates several videos ({', '.join(sorted(named))}); expected {video} among them")
    found: dict[int, Recording] = {}
    for key, rows in groups.items():
        player = next((k for k, playlist in enumerate(playlists[key]) if name in playlist), None)
        if player is not None:
            recording = _find_recording(table, columns, (key, rows[0]), playlists[key], player, video)
            found |= dict.fromkeys(rows, recording)
    return found


def find_other_videos(table: RatingTable, columns: Columns, video: str | None) -> list[str]:
    """List the videos that a file of ratings names, if none of them has the name of this one.

    Parameters
    ----------
    table : RatingTable
    columns : Columns
    video : str or None

    Returns
    -------
    list of str
        Sorted, in lower case; empty if the file names none, or this one.
    """
    named = {_file_name(name) for name in table.videos}
    for _, cells in table.rows:
        named.add(_file_name(table.text(cells, columns.media) or ""))
        named |= {name for playlist in _playlists(table.text(cells, columns.source) or "") for name in playlist}
    named -= _NO_MEDIA
    return [] if video is None or _file_name(video) in named else sorted(named)


def _find_recording(
    table: RatingTable,
    columns: Columns,
    first: tuple[tuple[str | None, str | None], int],
    playlists: list[list[str]],
    player: int,
    video: str,
) -> Recording:
    """Compute where a video lies on the clock of an observation, which consists of the videos before it."""
    (_, source), row = first
    playlist = playlists[player]
    if len(playlist) == 1 and ((source and "player #" in source.lower()) or len(playlists) == 1):
        return Recording()
    cells = next(cells for number, cells in table.rows if number == row)
    text = table.text(cells, columns.media_durations) or ""
    try:
        lengths = [float(part) for part in text.split("|")[player].split(";")]
        at = playlist.index(_file_name(video))
        return Recording(sum(lengths[:at]), lengths[at])
    except (IndexError, ValueError):
        names = ", ".join(name for names in playlists for name in names)
        raise DataError(
            f"{table.path}: row {row}: rates several videos on one clock ({names}); expected the duration of each in a "
            f"column 'Media duration (s)' to find the times of {video}, found {_quoted(text)}"
        ) from None


def _playlists(source: str) -> list[list[str]]:
    """Return the files of each player of a text such as "player #1:a.mp4;b.mp4|player #2:c.mp4"."""
    if "player #" not in source.lower():
        return []
    return [
        [_file_name(name) for name in re.sub(r"^player #\d+:\s*", "", player, flags=re.I).split(";") if name.strip()]
        for player in re.split(r"\s*\|?(?=player #)", source, flags=re.I)
        if player.strip()
    ]


def _file_name(text: str) -> str:
    return re.split(r"[/\\]", text.strip())[-1].lower()


def _quoted(text: str) -> str:
    return repr(text) if text else "nothing"
