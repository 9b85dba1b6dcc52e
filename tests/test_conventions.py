"""Conventions of the tests themselves: no imports between test files, and a line of help per option of a benchmark."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
BENCHMARKS = [path for path in sorted(TESTS.glob("benchmarks/*.py")) if "add_argument" in path.read_text("utf-8")]


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def test_test_files_are_not_imported():
    found = [
        f"{path.relative_to(TESTS)}: {module}"
        for path in sorted(TESTS.rglob("*.py"))
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in {getattr(node, "module", None) or "", *(alias.name for alias in node.names)}
        if module.split(".")[-1].startswith("test_")
    ]
    assert found == []


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_options_of_benchmarks_have_help(path):
    calls = [
        node
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument"
    ]
    undocumented = [ast.unparse(call.args[0]) for call in calls if "help" not in {word.arg for word in call.keywords}]
    assert calls and undocumented == []
