"""docs/options.md and docs/api.md say what the code says today, and all of it."""

import importlib.util
import inspect
from types import ModuleType

import pytest

import fervid
from tests.helpers.markdown import PAGES, ROOT


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_options_are_current(generate: ModuleType) -> None:
    assert generate.options_page() == PAGES["docs/options.md"], "run `python docs/generate.py`"


def test_the_api_reference_is_current(generate: ModuleType) -> None:
    assert generate.api_page() == PAGES["docs/api.md"], "run `python docs/generate.py`"


def test_the_api_reference_is_complete() -> None:
    for name in fervid.__all__:
        thing = getattr(fervid, name)
        assert f"`{name}`" in PAGES["docs/api.md"]
        if inspect.isfunction(thing) or inspect.isclass(thing):
            assert f"\n## fervid.{name}\n" in PAGES["docs/api.md"]
            assert inspect.getdoc(thing), f"fervid.{name} has no docstring"
