"""Train every combination of a grid of options, and put what came out into one table."""

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
    """Train each run of a grid (see load_grid) in its folder under OUT -> the results, best first.

    `read` gives the faces for a recipe; runs that read them alike share them. OUT/results.csv is written
    after each run; a sweep that was stopped goes on where it was.
    """
    found: dict[tuple[str, int], TrainingData] = {}
    rows: list[dict[str, Any]] = []
    for number, (special, recipe) in enumerate(grid, 1):
        name = _name(special)
        on_epoch(f"run {number}/{len(grid)}  {name}")
        read_as = (recipe.labels, recipe.size_px)
        if read_as not in found:
            found[read_as] = read(recipe)
        weights = train(found[read_as], out / name, recipe, device=device, on_epoch=on_epoch)
        rows.append(_result(name, special, weights) | {"seconds": _trained_s(out / name / "curves.csv")})
        rows.sort(key=lambda row: -row["accuracy"])
        write_rows(out / "results.csv", rows)
    return rows


def _name(special: dict[str, Any]) -> str:
    """Name a run, and its folder, by its options: "arch=baseline,balance=none"."""
    return ",".join(f"{key}={re.sub(r'[^A-Za-z0-9.+-]+', '_', str(value))}" for key, value in special.items())


def _trained_s(curves: Path) -> float | None:
    """How long all epochs of a run took, whenever they were run; None if the course of the run is gone."""
    if not curves.is_file():
        return None
    with curves.open(newline="", encoding="utf-8") as file:
        return round(sum(float(row["seconds"]) for row in csv.DictReader(file)), 1)


def _result(name: str, special: dict[str, Any], weights: Path) -> dict[str, Any]:
    facts = json.loads(weights.with_suffix(".json").read_text("utf-8"))
    first, *others = facts["heads"]
    more = {f"accuracy_{head['name']}": head["validation_accuracy"] for head in others}
    return {
        "run": name, **special, "accuracy": first["validation_accuracy"], **more,
        "temperature": first["temperature"], "epochs": facts["epochs"], "weights": str(weights),
    }  # fmt: skip
