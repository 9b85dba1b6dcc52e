"""Train a classifier in plain PyTorch: one resumable loop, readable from top to bottom."""

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
    """Train a model and write model.safetensors, model.json, curves.csv and curves.png.

    The weights are an exponential moving average over the steps; the temperatures are fitted on the validation faces. A
    stopped run resumes from OUT/checkpoint.pt.

    Parameters
    ----------
    material : TrainingData
    out : Path
        Folder of the results; made if necessary.
    recipe : Recipe
    device : str
    on_epoch : Callable
        Receives one line per epoch, and others about teachers and the alignment of the faces.

    Returns
    -------
    Path
        The weights.

    Raises
    ------
    DataError
        If the checkpoint belongs to another recipe or to other faces.
    WeightsError, DeviceError
        As for `preflight`.
    """
    device = resolve_device(device)
    preflight([recipe], device)
    make_folder(out)
    if recipe.teacher:
        on_epoch(f"{', '.join(recipe.teacher)}: predictions for the training images, which take a while")
    with spawn(recipe.workers, _train_worker, (material, out, recipe)):
        run = Trainer(material, recipe, device, out / "checkpoint.pt")
        if run.epoch:
            of = f" of {recipe.epochs}" if recipe.minutes is None else ""
            on_epoch(f"{run.epoch}{of} epochs already done ({out / 'checkpoint.pt'})")
        _epochs(run, material, out, on_epoch)
    draw_curves(out / "curves.png", run.history)
    on_epoch(f"alignment: {material.alignment[1]}")
    return export_model(out, run, material)


def _train_worker(material: TrainingData, out: Path, recipe: Recipe) -> None:
    """Train beside the first process, which alone reports and writes."""
    _epochs(Trainer(material, recipe, "cpu", out / "checkpoint.pt"), material, out, lambda line: None)


def _epochs(run: "Trainer", material: TrainingData, out: Path, on_epoch: Callable[[str], None]) -> None:
    while not run.finished:
        started = perf_counter()
        row = run.one_epoch() | run.validate(material)
        run.record(row | {"seconds": perf_counter() - started})
        if run.rank == 0:
            run.save(out / "checkpoint.pt")
            write_rows(out / "curves.csv", run.history)
            on_epoch(run.line())


def preflight(recipes: Iterable[Recipe], device: str) -> None:
    """Check device, initial weights and teachers before any data are loaded; published weights are downloaded here.

    Parameters
    ----------
    recipes : Iterable of Recipe
    device : str

    Raises
    ------
    WeightsError
        If initial weights or a teacher are missing.
    DeviceError
        If the device is missing, or cannot be shared by workers.
    """
    device = resolve_device(device)
    for recipe in recipes:
        if recipe.workers > 1 and device != "cpu":
            raise DeviceError(f"workers = {recipe.workers} share the cores of a CPU; leave it out, or use --device cpu")
        find_backbone(recipe.arch, recipe.init)
        for teacher in recipe.teacher:
            model_fingerprint(teacher)
