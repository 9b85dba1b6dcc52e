"""Every public function and method documents its parameters and what it returns, in NumPy sections."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "fervid"
FILES = sorted(ROOT.rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


def public_functions(tree: ast.Module) -> Iterator[Function]:
    """The functions that a module lists in `__all__`."""
    listed: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            listed = set(ast.literal_eval(node.value))
    for node in tree.body:
        if isinstance(node, Function) and node.name in listed:
            yield node


def missing_sections(function: Function) -> list[str]:
    """The sections that a function's signature asks for and its docstring lacks."""
    doc = ast.get_docstring(function) or ""
    names = [a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    returns = ast.unparse(function.returns) if function.returns else "None"
    needed = [("Parameters",)] if names else []
    if returns.startswith(("Iterator", "Generator")) and returns != "Iterator[None]":  # that is a context manager
        needed.append(("Yields", "Returns"))
    elif returns not in ("None", "NoReturn", "Iterator[None]"):
        needed.append(("Returns",))
    if not doc.strip():
        return ["docstring"]
    return [" or ".join(names) for names in needed if not any(f"{name}\n{'-' * len(name)}" in doc for name in names)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_functions_document_parameters_and_results(path: Path) -> None:
    if "cli" in path.parts:
        return  # Typer documents commands from their options
    tree = ast.parse(path.read_text("utf-8"))
    lacking = {f.name: missing_sections(f) for f in public_functions(tree)}
    assert not {name: sections for name, sections in lacking.items() if sections}
