"""Options: choices, times, earlier names, and that every field of a configuration has one."""

import dataclasses
import inspect
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import typer

import fervid
from fervid import config
from fervid.cli import app
from fervid.cli.app import ALIASES
from fervid.cli.lab import RecipeOptions
from fervid.cli.options import PipelineOptions, ShardedOptions, parse_time, parse_whole_time
from fervid.registry import DETECTORS, READERS
from tests.helpers.command_line import ONE_FACE, run

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands


def options(command: str) -> dict[str, Any]:
    """The parameters of a command by each of their names on the command line."""
    return {option: p for p in COMMANDS[command].params for option in (*p.opts, *p.secondary_opts)}


def choices(command: str, option: str) -> list[str]:
    return options(command)[option].metavar.split("|")


# -- completeness -----------------------------------------------------------------------------------


def test_every_field_of_the_configuration_has_an_option() -> None:
    fields = {field.name for field in dataclasses.fields(config.Config)}
    assert get_type_hints(PipelineOptions).keys() == fields | {"pipeline"}


@pytest.mark.parametrize("command", ["process", "probe", "batch"])
def test_process_probe_and_batch_take_the_same_options(command: str) -> None:
    own = {p.name: p for p in COMMANDS[command].params}
    shared = get_type_hints(PipelineOptions if command == "probe" else ShardedOptions)
    for name in shared:
        assert (own[name].opts, own[name].help) == (
            next(p for p in COMMANDS["process"].params if p.name == name).opts,
            next(p for p in COMMANDS["process"].params if p.name == name).help,
        )


def test_options_of_training_are_fields_of_the_recipe() -> None:
    from fervid.lab.training.recipe import Recipe

    fields = {field.name for field in dataclasses.fields(Recipe)}
    file_only = {
        "augment_kinds", "gentle_epochs", "weight_decay", "warmup_epochs", "plateau_epochs", "plateau_factor",
        "head_vote_weight", "corpora", "classes", "head_weights", "export_heads", "prior", "move_strength",
        "head_factor", "terms",
    }  # fmt: skip
    assert get_type_hints(RecipeOptions).keys() == fields - file_only


@pytest.mark.parametrize("command", COMMANDS)
def test_parameters_have_the_names_of_the_python_api(command: str) -> None:
    """Where the function takes a name at all: the rest are options of the pipeline, a recipe or a figure."""
    function = getattr(fervid, command, None)
    if not callable(function):
        pytest.skip("no such function")
    known = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        known = known.keys() | get_type_hints(RecipeOptions if command == "train" else PipelineOptions).keys()
    printing = {"quiet", "as_json", "json_file", "debug", "profile", "out", "help", "from_file"}
    renamed = {"video", "root", "inputs", "timeline", "ratings"}
    assert {p.name for p in COMMANDS[command].params} <= set(known) | printing | renamed


# -- choices ----------------------------------------------------------------------------------------


def tables() -> Iterable[tuple[str, str, Iterable[str]]]:
    """Each choice with the table that it comes from."""
    from fervid.lab.data import datasets
    from fervid.lab.evaluation.evaluate import TTA
    from fervid.lab.evaluation.explain import METHODS
    from fervid.lab.training.recipe import BALANCES
    from fervid.studies.disfa_corpus import CAMERAS
    from fervid.views.export.formats import FORMATS
    from fervid.views.figures.timeline import KINDS

    for command in ("process", "probe", "batch"):
        yield command, "--reader", READERS
        yield command, "--detector", DETECTORS
        yield command, "--detection", config.DETECTIONS
        yield command, "--sampling", config.SAMPLINGS
        yield command, "--precision", config.PRECISIONS
    yield "plot", "--kind", KINDS
    yield "export", "--to", FORMATS
    yield "disfa", "--camera", (*CAMERAS, "both")
    yield "train", "--balance", BALANCES
    yield "train", "--labels", datasets._LABELS
    yield "evaluate", "--labels", datasets._LABELS
    yield "evaluate", "--tta", TTA
    yield "evaluate", "--detector", DETECTORS
    yield "explain", "--method", METHODS


def test_choices_are_those_of_the_tables() -> None:
    for command, option, table in tables():
        assert choices(command, option) == list(table), f"{command} {option}"


@pytest.mark.parametrize(
    "command, option, values",
    [
        ("train", "--heads", ["hard", "both", "joint"]),
        ("train", "--align", ["none", "landmarks"]),
        ("train", "--optimiser", ["sgd", "adamw"]),
        ("train", "--schedule", ["cosine", "plateau"]),
        ("train", "--bf16", ["auto", "on", "off"]),
    ],
)
def test_choices_without_a_table_are_accepted_by_the_recipe(command: str, option: str, values: list[str]) -> None:
    from fervid.errors import ConfigError
    from fervid.lab.training.recipe import load_recipe

    name = options(command)[option].name
    assert choices(command, option) == values
    for value in values:
        load_recipe(**{name: value})
    with pytest.raises(ConfigError):
        load_recipe(**{name: "other"})


def test_error_for_a_wrong_choice_states_expected_and_found() -> None:
    wrong = [
        (command, option)
        for command, one in COMMANDS.items()
        for option, p in options(command).items()
        if p.metavar and re.fullmatch(r"[a-z0-9]+(\|[a-z0-9]+)+", p.metavar)
    ]
    assert len(wrong) > 20
    for command, option in wrong:
        required = [arg for p in COMMANDS[command].params if p.required for arg in (*p.opts[-1:], "x")]
        required = [arg for arg in required if arg.startswith("-") or arg == "x"]
        code, _, error = run(command, option, "sideways", *required)
        text = " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", "", error).split())
        assert code == 2 and f"Invalid value for '{option}'" in text and "found 'sideways'" in text, text
        assert all(value in text for value in choices(command, option))


