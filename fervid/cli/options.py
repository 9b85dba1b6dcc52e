"""Options that several commands take, each written once. A parameter has the name that the Python API gives it."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, TypedDict

import typer

from fervid.config import DETECTIONS, PRECISIONS, ROTATIONS, SAMPLINGS, Config, presets
from fervid.registry import DETECTORS, EMBEDDERS, READERS, describe

__all__ = [
    "PANELS",
    "Detect",
    "Device",
    "Force",
    "Fps",
    "Json",
    "JsonFile",
    "PipelineOptions",
    "PresetDevice",
    "PresetPrior",
    "PresetWeights",
    "Prior",
    "Quiet",
    "ShardedOptions",
    "TimelineFile",
    "VideoFile",
    "Weights",
    "argument",
    "flag",
    "option",
    "output",
    "parse_shards",
    "parse_time",
    "parse_whole_time",
    "time_option",
]


#: The panels of options, in the order of `fervid COMMAND --help`.
PANELS = ("Output", "Figure", "Data", "Sampling", "Detection", "Tracks", "Model", "Training", "Run")


def option(*names: str, panel: str, help: str, choices: Iterable[str] | None = None, **more: Any) -> Any:
    """Describe an option for Typer.

    Parameters
    ----------
    names : str
        As written on the command line; without any, the option is named after its parameter.
    panel : str
        One of PANELS.
    help : str
        What the option sets, with the default in parentheses where it is not a plain value.
    choices : iterable of str, optional
        All values that it takes, such as the names of a registry; their case does not matter.
    more : Any
        Further arguments of `typer.Option`.

    Returns
    -------
    Any
        Metadata for an Annotated type.
    """
    if choices is not None:
        values = tuple(choices)
        more = {"metavar": "|".join(values), "parser": _choose(values), "autocompletion": _complete(values)} | more
    return typer.Option(*names, help=help, rich_help_panel=panel, **more)


def flag(*names: str, panel: str, help: str) -> Any:
    """Describe an option without a value.

    Parameters
    ----------
    names, panel, help
        As for `option`.

    Returns
    -------
    Any
        Metadata for an Annotated type.
    """
    return option(*names, panel=panel, help=help, metavar="")


def argument(metavar: str, help: str) -> Any:
    """Describe a required argument for Typer.

    Parameters
    ----------
    metavar, help : str

    Returns
    -------
    Any
        Metadata for an Annotated type.
    """
    return typer.Argument(metavar=metavar, help=help, show_default=False)


def _choose(values: tuple[str, ...]) -> Callable[[str], str]:
    """Make a parser that accepts one of the values, in any case."""
    known = {value.casefold(): value for value in values}

    def choice(text: str) -> str:
        if text.casefold() not in known:
            raise typer.BadParameter(f"expected one of {', '.join(values)}, found {text!r}.")
        return known[text.casefold()]

    return choice


def _complete(values: tuple[str, ...]) -> Callable[[str], list[str]]:
    """Make a function that completes a value in the shell."""

    def complete(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete.casefold())]

    return complete


_CLOCK = re.compile(r"(?:(\d+):)?(\d+):([0-5]?\d(?:\.\d+)?)")


def parse_time(text: str) -> float:
    """Read a time.

    Parameters
    ----------
    text : str
        Seconds, m:ss or h:mm:ss.

    Returns
    -------
    float
        Seconds.

    Raises
    ------
    typer.BadParameter
        If the text is none of these.
    """
    if clock := _CLOCK.fullmatch(str(text)):
        hours, minutes, seconds = clock.groups()
        return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"expected a time as seconds, m:ss or h:mm:ss, found {text!r}.") from None


def parse_whole_time(text: str) -> int:
    """Read a time in whole seconds.

    Parameters
    ----------
    text : str
        Seconds, m:ss or h:mm:ss.

    Returns
    -------
    int
        Seconds.

    Raises
    ------
    typer.BadParameter
        If the text is none of these, or not whole.
    """
    seconds = parse_time(text)
    if not seconds.is_integer():
        raise typer.BadParameter(f"expected whole seconds, found {text!r}.")
    return int(seconds)


def parse_shards(text: str) -> int | str:
    """Read the value of --shards.

    Parameters
    ----------
    text : str
        A number, or "auto"; the API checks it.

    Returns
    -------
    int or str
    """
    return int(text) if str(text).isdecimal() else text


def time_option(
    *names: str, panel: str, help: str, parser: Callable[[str], float] = parse_time, show_default: bool | str = True
) -> Any:
    """Describe an option that is a time.

    Parameters
    ----------
    names, panel, help
        As for `option`.
    parser : callable, default parse_time
    show_default : bool or str, default True
        How the help shows the default.

    Returns
    -------
    Any
        Metadata for an Annotated type.
    """
    return option(*names, panel=panel, help=help, metavar="S|M:SS", parser=parser, show_default=show_default)


# -- arguments --------------------------------------------------------------------------------------

VideoFile = Annotated[Path, argument("VIDEO", "The video file.")]
TimelineFile = Annotated[Path, argument("TIMELINE", "A timeline written by fervid process.")]

# -- options of most commands -----------------------------------------------------------------------

Json = Annotated[bool, flag("--json", panel="Output", help="Print the result as JSON on stdout.")]
#: What --json FILE, an earlier form of --json, is turned into.
JsonFile = Annotated[
    Path | None, option("--json-file", panel="Output", help="Write the result as JSON to this file.", hidden=True)
]
Quiet = Annotated[bool, flag("--quiet", "-q", panel="Output", help="Print errors only, and JSON if requested.")]
Device = Annotated[str, option(panel="Run", help="auto, cpu, cuda or cuda:N.", metavar="DEVICE")]
Weights = Annotated[str, option(panel="Model", help="A bundled model or a .safetensors file.", metavar="NAME|FILE")]
Force = Annotated[bool, flag("--force", panel="Data", help="Accept a video that does not match the timeline.")]
Detect = Annotated[
    bool,
    flag(
        "--detect/--no-detect",
        panel="Detection",
        help="Detect faces, or use each image whole as a face crop.",
    ),
]


def output(help: str) -> Any:
    """Describe --out.

    Parameters
    ----------
    help : str
        What is written there.

    Returns
    -------
    Any
        Metadata for an Annotated type.
    """
    return option("--out", "-o", panel="Output", help=help, show_default=False)


Fps = Annotated[
    str | None,
    option(
        panel="Sampling",
        help=f'Frames to sample per second of video, by timestamp; "native" for every frame (default {Config.fps:g}).',
        metavar="N|native",
    ),
]
PresetWeights = Annotated[
    str | None,
    option(
        panel="Model", help=f"A bundled model (default {Config.weights}) or a .safetensors file.", metavar="NAME|FILE"
    ),
]
_PRIORS = ("default", "uniform", "trained")


def _parse_prior(text: str) -> str:
    """Read the name of a prior in any case; another text is a file."""
    return text.casefold() if text.casefold() in _PRIORS else text


_PRIOR = "Class frequencies that the probabilities assume: those of the weights (default), equal ones, those of the "
_PRIOR += "training data, or a .toml or .json file with one number per emotion."
Prior = Annotated[
    str,
    option(panel="Model", help=_PRIOR, metavar=f"{'|'.join(_PRIORS)}|FILE", parser=_parse_prior, show_default=False),
]
PresetPrior = Annotated[
    str | None, option(panel="Model", help=_PRIOR, metavar=f"{'|'.join(_PRIORS)}|FILE", parser=_parse_prior)
]
PresetDevice = Annotated[str | None, option(panel="Run", help="auto (default), cpu, cuda or cuda:N.", metavar="DEVICE")]

# -- options of the pipeline ------------------------------------------------------------------------


class PipelineOptions(TypedDict, total=False):
    """Everything that changes a timeline: the preset, and the fields of fervid.config.Config.

    None leaves an option to the preset.
    """

    smooth_s: Annotated[
        float | None,
        time_option("--smooth", panel="Output", help="Add *_smooth columns: a Gaussian of this standard deviation."),
    ]
    baseline: Annotated[
        bool | None,
        flag(
            "--baseline/--no-baseline",
            panel="Output",
            help="Add *_baseline columns: difference from the person's own median.",
        ),
    ]
    fps: Fps
    sampling: Annotated[
        str | None,
        option(
            panel="Sampling",
            choices=SAMPLINGS,
            help="exact: the first frame of each sampling interval (default); fast: any frame of it, so that fewer are "
            "decoded.",
        ),
    ]
    start_s: Annotated[
        float | None, time_option("--start", panel="Sampling", help="Start at this time, as a player shows it.")
    ]
    end_s: Annotated[
        float | None, time_option("--end", panel="Sampling", help="Stop before this time, as a player shows it.")
    ]
    stream: Annotated[
        int | None, option(panel="Sampling", help="Video stream to read, as numbered by fervid probe.", metavar="N")
    ]
    rate: Annotated[
        float | None,
        option(
            panel="Sampling",
            help="Frames per second of a raw stream (.h264, .hevc), which has no timestamps.",
            metavar="N",
        ),
    ]
    rotate: Annotated[
        str | None,
        option(
            panel="Sampling",
            choices=ROTATIONS,
            help="Turn frames clockwise by these degrees, and mirror them left to right, instead of as the file "
            "declares.",
        ),
    ]
    reader: Annotated[
        str | None,
        option(
            panel="Sampling",
            choices=READERS,
            help=f"How files are read: {describe(READERS)} (default {Config.reader}).",
        ),
    ]
    max_pixels: Annotated[
        int | None,
        option(
            panel="Sampling",
            help=f"Refuse frames of more pixels (default {Config.max_pixels // 1_000_000} million).",
            metavar="N",
        ),
    ]
    detection_size_px: Annotated[
        int | None,
        option(
            "--detection-size",
            panel="Detection",
            help=f"Longer side of the image in which faces are detected (default {Config.detection_size_px}).",
            metavar="PX",
        ),
    ]
    min_face_px: Annotated[
        float | None,
        option("--min-face", panel="Detection", help="Smallest face to detect, in pixels of the video.", metavar="PX"),
    ]
    detector: Annotated[
        str | None,
        option(
            panel="Detection",
            choices=DETECTORS,
            help=f"Face detector: {describe(DETECTORS)} (default {Config.detector}).",
        ),
    ]
    detection: Annotated[
        str | None,
        option(
            panel="Detection",
            choices=DETECTIONS,
            help="adaptive: detect in keyframes and confirm faces between them (default); every: detect in every "
            "sampled frame.",
        ),
    ]
    detect_shots: Annotated[
        bool | None,
        flag(
            "--detect-shots/--no-detect-shots",
            panel="Tracks",
            help="Whether cuts, fades and dissolves are detected; they end every track (default yes).",
        ),
    ]
    track_start_score: Annotated[
        float | None,
        option(
            panel="Tracks",
            help=f"Detection score that a face needs to start a track (default {Config.track_start_score:g}).",
            metavar="SCORE",
        ),
    ]
    max_lost_s: Annotated[
        float | None,
        time_option(
            "--max-lost",
            panel="Tracks",
            help=f"Time for which a track without a face is kept (default {Config.max_lost_s:g} s).",
        ),
    ]
    persons: Annotated[
        str | None,
        option(
            panel="Tracks",
            help=f"Network that recognizes a person across tracks: {describe(EMBEDDERS)}; or none (default).",
            metavar="NETWORK",
        ),
    ]
    weights: PresetWeights
    prior: PresetPrior
    precision: Annotated[
        str | None,
        option(panel="Model", choices=PRECISIONS, help=f"Arithmetic of the networks (default {Config.precision})."),
    ]
    pipeline: Annotated[
        str | None,
        option(
            panel="Run",
            help=f"A preset ({', '.join(presets())}) or a TOML file; options given beside it take precedence.",
            metavar="PRESET|FILE",
        ),
    ]
    device: PresetDevice


class ShardedOptions(PipelineOptions, total=False):
    """The options of the pipeline, and over how many workers a video is split."""

    shards: Annotated[
        Any,
        option(
            panel="Run",
            help="Workers that share one long video; auto: all of them, for videos of ten minutes or more.",
            metavar="auto|N",
            parser=parse_shards,
        ),
    ]
