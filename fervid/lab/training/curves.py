"""The learning curves of a training run, as a table and as a figure."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["draw_curves", "write_rows"]


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows as CSV.

    Parameters
    ----------
    path : Path
    rows : Sequence of Mapping
        With the same keys; floats are rounded to five digits.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()})


def draw_curves(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Plot the loss and accuracy of training and validation faces over the epochs as PNG.

    Parameters
    ----------
    path : Path
    rows : Sequence of Mapping
        One per epoch, with `epoch`, `train_*` and `validation_*`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6))
    figure.subplots_adjust(0.07, 0.14, 0.98, 0.96)
    for axes, what in zip(figure.subplots(1, 2), ("loss", "accuracy")):
        for name in rows[0]:
            if name.startswith((f"train_{what}", f"validation_{what}")):
                axes.plot(
                    [row["epoch"] for row in rows], [row[name] for row in rows], ".-", label=name.replace("_", " ")
                )
        axes.set(xlabel="epoch", ylabel=what)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
