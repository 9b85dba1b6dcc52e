"""Train every combination of a grid of options, and collect the results in one table."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fervid.lab.training.curves import write_rows
from fervid.lab.training.data import TrainingData
from fervid.lab.training.recipe import Recipe
from fervid.lab.training.train import train

__all__ = ["sweep"]

Grid = list[tuple[dict[str, Any], Recipe]]


def sweep(
    read: Callable[[Recipe], TrainingData],
    grid: Grid,
    out: Path,
    *,
    device: str = "cpu",
    on_epoch: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Train each run of a grid in a folder of its own under OUT. A stopped sweep resumes.

    Parameters
    ----------
    read : Callable
        Loads the data of a recipe; runs with the same labels and size share them.
    grid : Grid
        As from `load_grid`.
    out : Path
        OUT/results.csv is rewritten after each run.
    device : str
    on_epoch : Callable
        Receives one line per epoch.

    Returns
    -------
    list of dict
        One row per run, best first.
    """
    loaded: dict[str, TrainingData] = {}
    rows: list[dict[str, Any]] = []
    for number, (difference, recipe) in enumerate(grid, 1):
        name = _name(difference)
        on_epoch(f"run {number}/{len(grid)}  {name}")
        key = repr((recipe.labels, recipe.size_px, recipe.colour, recipe.align, recipe.draws, recipe.corpora))
        if key not in loaded:
            loaded[key] = read(recipe)
        weights = train(loaded[key], out / name, recipe, device=device, on_epoch=on_epoch)
        rows.append(_result(name, difference, weights) | {"seconds": _training_s(out / name / "curves.csv")})
        rows.sort(key=lambda row: -row["accuracy"])
        write_rows(out / "results.csv", rows)
    return rows


def _name(difference: dict[str, Any]) -> str:
    """Name a run, and its folder, by its options: "arch=baseline,balance=none"."""
    return ",".join(f"{key}={re.sub(r'[^A-Za-z0-9.+-]+', '_', str(value))}" for key, value in difference.items())


def _training_s(curves: Path) -> float | None:
    """Sum the seconds of all epochs of a run, also of earlier sessions; None if its curves are missing."""
    if not curves.is_file():
        return None
    with curves.open(newline="", encoding="utf-8") as file:
        return round(sum(float(row["seconds"]) for row in csv.DictReader(file)), 1)


def _result(name: str, difference: dict[str, Any], weights: Path) -> dict[str, Any]:
    facts = json.loads(weights.with_suffix(".json").read_text("utf-8"))
    first, *others = facts["heads"]
    more = {f"accuracy_{head['name']}": head["validation_accuracy"] for head in others}
    return {
        "run": name, **difference, "accuracy": first["validation_accuracy"], **more,
        "temperature": first["temperature"], "epochs": facts["epochs"], "weights": str(weights),
    }  # fmt: skip
