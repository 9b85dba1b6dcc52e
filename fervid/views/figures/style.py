"""Colours of all figures; creating and saving them. matplotlib is imported on the first call."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from fervid.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


__all__ = ["HEATMAP", "PALETTE", "SHARES", "new_figure", "png_bytes", "save_figure"]

#: The colour of each emotion, in all figures: those of Okabe and Ito (2008), safe for colour-blind readers, and grey.
PALETTE = {
    "anger": "#D55E00",
    "disgust": "#009E73",
    "fear": "#CC79A7",
    "happiness": "#E69F00",
    "sadness": "#0072B2",
    "surprise": "#56B4E9",
    "neutral": "#8C8C8C",
    "contempt": "#000000",
}
#: Perceptually uniform colour maps of matplotlib, for heatmaps and for shares.
HEATMAP, SHARES = "inferno", "cividis"


def new_figure(width_in: float, height_in: float) -> "Figure":
    """Create an empty figure that is independent of pyplot: no window, no global state.

    Parameters
    ----------
    width_in, height_in : float
        Size in inches.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), dpi=120, layout="constrained")


def save_figure(figure: "Figure", out: Path, dpi: float | None = None) -> None:
    """Save a figure atomically. Equal figures give equal bytes.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    out : Path
        The file; SVG if its name ends with .svg, else PNG.
    dpi : float, optional
        Pixels per inch of a PNG; those of the figure by default.

    Raises
    ------
    OutputError, RunError
        If the file cannot be written, or the disk is full.
    """
    from matplotlib import rc_context

    kind = "svg" if out.suffix.lower() == ".svg" else "png"
    omitted = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with write_atomically(out) as part, rc_context({"svg.hashsalt": "fervid", "hatch.linewidth": 0.6}):
        figure.savefig(part, format=kind, metadata=omitted, dpi=dpi or figure.dpi)


def png_bytes(figure: "Figure") -> bytes:
    """Draw a figure as PNG in memory, as notebooks show it.

    Parameters
    ----------
    figure : matplotlib.figure.Figure

    Returns
    -------
    bytes
    """
    memory = io.BytesIO()
    figure.savefig(memory, format="png")
    return memory.getvalue()
