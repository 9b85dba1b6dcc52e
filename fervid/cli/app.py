"""What all commands share: the app, options that several take, and errors as one line and an exit code."""

import functools
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from fervid.errors import ConfigError, FervidError

__all__ = [
    "GOES_ON",
    "Baseline",
    "Debug",
    "Detection",
    "Device",
    "Json",
    "JsonCommand",
    "LineDevice",
    "LineWeights",
    "LooksASecond",
    "MaxPixels",
    "MinFace",
    "Persons",
    "Precision",
    "Preset",
    "Quiet",
    "ReaderName",
    "Sampling",
    "ShardsOption",
    "Smooth",
    "VideoFile",
    "app",
    "command",
    "shards_asked",
]

app = typer.Typer(
    name="fervid",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Video files into per-second emotion timelines, offline and in bulk.",
    epilog="Exit codes: 0 all well; 1 the video failed or is degraded; 2 the command is wrong; 3 the run had to stop; "
    "130 interrupted.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from fervid._version import __version__

        sys.stdout.write(f"fervid {__version__}\n")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=_print_version)
]


@app.callback()
def options(version: Version = False) -> None:
    """Video files into per-second emotion timelines, offline and in bulk."""


VideoFile = Annotated[Path, typer.Argument(metavar="VIDEO", help="The video file.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
# of the line: None leaves it to the preset
Preset = Annotated[str | None, typer.Option(help="A preset (movies, recordings, disfa) or a TOML file.")]
LooksASecond = Annotated[str | None, typer.Option(help='Looks a second, by timestamp; "native" for all (default 5).')]
MinFace = Annotated[float | None, typer.Option(help="Smallest face, in pixels of the video.", metavar="PX")]
ReaderName = Annotated[
    str | None,
    typer.Option(help="av (default); decord, torchcodec for clean files; nvdec on a GPU; auto: nvdec where it can."),
]
DetectorName = Annotated[str | None, typer.Option(help="mtcnn (default), or centerface, an extra of its own.")]
LineWeights = Annotated[str | None, typer.Option(help="A bundled model (seresnet) or a .safetensors file.")]
LineDevice = Annotated[str | None, typer.Option(help="auto (default), cpu, cuda or cuda:N.")]
Detection = Annotated[str | None, typer.Option(help="Search for faces in key looks (adaptive, default), or every one.")]
Sampling = Annotated[
    str | None,
    typer.Option(help="exact (default), or fast: looks up to a step later, fewer key looks, rougher pixels."),
]
Precision = Annotated[str | None, typer.Option(help="Of the networks: auto (default), fp32 or bf16.")]
MaxPixels = Annotated[int | None, typer.Option(help="Refuse larger frames (default 64 million pixels).")]
ShardsOption = Annotated[
    str | None,
    typer.Option("--shards", metavar="auto|N", help="Workers for one long video; auto: all, from 10 minutes on."),
]
Persons = Annotated[
    str | None,
    typer.Option(help="Tell people apart: dlib (a package), vggface2 (fetched), a file, or none.", metavar="NETWORK"),
]
Smooth = Annotated[float | None, typer.Option(help="Add *_smooth columns: a Gaussian of S seconds.", metavar="S")]
Baseline = Annotated[bool, typer.Option("--baseline", help="Add *_baseline columns: off the own median by how much.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]


_ANEW = "nothing unfinished is left, and the same command begins anew"
GOES_ON = "what is finished stays, and the same command goes on from there"


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


def command(example: str, cls: type[TyperCommand] = TyperCommand, *, again: str = _ANEW) -> Callable:
    """Register a command; turn fervid's errors into one line and an exit code.

    `again` tells who interrupts it what the same command would do.
    """

    def register(call: Callable) -> Callable:
        @functools.wraps(call)
        def run(*args: Any, **kwargs: Any) -> None:
            try:
                code = call(*args, **kwargs)
            except KeyboardInterrupt:
                sys.stderr.write(f"fervid: interrupted; {again}\n")
                code = 130
            except FervidError as e:
                if kwargs.get("debug"):
                    raise
                from fervid.views.terminal import plain

                said = _as_written(str(e), kwargs) if isinstance(e, ConfigError) else str(e)
                sys.stderr.write(f"fervid: {plain(said)}\n")
                code = e.exit_code
            raise typer.Exit(code or 0)

        return app.command(cls=cls, epilog=f"Example: {example}", no_args_is_help=_needs_arguments(call))(run)

    return register


def _needs_arguments(call: Callable) -> bool:
    return call.__name__ != "doctor"


def _as_written(message: str, parameters: Iterable[str]) -> str:
    """Name the option as it was written: what begins with "smooth_s = 0.01: " is about --smooth 0.01.

    A value that stands in a file has the file's name before it, and keeps the file's key.
    """
    found = re.match(r"((\w+?)(?:_(?:s|px|in|mb|gb))?) = (\S+|'.*?'): ", message)
    if found is None:
        return message
    name = next((name for name in found.group(1, 2) if name in parameters), None)
    return f"--{name.replace('_', '-')} {found[3]}: {message[found.end() :]}" if name else message


def shards_asked(text: str | None) -> int | str | None:
    """The value of --shards: a number where it is one."""
    return int(text) if text is not None and text.isdecimal() else text
