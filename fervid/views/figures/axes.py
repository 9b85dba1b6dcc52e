"""What figures over time share: a time axis in m:ss, gaps told apart, marks at shots, text that can be drawn."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

__all__ = ["can_mark", "clock_times", "drawable", "gap_patches", "mark_shots", "shade_gaps", "show_time"]

#: Seconds without a face are a light grey; seconds that nobody looked at are hatched: a lack of faces, a lack of data.
_NO_FACE, _NO_DATA, _HATCH = "#E4E4E4", "/////", "#8C8C8C"
#: Distances between ticks that people count in, in seconds.
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
#: With more shots than this only ticks above the axes mark them; with more than so many to an inch, nothing does.
_MOST_SHOT_LINES, _SHOTS_AN_INCH = 40, 25


def clock_times(seconds: Iterable[float], hours: bool) -> list[str]:
    """Seconds -> "m:ss", or "h:mm:ss" for all."""
    whole = [round(s) for s in seconds]
    if hours:
        return [f"{s // 3600}:{s // 60 % 60:02d}:{s % 60:02d}" for s in whole]
    return [f"{s // 60}:{s % 60:02d}" for s in whole]


def show_time(axes: "Axes", first_s: float, end_s: float, width_in: float, *, labels: bool = True) -> None:
    """Let the x axis run from first_s to end_s, with as many round ticks as fit into width_in."""
    hours = end_s >= 3600
    most = max(2.0, width_in / (0.5 if hours else 0.45))
    step = next((s for s in _STEPS if (end_s - first_s) / s <= most), _STEPS[-1])
    ticks = np.arange(np.ceil(first_s / step) * step, end_s + 1e-6, step)
    axes.set_xlim(first_s, end_s)
    axes.set_xticks(ticks, clock_times(ticks, hours) if labels else [""] * len(ticks))


def shade_gaps(axes: "Axes", no_face: list[tuple[float, float]], no_data: list[tuple[float, float]]) -> None:
    """Shade spans (start, length) in seconds over the whole height: grey, nobody was there; hatched, no look was."""
    from matplotlib.collections import PolyCollection

    grey: dict[str, Any] = {"facecolor": _NO_FACE, "linewidth": 0}
    hatched: dict[str, Any] = {"facecolor": "white", "edgecolor": _HATCH, "hatch": _NO_DATA, "linewidth": 0}
    for spans, style in ((no_face, grey), (no_data, hatched)):
        corners = [[(a, 0), (a, 1), (a + w, 1), (a + w, 0)] for a, w in spans]
        if corners:
            shades = PolyCollection(corners, transform=axes.get_xaxis_transform(), zorder=0.5, **style)
            axes.add_collection(shades, autolim=False)


def gap_patches(no_face: bool, no_data: bool) -> "list[Patch]":
    """What the legend says of the gaps that there are."""
    from matplotlib.patches import Patch

    grey = Patch(facecolor=_NO_FACE, label="no face")
    hatched = Patch(facecolor="white", edgecolor=_HATCH, hatch=_NO_DATA, linewidth=0, label="no data")
    return [grey] * no_face + [hatched] * no_data


def can_mark(cuts: np.ndarray, width_in: float) -> bool:
    """Whether so many shots can be told apart on axes of this width."""
    return len(cuts) <= _SHOTS_AN_INCH * width_in


def mark_shots(axes: "Axes", cuts: np.ndarray, *, above: bool = True) -> None:
    """Mark where shots begin: a tick above the axes, and a thin line through them while there are few."""
    place = axes.get_xaxis_transform()
    if above:
        axes.vlines(cuts, 1.015, 1.05, transform=place, color="#333333", linewidth=0.6, clip_on=False)
    if len(cuts) <= _MOST_SHOT_LINES:
        axes.vlines(cuts, 0, 1, transform=place, color="black", alpha=0.45, linewidth=0.5, linestyle=(0, (4, 3)))


def drawable(text: str) -> str:
    """Text that matplotlib can write: characters that its font lacks become a box, and a dollar sign is no formula."""
    from matplotlib import font_manager

    known = font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap()
    return "".join(c if ord(c) in known and c.isprintable() else "\u25a1" for c in text).replace("$", r"\$")
