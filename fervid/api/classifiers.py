"""Train, evaluate and explain classifiers."""

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

if TYPE_CHECKING:
    from fervid.lab.evaluation.score import ScoreSummary
    from fervid.lab.training.recipe import RecipeOptions

from fervid.config import DEFAULT_WEIGHTS
from fervid.files import Name

__all__ = [
    "evaluate",
    "explain",
    "score",
    "train",
]


def train(
    data: Name | Sequence[Name] | None,
    out: Name,
    *,
    validation: Name | Sequence[Name] | None = None,
    split: str | None = None,
    drop_duplicates: bool = False,
    recipe: Name | None = None,
    sweep: Name | None = None,
    device: str = "auto",
    on_message: Callable[[str], None] | None = None,
    **options: "Unpack[RecipeOptions]",
) -> dict[str, Any]:
    """Train a classifier; a rerun resumes.

    Parameters
    ----------
    data : path, or sequence of paths
        Training faces: files or folders, one per corpus. "NAME=PATH" names a corpus, which otherwise has the name of
        its file; in a recipe, [corpora.NAME] holds its options. None: the corpora of the recipe.
    out : path
        Folder for the weights, the curves and the checkpoint.
    validation : path, or sequence of paths, optional
        Faces for validation and calibration: as many as `data`, in the same order, or "NAME=PATH". By default a tenth
        of each corpus is held out, the same faces every time; `evaluate` measures on it with split="holdout".
    split : str, optional
        The split of `data` to learn, where it has several: "train", or that of the recipe.
    drop_duplicates : bool, default False
        Leave out training faces that are also validation faces, of any corpus.
    recipe : path, optional
        A TOML file of options.
    sweep : path, optional
        A TOML file with lists of values; every combination of them is trained.
    device : str
        "auto", "cpu", "cuda" or "cuda:N".
    on_message : callable, optional
        Called with a line of text per epoch, and for what the data hold.
    **options
        Fields of fervid.lab.training.recipe.Recipe, such as arch, epochs or seed. They take precedence over the recipe.

    Returns
    -------
    dict[str, Any]
        `weights`, the file; for a sweep `results`, a CSV file, and `runs`, its rows, the most accurate first.

    Raises
    ------
    UsageError
        If an option is wrong, or the data cannot be read.
    RunError
        If the run had to stop.
    """
    import functools

    from fervid.files import make_folder
    from fervid.lab.training import sweep as sweeps
    from fervid.lab.training import train as training
    from fervid.lab.training.data import DataSource
    from fervid.lab.training.recipe import load_grid, load_recipe

    base = load_recipe(Path(recipe) if recipe is not None else None, **options)
    grid = load_grid(Path(sweep), base) if sweep is not None else [({}, base)]
    training.preflight((one for _, one in grid), device)
    source = DataSource.of(_paths(data), _paths(validation), base, split=split, drop_duplicates=drop_duplicates)
    folder, say = Path(out), on_message or (lambda message: None)
    make_folder(folder)
    read = functools.partial(source.read, report=say, cache=folder)
    if sweep is None:
        return {"weights": str(training.train(read(base), folder, base, device=device, on_epoch=say))}
    runs = sweeps.sweep(read, grid, folder, device=device, on_epoch=say)
    return {"results": str(folder / "results.csv"), "runs": runs}


def _paths(given: Name | Sequence[Name] | None) -> list[str | Path]:
    """Give the paths of one or several data sets; text may have the form NAME=PATH."""
    several = [given] if isinstance(given, str | PathLike) else given or ()
    return [one if isinstance(one, str) else Path(one) for one in several]