def test_the_case_of_a_choice_does_not_matter(tmp_path: Path) -> None:
    code, printed, _ = run("probe", ONE_FACE, "--json", "--reader", "AV", "--sampling", "Fast")
    facts = json.loads(printed)["options"]
    assert code == 0 and (facts["reader"], facts["sampling"]) == ("av", "fast")


def test_choices_are_completed_in_the_shell() -> None:
    reader = options("process")["--reader"]
    context = typer.Context(COMMANDS["process"])
    assert [item.value for item in reader.shell_complete(context, "d")] == ["decord"]
    assert [item.value for item in reader.shell_complete(context, "")] == list(READERS)


def test_completion_can_be_installed() -> None:
    code, printed, _ = run("--help")
    assert code == 0 and "--install-completion" in printed and "--show-completion" in printed


# -- times ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("90", 90), ("1.5", 1.5), ("0", 0), ("1:30", 90), ("01:05", 65), ("90:00", 5400), ("1:02:03", 3723),
        ("0:00:01.25", 1.25), ("-1", -1), ("1e2", 100),
    ],
)  # fmt: skip
def test_times_are_seconds_or_clock_times(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["soon", "1:75", "1:2:3:4", "-1:00", "1:", ":30", "", "1,5"])
def test_other_texts_are_no_times(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected a time as seconds, m:ss or h:mm:ss"):
        parse_time(text)


def test_lags_are_whole_seconds() -> None:
    assert parse_whole_time("1:00") == 60 and type(parse_whole_time("5")) is int
    with pytest.raises(typer.BadParameter, match="whole seconds"):
        parse_whole_time("1.5")


def test_options_parse_times_the_same_way() -> None:
    times = {option for name in COMMANDS for option, p in options(name).items() if p.metavar == "S|M:SS"}
    assert times == {"--start", "--end", "--smooth", "--max-lost", "--timeout", "--stall", "--max-lag", "--block"}
    for command, option in (("probe", "--start"), ("process", "--smooth"), ("batch", "--stall"), ("agree", "--block")):
        code, _, error = run(command, "x", "y", option, "soon")
        assert code == 2 and "m:ss" in error and "soon" in error


def test_probe_shows_the_part_that_would_be_processed() -> None:
    code, printed, _ = run("probe", ONE_FACE, "--json", "--start", "0:02", "--end", "0:00:04.5")
    plan = json.loads(printed)["plan"]
    assert code == 0 and (plan["from_s"], plan["to_s"]) == (2, 4.5)


# -- earlier names ----------------------------------------------------------------------------------


def test_earlier_names_of_options_work_but_are_not_shown() -> None:
    """All of them: renaming an option adds a row to ALIASES, and here."""
    assert ALIASES == {
        "train": {"--size-px": "--size", "--window-px": "--window"},
        "evaluate": {"--apart-from": "--exclude-duplicates-of"},
    }
    for command, names in ALIASES.items():
        _, printed, _ = run(command, "--help")
        for earlier, today in names.items():
            assert today in options(command) and earlier not in options(command)
            assert not re.search(rf"{earlier}\b", printed)
            for form in ([earlier, "bad\x00"], [f"{earlier}=bad"]):
                _, _, error = run(command, *form)
                assert "No such option" not in error


def test_earlier_names_set_the_same_value() -> None:
    for name in ("--size", "--size-px"):
        code, _, error = run("train", "--data", "x", "--out", "x", name, 7)
        assert code == 2 and error == "fervid: --size 7: expected 16 to 1024\n"


@pytest.fixture
def agreement(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder where `fervid agree t.parquet r.csv` has a result."""

    class Agreement:
        facts = {"n": 3}  # noqa: RUF012
        written = ()

    monkeypatch.setattr(fervid, "agree", lambda timeline, ratings, out, **_: Agreement())
    monkeypatch.setattr("fervid.views.figures.agreement.print_agreement", lambda *_: print("a table"))
    monkeypatch.chdir(tmp_path)
    for name in ("t.parquet", "r.csv", "old.json"):
        Path(name).write_text("original")
    return tmp_path


@pytest.mark.parametrize("form", [["--json", "new.txt"], ["--json=new.txt"], ["--json", "old.json"]])
def test_json_still_takes_a_file_where_it_did(form: list[str], agreement: Path) -> None:
    code, printed, _ = run("agree", "t.parquet", "r.csv", *form)
    assert code == 0 and printed == "a table\n"
    assert json.loads((agreement / form[-1].removeprefix("--json=")).read_text()) == {"n": 3}


@pytest.mark.parametrize(
    "arguments",
    [
        ["t.parquet", "r.csv", "--json"],
        ["t.parquet", "r.csv", "--json", "-"],
        ["t.parquet", "r.csv", "--json=-"],
        ["--json", "t.parquet", "r.csv"],
        ["t.parquet", "--json", "r.csv", "--max-lag", "2"],
        ["--json", "--", "t.parquet", "r.csv"],
    ],
)
def test_json_never_overwrites_an_argument(arguments: list[str], agreement: Path) -> None:
    code, printed, _ = run("agree", *arguments)
    assert code == 0 and json.loads(printed) == {"n": 3}
    assert all(path.read_text() == "original" for path in agreement.iterdir())


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--rate", "abc"), "'--rate': expected a number, found 'abc'."),
        (("--stream=1.5",), "'--stream': expected a whole number, found '1.5'."),
    ],
)
def test_value_that_is_no_number_is_named(option: tuple[str, ...], words: str) -> None:
    code, _, errors = run("probe", ONE_FACE, *option)
    assert code == 2 and words in errors
