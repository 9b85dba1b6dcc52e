"""The command line: parse, call, print. Nothing here that the Python API lacks."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from fervid.errors import FervidError

__all__ = ["app", "main"]

app = typer.Typer(
    name="fervid", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Video files into per-second emotion timelines, offline and in bulk.",
    epilog="Exit codes: 0 all well; 1 the video failed or is degraded; 2 the command is wrong; 3 the run had to stop; "
    "130 interrupted.",
)  # fmt: skip


def _print_version(wanted: bool) -> None:
    if wanted:
        from fervid import __version__

        sys.stdout.write(f"fervid {__version__}\n")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=_print_version)
]


@app.callback()
def options(version: Version = False) -> None:
    """Video files into per-second emotion timelines, offline and in bulk."""


#: As in fervid.backends.nets, which takes seconds to import; a test holds them together.
ARCHITECTURES = (
    "seresnet, baseline, basecnn, secnn13, secnn15, secnn17, vgg16, resnet18, resnet50, efficientnet_b3, "
    "efficientnet_b4, vggface2"
)
VideoFile = Annotated[Path, typer.Argument(metavar="VIDEO", help="The video file.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
# of the line: None leaves it to the preset
Preset = Annotated[str | None, typer.Option(help="A preset (movies, recordings, disfa) or a TOML file.")]
LooksASecond = Annotated[str | None, typer.Option(help='Looks a second, by timestamp; "native" for all (default 5).')]
MinFace = Annotated[float | None, typer.Option(help="Smallest face, in pixels of the video.", metavar="PX")]
ReaderName = Annotated[str | None, typer.Option(help="av (default), or decord for clean files.")]
LineWeights = Annotated[str | None, typer.Option(help="A bundled model (seresnet) or a .safetensors file.")]
LineDevice = Annotated[str | None, typer.Option(help="auto (default), cpu, cuda or cuda:N.")]
MaxPixels = Annotated[int | None, typer.Option(help="Refuse larger frames (default 64 million pixels).")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]


class JsonCommand(TyperCommand):
    """A command whose --json may stand alone: it then means `--json -`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the `-` in."""
        given = [*args, "--"]
        for i in range(len(args) - 1, -1, -1):
            alone = given[i + 1].startswith("-") and given[i + 1] != "-"
            if args[i] == "--json" and alone:
                args = [*args[: i + 1], "-", *args[i + 1 :]]
        return super().parse_args(ctx, args)


def command(example: str, cls: type[TyperCommand] = TyperCommand) -> Callable:
    """Register a command; turn fervid's errors into one line and an exit code."""

    def register(call: Callable) -> Callable:
        @functools.wraps(call)
        def run(*args: Any, **kwargs: Any) -> None:
            try:
                code = call(*args, **kwargs)
            except KeyboardInterrupt:
                sys.stderr.write("fervid: interrupted; no unfinished result is left\n")
                code = 130
            except FervidError as e:
                if kwargs.get("debug"):
                    raise
                from fervid.views.terminal import plain

                sys.stderr.write(f"fervid: {plain(str(e))}\n")
                code = e.exit_code
            raise typer.Exit(code or 0)

        return app.command(cls=cls, epilog=f"Example: {example}", no_args_is_help=_needs_arguments(call))(run)

    return register


def _needs_arguments(call: Callable) -> bool:
    return call.__name__ != "doctor"


