"""Read the ratings in the rows of a table: which face, rater, label and scores, and when on the timeline's clock."""

import difflib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise

from fervid.clock import FileClock
from fervid.errors import DataError
from fervid.labels import EMOTIONS, emotion
from fervid.studies.csv_columns import Columns
from fervid.studies.observations import Event, Recording, find_events, find_recordings, pair_states
from fervid.studies.rating_table import RatingTable

__all__ = ["UNNAMED", "Film", "ParsedRatings", "Rating", "RatingOptions", "parse_ratings"]

#: Name of the rater of a table that names none.
UNNAMED = "rater"
#: Intervals may overlap by this many seconds, because clocks are rounded.
_OVERLAP_TOLERANCE_S = 0.0015
#: How an exported timeline names its faces.
_OWN_SUBJECT = re.compile(r"(track|person) (\d+)")
#: Labels of an exported timeline that rate nothing.
_NO_LABEL = {"no_face", "no_data"}
#: What old exports of BORIS call the time offset, above the header.
_OFFSET = "time offset (s)"
#: What BORIS calls an event without a subject.
_NO_SUBJECT = {"no focal subject"}


@dataclass(frozen=True)
class RatingOptions:
    """How to read a table of ratings."""

    scale: tuple[float, float] | None = None
    """Lowest and highest possible score; None guesses them from the scores."""
    ignore_unknown: bool = False
    """Whether to skip ratings with an unknown label."""
    person: int | None = None
    """Which rows to read, if the table names persons."""
    track: int | None = None
    """Which rows to read, if the table names tracks."""
    gaps: str | None = None
    """Label of the time between a rater's intervals; None leaves it unrated."""
    subject: str | None = None
    """Which rows to read, by the name of the subject, participant or tier."""


@dataclass(frozen=True)
class Film:
    """What ratings are compared with."""

    name: str | None = None
    """Name of the video file."""
    clock: FileClock = field(default_factory=FileClock)
    """The clock of the file, on which coders work."""
    start_s: float = -math.inf
    """First moment of the timeline, in seconds since the first frame."""
    end_s: float = math.inf
    """Last moment of the timeline, in seconds since the first frame."""
    tracks: frozenset[int] = frozenset()
    """The tracks of the chosen person, for ratings that name tracks only."""


@dataclass(frozen=True)
class Rating:
    """One rating by one rater, in seconds since the first frame. `end_s` is None for a rating of a moment."""

    row: int
    start_s: float
    end_s: float | None
    label: str | None
    scores: dict[str, float]
    subject: str = ""
    weight: float = 1.0


@dataclass
class ParsedRatings:
    """The ratings of each rater, without empty ones."""

    ratings: dict[str, list[Rating]]
    intervals: bool
    """Whether ratings have a start and an end."""
    ignored: Counter[str] = field(default_factory=Counter)
    """How many ratings had an unknown label, by label."""
    points: int = 0
    """How many events without duration are left out, because they rate no part of a second."""


@dataclass(frozen=True)
class _Entry:
    """A row with a label or scores of one rater."""

    row: int
    cells: list[str]
    rater: str
    label: str | None
    scores: dict[str, float]


