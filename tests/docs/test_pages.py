"""The documentation is run, not only read: its links resolve, its commands exist, its tables are complete."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer

import fervid
from fervid.cli import app
from tests.helpers.markdown import PAGES, ROOT, Command, anchors, commands, links, spans, table

GROUP: Any = typer.main.get_command(app)
COMMANDS = [command for page in PAGES for command in commands(page)]
WRITTEN_BY_HAND = sorted(set(PAGES) - {"docs/options.md", "docs/api.md"})


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve(page: str) -> None:
    for target in links(PAGES[page]):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert file.exists(), f"{page}: {target} does not exist"
        assert file.is_relative_to(ROOT), f"{page}: {target} is outside the repository"
        if anchor:
            assert anchor in anchors(file.read_text("utf-8")), f"{page}: {target}: no such heading"


def test_files_that_pages_name_exist() -> None:
    for page in set(WRITTEN_BY_HAND) - {"docs/extending.md", "CHANGELOG.md"}:
        for name in spans(PAGES[page]):
            if re.fullmatch(r"(fervid|tests|docs|pipelines|\.ci)/[\w./-]*", name):
                assert (ROOT / name).exists(), f"{page}: {name}"
        for module in re.findall(r"python -m (tests\.[\w.]+)", PAGES[page]):
            assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), f"{page}: {module}"


def test_the_layout_shows_every_folder() -> None:
    layout = PAGES["CONTRIBUTING.md"].split("## Layout")[1].split("## ")[0]
    folders = [path.name for path in (ROOT / "fervid").iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert sorted(re.findall(r"^ {6}(\w+)/ ", layout, re.M)) == sorted(folders)


def test_every_page_is_linked() -> None:
    linked = {
        ((ROOT / page).parent / target.partition("#")[0]).resolve() for page in PAGES for target in links(PAGES[page])
    }
    for page in PAGES:
        assert page == "README.md" or (ROOT / page).resolve() in linked, f"nothing links to {page}"


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 50 and {command.page for command in COMMANDS if command.whole} > {"README.md"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.page}: {command.text}")
def test_every_command_exists_with_its_options(command: Command) -> None:
    name, *arguments = command.arguments or ("--help",)
    if name.startswith("-"):
        assert any(name in parameter.opts for parameter in GROUP.params) or name in ("-h", "--help")
        return
    assert name in GROUP.commands, f"{command.page}: there is no command {name}"
    shown = [p for p in GROUP.commands[name].params if not getattr(p, "hidden", False)]
    known = {"--help", *(option for p in shown for option in (*p.opts, *p.secondary_opts))}
    for argument in arguments:
        if argument.startswith("--"):
            assert argument.partition("=")[0] in known, f"{command.page}: fervid {name} has no option {argument}"
    if command.whole:
        GROUP.commands[name].make_context(name, list(arguments))  # UsageError says what is wrong


def test_every_command_is_documented() -> None:
    for name in GROUP.commands:
        shown = {command.page for command in COMMANDS if command.whole and command.arguments[:1] == (name,)}
        assert shown & set(WRITTEN_BY_HAND), f"no page shows fervid {name}"


def names(rows: list[list[str]], column: int = 0) -> list[str]:
    """The names in code that the cells of a column hold."""
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row[column])]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One video processed with everything on request, and a batch."""
    out = tmp_path_factory.mktemp("made")
    video = ROOT / "sample_videos" / "one_face.mp4"
    fervid.process(
        video, out / "t.parquet", faces=out / "f.parquet", shots=out / "s.parquet", end_s=1, smooth_s=1, baseline=True,
        persons="dlib",
    )  # fmt: skip
    (out / "videos").mkdir()
    (out / "videos" / "bad.mp4").write_text("not a video")
    fervid.batch(out / "videos" / "bad.mp4", out / "batch", workers=1)
    return out


def columns(file: Path) -> list[str]:
    """The columns of a Parquet file, those of one kind by the first of them."""
    found = pq.read_schema(file).names
    return [n for n in found if not n.endswith(("_smooth", "_baseline")) or n.startswith("happiness")]


def test_the_data_dictionary_names_every_column(made: Path) -> None:
    text = PAGES["docs/data-dictionary.md"]
    requested = names(table(text, "### Columns on request"))
    assert names(table(text, "## Timeline")) + requested == columns(made / "t.parquet")
    assert names(table(text, "## Faces")) == columns(made / "f.parquet")
    assert names(table(text, "## Shots")) == columns(made / "s.parquet")
    assert names(table(text, "## Manifest")) == columns(made / "batch" / "manifest.parquet")


def test_the_data_dictionary_names_the_columns_of_scores(tmp_path: Path) -> None:
    fervid.score(ROOT / "sample_videos" / "report.jpg", tmp_path / "scores.csv", detect=False)
    header = (tmp_path / "scores.csv").read_text("utf-8").splitlines()[0]
    assert names(table(PAGES["docs/data-dictionary.md"], "## Scores")) == header.split(",")


def test_the_data_dictionary_names_what_load_timeline_gives(made: Path) -> None:
    text = PAGES["docs/data-dictionary.md"]
    emotions = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
    for by, _, cell in table(text, "## load_timeline")[1:]:
        frame = fervid.load_timeline(made / "t.parquet", by=json.loads(by.strip("`")))
        listed = cell.replace("the expressions", ", ".join(f"`{name}`" for name in emotions))
        assert sorted(re.findall(r"`(\w+)`", listed)) == sorted(frame.columns)


def test_the_data_dictionary_names_every_metadata_key(made: Path) -> None:
    rows = table(PAGES["docs/data-dictionary.md"], "## Metadata")
    facts = json.loads(pq.read_metadata(made / "t.parquet").metadata[b"fervid"])
    assert sorted(names(rows)) == sorted(facts)
    assert set(facts["config"]) >= {"picture_px", "birth_score", "max_gap_s", "cuts"}
    for key in ("source", "model", "persons", "counters"):
        (row,) = [row for row in rows if row[0] == f"`{key}`"]
        assert set(facts[key]) <= set(names([row], 1)), key


def test_every_reason_is_explained() -> None:
    import fervid.errors

    text = PAGES["docs/damaged-files.md"]
    known = fervid.errors.__doc__.split("one word for the manifest:")[1].split(".")[0].replace("\n", " ")
    for word in known.split(","):
        assert f"`{word.strip()}`" in text, word
