"""Emotion probabilities over time as a figure for print: the mean of all faces, or one row per track."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fervid.errors import ConfigError
from fervid.files import check_output
from fervid.timeline.aggregate import NO_DATA
from fervid.timeline.read import Timeline, average_by, open_timeline, timeline_summary, unreliable_emotions
from fervid.views.figures.axes import (
    can_mark,
    clock_times,
    drawable,
    gap_patches,
    mark_shots,
    runs,
    shade_gaps,
    show_time,
)
from fervid.views.figures.style import PALETTE, new_figure, png_bytes, save_figure
from fervid.views.wording import as_sentence

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["KINDS", "Series", "Style", "average_screen", "average_tracks", "draw", "plot_timeline"]

KINDS = ("area", "lines")
#: Most points per inch of width; a longer timeline is averaged in bins.
_POINTS_PER_INCH = 70
_BINS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
#: Most track rows in one figure (the tracks visible longest are kept), and most rows per column.
_MAX_TRACKS, _ROWS_PER_COLUMN = 40, 14
#: Inches: left margin, legend beside the panels, gap between columns, height of the face-count strip, gap above it.
_LEFT, _LEGEND, _COLUMN_GAP, _STRIP, _STRIP_GAP = 0.6, 1.2, 0.5, 0.3, 0.16
#: Inches from the axes to the y label, and the colour of secondary text.
_LABEL, _GREY = 0.36, "#444444"


@dataclass(frozen=True)
class Style:
    """Appearance of a timeline figure.

    Parameters
    ----------
    kind : {"area", "lines"}
        Stacked areas or one line per emotion.
    title : str, optional
        Title of the figure; the name of the video if None, no title if empty.
    width_in, height_in : float
        Size in inches; without a height, the figure is as high as its rows need.
    dpi : float
        Pixels per inch of a PNG.

    Raises
    ------
    ConfigError
        If the kind is unknown or a size is out of range.
    """

    kind: str = "area"
    title: str | None = None
    width_in: float = 7.2
    height_in: float | None = None
    dpi: float = 300

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"unknown kind {self.kind!r}: expected {' or '.join(KINDS)}")
        for name, value, least, most in (
            ("width_in", self.width_in, 2, 40),
            ("height_in", self.height_in, 1, 60),
            ("dpi", self.dpi, 50, 1200),
        ):
            if value is not None and not least <= value <= most:
                raise ConfigError(f"{name} = {value:g}: expected {least} to {most}")


@dataclass(frozen=True)
class Series:
    """One panel: probabilities averaged in n time bins.

    Parameters
    ----------
    name : str
        "screen" for all faces, or "track N".
    edges_s : np.ndarray
        Bin edges in seconds, (n + 1,).
    prob : np.ndarray
        Mean probabilities, (n, K); NaN in bins without a face.
    faces : np.ndarray
        Mean number of visible faces per bin, (n,).
    """

    name: str
    edges_s: np.ndarray
    prob: np.ndarray
    faces: np.ndarray


def plot_timeline(
    path: Path,
    out: Path | None = None,
    *,
    tracks: Sequence[int] | None = None,
    each: bool = False,
    style: Style | None = None,
) -> "Figure":
    """Draw a timeline file as a matplotlib figure, and write it if `out` is given.

    Parameters
    ----------
    path : Path
        A timeline.
    out : Path, optional
        The file of the figure, ending with .png or .svg.
    tracks : sequence of int, optional
        Draw one row per listed track rather than one panel that averages all faces, weighted by visible time.
    each : bool
        Draw one row per track; of more than 40 tracks, the 40 that are visible longest.
    style : Style, optional
        Appearance; `Style()` if None.

    Returns
    -------
    matplotlib.figure.Figure
        The figure, independent of pyplot; notebooks show it. Its attribute `caption` says what the figure shows, how it
        was averaged, and which model made it, as drawn below the panels; `panels` is the number of panels.

    Raises
    ------
    DataError
        If `path` is not a timeline or has no such track.
    OutputError
        If `out` has another suffix, is `path` itself or cannot be written.
    """
    if out is not None:
        check_output(out, (".png", ".svg"), path)
    style = style or Style()
    timeline, shown = _open(path, tracks, each)
    figure, caption = draw(timeline, shown, style)
    facts = {"caption": caption, "panels": len(shown) or 1, "_repr_png_": partial(png_bytes, figure)}
    for name, value in facts.items():
        setattr(figure, name, value)
    if out is not None:
        save_figure(figure, out, style.dpi)
    return figure


def _open(path: Path, tracks: Sequence[int] | None, each: bool) -> tuple[Timeline, list[int]]:
    """Read a timeline and choose the tracks to draw; an empty list stands for one panel of all faces."""
    timeline = open_timeline(path)
    timeline.check_tracks(tuple(tracks or ()))
    return timeline, _choose_tracks(timeline, tracks) if tracks or each else []


def draw(timeline: Timeline, tracks: Sequence[int], style: Style) -> "tuple[Figure, str]":
    """Draw a timeline in memory.

    Parameters
    ----------
    timeline : Timeline
    tracks : sequence of int
        One row per track; if empty, one panel that averages all faces.
    style : Style

    Returns
    -------
    figure : matplotlib.figure.Figure
    caption : str
    """
    columns = max(1, -(-len(tracks) // _ROWS_PER_COLUMN))
    panel_in = (style.width_in - _LEFT - _LEGEND) / columns
    bin_s, cuts = _bin_size(timeline, panel_in), _cuts(timeline)
    screen = average_screen(timeline, bin_s)
    rows = average_tracks(timeline, bin_s, tracks) if tracks else [screen]
    caption = _caption(timeline, tracks, bin_s)
    if not can_mark(cuts, panel_in):
        caption += f" {len(cuts) + 1:,} shots, too many to mark."
        cuts = cuts[:0]
    elif len(cuts):
        caption += " Marks above the panels: the second in which a new shot starts."
    return _Page(timeline, style, columns, rows, caption).draw(screen, cuts), caption


def average_screen(timeline: Timeline, bin_s: int) -> Series:
    """Average all faces in bins, weighted by visible time.

    Parameters
    ----------
    timeline : Timeline
    bin_s : int
        Bin width in seconds; with 1, the result is that of `load_timeline(by="second")`.

    Returns
    -------
    Series
    """
    frame = timeline.frame
    binned = average_by(frame.assign(second=frame["second"] // bin_s * bin_s), ["video", "second"]).set_index("second")
    return _series("screen", timeline, bin_s, binned)


def average_tracks(timeline: Timeline, bin_s: int, tracks: Sequence[int]) -> list[Series]:
    """Average single tracks in bins, weighted by visible time.

    Parameters
    ----------
    timeline : Timeline
    bin_s : int
        Bin width in seconds.
    tracks : sequence of int
        Track numbers that occur in the timeline.

    Returns
    -------
    list of Series
        One per track, in the given order.
    """
    frame = timeline.faces[timeline.faces["track"].isin(tracks)]
    frame = frame.assign(row_of=frame["track"].astype(int), second=frame["second"] // bin_s * bin_s)
    binned = dict(list(average_by(frame, ["row_of", "second"]).set_index("second").groupby("row_of")))
    return [_series(f"track {track}", timeline, bin_s, binned[track]) for track in tracks]


def _series(name: str, timeline: Timeline, bin_s: int, binned: "pd.DataFrame") -> Series:
    starts = np.arange(timeline.first_s // bin_s * bin_s, timeline.end_s, bin_s)
    edges = np.append(np.maximum(starts, timeline.first_s), timeline.end_s)
    binned = binned.reindex(starts)
    faces = binned["face_seconds"].fillna(0).to_numpy(float) / np.diff(edges)
    return Series(name, edges, binned[list(timeline.labels)].to_numpy(float), faces)


def _bin_size(timeline: Timeline, width_in: float) -> int:
    length, most = timeline.end_s - timeline.first_s, max(20.0, width_in * _POINTS_PER_INCH)
    return next((b for b in _BINS_S if length / b <= most), _BINS_S[-1])


def _choose_tracks(timeline: Timeline, wanted: Sequence[int] | None) -> list[int]:
    """Return the wanted tracks without repeats; if none are listed, all tracks or those visible longest, in order."""
    if wanted:
        return list(dict.fromkeys(wanted))
    visible = timeline.faces.groupby("track")["face_seconds"].sum()
    longest = visible.sort_values(ascending=False, kind="stable").index[:_MAX_TRACKS]
    return sorted(int(track) for track in longest)


def _caption(timeline: Timeline, tracks: Sequence[int], bin_s: int) -> str:
    """Describe what is drawn, how it was averaged, and which model made the timeline."""
    every = {1: "second", 60: "minute"}.get(bin_s, f"{bin_s} s" if bin_s < 60 else f"{bin_s // 60} min")
    n, facts = len(timeline.tracks), timeline.provenance
    shown = f"{n} track{'s' * (n != 1)}"
    how = "; tracks weighted by visible time" if n > 1 else ""
    if tracks:
        how = "; one row per track, from 0 to 1, white where the track is not visible"
        shown = f"{len(tracks)} of {n} tracks" if len(tracks) < n else shown
    if len(tracks) == _MAX_TRACKS < n:
        shown = f"the {_MAX_TRACKS} of {n} tracks visible longest"
    length = clock_times([timeline.end_s - timeline.first_s], timeline.end_s >= 3600)[0]
    model = " ".join(filter(None, (facts["model"]["name"], (facts["model"].get("sha256") or "")[:8])))
    return (
        f"Mean calibrated probability of each apparent expression, one value per {every}{how}. "
        f"Length {length}, {shown}. fervid {facts['version']}, model {model}.{_caution(timeline)}"
    )


def _caution(timeline: Timeline) -> str:
    """Say which emotions the model recognises unreliably, if they matter in this timeline."""
    facts = timeline.provenance
    found = unreliable_emotions(timeline_summary(timeline.frame, facts), facts)
    return f" {as_sentence(found.sentence())}" if found else ""


class _Page:
    """Lay out the panels of one figure in inches; matplotlib's layout engine takes seconds for forty rows."""

    def __init__(self, timeline: Timeline, style: Style, columns: int, rows: list[Series], caption: str) -> None:
        self.timeline, self.style, self.columns, self.rows = timeline, style, columns, rows
        self.single = len(rows) == 1
        self.beside = style.width_in >= 5
        self.right = _LEGEND if self.beside else 0.15
        title = drawable(timeline.video if style.title is None else style.title)
        self.title = "\n".join(textwrap.wrap(title, int(style.width_in * 13))[:2])
        self.caption = "\n".join(textwrap.wrap(drawable(caption), int(style.width_in * 18.5)))
        self.top = 0.14 + (0.2 * (1 + self.title.count("\n")) if self.title else 0.0)
        self.foot = 0.14 + 0.115 * (1 + self.caption.count("\n"))
        self.legend = 0.0 if self.beside else 0.56

    def draw(self, screen: Series, cuts: np.ndarray) -> "Figure":
        """Draw all panels, the legend and the texts."""
        crowded = self.rows == [screen] and screen.faces.max() > 1.05
        per_column = -(-len(self.rows) // self.columns)
        below = self.foot + self.legend + 0.26 + (_STRIP + _STRIP_GAP if crowded else 0.0)
        room = per_column * 0.46 if not self.single else 2.0
        self.top += 0.05 * bool(len(cuts))
        self.height = self.style.height_in or self.top + room + below
        figure = new_figure(self.style.width_in, self.height)
        figure.set_layout_engine("none")
        self.panel_in = (self.style.width_in - _LEFT - self.right - _COLUMN_GAP * (self.columns - 1)) / self.columns
        self.row_in = max(0.15, (self.height - self.top - below) / per_column)
        no_face, no_data = _gaps(self.timeline, screen)
        for i, series in enumerate(self.rows):
            column, row = divmod(i, per_column)
            axes = self._axes(figure, column, self.height - self.top - (row + 1) * self.row_in, self.row_in)
            shade_gaps(axes, no_face, no_data)
            self._fill(axes, series)
            last = row == per_column - 1 or i == len(self.rows) - 1
            self._finish(axes, series, column, last and not crowded)
            mark_shots(axes, cuts, above=row == 0)
        if crowded:
            self._draw_face_counts(figure, screen, below - _STRIP - _STRIP_GAP)
        self._draw_texts(figure, gap_patches(bool(no_face), bool(no_data)))
        return figure

    def _axes(self, figure: "Figure", column: int, bottom_in: float, height_in: float) -> "Axes":
        gap = 0.0 if self.single else 0.09
        left = _LEFT + column * (self.panel_in + _COLUMN_GAP)
        wide, high = self.style.width_in, self.height
        axes = figure.add_axes((left / wide, bottom_in / high, self.panel_in / wide, (height_in - gap) / high))
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_linewidth(0.6)
        axes.tick_params(labelsize=7, width=0.6, length=2.5, pad=2)
        return axes

    def _fill(self, axes: "Axes", series: Series) -> None:
        """Draw the probabilities: stacked steps that each cover their bin, or lines through the bin centres."""
        prob, colours = series.prob, [PALETTE[name] for name in self.timeline.labels]
        if self.style.kind == "area":
            x = np.repeat(series.edges_s, 2)[1:-1]
            upper = np.repeat(np.cumsum(prob, 1), 2, axis=0)
            lower = np.column_stack([np.where(np.isnan(upper[:, 0]), np.nan, 0.0), upper[:, :-1]])
            for k, colour in enumerate(colours):
                axes.fill_between(x, lower[:, k], upper[:, k], color=colour, linewidth=0.15)
            return
        middle = (series.edges_s[1:] + series.edges_s[:-1]) / 2
        seen = ~np.isnan(prob[:, 0])
        alone = seen & ~np.r_[False, seen[:-1]] & ~np.r_[seen[1:], False]
        dotted = seen if len(seen) <= 10 * self.panel_in else alone
        for k, colour in enumerate(colours):
            axes.plot(middle, prob[:, k], color=colour, linewidth=1.1 if self.single else 0.8, solid_joinstyle="round")
            axes.plot(middle[dotted], prob[dotted, k], "o", color=colour, markersize=2.6, markeredgewidth=0)

    def _finish(self, axes: "Axes", series: Series, column: int, last: bool) -> None:
        """Set the ticks and labels of one panel; label a panel without any face."""
        axes.set_ylim(0, 1)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1] if self.single and self.row_in > 1 else [0, 1])
        show_time(axes, self.timeline.first_s, self.timeline.end_s, self.panel_in, labels=last)
        if self.single:
            axes.set_ylabel("probability" if series.name == "screen" else f"probability, {series.name}", fontsize=8)
            axes.yaxis.set_label_coords(-_LABEL / self.panel_in, 0.5)
        else:
            axes.set_yticks([0, 1], ["", ""])
            side: dict[str, Any] = {"rotation": 0, "ha": "right", "va": "center", "fontsize": 7, "labelpad": 3}
            axes.set_ylabel(series.name if column == 0 else series.name.removeprefix("track "), **side)
        if np.isnan(series.prob).all():
            seconds = self.timeline.frame["second"].nunique()
            text = f"no face in any of the {seconds} seconds" if seconds > 1 else "no face in this second"
            axes.text(
                0.5,
                0.5,
                text,
                transform=axes.transAxes,
                ha="center",
                va="center",
                fontsize=9,
                color=_GREY,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 3},
            )

    def _draw_face_counts(self, figure: "Figure", screen: Series, bottom_in: float) -> None:
        """Draw the mean number of visible faces as a low panel below the main one."""
        axes = self._axes(figure, 0, bottom_in, _STRIP)
        axes.stairs(screen.faces, screen.edges_s, fill=True, color="#B5B5B5")
        most = max(1, int(np.ceil(screen.faces.max())))
        axes.set_ylim(0, most)
        axes.set_yticks([0, most])
        axes.set_ylabel("faces", fontsize=8)
        show_time(axes, self.timeline.first_s, self.timeline.end_s, self.panel_in)
        axes.yaxis.set_label_coords(-_LABEL / self.panel_in, 0.5)

    def _draw_texts(self, figure: "Figure", gaps: list) -> None:
        """Draw title, caption and legend; the legend of stacked areas has the order of the stack."""
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        wide, high = self.style.width_in, self.height
        figure.text(_LEFT / wide, 1 - 0.09 / high, self.title, fontsize=9, va="top", weight="bold")
        figure.text(_LEFT / wide, 0.06 / high, self.caption, fontsize=6, va="bottom", color=_GREY, linespacing=1.25)
        names = self.timeline.labels[:: -1 if self.style.kind == "area" and self.beside else 1]
        entries: list[Any] = [
            Patch(color=PALETTE[name], label=name)
            if self.style.kind == "area"
            else Line2D([], [], color=PALETTE[name], linewidth=1.6, label=name)
            for name in names
        ]
        plain = {"frameon": False, "fontsize": 7, "handlelength": 1.3, "handleheight": 0.9, "borderaxespad": 0.0}
        if self.beside:
            place = ((wide - self.right + 0.2) / wide, 1 - self.top / high)
            figure.legend(handles=[*entries, *gaps], loc="upper left", bbox_to_anchor=place, **plain)
        else:
            place = (_LEFT / wide, (self.foot + 0.04) / high)
            figure.legend(handles=[*entries, *gaps], loc="lower left", bbox_to_anchor=place, ncols=3, **plain)


Spans = list[tuple[float, float]]


def _gaps(timeline: Timeline, screen: Series) -> tuple[Spans, Spans]:
    """Return the spans (start, length) of bins without a face, and of those without data in most of their seconds."""
    empty = np.isnan(screen.prob).all(1)
    status = timeline.frame.drop_duplicates("second")
    bins = np.searchsorted(screen.edges_s, status["second"].to_numpy(float), "right") - 1
    lost = np.bincount(bins, status["status"] == NO_DATA, len(empty)) > np.bincount(bins, minlength=len(empty)) / 2
    return _spans(empty & ~lost, screen.edges_s), _spans(empty & lost, screen.edges_s)


def _spans(mask: np.ndarray, edges: np.ndarray) -> Spans:
    return [(float(edges[i]), float(edges[j] - edges[i])) for i, j in runs(mask)]


def _cuts(timeline: Timeline) -> np.ndarray:
    """Return the seconds in which a new shot starts; empty if the timeline has no column `shot`."""
    if "shot" not in timeline.frame:
        return np.zeros(0)
    first = timeline.frame.dropna(subset="shot").groupby("shot")["second"].min().sort_index()
    return np.unique(first.to_numpy(float)[1:])