def parse_ratings(table: RatingTable, columns: Columns, options: RatingOptions, film: Film) -> ParsedRatings:
    """Read the ratings of each rater in the order of the file.

    Times are those of the video file's clock, as `film.clock` has it; only the times of an
    exported timeline (CSV) count from the first frame.

    Parameters
    ----------
    table : RatingTable
    columns : Columns
    options : RatingOptions
    film : Film

    Returns
    -------
    ParsedRatings

    Raises
    ------
    DataError
        If a row is not valid, or the ratings of one rater contradict each other.
    """
    recordings = find_recordings(table, columns, film.name)
    kinds = find_events(table, columns) or {}
    rows = _select_subject(table, columns, options, film, [row for row in table.rows if row[0] in recordings])
    rows = _select_tiers(table, columns, rows)
    found = ParsedRatings({}, intervals=False)
    rows = _select_lasting(table, columns, kinds, rows, found)
    entries = _read_entries(table, columns, options, rows, found)
    times = _read_times(table, columns, entries, kinds, found)
    clock = _Clock(table, columns, recordings)
    name = _rater_names(table, columns, entries)
    for entry in entries:
        span = times.get((entry.row, entry.rater))
        placed = clock.place(entry, *span) if span else None
        if span and span[0] == span[1]:
            found.points += 1
        elif placed:
            weight = 1.0 if columns.weight is None else table.value(entry.row, entry.cells, columns.weight)
            subject = ", ".join(dict.fromkeys(_subjects(table, columns, entry.cells)))
            rating = Rating(entry.row, *placed, entry.label, entry.scores, subject, weight)
            found.ratings.setdefault(name(entry), []).append(rating)
    if columns.weight is not None:
        return found
    for rater, own in found.ratings.items():
        _check_order(table, rater, own, found.intervals, one_person=options.person is not None)
    if film.clock.origin_s:
        found.ratings = _shift(found.ratings, film.clock)
    return found


def _shift(ratings: dict[str, list[Rating]], clock: FileClock) -> dict[str, list[Rating]]:
    """Convert times of the file's clock to seconds since the first frame.

    Moments that are all whole numbers stand for whole seconds, which become those that they overlap most.
    """
    whole = all(r.end_s is None and float(r.start_s).is_integer() for own in ratings.values() for r in own)

    def shift(rating: Rating) -> Rating:
        at_s = clock.to_timeline(rating.start_s)
        if rating.end_s is not None:
            return replace(rating, start_s=at_s, end_s=clock.to_timeline(rating.end_s))
        return replace(rating, start_s=math.floor(at_s + 0.5) if whole else round(at_s, 3))

    return {rater: [shift(rating) for rating in own] for rater, own in ratings.items()}


# -- which rows -------------------------------------------------------------------------------------------------


def _subjects(table: RatingTable, columns: Columns, cells: list[str]) -> list[str]:
    """Return whom a row is about: "track 0", "person 1", or a name."""
    texts = [text for i in columns.subjects if (text := table.text(cells, i)) and text.lower() not in _NO_SUBJECT]
    tier = table.text(cells, columns.tier)
    if tier and _OWN_SUBJECT.fullmatch(tier.lower()):
        texts.insert(0, tier)
    for kind, column in (("track", columns.track), ("person", columns.person)):
        if text := table.text(cells, column):
            texts.append(f"{kind} {text}")
    return texts


def _select_subject(
    table: RatingTable, columns: Columns, options: RatingOptions, film: Film, rows: list[tuple[int, list[str]]]
) -> list[tuple[int, list[str]]]:
    """Keep the rows about the chosen subject. A table that names no track is about any track, as for persons."""
    for kind in ("subject", "track", "person"):
        chosen = getattr(options, kind)
        if chosen is None:
            continue
        wanted = str(chosen).strip().lower() if kind == "subject" else f"{kind} {chosen}"
        names = {row: [text.lower() for text in _subjects(table, columns, cells)] for row, cells in rows}
        if kind == "subject":
            for row, cells in rows:
                names[row] += [text.lower() for text in (table.text(cells, columns.tier),) if text]
        known = sorted(
            {name for own in names.values() for name in own if kind == "subject" or name.startswith(f"{kind} ")}
        )
        if not known and kind != "subject" and getattr(columns, kind) is None:
            wanted_tracks = {f"track {track}" for track in film.tracks}
            if kind == "person" and any(_OWN_SUBJECT.fullmatch(name) for own in names.values() for name in own):
                rows = [row for row in rows if wanted_tracks & set(names[row[0]])]
            continue
        no_name = kind == "subject" and wanted in _NO_SUBJECT
        rows = [row for row in rows if wanted in names[row[0]] or (no_name and not names[row[0]])]
        if not rows:
            who = f"subject {chosen!r}" if kind == "subject" else wanted
            raise DataError(f"{table.path}: no row is about {who}; found {', '.join(known) or 'no names'}")
    return rows


