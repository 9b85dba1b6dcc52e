"""Help: every command and option is in its place, with a text and an example."""

import subprocess
import sys
import time
from typing import Any

import pytest
import typer
from typer.core import TyperArgument

import fervid
from fervid.cli import app
from fervid.cli.app import GROUPS, PANELS
from tests.helpers.command_line import run

GROUP: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = GROUP.commands


def test_version_is_printed() -> None:
    assert run("--version") == (0, f"fervid {fervid.__version__}\n", "")


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
def test_common_options_are_alike(name: str) -> None:
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


def test_help_takes_less_than_a_third_of_a_second() -> None:
    call = [sys.executable, "-m", "fervid", "--help"]
    taken = []
    for _ in range(5):
        started = time.process_time(), time.perf_counter()
        subprocess.run(call, capture_output=True, check=True)
        taken.append(time.perf_counter() - started[1])
    assert min(taken) < 0.3 or min(taken) < 15 * _bare_start(), taken


def _bare_start() -> float:
    """Seconds that Python itself takes to start: on a busy or slow machine help takes longer too."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - started