@command("fervid process movie.mp4 --out timeline.parquet --fps 5")
def process(
    video: VideoFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="The timeline to write (Parquet).", show_default=False)],
    faces: Annotated[Path | None, typer.Option(help="Also keep every face reading in this Parquet file.")] = None,
    pipeline: Preset = None,
    fps: LooksASecond = None,
    min_face: MinFace = None,
    start: Annotated[float | None, typer.Option(help="Begin at this second.", metavar="S")] = None,
    end: Annotated[float | None, typer.Option(help="End before this second.", metavar="S")] = None,
    stream: Annotated[int | None, typer.Option(help="The video stream to read, as `fervid probe` numbers it.")] = None,
    reader: ReaderName = None,
    detector: Annotated[str | None, typer.Option(help="mtcnn, the only one so far.")] = None,
    weights: LineWeights = None,
    device: LineDevice = None,
    max_pixels: MaxPixels = None,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Turn one video into a per-second emotion timeline."""
    import fervid
    from fervid.views import terminal

    started = perf_counter()
    with terminal.progress_bar(video.name, quiet=quiet or as_json) as on_progress:
        result = fervid.process(
            video, out, faces=faces, pipeline=pipeline, on_progress=on_progress, fps=fps, min_face_px=min_face,
            start_s=start, end_s=end, stream=stream, reader=reader, detector=detector, weights=weights, device=device,
            max_pixels=max_pixels,
        )  # fmt: skip
    if as_json:
        terminal.print_json(terminal.summary(result))
    elif not quiet:
        terminal.print_result(result, perf_counter() - started)
    return 1 if result.status == "degraded" else 0


@command("fervid batch videos/ --out results --workers 4")
def batch(
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="INPUT...", help="Files, folders, patterns.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.", show_default=False)] = ...,  # type: ignore[assignment]
    from_file: Annotated[Path | None, typer.Option(help="Also the files in this list, one a line; - is stdin.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes (one a core).")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what failed before.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do everything again.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Longest time for one video.", metavar="S")] = None,
    stall: Annotated[float, typer.Option(help="Longest time without any progress in one.", metavar="S")] = 600.0,
    memory: Annotated[float | None, typer.Option(help="Most memory of a worker (its share).", metavar="GB")] = None,
    pipeline: Preset = None,
    fps: LooksASecond = None,
    min_face: MinFace = None,
    reader: ReaderName = None,
    weights: LineWeights = None,
    device: LineDevice = None,
    max_pixels: MaxPixels = None,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Turn every video in files and folders into a timeline. Run again, it goes on where it was.

    Results lie below --out at the same place, as NAME.parquet; manifest.parquet has a row for every input.
    """
    import fervid
    from fervid.inputs import read_list
    from fervid.views import batch as view
    from fervid.views import terminal

    stdin = from_file is not None and str(from_file) == "-"
    listed = read_list(None, sys.stdin.buffer.read()) if stdin else read_list(from_file)
    with view.watch_batch(quiet=quiet) as on_event:
        summary = fervid.batch(
            inputs or (), out, listed=listed, on_event=on_event, workers=workers, retry_failed=retry_failed,
            fresh=fresh, timeout_s=timeout, stall_s=stall, memory_gb=memory, pipeline=pipeline, fps=fps,
            min_face_px=min_face, reader=reader, weights=weights, device=device, max_pixels=max_pixels,
        )  # fmt: skip
    if as_json:
        terminal.print_json(summary.to_dict())
    elif not quiet:
        view.print_summary(summary)
    return summary.exit_code


@command("fervid forget videos/private.mp4 --out results")
def forget(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="The file, or its path in the manifest.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of results.", show_default=False)],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Erase every trace of one video from a folder of results."""
    import fervid
    from fervid.views import terminal

    facts = {"forgotten": fervid.forget(video, out)}
    (terminal.print_json if as_json else terminal.print_facts)(facts)


@command("fervid probe movie.mp4")
def probe(
    video: VideoFile,
    pipeline: Annotated[str | None, typer.Option(help="A preset or a TOML file.")] = None,
    fps: Annotated[str | None, typer.Option(help='Looks a second, or "native".')] = None,
    min_face: MinFace = None,
    stream: Annotated[int | None, typer.Option(help="The video stream to read.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Tell what is in a video file, and what fervid would do with it."""
    import fervid
    from fervid.views import terminal

    facts = fervid.probe(video, pipeline=pipeline, fps=fps, min_face_px=min_face, stream=stream)
    (terminal.print_json if as_json else terminal.print_facts)(facts)


