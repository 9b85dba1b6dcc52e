"""Commands about classifiers: train, evaluate, explain and score."""

import functools
from pathlib import Path
from typing import Annotated

import typer

from fervid.cli.app import GOES_ON, Debug, Device, Json, JsonCommand, command
from fervid.networks.registry import ARCHITECTURES
from fervid.registry import describe

__all__ = ["evaluate", "explain", "score", "train"]


@command("fervid train --data train.parquet --validation public.parquet --out runs/mine --arch resnet18", again=GOES_ON)
def train(
    data: Annotated[Path, typer.Option(help="Training faces: a file or a folder.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the weights, curves and checkpoint.", show_default=False)],
    validation: Annotated[
        Path | None, typer.Option(help="Faces to watch and calibrate on (every 10th of data).")
    ] = None,
    split: Annotated[str, typer.Option(help="Which split of data to learn, where it has several.")] = "train",
    drop_duplicates: Annotated[
        bool, typer.Option("--drop-duplicates", help="Leave out training faces that are also validation faces.")
    ] = False,
    recipe: Annotated[
        Path | None, typer.Option(help="A TOML file of these and all other options (fervid.lab.training.recipe).")
    ] = None,
    sweep: Annotated[Path | None, typer.Option(help="A TOML file; every combination of its lists is trained.")] = None,
    arch: Annotated[str | None, typer.Option(help=f"The network (seresnet): {describe(ARCHITECTURES)}.")] = None,
    init: Annotated[str | None, typer.Option(help="Begin with a file, a bundled model, download or scratch.")] = None,
    freeze: Annotated[bool | None, typer.Option("--freeze", help="Train the head alone.", show_default=False)] = None,
    dropout: Annotated[float | None, typer.Option(help="Before the head (0.3).")] = None,
    labels: Annotated[str | None, typer.Option(help="auto, hard or ferplus.")] = None,
    size_px: Annotated[int | None, typer.Option(help="Side of the pictures, 16 to 1024 (48).", metavar="PX")] = None,
    balance: Annotated[str | None, typer.Option(help="none, weights, oversample, smote or adasyn (none).")] = None,
    heads: Annotated[str | None, typer.Option(help="hard, or both: labels and votes (hard).")] = None,
    vote_weight: Annotated[float | None, typer.Option(help="Share of the votes in the target (0.5).")] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="Share spread over all classes (0.05).")] = None,
    mixup: Annotated[float | None, typer.Option(help="Mix pictures; the beta distribution's parameter (0).")] = None,
    teacher: Annotated[list[str] | None, typer.Option(help="Weights to learn from; may be repeated.")] = None,
    teacher_weight: Annotated[float | None, typer.Option(help="Share of the teachers' answer (0.5).")] = None,
    augment: Annotated[float | None, typer.Option(help="How strongly pictures are varied (1).")] = None,
    window_px: Annotated[int | None, typer.Option(help="Train on windows of this side.", metavar="PX")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training faces (28).")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Faces a step (128).")] = None,
    optimiser: Annotated[str | None, typer.Option(help="sgd or adamw (sgd).")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The highest (sgd 0.1, adamw 0.001).")] = None,
    schedule: Annotated[str | None, typer.Option(help="cosine or plateau (cosine).")] = None,
    patience: Annotated[int | None, typer.Option(help="Stop after so many epochs without progress.")] = None,
    ema_decay: Annotated[float | None, typer.Option(help="Of the average of the weights (0.998).")] = None,
    bf16: Annotated[str | None, typer.Option(help="auto, on or off (auto).")] = None,
    refit: Annotated[bool | None, typer.Option(help="Fit the head anew at the end (for seresnet).")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that share the cores of a CPU (1).")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes a CPU run repeatable (0).")] = None,
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Train a classifier; a run that was stopped goes on where it was."""
    from fervid.files import make_folder
    from fervid.lab.training import sweep as sweeps
    from fervid.lab.training import train as training
    from fervid.lab.training.data import DataSource
    from fervid.lab.training.recipe import load_grid, load_recipe
    from fervid.lab.training.train import preflight

    options = load_recipe(
        recipe,
        arch=arch,
        init=init,
        freeze=freeze,
        dropout=dropout,
        labels=labels,
        size_px=size_px,
        balance=balance,
        heads=heads,
        vote_weight=vote_weight,
        label_smoothing=label_smoothing,
        mixup=mixup,
        teacher=teacher or None,
        teacher_weight=teacher_weight,
        augment=augment,
        window_px=window_px,
        epochs=epochs,
        batch_size=batch_size,
        optimiser=optimiser,
        learning_rate=learning_rate,
        schedule=schedule,
        patience=patience,
        ema_decay=ema_decay,
        bf16=bf16,
        refit=refit,
        workers=workers,
        seed=seed,
    )
    grid = load_grid(sweep, options) if sweep else [({}, options)]
    preflight((recipe for _, recipe in grid), device)
    make_folder(out)
    read = functools.partial(DataSource(data, validation, split, drop_duplicates).read, say=typer.echo)
    if sweep is None:
        weights = training.train(read(options), out, options, device=device, on_epoch=typer.echo)
        typer.echo(f"weights: {weights}")
        return
    rows = sweeps.sweep(read, grid, out, device=device, on_epoch=typer.echo)
    for row in rows:
        typer.echo(f"{row['accuracy']:.4f}  {row['run']}")
    typer.echo(f"results: {out / 'results.csv'}")


@command("fervid evaluate --data public.parquet --weights seresnet --out results", cls=JsonCommand)
def evaluate(
    data: Annotated[Path, typer.Option(help="Labelled faces: a file or a folder, as for train.", show_default=False)],
    split: Annotated[
        str | None, typer.Option(help="train, val, public, private, test or all, where there are several.")
    ] = None,
    labels: Annotated[str, typer.Option(help="auto, hard, or ferplus: the majority of the taggers.")] = "auto",
    weights: Annotated[
        list[str], typer.Option(help="A bundled model or a .safetensors file; more than one are an ensemble.")
    ] = ["seresnet"],  # noqa: B006
    head: Annotated[str | None, typer.Option(help="The head that answers (the one that fits the data best).")] = None,
    tta: Annotated[str, typer.Option(help="Test-time augmentation: none, flip or tencrop.")] = "none",
    detect: Annotated[bool, typer.Option("--detect", help="From raw pictures, by the line's own detector.")] = False,
    detector: Annotated[str, typer.Option(help="Of --detect: mtcnn, or centerface, an extra of its own.")] = "mtcnn",
    apart_from: Annotated[
        Path | None, typer.Option(help="Training faces: leave out what is nearly the same picture.", metavar="TRAIN")
    ] = None,
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for confusion (CSV, PNG) and reliability (PNG).")] = None,
    as_json: Annotated[
        str | None, typer.Option("--json", metavar="[-|FILE]", help="Write JSON: to stdout (-), or to a file.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Tell how good, and how honest, a classifier is on labelled faces."""
    from fervid.files import make_folder
    from fervid.lab.evaluation.evaluate import EvalConfig, evaluate_weights
    from fervid.views import terminal
    from fervid.views.figures.evaluation import write_evaluation

    if out:
        make_folder(out)
    exam = EvalConfig(labels=labels, tta=tta, detect=detect, head=head, apart_from=apart_from, detector=detector)
    facts = evaluate_weights(data, split, weights, device, exam)
    if out:
        write_evaluation(facts, out)
    if as_json:
        terminal.write_json(facts, as_json)
    if as_json != "-":
        terminal.print_evaluation(facts)


