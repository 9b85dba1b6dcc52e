"""Parts shared by figures over time: a time axis in m:ss, shaded gaps, marks at shots, text that can be drawn."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

__all__ = ["can_mark", "clock_times", "drawable", "gap_patches", "mark_shots", "runs", "shade_gaps", "show_time"]

#: Seconds without a face are light grey; seconds without data are hatched.
_NO_FACE, _NO_DATA, _HATCH = "#E4E4E4", "/////", "#8C8C8C"
#: Distances between ticks that are easy to read, in seconds.
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
#: Most shots that are marked by lines (by ticks above the axes if there are more), and most ticks per inch.
_MAX_SHOT_LINES, _MAX_SHOTS_PER_INCH = 40, 25


def clock_times(seconds: Iterable[float], hours: bool) -> list[str]:
    """Format times.

    Parameters
    ----------
    seconds : iterable of float
    hours : bool
        Format all of them as "h:mm:ss" rather than "m:ss".

    Returns
    -------
    list of str
    """
    texts = []
    for signed in map(round, seconds):
        sign, s = "-" if signed < 0 else "", abs(signed)
        texts.append(f"{sign}{s // 3600}:{s // 60 % 60:02d}:{s % 60:02d}" if hours else f"{sign}{s // 60}:{s % 60:02d}")
    return texts


def show_time(axes: "Axes", first_s: float, end_s: float, width_in: float, *, labels: bool = True) -> None:
    """Set the limits and ticks of a time axis.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    first_s, end_s : float
        The limits in seconds.
    width_in : float
        Width in inches; it limits the number of ticks.
    labels : bool
        Label the ticks.
    """
    hours = end_s >= 3600
    most = max(2.0, width_in / (0.5 if hours else 0.45))
    step = next((s for s in _STEPS if (end_s - first_s) / s <= most), _STEPS[-1])
    ticks = np.arange(np.ceil(first_s / step) * step, end_s + 1e-6, step)
    axes.set_xlim(first_s, end_s)
    axes.set_xticks(ticks, clock_times(ticks, hours) if labels else [""] * len(ticks))


def shade_gaps(axes: "Axes", no_face: list[tuple[float, float]], no_data: list[tuple[float, float]]) -> None:
    """Shade time spans over the whole height of the axes.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    no_face, no_data : list of (float, float)
        Start and length in seconds; grey without a face, hatched without data.
    """
    from matplotlib.collections import PolyCollection

    grey: dict[str, Any] = {"facecolor": _NO_FACE, "linewidth": 0}
    hatched: dict[str, Any] = {"facecolor": "white", "edgecolor": _HATCH, "hatch": _NO_DATA, "linewidth": 0}
    for spans, style in ((no_face, grey), (no_data, hatched)):
        corners = [[(a, 0), (a, 1), (a + w, 1), (a + w, 0)] for a, w in spans]
        if corners:
            shades = PolyCollection(corners, transform=axes.get_xaxis_transform(), zorder=0.5, **style)
            axes.add_collection(shades, autolim=False)


def gap_patches(no_face: bool, no_data: bool) -> "list[Patch]":
    """Create the legend entries of gaps.

    Parameters
    ----------
    no_face, no_data : bool
        Whether such gaps occur.

    Returns
    -------
    list of matplotlib.patches.Patch
    """
    from matplotlib.patches import Patch

    grey = Patch(facecolor=_NO_FACE, label="no face")
    hatched = Patch(facecolor="white", edgecolor=_HATCH, hatch=_NO_DATA, linewidth=0, label="no data")
    return [grey] * no_face + [hatched] * no_data


def can_mark(cuts: np.ndarray, width_in: float) -> bool:
    """Check whether marks of shots would be distinguishable.

    Parameters
    ----------
    cuts : np.ndarray
        The starts of shots.
    width_in : float
        Width of the axes in inches.

    Returns
    -------
    bool
    """
    return len(cuts) <= _MAX_SHOTS_PER_INCH * width_in


def mark_shots(axes: "Axes", cuts: np.ndarray, *, above: bool = True) -> None:
    """Mark the starts of shots by ticks above the axes, and by thin lines if there are few.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    cuts : np.ndarray
        The starts of shots in seconds.
    above : bool
        Draw the ticks above the axes.
    """
    transform = axes.get_xaxis_transform()
    if above:
        axes.vlines(cuts, 1.015, 1.05, transform=transform, color="#333333", linewidth=0.6, clip_on=False)
    if len(cuts) <= _MAX_SHOT_LINES:
        axes.vlines(cuts, 0, 1, transform=transform, color="black", alpha=0.45, linewidth=0.5, linestyle=(0, (4, 3)))


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Find the runs of True in a mask.

    Parameters
    ----------
    mask : np.ndarray
        Booleans, (n,).

    Returns
    -------
    list of (int, int)
        First index, and the index after the last.
    """
    edges = np.flatnonzero(np.diff(np.r_[0, mask.astype(int), 0]))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist()))


def drawable(text: str) -> str:
    """Make a text safe for matplotlib.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        The text with a box for each character that the font lacks, and with dollar signs escaped, so that they do not
        start a formula.
    """
    from matplotlib import font_manager

    known = font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap()
    return "".join(c if ord(c) in known and c.isprintable() else "\u25a1" for c in text).replace("$", r"\$")