def evaluate(
    data: Name,
    *,
    weights: str | Sequence[str] = DEFAULT_WEIGHTS,
    prior: str = "default",
    split: str | None = None,
    labels: str = "auto",
    head: str | None = None,
    tta: str = "none",
    align: str = "auto",
    detect: bool = False,
    detector: str = "mtcnn",
    exclude_duplicates_of: Name | None = None,
    device: str = "auto",
    out: Name | None = None,
) -> dict[str, Any]:
    """Measure the accuracy and the calibration of a classifier on labelled faces.

    Parameters
    ----------
    data : path
        Labelled faces: a file or a folder, as for `train`.
    weights : str or sequence of str
        Names of bundled models or .safetensors files; several are an ensemble.
    prior : str
        The class frequencies that the probabilities assume: "default" (those of the weights), "uniform", "trained"
        (those of the training data), or a .toml or .json file with one number per emotion.
    split : str, optional
        "train", "val", "public", "private", "test" or "all", where `data` has several. "holdout": the tenth of the
        training faces that `train` holds out.
    labels : {"auto", "hard", "ferplus"}
        "ferplus" is the label that most raters of FER+ chose.
    head : str, optional
        The head to use. By default, FER2013's labels are compared with the head `fer2013`, FER+'s with `ferplus`, and
        all others with the first head, which timelines use.
    tta : {"none", "flip", "tencrop"}
        Test-time augmentation.
    align : {"auto", "landmarks", "none"}
        How images of faces become the input of the model. "landmarks" places each by its eyes and mouth, as `process`
        does; "none" takes them as they are; "auto" decides by the model and how the faces lie.
    detect : bool, default False
        Detect and crop the faces in raw images, as `process` does.
    detector : str
        The detector for that.
    exclude_duplicates_of : path, optional
        Training faces: images that are near-duplicates of these are left out.
    device : str
        "auto", "cpu", "cuda" or "cuda:N".
    out : path, optional
        Folder for the figures per class (CSV), the confusion matrix (CSV, PNG) and the reliability diagram (PNG).

    Returns
    -------
    dict[str, Any]
        Plain values.

    Raises
    ------
    UsageError
        If an option is wrong, or the data cannot be read.
    """
    from fervid.files import make_folder
    from fervid.lab.evaluation.evaluate import EvalConfig, evaluate_weights

    folder = Path(out) if out is not None else None
    if folder:
        make_folder(folder)
    known = Path(exclude_duplicates_of) if exclude_duplicates_of is not None else None
    config = EvalConfig(
        labels=labels, tta=tta, detect=detect, head=head, apart_from=known, detector=detector, prior=prior, align=align
    )
    names = [weights] if isinstance(weights, str) else list(weights)
    facts = evaluate_weights(Path(data), split, names, device, config)
    if folder:
        from fervid.views.figures.evaluation import write_evaluation

        write_evaluation(facts, folder)
    return facts


def explain(
    source: Name,
    out: Name,
    *,
    method: str = "gradcam",
    emotion: str | None = None,
    track: int | None = None,
    fps: float | str | None = None,
    detect: bool = True,
    weights: str = DEFAULT_WEIGHTS,
    prior: str = "default",
    device: str = "auto",
) -> dict[str, Any]:
    """Show which parts of a face a classifier relies on: for the main face of each image, or the tracks of a video.

    Parameters
    ----------
    source : path
        An image, a folder of images, or a video.
    out : path
        A grid (.png), or a clip of a video (.mp4).
    method : {"gradcam", "cam", "occlusion", "activations"}
    emotion : str, optional
        The emotion to explain; by default the most probable one.
    track : int, optional
        Show only the faces of this track of a video.
    fps : float or "native", optional
        Frames to sample per second of a video.
    detect : bool, default True
        Whether to detect faces in images. False takes each image as a face crop.
    weights, prior, device
        As for `evaluate`.

    Returns
    -------
    dict[str, Any]
        `faces`, the number of faces shown; `method`; `written`, the file; `skipped`, the reason for each image without
        a face or that cannot be read; `unreadable`, the number of the latter.

    Raises
    ------
    UsageError
        If an option is wrong, or nothing can be shown.
    VideoError
        If a video cannot be read.
    """
    from fervid.lab.evaluation import explain as explaining
    from fervid.views.figures import heatmaps

    config = explaining.ExplainConfig(method, emotion, detect, track, fps if fps is None else str(fps), prior)
    skipped: list[explaining.SkippedImage] = []
    shown = explaining.explain(
        Path(source),
        lambda samples: heatmaps.write_explanation(samples, Path(out)),
        config,
        weights,
        device,
        on_skipped=skipped.append,
    )
    return {
        "faces": shown,
        "method": method,
        "written": str(out),
        "skipped": {str(one.path): one.reason for one in skipped},
        "unreadable": sum(not one.readable for one in skipped),
    }


def score(
    folder: Name,
    out: Name,
    *,
    detect: bool = True,
    weights: str = DEFAULT_WEIGHTS,
    prior: str = "default",
    device: str = "auto",
) -> "ScoreSummary":
    """Score every image in a folder into a CSV file: one row per file, one column per class.

    Of several faces in an image, the main one is scored, which is large and central. `predict` does the same without a
    file, for every face.

    Parameters
    ----------
    folder : path
        A folder of images, or one image.
    out : path
        The table to write (.csv).
    detect : bool, default True
        Whether to detect faces. False takes each image as a face crop.
    weights, prior, device
        As for `evaluate`.

    Returns
    -------
    fervid.lab.evaluation.score.ScoreSummary
        How many images were scored, have no face, or cannot be read.

    Raises
    ------
    UsageError
        If an option is wrong, no image is found, or the table cannot be written.
    """
    from fervid.lab.evaluation.score import score_folder

    return score_folder(Path(folder), Path(out), weights, device, detect=detect, prior=prior)
