"""Words to avoid in what users read: `python -m tests.helpers.words [FILE...]` lists where they occur."""

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterable
from pathlib import Path

from tests.helpers.markdown import PAGES, ROOT

__all__ = ["WORDS", "find", "strings"]

WORDS = tomllib.loads((Path(__file__).parent / "words.toml").read_text("utf-8"))
#: Fenced and indented blocks, and inline code.
_CODE = re.compile(r"^```.*?^```$|^ {4}.*?$|``?[^`]+``?", re.M | re.S)


def find(text: str) -> list[str]:
    """The words to avoid in a text, each with its line and what to write instead; code is left out."""
    flat = _CODE.sub(lambda match: " " * len(match[0]), text).replace("\n", " ")
    found = []
    for pattern, instead in WORDS.items():
        for match in re.finditer(pattern, flat, re.I):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"line {line}: {match[0]!r} -> {instead}")
    return sorted(found, key=lambda entry: int(entry.split()[1].rstrip(":")))


def strings(path: Path) -> str:
    """The texts of a Python file on their lines: docstrings, messages, help and comments, without names and code."""
    source = path.read_text("utf-8")
    lines = [""] * (len(source.splitlines()) + 1)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            for offset, part in enumerate(node.value.split("\n")):
                lines[min(node.lineno - 1 + offset, len(lines) - 1)] += f" {part.strip()}"
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            lines[token.start[0] - 1] += f" {token.string}"
    return "\n".join(lines)


def _texts(names: Iterable[str]) -> Iterable[tuple[str, str]]:
    if names := list(names):
        for name in names:
            path = Path(name)
            yield name, strings(path) if path.suffix == ".py" else path.read_text("utf-8")
        return
    yield from PAGES.items()
    for path in sorted((ROOT / "fervid").rglob("*.py")):
        yield str(path.relative_to(ROOT)), strings(path)


if __name__ == "__main__":
    for name, text in _texts(sys.argv[1:]):
        for entry in find(text):
            print(f"{name}: {entry}")
