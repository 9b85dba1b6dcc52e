"""Files of an evaluation: confusion matrix and reliability diagram, as tables and figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fervid.files import make_folder
from fervid.views.figures.style import PALETTE, SHARES, new_figure, save_figure
from fervid.views.figures.tables import write_csv, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["write_evaluation"]

#: Columns of the table of classes.
_MEASURES = ("precision", "recall", "f1", "support", "missed")


def write_evaluation(facts: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write the results of `fervid evaluate`.

    Parameters
    ----------
    facts : mapping
        The results, as plain values.
    folder : Path
        The folder for evaluation.json, classes.csv, confusion.csv, confusion.png and reliability.png.

    Returns
    -------
    list of Path
        The files, in this order.

    Raises
    ------
    OutputError, RunError
        If a file cannot be written, or the disk is full.
    """
    make_folder(folder)
    names = ("evaluation.json", "classes.csv", "confusion.csv", "confusion.png", "reliability.png")
    paths = [folder / name for name in names]
    write_json(facts, paths[0])
    write_csv([["class", *_MEASURES], *_class_rows(facts)], paths[1])
    columns, counts = _confusion(facts)
    write_csv([["true", *columns], *([name, *row] for name, row in zip(facts["confusion"], counts.tolist()))], paths[2])
    save_figure(_confusion_figure(list(facts["confusion"]), columns, counts), paths[3])
    save_figure(_reliability_figure(facts), paths[4])
    return paths


def _class_rows(facts: Mapping[str, Any]) -> list[list[Any]]:
    """Return one row per class; the figures of a class without faces are empty."""
    return [
        [name, *("" if one[key] is None else one[key] for key in _MEASURES)] for name, one in facts["classes"].items()
    ]


def _confusion(facts: Mapping[str, Any]) -> tuple[list[str], np.ndarray]:
    """Return the names of the columns and the counts, (K, columns); with detection, the last column is "no face"."""
    columns, counts = list(facts["confusion"]), np.array(list(facts["confusion"].values()))
    if facts["detect"]:
        missed = [facts["classes"][name]["missed"] for name in columns]
        return [*columns, "no face"], np.column_stack([counts, missed])
    return columns, counts


def _confusion_figure(rows: list[str], columns: list[str], counts: np.ndarray) -> "Figure":
    """Draw the confusion matrix, each row normalised to 1."""
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = new_figure(1.9 + 0.75 * len(columns), 1.3 + 0.62 * len(rows))
    axes = figure.add_subplot()
    shown = axes.imshow(share, cmap=SHARES, vmin=0, vmax=1, aspect="auto")
    for i, j in np.ndindex(*share.shape):
        colour = "black" if share[i, j] > 0.5 else "white"
        axes.text(j, i, f"{share[i, j]:.2f}", ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), [f"{name} ({n})" for name, n in zip(rows, counts.sum(1))])
    axes.set(xlabel="predicted", ylabel="true (number of faces)")
    figure.colorbar(shown, label="share of the true class")
    return figure


def _reliability_figure(facts: Mapping[str, Any]) -> "Figure":
    """Draw accuracy by confidence, and below it the distribution of confidence, before and after calibration."""
    figure = new_figure(9, 5.2)
    upper = figure.subplots(2, 2, sharex=True, sharey="row", gridspec_kw={"height_ratios": [3, 1]})
    sides = (
        ("uncalibrated", "before temperature scaling", "ece_uncalibrated", PALETTE["anger"]),
        ("calibrated", "after temperature scaling", "ece", PALETTE["sadness"]),
    )
    for (above, below), (kind, title, error, colour) in zip(upper.T, sides):
        n, confidence, accuracy = (np.array(facts["reliability"][kind][k]) for k in ("n", "confidence", "accuracy"))
        middle, width, full = (np.arange(len(n)) + 0.5) / len(n), 0.9 / len(n), n > 0
        above.plot([0, 1], [0, 1], color="#8C8C8C", linestyle="--", linewidth=1, label="perfect calibration")
        above.bar(middle[full], accuracy[full], width, color=colour, alpha=0.45)
        above.plot(confidence[full], accuracy[full], "o", color=colour, markersize=4, label="mean of the bin")
        above.set(title=f"{title}: ECE {facts[error]:.3f}", xlim=(0, 1), ylim=(0, 1))
        above.legend(loc="upper left", frameon=False)
        below.bar(middle, n / max(n.sum(), 1), width, color=colour)
        below.set_xlabel("confidence")
    upper[0, 0].set_ylabel("accuracy")
    upper[1, 0].set_ylabel("share of faces")
    return figure