Weights = Annotated[str, typer.Option(help="A bundled model or a .safetensors file.")]
NoDetect = Annotated[bool, typer.Option("--no-detect", help="The pictures are face crops already: use them whole.")]


@command("fervid explain portrait.jpg --out why.png")
def explain(
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="A picture, a folder or a video.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="A grid (.png), or a clip (.mp4).", show_default=False)],
    method: Annotated[str, typer.Option(help="gradcam, cam, occlusion or activations.")] = "gradcam",
    emotion: Annotated[str | None, typer.Option(help="Evidence for this one (default: what it is called).")] = None,
    track: Annotated[int | None, typer.Option(help="Of a video, the faces of this track only.")] = None,
    fps: Annotated[str | None, typer.Option(help='Looks a second at a video; "native" for all (default 5).')] = None,
    no_detect: NoDetect = False,
    weights: Weights = "seresnet",
    device: Device = "auto",
    debug: Debug = False,
) -> int:
    """Show where in the faces a classifier finds its evidence: the main face of each picture, or a video's tracks.

    Pictures that cannot be read, or show no face, are left out and named; those that cannot be read exit with 1.
    """
    from fervid.lab.evaluation.explain import ExplainConfig, LeftOut, explain
    from fervid.views import terminal
    from fervid.views.figures import heatmaps as heat

    question = ExplainConfig(method, emotion, not no_detect, track, fps)
    left_out: list[LeftOut] = []
    shown = explain(
        source,
        lambda looks: heat.write_explanation(looks, out),
        question,
        weights,
        device,
        on_left_out=left_out.append,
    )
    names = {"left out": {str(one.path): one.reason for one in left_out}} if left_out else {}
    terminal.print_facts({"faces": shown, "method": method, "written": out} | names)
    return 0 if all(one.readable for one in left_out) else 1


@command("fervid score pictures --out scores.csv")
def score(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of pictures, or one.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The table to write (CSV).", show_default=False)],
    no_detect: NoDetect = False,
    weights: Weights = "seresnet",
    device: Device = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Score every picture in a folder: a row a file, a column a class. Pictures that cannot be read exit with 1."""
    from dataclasses import asdict

    from fervid.lab.evaluation.score import score_folder
    from fervid.views import terminal

    tally = score_folder(folder, out, weights, device, detect=not no_detect)
    if as_json:
        terminal.print_json(asdict(tally))
    else:
        terminal.print_facts(asdict(tally) | ({"hint": tally.hint} if tally.hint else {}))
    return 1 if tally.unreadable else 0
