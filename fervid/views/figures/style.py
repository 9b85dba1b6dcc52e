"""Pictures of results: confusion, reliability, grids of heat maps. matplotlib is loaded when one is drawn."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from fervid.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


__all__ = ["HEAT", "PALETTE", "SHARES", "new_figure", "png_bytes", "save_figure"]

#: One colour an emotion, everywhere. Okabe and Ito's (2008), told apart by the colour-blind too; neutral is grey.
PALETTE = {
    "anger": "#D55E00", "disgust": "#009E73", "fear": "#CC79A7", "happiness": "#E69F00", "sadness": "#0072B2",
    "surprise": "#56B4E9", "neutral": "#8C8C8C", "contempt": "#000000",
}  # fmt: skip
#: Heat maps and shares: from dark to light for every eye (matplotlib's names).
HEAT, SHARES = "inferno", "cividis"


def new_figure(width_in: float, height_in: float) -> "Figure":
    """An empty figure that belongs to nobody: no pyplot, no window, no global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), dpi=120, layout="constrained")


def save_figure(figure: "Figure", out: Path, dpi: float | None = None) -> None:
    """Write a figure as PNG, or as SVG if the name says so, whole or not at all; the same figure, the same bytes."""
    from matplotlib import rc_context

    kind = "svg" if out.suffix.lower() == ".svg" else "png"
    nobody = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with write_atomically(out) as part, rc_context({"svg.hashsalt": "fervid", "hatch.linewidth": 0.6}):
        figure.savefig(part, format=kind, metadata=nobody, dpi=dpi or figure.dpi)


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
