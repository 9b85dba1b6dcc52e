"""Version, changelog, citation, extras and the CI script agree with each other and with the documentation."""

import re
import tomllib

import yaml

import fervid
from tests.helpers.markdown import PAGES, ROOT, table

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_the_changelog_has_versions_with_dates() -> None:
    headings = re.findall(r"^## (.*)$", PAGES["CHANGELOG.md"], re.M)
    assert headings[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d{2}-\d{2}", heading) for heading in headings[1:])


def test_the_citation_names_a_released_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == fervid.__version__
    assert f"## {citation['version']} - {citation['date-released']}" in PAGES["CHANGELOG.md"]
    assert citation["license"] == PROJECT["license"]


def test_every_extra_is_documented() -> None:
    documented = {row[0].strip("`") for row in table(PAGES["docs/installation.md"], "## Extras")}
    assert documented == set(PROJECT["optional-dependencies"])


def test_the_wheel_in_examples_has_the_present_version() -> None:
    for page in (*PAGES.values(), (ROOT / "pipelines" / "ray-cluster.yaml").read_text("utf-8")):
        for version in re.findall(r"fervid-(\d[\w.]*)-py3", page):
            assert version == fervid.__version__


def test_ci_runs_the_commands_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    for part in (
        "readme_command 1",
        "readme_command 2",
        "ruff check",
        "ruff format --check",
        "mypy",
        "codespell",
        "-m slow",
    ):
        assert part in script
