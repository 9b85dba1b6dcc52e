"""Help: every command and option is in its place, with a text and an example."""

import re
import resource
import subprocess
import sys
from typing import Any

import pytest
import typer
from typer.core import TyperArgument

import fervid
from fervid.cli import app
from fervid.cli.app import GROUPS
from fervid.cli.options import PANELS
from tests.helpers.command_line import run

GROUP: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = GROUP.commands


def test_version_is_printed() -> None:
    assert run("--version") == (0, f"fervid {fervid.__version__}\n", "")


def test_help_shows_no_braces_and_no_value_of_flags() -> None:
    _, printed, _ = run("--help")
    assert "--install-completion" in printed and "<bool>" not in printed
    _, printed, _ = run("overlay", "--help")
    assert "[OPTIONS] VIDEO TIMELINE" in printed
    assert "[OPTIONS] TIMELINE RATINGS...\n" in re.sub(" +\n", "\n", run("agree", "--help")[1])
    assert not any("\n" in paragraph for one in COMMANDS.values() for paragraph in one.help.split("\n\n"))


def test_commands_are_listed_by_group() -> None:
    listed = {group: [name for name, one in COMMANDS.items() if one.rich_help_panel == group] for group in GROUPS}
    assert listed == {
        "Analyse": ["process", "probe", "batch", "forget"],
        "Look": ["info", "plot", "overlay", "report", "export"],
        "Studies": ["agree", "disfa"],
        "Models": ["train", "evaluate", "explain", "score"],
        "Installation": ["doctor", "selftest"],
    }
    assert set(COMMANDS) == {name for names in listed.values() for name in names}
    code, printed, _ = run("--help")
    assert code == 0 and all(group in printed for group in GROUPS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_an_example(name: str) -> None:
    command = COMMANDS[name]
    assert command.help and command.epilog.startswith(f"Example: fervid {name}")
    code, printed, _ = run(name, "--help")
    assert code == 0 and "Example: fervid " in printed


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help_and_is_in_a_panel(name: str) -> None:
    for parameter in COMMANDS[name].get_params(typer.Context(COMMANDS[name])):
        assert parameter.help and parameter.help[-1] in ".)", parameter.name
        if not isinstance(parameter, TyperArgument):
            assert parameter.rich_help_panel in PANELS, parameter.name


@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_is_cut_off_in_a_terminal_of_80_columns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    _, printed, _ = run(name, "--help")
    assert "…" not in printed
    for parameter in COMMANDS[name].params:
        for option in (*parameter.opts, *parameter.secondary_opts):
            assert option in printed or parameter.hidden or isinstance(parameter, TyperArgument), option


@pytest.mark.parametrize("name", COMMANDS)
def test_common_options_are_the_same_everywhere(name: str) -> None:
    options = {option: p for p in COMMANDS[name].params for option in p.opts}
    assert options["--json"].is_flag and "--debug" in options
    assert ("--quiet" in options) == ("-q" in options) == (name not in ("probe", "info", "doctor"))
    assert ("--out" in options) == ("-o" in options) == (name not in ("probe", "info", "doctor", "selftest"))
    assert options.get("--out") is options.get("-o")


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"doctor", "selftest"}))
def test_a_command_without_arguments_shows_its_help(name: str) -> None:
    code, printed, error = run(name)
    assert code == 2 and f"fervid {name}" in printed + error and "Example" in printed + error


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    script = "import sys, fervid.cli; print({'torch', 'av', 'pandas', 'pyarrow', 'numpy'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed == "set()\n"


def test_help_takes_less_than_half_a_second() -> None:
    """Of CPU time, the least of three: 0.2 s on the machine that this was written on."""
    taken = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "fervid", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(taken) < 0.5
