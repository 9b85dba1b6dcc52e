"""What users read avoids our private words: tests/helpers/words.toml has them, and what to write instead."""

from pathlib import Path

import pytest

from tests.helpers.markdown import PAGES, ROOT
from tests.helpers.words import WORDS, find, strings

FILES = [*sorted((ROOT / "pipelines").iterdir()), *sorted((ROOT / "fervid").rglob("*.py"))]


def test_the_words_are_found() -> None:
    assert find("Looks a second.\n\nNobody is told.") and not find("`looks a second`\n\n    nobody\n")
    assert len(find("a row a file, a\ncolumn a class")) >= 2 and len(WORDS) > 40


@pytest.mark.parametrize("page", sorted(PAGES))
def test_pages(page: str) -> None:
    assert find(PAGES[page]) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files(path: Path) -> None:
    assert find(strings(path) if path.suffix == ".py" else path.read_text("utf-8")) == []
