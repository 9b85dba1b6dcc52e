"""Pages of the documentation: their code blocks, commands, links and headings."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Command", "anchors", "blocks", "commands", "links", "spans", "table"]

ROOT = Path(__file__).parents[2]
#: Every page of the documentation, by its path in the repository.
PAGES = {
    str(path.relative_to(ROOT)): path.read_text("utf-8")
    for path in [
        *sorted(ROOT.glob("*.md")),
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "fervid" / "weights").glob("*.md")),
        ROOT / "sample_videos" / "README.md",
    ]
}
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Command:
    """One `fervid ...` command; `whole` if it is in a block and runs as written."""

    page: str
    text: str
    arguments: tuple[str, ...]
    whole: bool


def blocks(text: str, language: str) -> list[str]:
    """Find the fenced code blocks of a language."""
    return [body for name, body in _FENCE.findall(text) if name == language]


def _indented(text: str) -> list[str]:
    """Find the lines of indented code blocks; continuation lines of lists are indented by less than four spaces."""
    return [line[4:] for line in _FENCE.sub("", text).splitlines() if line.startswith("    ")]


def spans(text: str) -> list[str]:
    """Find inline code, with line breaks replaced by spaces."""
    prose = "\n".join("" if line.startswith("    ") else line for line in _FENCE.sub("", text).splitlines())
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]


def commands(page: str) -> list[Command]:
    """Find all `fervid` commands of a page, in blocks and in inline code."""
    text, found = PAGES[page], []
    lines = _indented(text) + [
        line for language in ("sh", "bash") for b in blocks(text, language) for line in b.splitlines()
    ]
    for line in lines:
        for part in line.split("&&"):
            at = re.match(r"(?:\S*/)?fervid (.*)|.*?'fervid ([^']*)'", part.strip())
            if at:
                found.append(Command(page, part.strip(), tuple(shlex.split(at[1] or at[2], comments=True)), True))
    for code in spans(text):
        if re.match(r"fervid( |$)", code) and "..." not in code:
            found.append(Command(page, code, tuple(shlex.split(code)[1:]), False))
    return found


def links(text: str) -> list[str]:
    """Find the targets of a page's links and images."""
    return re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", text))


def anchors(text: str) -> set[str]:
    """Compute the anchors of a page's headings as GitHub does."""
    titles = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def table(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its first two lines."""
    section = text.split(f"\n{heading}\n", 1)[1]
    rows = re.search(r"(?:^\|.*\|$\n?)+", section, re.M)
    assert rows, f"no table below {heading}"
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows[0].splitlines()[2:]]