def _select_tiers(
    table: RatingTable, columns: Columns, rows: list[tuple[int, list[str]]]
) -> list[tuple[int, list[str]]]:
    """Keep the tiers with emotions; others, such as transcripts, are listed as unused."""
    if columns.tier is None:
        return rows
    labels = [i for _, i in columns.labels]
    texts: dict[str, list[str]] = {}
    for _, cells in rows:
        own = texts.setdefault(table.text(cells, columns.tier) or "", [])
        own += [text for i in labels if (text := table.text(cells, i))]
    rated = {tier for tier, own in texts.items() if any(_is_known(text) for text in own)}
    if not rated:
        found = ", ".join(sorted({text for own in texts.values() for text in own})[:5])
        raise DataError(
            f"{table.path}: no tier with emotions (tiers: {', '.join(texts)}; labels such as {found or 'none'})"
            f"; known: {', '.join(EMOTIONS)} and common aliases"
        )
    columns.unused += [f"tier {tier}" for tier in texts if tier not in rated]
    return [row for row in rows if (table.text(row[1], columns.tier) or "") in rated]


def _select_lasting(
    table: RatingTable,
    columns: Columns,
    kinds: dict[int, str],
    rows: list[tuple[int, list[str]]],
    found: ParsedRatings,
) -> list[tuple[int, list[str]]]:
    """Leave events without duration out of a table of states, whatever their labels, and count them.

    If the states are not emotions, events without duration rate moments.
    """
    if columns.start is None and not {"start", "stop"} & set(kinds.values()):
        return rows
    points = {row for row, cells in rows if kinds.get(row) == "point" or _is_point(table, columns, cells)}
    labels = [i for _, i in columns.labels]
    found.intervals = any(
        columns.scores or any(_is_known(table.text(cells, i) or "") for i in labels)
        for row, cells in rows
        if row not in points
    )
    if not found.intervals:
        return rows
    found.points = len(points)
    return [row for row in rows if row[0] not in points]


def _is_point(table: RatingTable, columns: Columns, cells: list[str]) -> bool:
    """Report whether a row has the same start and end."""
    start, end = table.text(cells, columns.start), table.text(cells, columns.end)
    if columns.start is None or start is None:
        return False
    if columns.end is None:
        duration = table.text(cells, columns.duration) or ""
        return bool(re.fullmatch(r"[0:]+(?:[.,]0*)?", duration))
    return start == end


def _is_known(text: str) -> bool:
    try:
        return text.lower() in _NO_LABEL or bool(emotion(text))
    except DataError:
        return False


# -- labels and scores ------------------------------------------------------------------------------------------


def _read_entries(
    table: RatingTable,
    columns: Columns,
    options: RatingOptions,
    rows: list[tuple[int, list[str]]],
    found: ParsedRatings,
) -> list[_Entry]:
    """Read labels and scores. Rows without either are left out before their times are read."""
    wide = list(dict.fromkeys([rater for rater, _ in columns.labels] + [rater for rater, *_ in columns.scores]))
    entries = []
    for row, cells in rows:
        for rater in wide:
            label = _read_label(table, columns, rater, row, cells, options, found.ignored)
            scores = {scored: table.value(row, cells, i) for other, scored, i in columns.scores if other == rater}
            if label is not None or any(map(math.isfinite, scores.values())):
                entries.append(_Entry(row, cells, rater, label, scores))
    return entries


