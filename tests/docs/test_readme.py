"""The README is short and complete. Its two shell commands are run by .ci/run."""

import re

from fervid.config import presets
from fervid.lab.data.datasets import FER2013
from fervid.networks.weights import bundled
from fervid.timeline.schema import timeline_schema
from tests.helpers.markdown import PAGES, blocks, table

README = PAGES["README.md"]


def test_there_are_two_commands() -> None:
    install, tests = (block.strip() for block in blocks(README, "sh"))
    assert "pip install -q -e . " in install and "fervid process sample_videos/" in install
    assert tests == ".venv/bin/python -m pip install -q -e '.[test]' && .venv/bin/python -m pytest"


def test_it_can_be_read_to_its_end() -> None:
    assert len(README.splitlines()) <= 160


def test_its_columns_exist() -> None:
    (section,) = re.findall(r"^\| column \|.*?\n\n", README, re.M | re.S)
    for name in re.findall(r"^\| `(\w+)`", section, re.M):
        assert name in timeline_schema(FER2013).names


def test_its_recall_is_that_of_the_model_card() -> None:
    card = table(PAGES["fervid/weights/mobilefacenet.md"], "## Recall")
    (section,) = re.findall(r"^\| \| happiness \|.*?\n\n", README, re.M | re.S)
    documented = [[cell.strip() for cell in row.split("|")[2:-1]] for row in section.strip().splitlines()[2:]]
    assert documented == [row[1:8] for row in card]


def test_every_preset_and_model_is_documented() -> None:
    everything = "".join(PAGES.values())
    for name in [*presets(), *bundled()]:
        assert f"`{name}`" in everything


def test_no_line_waits_to_be_written() -> None:
    for page, text in PAGES.items():
        assert not re.search(r"TODO|FIXME|@[A-Z]+@", text), page


def test_nothing_is_installed_from_an_index_that_does_not_have_it() -> None:
    for page, text in PAGES.items():
        assert not re.search(r"pip install\s+(-\S+\s+)*'?fervid", text), page
