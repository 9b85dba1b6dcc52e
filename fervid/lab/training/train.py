"""Train a classifier on grey faces, in plain PyTorch: one loop, readable from top to bottom, resumable."""

from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter

from fervid.errors import DeviceError
from fervid.files import make_folder
from fervid.lab.training.curves import draw_curves, write_rows
from fervid.lab.training.data import TrainingData
from fervid.lab.training.distributed import spawn
from fervid.lab.training.export_model import export_model
from fervid.lab.training.pretrained import find_backbone
from fervid.lab.training.recipe import Recipe
from fervid.lab.training.trainer import Trainer
from fervid.networks.weights import model_fingerprint
from fervid.runtime.device import resolve_device

__all__ = ["preflight", "train"]


def train(
    material: TrainingData,
    out: Path,
    recipe: Recipe,
    *,
    device: str = "cpu",
    on_epoch: Callable[[str], None] = lambda line: None,
) -> Path:
    """Train by a recipe and write OUT/model.safetensors with model.json beside it, curves.csv and curves.png.

    `on_epoch` is given one line an epoch, and one on the framing. A run that was stopped goes on from
    OUT/checkpoint.pt, and says so; DataError if that is of another recipe or of other faces. The weights are an
    exponential moving average of the steps; temperatures are fitted on the validation faces.
    """
    device = resolve_device(device)
    preflight([recipe], device)
    make_folder(out)
    with spawn(recipe.workers, _train_beside, (material, out, recipe)):
        run = Trainer(material, recipe, device, out / "checkpoint.pt")
        if run.epoch:
            on_epoch(f"{run.epoch} of {recipe.epochs} epochs were done before ({out / 'checkpoint.pt'})")
        _epochs(run, material, out, on_epoch)
    draw_curves(out / "curves.png", run.history)
    on_epoch(f"framing: {material.framing[1]}")
    return export_model(out, run, material)


def _train_beside(material: TrainingData, out: Path, recipe: Recipe) -> None:
    """Do what the first process does, and leave the talking and writing to it."""
    _epochs(Trainer(material, recipe, "cpu", out / "checkpoint.pt"), material, out, lambda line: None)


def _epochs(run: "Trainer", material: TrainingData, out: Path, on_epoch: Callable[[str], None]) -> None:
    while not run.finished:
        started = perf_counter()
        row = run.one_epoch() | run.watch(material)
        run.note(row | {"seconds": perf_counter() - started})
        if run.rank == 0:
            run.save(out / "checkpoint.pt")
            write_rows(out / "curves.csv", run.history)
            on_epoch(run.line())


def preflight(recipes: Iterable[Recipe], device: str) -> None:
    """Look for the device, for the weights to begin with and for the teachers; WeightsError or DeviceError if absent.

    Weights that a recipe begins with and that others publish are fetched here.
    """
    device = resolve_device(device)
    for recipe in recipes:
        if recipe.workers > 1 and device != "cpu":
            raise DeviceError(f"workers = {recipe.workers} share the cores of a CPU: leave it out, or use --device cpu")
        find_backbone(recipe.arch, recipe.init)
        for teacher in recipe.teacher:
            model_fingerprint(teacher)
