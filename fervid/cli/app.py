"""The application: how a function becomes a command, and an error one line and an exit code."""

import functools
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from fervid.cli.options import PANELS, flag
from fervid.clock import clock
from fervid.errors import ConfigError, FervidError
from fervid.registry import EMBEDDERS

__all__ = ["ALIASES", "GROUPS", "RESTARTS", "RESUMES", "RESUMES_UNLESS_FRESH", "app", "command"]

#: The groups of commands, in the order of `fervid --help`.
GROUPS = ("Analyse", "Look", "Studies", "Models", "Installation")

#: Earlier names of options, by command. They keep working but are not shown.
ALIASES: dict[str, dict[str, str]] = {
    "train": {"--size-px": "--size", "--window-px": "--window"},
    "evaluate": {"--apart-from": "--exclude-duplicates-of"},
}

#: Parameters that most commands have.
_COMMON = ("quiet", "as_json", "json_file", "debug")

#: Values of options, by how their help shows them.
_VALUES = {
    "DEVICE": "auto, cpu, cuda or cuda:N",
    "FILE": "a file",
    "INCHES": "inches",
    "M:SS": "m:ss",
    "MB": "megabytes",
    "GB": "gigabytes",
    "N": "a number",
    "NETWORK": f"{', '.join(EMBEDDERS)}, a file or none",
    "NAME": "a name",
    "PRESET": "a preset",
    "PX": "pixels",
    "S": "seconds",
    "SCORE": "a score",
}

#: What a rerun does after an interruption.
RESTARTS = "nothing unfinished is kept; rerun to start over"
RESUMES = "finished work is kept; rerun to resume"
RESUMES_UNLESS_FRESH = f"{RESUMES} (without --fresh)"


class Group(TyperGroup):
    """The application, whose help shows no value beside options that take none."""

    def get_params(self, ctx: Any) -> Any:
        """List the options, without a value for those that take none.

        Parameters
        ----------
        ctx : Context

        Returns
        -------
        list
        """
        found = super().get_params(ctx)
        for param in found:
            if param.name in ("install_completion", "show_completion", "help"):
                param.metavar = ""
        return found


app = typer.Typer(
    name="fervid",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn video files into per-second emotion timelines, offline and in bulk.",
    epilog="Exit codes: 0 success; 1 the video failed or is degraded; 2 wrong usage; 3 the run had to stop; "
    "130 interrupted.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from fervid._version import __version__

        sys.stdout.write(f"fervid {__version__}\n")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", metavar="", help="Print the version and exit.", is_eager=True, callback=_print_version),
]
Debug = Annotated[bool, flag("--debug", panel="Run", help="Show the traceback of an error.")]


@app.callback()
def options(version: Version = False) -> None:
    """Turn video files into per-second emotion timelines, offline and in bulk."""


