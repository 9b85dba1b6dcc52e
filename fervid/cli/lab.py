"""Commands for classifiers: train, evaluate, explain and score."""

from pathlib import Path
from typing import Annotated, TypedDict, Unpack

from fervid.cli.app import RESUMES, command
from fervid.cli.options import (
    Detect,
    Device,
    Fps,
    Json,
    JsonFile,
    Prior,
    Quiet,
    Weights,
    argument,
    flag,
    option,
    output,
)
from fervid.config import DEFAULT_WEIGHTS
from fervid.networks.registry import ARCHITECTURES
from fervid.registry import DETECTORS, describe

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
    colour: Annotated[bool | None, flag("--colour", panel="Data", help="Show the network RGB images.")]
    align: Annotated[
        str | None,
        option(
            panel="Data",
            choices=("none", "landmarks"),
            help="Place faces by their landmarks, as `fervid process` does, or as they are (none).",
        ),
    ]
    balance: Annotated[
        str | None,
        option(
            panel="Data",
            choices=("none", "weights", "oversample", "smote", "adasyn"),
            help="How to balance the classes (none).",
        ),
    ]
    class_power: Annotated[
        float | None,
        option(
            panel="Data",
            help="The share of a class of n images is proportional to n ** (1 - POWER): 0 as in the data (default), "
            "1 equal.",
            metavar="POWER",
        ),
    ]
    epoch_pictures: Annotated[
        int | None, option(panel="Data", help="Images per epoch where images are drawn (all).", metavar="N")
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
    freeze: Annotated[bool | None, flag("--freeze", panel="Model", help="Train the head only.")]
    freeze_blocks: Annotated[
        int | None,
        option(panel="Model", help="Keep the first layers and this many blocks as they are (0).", metavar="N"),
    ]
    dropout: Annotated[float | None, option(panel="Model", help="Dropout before the head (0.3).", metavar="RATE")]
    heads: Annotated[
        str | None,
        option(
            panel="Model",
            choices=("hard", "both", "joint"),
            help="hard: one head for the labels (default); both: a second one for the votes; joint: one head that all "
            "corpora teach, and one for each labelling.",
        ),
    ]
    vote_weight: Annotated[
        float | None, option(panel="Training", help="Weight of the votes in the target (0.5).", metavar="WEIGHT")
    ]
    label_smoothing: Annotated[
        float | None,
        option(panel="Training", help="Probability spread over all classes (0.05).", metavar="SHARE"),
    ]
    logit_adjustment: Annotated[
        bool | None,
        flag("--logit-adjustment", panel="Training", help="Correct the loss for rare classes (Menon et al. 2021)."),
    ]
    consistency: Annotated[
        float | None,
        option(panel="Training", help="Weight of equal attention to mirror images (0).", metavar="WEIGHT"),
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
    minutes: Annotated[
        float | None, option(panel="Training", help="Train for this time instead of --epochs.", metavar="MIN")
    ]
    batch_size: Annotated[int | None, option(panel="Training", help="Faces per step (128).", metavar="N")]
    optimiser: Annotated[str | None, option(panel="Training", choices=("sgd", "adamw"), help="Optimiser (sgd).")]
    learning_rate: Annotated[
        float | None,
        option(panel="Training", help="Peak learning rate (sgd 0.1, adamw 0.001).", metavar="RATE"),
    ]
    layer_decay: Annotated[
        float | None,
        option(
            panel="Training",
            help="Learning rate of the first layers in parts of the last ones', geometric in between (1).",
            metavar="FACTOR",
        ),
    ]
    sam: Annotated[
        float | None,
        option(panel="Training", help="Radius of sharpness-aware minimisation (0, off).", metavar="RHO"),
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
        flag(panel="Training", help="Refit the head on unaugmented images at the end (seresnet only)."),
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
    out: Annotated[Path, output("The folder for the weights, curves and checkpoint.")],
    data: Annotated[
        list[str] | None,
        option(
            panel="Data",
            help="Training faces: a file or a folder; repeat it for several corpora.",
            metavar="[NAME=]PATH",
        ),
    ] = None,
    validation: Annotated[
        list[str] | None,
        option(
            panel="Data",
            help="Faces for validation and calibration, one per --data or by name (default a tenth of each --data).",
            metavar="[NAME=]PATH",
        ),
    ] = None,
    split: Annotated[
        str | None, option(panel="Data", help="Split of --data to learn, where it has several (train).", metavar="NAME")
    ] = None,
    drop_duplicates: Annotated[
        bool,
        flag("--drop-duplicates", panel="Data", help="Leave out training faces that are also validation faces."),
    ] = False,
    recipe: Annotated[
        Path | None,
        option(
            panel="Run",
            help="A TOML file or the name of a shipped recipe; options given here override it.",
        ),
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
    import fervid
    from fervid.views import terminal

    print_line = terminal.line_printer(as_json=as_json, quiet=quiet)
    facts = fervid.train(
        data,
        out,
        validation=validation,
        split=split,
        drop_duplicates=drop_duplicates,
        recipe=recipe,
        sweep=sweep,
        device=device,
        on_message=print_line,
        **options,
    )
    if as_json:
        terminal.print_json(facts)
        return
    for row in facts.get("runs", ()):
        print_line(f"{row['accuracy']:.4f}  {row['run']}")
    name = "weights" if "weights" in facts else "results"
    print_line(f"{name}: {facts[name]}")


@command("Models", "fervid evaluate --data public.parquet --weights runs/mine/model.safetensors --out results")
def evaluate(
    data: Annotated[
        Path, option(panel="Data", help="Labelled faces: a file or a folder, as for train.", show_default=False)
    ],
    split: Annotated[
        str | None,
        option(
            panel="Data",
            help="train, val, public, private, test or all, where --data has several; holdout: the tenth of the "
            "training faces that train holds out.",
            metavar="NAME",
        ),
    ] = None,
    labels: Annotated[
        str, option(panel="Data", choices=LABELS, help="ferplus: the label most raters of FER+ chose.")
    ] = "auto",
    exclude_duplicates_of: Annotated[
        Path | None,
        option(
            "--exclude-duplicates-of",
            panel="Data",
            help="Training faces: leave out images that are near-duplicates of these.",
        ),
    ] = None,
    detect: Annotated[
        bool, flag("--detect", panel="Detection", help="Detect and crop the faces in raw images, as process does.")
    ] = False,
    detector: Annotated[
        str, option(panel="Detection", choices=DETECTORS, help=f"Detector of --detect: {describe(DETECTORS)}.")
    ] = "mtcnn",
    weights: Annotated[
        list[str],
        option(
            panel="Model",
            help="A bundled model or a .safetensors file; repeat it for an ensemble.",
            metavar="NAME|FILE",
        ),
    ] = [DEFAULT_WEIGHTS],  # noqa: B006
    prior: Prior = "default",
    head: Annotated[
        str | None,
        option(
            panel="Model",
            help="Head to use (default that of these labels, else the first).",
            metavar="NAME",
        ),
    ] = None,
    align: Annotated[
        str,
        option(
            panel="Detection",
            choices=("auto", "landmarks", "none"),
            help="Place face crops by their landmarks, as process does, or take them as they are (auto: by the model).",
        ),
    ] = "auto",
    tta: Annotated[
        str, option(panel="Model", choices=("none", "flip", "tencrop"), help="Test-time augmentation.")
    ] = "none",
    device: Device = "auto",
    out: Annotated[Path | None, output("A folder for the confusion matrix (CSV, PNG) and reliability (PNG).")] = None,
    quiet: Quiet = False,
    as_json: Json = False,
    json_file: JsonFile = None,
) -> None:
    """Measure the accuracy and the calibration of a classifier on labelled faces."""
    import fervid
    from fervid.views import terminal

    facts = fervid.evaluate(
        data,
        weights=weights,
        prior=prior,
        split=split,
        labels=labels,
        head=head,
        tta=tta,
        align=align,
        detect=detect,
        detector=detector,
        exclude_duplicates_of=exclude_duplicates_of,
        device=device,
        out=out,
    )
    if json_file:
        terminal.write_json(facts, json_file)
    if as_json:
        terminal.print_json(facts)
    elif not quiet:
        terminal.print_evaluation(facts)


@command("Models", "fervid explain portrait.jpg --out why.png")
def explain(
    source: Annotated[Path, argument("INPUT", "An image, a folder of images, or a video.")],
    out: Annotated[Path, output("A grid (.png), or a clip of a video (.mp4).")],
    method: Annotated[
        str,
        option(panel="Figure", choices=("gradcam", "cam", "occlusion", "activations"), help="Attribution method."),
    ] = "gradcam",
    emotion: Annotated[
        str | None, option(panel="Figure", help="Emotion to explain (default the most probable).", metavar="NAME")
    ] = None,
    track: Annotated[
        int | None, option(panel="Figure", help="Show only the faces of this track of a video.", metavar="N")
    ] = None,
    fps: Fps = None,
    detect: Detect = True,
    weights: Weights = DEFAULT_WEIGHTS,
    prior: Prior = "default",
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Show which parts of a face a classifier relies on: for the main face of each image, or the tracks of a video.

    Images that cannot be read or show no face are skipped and listed; the exit code is 1 if any cannot be read.
    """
    import fervid
    from fervid.views import terminal

    facts = fervid.explain(
        source,
        out,
        method=method,
        emotion=emotion,
        track=track,
        fps=fps,
        detect=detect,
        weights=weights,
        prior=prior,
        device=device,
    )
    code = 1 if facts["unreadable"] else 0
    if not as_json:
        skipped = {"skipped": facts["skipped"]} if facts["skipped"] else {}
        facts = {name: facts[name] for name in ("faces", "method", "written")} | skipped
    terminal.show(facts, as_json=as_json, quiet=quiet)
    return code


@command("Models", "fervid score images --out scores.csv")
def score(
    folder: Annotated[Path, argument("FOLDER", "A folder of images, or one image.")],
    out: Annotated[Path, output("The table to write (CSV).")],
    detect: Detect = True,
    weights: Weights = DEFAULT_WEIGHTS,
    prior: Prior = "default",
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Score every image in a folder: one row per file, one column per class.

    The exit code is 1 if any image cannot be read.
    """
    from dataclasses import asdict

    import fervid
    from fervid.views import terminal

    tally = fervid.score(folder, out, detect=detect, weights=weights, prior=prior, device=device)
    hint = {"hint": tally.hint} if tally.hint and not as_json else {}
    terminal.show(asdict(tally) | hint, as_json=as_json, quiet=quiet)
    return 1 if tally.unreadable else 0