def _read_label(
    table: RatingTable,
    columns: Columns,
    rater: str,
    row: int,
    cells: list[str],
    options: RatingOptions,
    ignored: Counter[str],
) -> str | None:
    column = next((i for other, i in columns.labels if other == rater), None)
    text = table.text(cells, column)
    if text is None or column is None or text.lower() in _NO_LABEL:
        return None
    try:
        return emotion(text)
    except DataError:
        if options.ignore_unknown:
            ignored[text] += 1
            return None
        near = difflib.get_close_matches(text.lower(), EMOTIONS, 1, 0.4)
        hint = f"; the nearest known is {near[0]!r}" if near else ""
        raise DataError(
            f"{table.where(row, column)}: unknown label {text!r}{hint} (known: {', '.join(EMOTIONS)} and common "
            "aliases); correct it, or skip such ratings with --ignore-unknown"
        ) from None


def _rater_names(table: RatingTable, columns: Columns, entries: list[_Entry]) -> Callable[[_Entry], str]:
    """Return a function that names the rater of an entry.

    That is the name of its column or in its row; else its observation, if there are several; else its tier, if there
    are several that are about the same participant.
    """
    observations = {table.text(entry.cells, columns.observation) for entry in entries}
    tiers: dict[str, str] = {}
    for entry in entries:
        tier, annotator = table.text(entry.cells, columns.tier), table.text(entry.cells, columns.rater)
        if tier and not annotator and not _OWN_SUBJECT.fullmatch(tier.lower()):
            tiers[tier] = ", ".join(_subjects(table, columns, entry.cells))
    by_tier = len(tiers) > 1 and (len(set(tiers.values())) < len(tiers) or "" in tiers.values())

    def name(entry: _Entry) -> str:
        if columns.rater is None:
            several = len(observations) > 1
            return entry.rater or (several and table.text(entry.cells, columns.observation)) or UNNAMED
        own = entry.cells[columns.rater].strip() if columns.rater < len(entry.cells) else ""
        if own:
            return own
        if columns.tier is None:
            raise DataError(f"{table.where(entry.row, columns.rater)}: empty; expected the name of the rater")
        return (by_tier and table.text(entry.cells, columns.tier)) or UNNAMED

    return name


# -- times ------------------------------------------------------------------------------------------------------

_Span = tuple[float, float | None]


def _read_times(
    table: RatingTable, columns: Columns, entries: list[_Entry], kinds: dict[int, str], found: ParsedRatings
) -> dict[tuple[int, str], _Span]:
    """Read start and end of each entry, as the table gives them; of a state, by the row that starts it."""

    def time(entry: _Entry, column: int | None) -> float:
        assert column is not None
        return table.time(entry.row, entry.cells, column, columns.unit_s.get(column, 1.0))

    times: dict[tuple[int, str], _Span] = {}
    if not found.intervals:
        column = columns.time if columns.time is not None else columns.start
        return {(entry.row, entry.rater): (time(entry, column), None) for entry in entries}
    if columns.start is not None:
        for entry in entries:
            start_s = time(entry, columns.start)
            end_s = time(entry, columns.end) if columns.end is not None else start_s + time(entry, columns.duration)
            if end_s < start_s:
                raise DataError(
                    f"{table.path}: {table.unit} {entry.row} ends at {end_s:g} s, but starts at {start_s:g} s"
                )
            times[entry.row, entry.rater] = start_s, end_s
        return times
    for rater in dict.fromkeys(entry.rater for entry in entries):
        events = [
            Event(e.row, time(e, columns.time), _state_key(table, columns, e), kinds[e.row] == "start")
            for e in entries
            if e.rater == rater
        ]
        times |= {(row, rater): span for row, span in pair_states(table, events).items()}
    return times


def _state_key(table: RatingTable, columns: Columns, entry: _Entry) -> tuple:
    parts = [columns.observation, columns.rater, columns.tier, *columns.modifiers]
    subjects = _subjects(table, columns, entry.cells)
    return (entry.label, *subjects, *(table.text(entry.cells, i) for i in parts if i is not None))