class Command(TyperCommand):
    """A command that accepts earlier names of its options and shows --help in a panel."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments after replacing earlier names of options by the current ones.

        Parameters
        ----------
        ctx : Context
        args : list of str

        Returns
        -------
        list of str
            Arguments that no parameter took.
        """
        names = ALIASES.get(self.name or "", {})
        end = args.index("--") if "--" in args else len(args)
        current: list[str] = []
        for arg in args[:end]:
            name, equals, value = arg.partition("=")
            current.append(f"{names.get(name, name)}{equals}{value}")
        if any(param.name == "json_file" for param in self.params):
            current = _json_as_flag(current)
        if not ctx.resilient_parsing:
            self._check_values(ctx, current)
        ctx.allow_extra_args = True
        try:
            extra = super().parse_args(ctx, [*current, *args[end:]])
        except typer.BadParameter as e:
            if found := re.match("Input should be a valid (number|integer)", e.message):
                e.message = f"expected a {'whole ' * (found[1] == 'integer')}number{_found(e.param, current)}."
            raise
        if extra and not ctx.resilient_parsing:
            ctx.fail(self._too_many(extra[0]))
        return extra

    def _check_values(self, ctx: Any, args: list[str]) -> None:
        """Refuse an option that is followed by another one in place of its value, and -out for --out."""
        options = {name: p for p in self.params for name in (*p.opts, *p.secondary_opts) if name.startswith("-")}
        rest = iter(args)
        for arg in rest:
            name = arg.partition("=")[0]
            if re.match("-[a-z]{2}", name) and f"-{name}" in options:
                ctx.fail(f"{name}: did you mean -{name}?")
            if re.fullmatch("-[a-z]{2,}", arg):
                arg = f"-{arg[-1]}"  # -qo is -q -o
            if arg in options and not getattr(options[arg], "is_flag", False):
                value = next(rest, None)
                if value is None or value.partition("=")[0] in options:
                    ctx.fail(f"{arg} needs a value{_values(options[arg])}")

    def _too_many(self, extra: str) -> str:
        """The message about an argument that no parameter took."""
        expected = [str(param.metavar).lower() for param in self.params if isinstance(param, TyperArgument)]
        if not expected:
            return f"{extra}: fervid {self.name} takes no argument"
        found = "found a second" if len(expected) == 1 else "found one more"
        advice = "; fervid batch processes several" if self.name == "process" else ""
        return f"one {' and one '.join(expected)} expected, {found}, {extra}{advice}"

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Give the parts of the usage line, with VIDEO for a required argument rather than {VIDEO}.

        Parameters
        ----------
        ctx : Context

        Returns
        -------
        list of str
        """
        return [re.sub("[{}]", "", piece) for piece in super().collect_usage_pieces(ctx)]

    def get_help_option(self, ctx: Any) -> Any:
        """Give the --help option, in the panel of the run.

        Parameters
        ----------
        ctx : Context

        Returns
        -------
        Option or None
        """
        option = super().get_help_option(ctx)
        if option is not None:
            option.rich_help_panel, option.metavar = PANELS[-1], ""
        return option


def _values(option: Any) -> str:
    """Describe the values of an option, as ": dlib, vggface2, a file or none"; "" if its help does not."""
    if not option.metavar:
        return ""
    *most, last = (_VALUES.get(word, word) for word in option.metavar.split("|"))
    return f": {', '.join(most)} or {last}" if most else f": {last}"


def _found(option: Any, args: list[str]) -> str:
    """Name the value that the arguments give an option, as ", found 'abc'"; "" if there is none."""
    names = tuple(getattr(option, "opts", ()))
    for arg, following in reversed(list(zip(args, [*args[1:], ""]))):
        name, equals, value = arg.partition("=")
        if name in names:
            return f", found {(value if equals else following)!r}"
    return ""


def _json_as_flag(args: list[str]) -> list[str]:
    """Turn `--json FILE` into `--json-file FILE` and `--json -` into `--json`.

    FILE is a name that ends in .json or that does not exist; anything else after --json is an argument of the command.
    """
    found: list[str] = []
    rest = iter(args)
    for arg in rest:
        if arg.startswith("--json="):
            found += ["--json"] if arg == "--json=-" else ["--json-file", arg.removeprefix("--json=")]
            continue
        found.append(arg)
        if arg != "--json":
            continue
        following = next(rest, None)
        if following is None or following == "-":
            continue
        is_file = not following.startswith("-") and (following.endswith(".json") or not Path(following).exists())
        if is_file:
            found[-1] = "--json-file"
        found.append(following)
    return found


def command(group: str, example: str, *, rerun: str = RESTARTS, bare: bool = False) -> Callable:
    """Register a function as a command.

    The command takes the function's parameters, with an `Unpack[TypedDict]` replaced by its options, and --debug.
    Errors of fervid become one line on stderr and an exit code; the function returns its own exit code, or None for 0.

    Parameters
    ----------
    group : str
        One of GROUPS.
    example : str
        A command line, shown at the end of the help.
    rerun : str, default RESTARTS
        What a rerun does after an interruption.
    bare : bool, default False
        Whether the command works without any argument; else it shows its help.

    Returns
    -------
    Callable
        A decorator.
    """

    def register(call: Callable) -> Callable:
        signature = _signature(call)
        names = {p.name: option for p in signature.parameters.values() if (option := _option_name(p))}

        @functools.wraps(call)
        def run(*, debug: bool = False, **values: Any) -> None:
            try:
                code = call(**values)
            except KeyboardInterrupt:
                sys.stderr.write(f"fervid: interrupted; {rerun}\n")
                code = 130
            except FervidError as e:
                if debug:
                    raise
                from fervid.views.terminal import plain

                message = _name_the_option(str(e), names) if isinstance(e, ConfigError) else str(e)
                sys.stderr.write(f"fervid: {plain(message)}\n")
                code = e.exit_code
            raise typer.Exit(code or 0)

        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        epilog, text = f"Example: {example}", _unwrapped(inspect.getdoc(call) or "")
        return app.command(cls=Command, help=text, epilog=epilog, no_args_is_help=not bare, rich_help_panel=group)(run)

    return register


def _unwrapped(text: str) -> str:
    """Make one line of each paragraph, as help is wrapped to the width of the terminal."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _signature(call: Callable) -> inspect.Signature:
    """List the parameters as Typer takes them: arguments, then options by panel."""
    hints = get_type_hints(call, include_extras=True)
    found: list[inspect.Parameter] = []
    for p in inspect.signature(call).parameters.values():
        if p.kind is p.VAR_KEYWORD:
            (options,) = get_args(hints[p.name])
            own = {one.name for one in found}
            shared = get_type_hints(options, include_extras=True)
            found += [_keyword(name, hint, None) for name, hint in shared.items() if name not in own]
        else:
            found.append(_keyword(p.name, hints[p.name], p.default))
    return inspect.Signature(sorted([*found, _keyword("debug", Debug, False)], key=_place))


def _keyword(name: str, hint: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def _info(p: inspect.Parameter) -> Any:
    return next(one for one in get_args(p.annotation) if isinstance(one, typer.models.ParameterInfo))


def _place(p: inspect.Parameter) -> tuple[int, bool]:
    """Sort arguments first, then options by panel, those of every command last."""
    panel = _info(p).rich_help_panel
    return PANELS.index(panel) if panel else -1, p.name in _COMMON


def _option_name(p: inspect.Parameter) -> str | None:
    """The option as it is written on the command line; None for an argument."""
    info = _info(p)
    if not isinstance(info, typer.models.OptionInfo):
        return None
    written = [name for name in (info.default, *(info.param_decls or ())) if str(name).startswith("--")]
    return str(written[0]) if written else f"--{p.name.replace('_', '-')}"


def _name_the_option(message: str, names: Mapping[str, str]) -> str:
    """Rewrite "smooth_s = 0.01: ..." to "--smooth 0.01: ...", as the user wrote it.

    A value that comes from a file has the file's name before it, and keeps the file's key.
    """
    found = re.match(r"(\w+) = ('.*?'|\S+|[^:]+): ", message)
    name = names.get(found[1]) if found else None
    if not found or not name:
        return message
    rest = re.sub(r"\bstart_s = (\S+)", lambda start: f"--start {_as_time(start[1])}", message[found.end() :])
    value = _as_time(found[2]) if found[1] == "end_s" else found[2]
    return f"{name} {value}: {rest}"


def _as_time(seconds: str) -> str:
    """Write whole seconds as m:ss."""
    return clock(int(seconds)) if seconds.isdecimal() else seconds
