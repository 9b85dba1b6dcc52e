"""Pictures of results: confusion, reliability, grids of heat maps. matplotlib is loaded when one is drawn."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fervid.errors import DataError
from fervid.parts import make_folder, write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fervid.lab.explain import Explained, Look

__all__ = ["HEAT", "PALETTE", "new_figure", "save_figure", "write_evaluation", "write_grid"]

#: One colour an emotion, everywhere. Okabe and Ito's (2008), told apart by the colour-blind too; neutral is grey.
PALETTE = {
    "anger": "#D55E00", "disgust": "#009E73", "fear": "#CC79A7", "happiness": "#E69F00", "sadness": "#0072B2",
    "surprise": "#56B4E9", "neutral": "#8C8C8C", "contempt": "#000000",
}  # fmt: skip
#: Heat maps and shares: from dark to light for every eye (matplotlib's names).
HEAT, _SHARES = "inferno", "cividis"
#: A grid shows so many faces at the most, evenly chosen, and so many maps to a row.
_MOST_FACES, _MAPS_A_ROW = 48, 8


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


def write_evaluation(facts: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write what `fervid evaluate` found: evaluation.json, confusion.csv and .png, reliability.png. Gives the paths."""
    make_folder(folder)
    names = ("evaluation.json", "confusion.csv", "confusion.png", "reliability.png")
    paths = [folder / name for name in names]
    with write_atomically(paths[0]) as part:
        part.write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    columns, counts = _confusion(facts)
    with write_atomically(paths[1]) as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["true", *columns])
        table.writerows([name, *row] for name, row in zip(facts["confusion"], counts.tolist()))
    save_figure(_confusion_figure(list(facts["confusion"]), columns, counts), paths[2])
    save_figure(_reliability_figure(facts), paths[3])
    return paths


def _confusion(facts: Mapping[str, Any]) -> tuple[list[str], np.ndarray]:
    """What faces were called, and how many (K, columns); with detection the last column is of faces not found."""
    columns, counts = list(facts["confusion"]), np.array(list(facts["confusion"].values()))
    if facts["detect"]:
        missed = [facts["classes"][name]["missed"] for name in columns]
        return [*columns, "no face"], np.column_stack([counts, missed])
    return columns, counts


def _confusion_figure(rows: list[str], columns: list[str], counts: np.ndarray) -> "Figure":
    """Every row sums to one: what the faces of a class were called."""
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = new_figure(1.9 + 0.75 * len(columns), 1.3 + 0.62 * len(rows))
    axes = figure.add_subplot()
    shown = axes.imshow(share, cmap=_SHARES, vmin=0, vmax=1, aspect="auto")
    for i, j in np.ndindex(*share.shape):
        colour = "black" if share[i, j] > 0.5 else "white"
        axes.text(j, i, f"{share[i, j]:.2f}", ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), [f"{name} ({n})" for name, n in zip(rows, counts.sum(1))])
    axes.set(xlabel="called", ylabel="true (faces)")
    figure.colorbar(shown, label="share of the row")
    return figure


def _reliability_figure(facts: Mapping[str, Any]) -> "Figure":
    """Above, how often the classifier is right when it is this sure; below, how often it is this sure."""
    figure = new_figure(9, 5.2)
    upper = figure.subplots(2, 2, sharex=True, sharey="row", gridspec_kw={"height_ratios": [3, 1]})
    sides = (("uncalibrated", "before temperature scaling", "ece_uncalibrated", PALETTE["anger"]),
             ("calibrated", "after temperature scaling", "ece", PALETTE["sadness"]))  # fmt: skip
    for (above, below), (kind, title, error, colour) in zip(upper.T, sides):
        n, confidence, accuracy = (np.array(facts["reliability"][kind][k]) for k in ("n", "confidence", "accuracy"))
        middle, width, full = (np.arange(len(n)) + 0.5) / len(n), 0.9 / len(n), n > 0
        above.plot([0, 1], [0, 1], color="#8C8C8C", linestyle="--", linewidth=1, label="honest")
        above.bar(middle[full], accuracy[full], width, color=colour, alpha=0.45)
        above.plot(confidence[full], accuracy[full], "o", color=colour, markersize=4, label="mean of a bin")
        above.set(title=f"{title}: ECE {facts[error]:.3f}", xlim=(0, 1), ylim=(0, 1))
        above.legend(loc="upper left", frameon=False)
        below.bar(middle, n / max(n.sum(), 1), width, color=colour)
        below.set_xlabel("confidence")
    upper[0, 0].set_ylabel("share right")
    upper[1, 0].set_ylabel("share of faces")
    return figure


def write_grid(looks: Iterable["Look"], out: Path) -> int:
    """Draw faces beside their heat maps as one PNG; of more than 48 an even choice. Gives how many are shown."""
    faces = [face for look in looks for face in look.faces]
    if not faces:
        raise DataError(f"{out}: no face to draw")
    if len(faces) > _MOST_FACES:
        faces = [faces[i] for i in np.linspace(0, len(faces) - 1, _MOST_FACES).round().astype(int)]
    wide = 1 + len(faces[0].stages)
    beside = max(1, _MAPS_A_ROW // wide)
    rows = -(-len(faces) // beside)
    columns = wide * min(beside, len(faces))
    figure = new_figure(1.75 * columns, 2.1 * rows)
    figure.set_layout_engine("none")  # to solve for the place of a hundred cells takes a quarter of a minute
    for i, face in enumerate(faces):
        places = [(i % beside * wide + k, i // beside) for k in range(wide)]
        boxes = [((x + 0.03) / columns, 1 - (y + 0.97) / rows, 0.94 / columns, 0.78 / rows) for x, y in places]
        _draw_face([figure.add_axes(box) for box in boxes], face)
    save_figure(figure, out)
    return len(faces)


def _draw_face(cells: Sequence["Axes"], face: "Explained") -> None:
    for axes in cells:
        axes.set_axis_off()
        axes.imshow(face.crop, cmap="gray", vmin=0, vmax=255)
    cells[0].set_title(_short(face.name), fontsize=8)
    for axes, heat, stage in zip(cells[1:], face.heat, face.stages):
        axes.imshow(heat, cmap=HEAT, vmin=0, vmax=1, alpha=0.25 + 0.5 * heat)
        called = "" if face.called == face.emotion else f"\n(called {face.called})"
        answer = f"{face.emotion} {face.prob:.0%}{called}"
        axes.set_title(stage if len(face.stages) > 1 else answer, fontsize=8)
    if len(face.stages) > 1:
        cells[0].set_title(f"{_short(face.name)}\n{face.emotion} {face.prob:.0%}", fontsize=8)


def _short(name: str) -> str:
    """A file name that fits over a picture; a dollar sign would begin mathematics."""
    text = "".join(c if c.isprintable() else "?" for c in name)
    return (text if len(text) <= 24 else f"{text[:10]}...{text[-11:]}").replace("$", r"\$")
