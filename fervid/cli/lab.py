"""Commands for classifiers: train, evaluate, explain and score."""

import functools
from pathlib import Path
from typing import Annotated, TypedDict, Unpack

from fervid.cli.app import RESUMES, command
from fervid.cli.options import Device, Json, JsonFile, NoDetect, Quiet, Weights, argument, option, output
from fervid.config import DETECTORS
from fervid.networks.registry import ARCHITECTURES
from fervid.registry import describe

__all__ = ["evaluate", "explain", "score", "train"]

LABELS = ("auto", "hard", "ferplus")


class RecipeOptions(TypedDict, total=False):
    """The fields of fervid.lab.training.recipe.Recipe that have an option. None leaves one to the recipe."""

    labels: Annotated[
        str | None,
        option(panel="Data", choices=LABELS, help="Labels to learn, where the data have several (auto)."),
    ]
    size_px: Annotated[
        int | None, option("--size", panel="Data", help="Side of the images, 16 to 1024 (48).", metavar="PX")
    ]
    balance: Annotated[
        str | None,
        option(
            panel="Data",
            choices=("none", "weights", "oversample", "smote", "adasyn"),
            help="How to balance the classes (none).",
        ),
    ]
    augment: Annotated[float | None, option(panel="Data", help="Strength of the augmentation (1).", metavar="FACTOR")]
    window_px: Annotated[
        int | None, option("--window", panel="Data", help="Train on random windows of this side.", metavar="PX")
    ]
    mixup: Annotated[
        float | None,
        option(panel="Data", help="Mix images; parameter of the beta distribution (0, no mixing).", metavar="ALPHA"),
    ]
    arch: Annotated[
        str | None, option(panel="Model", help=f"Architecture: {describe(ARCHITECTURES)} (seresnet).", metavar="NAME")
    ]
    init: Annotated[
        str | None,
        option(
            panel="Model",
            help="Initial weights: a file, a bundled model, download or scratch.",
            metavar="NAME|FILE",
        ),
    ]
    freeze: Annotated[bool | None, option("--freeze", panel="Model", help="Train the head only.", show_default=False)]
    dropout: Annotated[float | None, option(panel="Model", help="Dropout before the head (0.3).", metavar="RATE")]
    heads: Annotated[
        str | None,
        option(
            panel="Model",
            choices=("hard", "both"),
            help="hard: one head for the labels (default); both: a second head for the votes.",
        ),
    ]
    vote_weight: Annotated[
        float | None, option(panel="Training", help="Weight of the votes in the target (0.5).", metavar="WEIGHT")
    ]
    label_smoothing: Annotated[
        float | None,
        option(panel="Training", help="Probability spread over all classes (0.05).", metavar="SHARE"),
    ]
    teacher: Annotated[
        list[str] | None,
        option(panel="Training", help="Weights to distil from; repeatable.", metavar="NAME|FILE"),
    ]
    teacher_weight: Annotated[
        float | None,
        option(panel="Training", help="Weight of the teachers' prediction in the target (0.5).", metavar="WEIGHT"),
    ]
    epochs: Annotated[int | None, option(panel="Training", help="Passes over the training faces (28).", metavar="N")]
    batch_size: Annotated[int | None, option(panel="Training", help="Faces per step (128).", metavar="N")]
    optimiser: Annotated[
        str | None, option(panel="Training", choices=("sgd", "adamw"), help="Optimiser (sgd).")
    ]
    learning_rate: Annotated[
        float | None,
        option(panel="Training", help="Peak learning rate (sgd 0.1, adamw 0.001).", metavar="RATE"),
    ]
    schedule: Annotated[
        str | None,
        option(panel="Training", choices=("cosine", "plateau"), help="Learning rate schedule (cosine)."),
    ]
    patience: Annotated[
        int | None, option(panel="Training", help="Stop after this many epochs without improvement.", metavar="N")
    ]
    ema_decay: Annotated[
        float | None,
        option(panel="Training", help="Decay of the moving average of the weights (0.998).", metavar="DECAY"),
    ]
    refit: Annotated[
        bool | None,
        option(panel="Training", help="Refit the head on unaugmented images at the end (seresnet only)."),
    ]
    bf16: Annotated[
        str | None,
        option(panel="Run", choices=("auto", "on", "off"), help="Whether to compute in bfloat16 (auto)."),
    ]
    workers: Annotated[
        int | None, option(panel="Run", help="Processes that share the cores of a CPU (1).", metavar="N")
    ]
    seed: Annotated[int | None, option(panel="Run", help="Makes a run on a CPU repeatable (0).", metavar="N")]


@command(
    "Models",
    "fervid train --data train.parquet --validation public.parquet --out runs/mine --arch resnet18",
    rerun=RESUMES,
)
def train(
    data: Annotated[Path, option(panel="Data", help="Training faces: a file or a folder.", show_default=False)],
    out: Annotated[Path, output("The folder for the weights, curves and checkpoint.")],
    validation: Annotated[
        Path | None,
        option(panel="Data", help="Faces for validation and calibration (default every 10th of --data)."),
    ] = None,
    split: Annotated[
        str, option(panel="Data", help="Split of --data to learn, where it has several.", metavar="NAME")
    ] = "train",
    drop_duplicates: Annotated[
        bool,
        option("--drop-duplicates", panel="Data", help="Leave out training faces that are also validation faces."),
    ] = False,
    recipe: Annotated[
        Path | None,
        option(panel="Run", help="A TOML file with these and all other options of training; those given here override it."),
    ] = None,
    sweep: Annotated[
        Path | None,
        option(panel="Run", help="A TOML file with lists of values; every combination of them is trained."),
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
    **options: Unpack[RecipeOptions],
) -> None:
    """Train a classifier. Rerun to resume."""
    from fervid.files import make_folder
    from fervid.lab.training import sweep as sweeps
    from fervid.lab.training import train as training
    from fervid.lab.training.data import DataSource
    from fervid.lab.training.recipe import load_grid, load_recipe
    from fervid.lab.training.train import preflight
    from fervid.views import terminal

    say = terminal.message_printer(quiet=quiet, as_json=as_json)
    options = load_recipe(recipe, **options)
    grid = load_grid(sweep, options) if sweep else [({}, options)]
    preflight((recipe for _, recipe in grid), device)
    make_folder(out)
    read = functools.partial(DataSource(data, validation, split, drop_duplicates).read, say=say)
    if sweep is None:
        weights = training.train(read(options), out, options, device=device, on_epoch=say)
        facts: dict = {"weights": str(weights)}
    else:
        rows = sweeps.sweep(read, grid, out, device=device, on_epoch=say)
        facts = {"runs": rows, "results": str(out / "results.csv")}
        for row in rows:
            say(f"{row['accuracy']:.4f}  {row['run']}")
    if as_json:
        terminal.print_json(facts)
    elif not quiet:
        terminal.print_facts(...)
