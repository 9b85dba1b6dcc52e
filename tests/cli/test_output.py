"""What commands print: their result, JSON alone with --json, nothing with --quiet. The API functions are fakes."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import fervid
from tests.helpers.command_line import run


@dataclasses.dataclass
class Scores:
    scored: int
    unreadable: int
    hint: str = dataclasses.field(default="use --no-detect", repr=False)


FACTS = {"written": "out", "rows": 3}
#: Each command that reports facts: its function's result, arguments, and facts in what it prints.
COMMANDS: dict[str, tuple[Any, list[str], dict[str, Any]]] = {
    "info": ({"summary": {"tracks": 2}, "version": "1"}, ["t.parquet"], {"version": "1"}),
    "probe": ({"file": {"codec": "h264"}}, ["v.mp4"], {"file": {"codec": "h264"}}),
    "doctor": ({"fervid": "1"}, [], {"fervid": "1"}),
    "overlay": (FACTS, ["v.mp4", "t.parquet", "--out", "o.mp4"], FACTS),
    "report": (FACTS, ["t.parquet", "--out", "o.html"], FACTS),
    "export": (FACTS, ["t.parquet", "--out", "o.csv"], FACTS),
    "plot": (
        SimpleNamespace(panels=1, caption="Text."),
        ["t.parquet", "--out", "o.png"],
        {"written": "o.png", "panels": 1, "caption": "Text."},
    ),
    "forget": (["a.mp4"], ["a.mp4", "--out", "results"], {"forgotten": ["a.mp4"]}),
    "train": ({"weights": "m.safetensors"}, ["--data", "d", "--out", "o"], {"weights": "m.safetensors"}),
    "explain": (
        {"faces": 1, "method": "cam", "written": "o.png", "skipped": {}, "unreadable": 0},
        ["a.png", "--out", "o.png"],
        {"faces": 1, "method": "cam", "written": "o.png"},
    ),
    "score": (Scores(3, 0), ["images", "--out", "o.csv"], {"scored": 3, "unreadable": 0}),
}


@pytest.fixture(params=COMMANDS)
def command(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], dict[str, Any]]:
    """The arguments of a command whose function is a fake, and the facts that it reports."""
    result, arguments, facts = COMMANDS[request.param]

    def function(*_: object, on_message: Any = None, **__: object) -> Any:
        if on_message:
            on_message("epoch 1")
        return result

    monkeypatch.setattr(fervid, request.param, function)
    return [request.param, *arguments], facts


def test_results_are_lines(command: tuple[list[str], dict[str, Any]]) -> None:
    arguments, facts = command
    code, printed, error = run(*arguments)
    assert code == 0 and error == ""
    assert all(name in printed for name in facts) and not printed.startswith("{")


def test_json_is_all_that_stdout_has(command: tuple[list[str], dict[str, Any]]) -> None:
    arguments, facts = command
    code, printed, error = run(*arguments, "--json")
    assert code == 0 and json.loads(printed).items() >= facts.items()
    assert error == ("epoch 1\n" if arguments[0] == "train" else "")


def test_quiet_prints_nothing_but_json(command: tuple[list[str], dict[str, Any]]) -> None:
    arguments, facts = command
    if arguments[0] in ("info", "probe", "doctor"):
        pytest.skip("its only purpose is to print")
    assert run(*arguments, "-q") == (0, "", "")
    code, printed, error = run(*arguments, "--quiet", "--json")
    assert code == 0 and json.loads(printed).items() >= facts.items() and error == ""


def test_images_that_cannot_be_read_exit_1(monkeypatch: pytest.MonkeyPatch) -> None:
    explained = {"faces": 1, "method": "cam", "written": "o", "skipped": {"a.png": "empty"}, "unreadable": 1}
    monkeypatch.setattr(fervid, "explain", lambda *_, **__: explained)
    code, printed, _ = run("explain", "images", "--out", "o.png")
    assert code == 1 and printed.splitlines()[-2:] == ["skipped", "  a.png  empty"]
    monkeypatch.setattr(fervid, "score", lambda *_, **__: Scores(3, 2))
    code, printed, _ = run("score", "images", "--out", "o.csv")
    assert code == 1 and "use --no-detect" in printed


def test_a_sweep_lists_its_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runs = [{"accuracy": 0.7, "run": "arch=a"}, {"accuracy": 0.6, "run": "arch=b"}]
    monkeypatch.setattr(fervid, "train", lambda *_, **__: {"results": "o/results.csv", "runs": runs})
    _, printed, _ = run("train", "--data", "d", "--out", "o", "--sweep", "g.toml")
    assert printed == "0.7000  arch=a\n0.6000  arch=b\nresults: o/results.csv\n"
