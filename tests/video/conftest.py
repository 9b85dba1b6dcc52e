"""Clips that are built once per session, and the readers that are installed."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.helpers.clips import write_clip
from tests.helpers.reader_clips import CLEAN, CLEAN_AV, PIXELS, Builder, without_torchcodec


@pytest.fixture(autouse=True)
def installed(request: pytest.FixtureRequest) -> None:
    """Skip the tests of a reader that is not installed."""
    callspec = getattr(request.node, "callspec", None)
    if callspec and "torchcodec" in callspec.params.values() and without_torchcodec():
        pytest.skip(without_torchcodec())


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Builder], Path]:
    """Build a file once for the whole session."""
    folder = tmp_path_factory.mktemp("clips")
    made: dict[str, Path] = {}

    def build(name: str, builder: Builder) -> Path:
        if name not in made:
            made[name] = builder(folder / name)
        return made[name]

    return build


@pytest.fixture(scope="session")
def clean(make) -> Callable[[str], Path]:
    """Return the path of a clip from one of the tables."""
    return lambda name: make(name, partial(write_clip, **(CLEAN | CLEAN_AV | PIXELS)[name]))