@command("fervid info timeline.parquet")
def info(
    timeline: Annotated[Path, typer.Argument(metavar="TIMELINE", help="A timeline or faces file.", show_default=False)],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show how a timeline was made, and what it says."""
    from fervid.store import describe_timeline
    from fervid.views import terminal

    facts = describe_timeline(timeline)
    (terminal.print_json if as_json else terminal.print_facts)(facts)


@command("fervid doctor")
def doctor(as_json: Json = False, debug: Debug = False) -> None:
    """Show versions, devices, the bundled FFmpeg, and the weights with their hashes."""
    from fervid.backends.doctor import diagnose
    from fervid.views import terminal

    facts = diagnose()
    (terminal.print_json if as_json else terminal.print_facts)(facts)


@command("fervid train --data train.parquet --validation public.parquet --out runs/mine --arch resnet18")
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
        Path | None, typer.Option(help="A TOML file of these and all other options (fervid.lab.recipe).")
    ] = None,
    sweep: Annotated[Path | None, typer.Option(help="A TOML file; every combination of its lists is trained.")] = None,
    arch: Annotated[str | None, typer.Option(help=f"The network (seresnet): {ARCHITECTURES}.")] = None,
    init: Annotated[str | None, typer.Option(help="Begin with a file, a bundled model, download or scratch.")] = None,
    freeze: Annotated[bool | None, typer.Option("--freeze", help="Train the head alone.", show_default=False)] = None,
    dropout: Annotated[float | None, typer.Option(help="Before the head (0.3).")] = None,
    labels: Annotated[str | None, typer.Option(help="auto, hard or ferplus.")] = None,
    size_px: Annotated[int | None, typer.Option(help="Side of the pictures: 48 or 64 (48).", metavar="PX")] = None,
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
    from fervid.lab import sweep as sweeps
    from fervid.lab import train as training
    from fervid.lab.material import Source
    from fervid.lab.recipe import load_grid, load_recipe

    options = load_recipe(
        recipe, arch=arch, init=init, freeze=freeze, dropout=dropout, labels=labels, size_px=size_px, balance=balance,
        heads=heads, vote_weight=vote_weight, label_smoothing=label_smoothing, mixup=mixup, teacher=teacher or None,
        teacher_weight=teacher_weight, augment=augment, window_px=window_px, epochs=epochs, batch_size=batch_size,
        optimiser=optimiser, learning_rate=learning_rate, schedule=schedule, patience=patience, ema_decay=ema_decay,
        bf16=bf16, refit=refit, workers=workers, seed=seed,
    )  # fmt: skip
    read = functools.partial(Source(data, validation, split, drop_duplicates).read, say=typer.echo)
    if sweep is None:
        weights = training.train(read(options), out, options, device=device, on_epoch=typer.echo)
        typer.echo(f"weights: {weights}")
        return
    rows = sweeps.sweep(read, load_grid(sweep, options), out, device=device, on_epoch=typer.echo)
    for row in rows:
        typer.echo(f"{row['accuracy']:.4f}  {row['run']}")
    typer.echo(f"results: {out / 'results.csv'}")


@command("fervid evaluate --data public.parquet --weights seresnet --out results", cls=JsonCommand)
def evaluate(
    data: Annotated[Path, typer.Option(help="Labelled faces: a file or a folder, as for train.", show_default=False)],
    split: Annotated[str | None, typer.Option(help="train, public or private, where the set has splits.")] = None,
    labels: Annotated[str, typer.Option(help="auto, hard, or ferplus: the majority of the taggers.")] = "auto",
    weights: Annotated[
        list[str], typer.Option(help="A bundled model or a .safetensors file; more than one are an ensemble.")
    ] = ["seresnet"],  # noqa: B006
    head: Annotated[str | None, typer.Option(help="The head that answers (the one that fits the data best).")] = None,
    tta: Annotated[str, typer.Option(help="Test-time augmentation: none, flip or tencrop.")] = "none",
    detect: Annotated[bool, typer.Option("--detect", help="From raw pictures, by the line's own detector.")] = False,
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
    from fervid.lab.evaluate import Exam, evaluate_weights
    from fervid.views import figures, terminal

    exam = Exam(labels=labels, tta=tta, detect=detect, head=head, apart_from=apart_from)
    facts = evaluate_weights(data, split, weights, device, exam)
    if out:
        figures.write_evaluation(facts, out)
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
) -> None:
    """Show where in the faces a classifier finds its evidence: the main face of each picture, or a video's tracks."""
    from fervid.lab.explain import Question, explain
    from fervid.views import heat, terminal

    question = Question(method, emotion, not no_detect, track, fps)
    shown = explain(source, lambda looks: heat.write_explanation(looks, out), question, weights, device)
    terminal.print_facts({"faces": shown, "method": method, "written": out})


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

    from fervid.lab.score import score_folder
    from fervid.views import terminal

    tally = score_folder(folder, out, weights, device, detect=not no_detect)
    (terminal.print_json if as_json else terminal.print_facts)(asdict(tally))
    return 1 if tally.unreadable else 0


def main() -> None:
    """Run the `fervid` command."""
    app()