@dataclass(frozen=True)
class _Clock:
    """Converts times of a table to the clock of the video file."""

    table: RatingTable
    columns: Columns
    recordings: dict[int, Recording]

    def place(self, entry: _Entry, start_s: float, end_s: float | None) -> _Span | None:
        """Return start and end; None if they are within another video."""
        recording = self.recordings[entry.row]
        shift_s = recording.shift_s + self._offset_s(entry)
        start_s -= shift_s
        if end_s is None:
            inside = recording.end_s is None or 0 <= start_s < recording.end_s
            return (start_s, None) if inside else None
        end_s -= shift_s
        if recording.end_s is not None:
            start_s, end_s = max(start_s, 0.0), min(end_s, recording.end_s)
        return (start_s, end_s) if end_s > start_s else None

    def _offset_s(self, entry: _Entry) -> float:
        """Return what was added to the times of the video, in the row or, in old exports of BORIS, above the header."""
        offset = self.columns.offset
        if offset is not None and self.table.text(entry.cells, offset) is not None:
            return self.table.time(entry.row, entry.cells, offset, self.columns.unit_s.get(offset, 1.0))
        try:
            return float(self.table.preamble.get(_OFFSET, 0.0))
        except ValueError:
            return 0.0


# -- contradictions ---------------------------------------------------------------------------------------------


def _check_order(table: RatingTable, rater: str, own: list[Rating], intervals: bool, *, one_person: bool) -> None:
    """Check that moments increase, and that intervals, in any order, do not overlap.

    The tracks of one person may share a second, in which the person returns after a cut.
    """
    if one_person:
        tracks: dict[str, list[Rating]] = {}
        for rating in own:
            tracks.setdefault(rating.subject, []).append(rating)
        for ratings in tracks.values():
            _check_order(table, rater, ratings, intervals, one_person=False)
        return
    if not intervals:
        by_subject: dict[str, list[Rating]] = {}
        for rating in own:
            by_subject.setdefault(rating.subject, []).append(rating)
        for ratings in by_subject.values():
            _check_moments(table, rater, ratings)
        if len(by_subject) > 1:
            seconds = [replace(r, start_s=math.floor(r.start_s), end_s=math.floor(r.start_s) + 1.0) for r in own]
            _check_overlaps(table, rater, seconds, same=False)
        return
    _check_overlaps(table, rater, own, same=True)


def _check_moments(table: RatingTable, rater: str, own: Iterable[Rating]) -> None:
    for before, rating in pairwise(own):
        if rating.start_s <= before.start_s:
            what = "is rated twice" if rating.start_s == before.start_s else "comes after a later time"
            raise DataError(
                f"{table.path}: {table.unit} {rating.row}: {rating.start_s:g} s {what} ({table.unit} {before.row}, "
                f"{before.start_s:g} s, by {rater}); the times of each rater must increase"
            )


def _check_overlaps(table: RatingTable, rater: str, own: list[Rating], *, same: bool) -> None:
    """Check that intervals do not overlap; `same` includes those of the same subject."""
    own.sort(key=lambda rating: rating.start_s)
    last: dict[str, Rating] = {}
    for rating in own:
        for before in last.values():
            if before.end_s is None or rating.start_s >= before.end_s - _OVERLAP_TOLERANCE_S:
                continue
            rows = f"{table.unit}s {before.row} and {rating.row} of {rater} overlap"
            if before.subject != rating.subject:
                raise _several_subjects(table, own, rows)
            if same:
                raise DataError(
                    f"{table.path}: {rows}: {before.start_s:g} to {before.end_s:g} s, and from {rating.start_s:g} s; "
                    "the intervals of each rater must not overlap"
                )
        last[rating.subject] = rating


def _several_subjects(table: RatingTable, own: list[Rating], rows: str) -> DataError:
    names = sorted({rating.subject for rating in own} - {""})
    found = [_OWN_SUBJECT.match(name.lower()) for name in names]
    kinds = {match[1] for match in found if match}
    kind = kinds.pop() if len(kinds) == 1 and all(found) else "subject"
    listed = [match[2] if match and kind != "subject" else name for match, name in zip(found, names)]
    return DataError(
        f"{table.path}: {rows}, and it rates more than one {kind} ({', '.join(listed)}); choose by --{kind}"
    )
