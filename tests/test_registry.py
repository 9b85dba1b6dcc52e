"""Registries: each row works, and a new choice is one row and one module."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

import fervid
from fervid.config import Config, load_config
from fervid.errors import ConfigError
from fervid.faces.detectors import find_detector, load_detector
from fervid.networks.registry import ARCHITECTURES
from fervid.provenance import models_fingerprint
from fervid.registry import DETECTORS, EMBEDDERS, READERS, DetectorEntry, Entry, describe
from fervid.tracks.embedders import load_embedder
from fervid.video.open import open_video
from tests.helpers.fakes import FakeDetector, FakeEmbedder
from tests.helpers.scenes import scene, write

ROOT = Path(__file__).parent.parent
TABLES: dict[str, Mapping[str, Entry]] = {
    "readers": READERS,
    "detectors": DETECTORS,
    "embedders": EMBEDDERS,
    "architectures": ARCHITECTURES,
}
ROWS = [(table, name) for table, rows in TABLES.items() for name in rows]


@pytest.mark.parametrize("table, name", ROWS)
def test_each_row_names_what_exists(table: str, name: str) -> None:
    row = TABLES[table][name]
    for target in filter(None, (row.target, row.weights)):
        module, _, attribute = target.partition(":")
        path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        assert re.search(rf"^(class|def) {attribute}\b|^{attribute} = ", path.read_text("utf-8"), re.MULTILINE), target
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert not row.extra or row.extra in extras
    assert "\n" not in row.help and not row.help.endswith(".")


def test_a_description_lists_the_rows() -> None:
    table = {"a": Entry("m:A", help="first"), "b": Entry("m:B")}
    assert describe(table) == "a (first), b"


def test_an_entry_gets_what_it_takes() -> None:
    made = Entry("builtins:dict", options={"fixed": 1}, takes=("device", "missing")).create(device="cpu", stream=2)
    assert made == {"device": "cpu", "fixed": 1}


def test_a_new_detector_is_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="unknown detector 'toy': expected one of mtcnn, centerface"):
        load_config(detector="toy")
    monkeypatch.setitem(DETECTORS, "toy", DetectorEntry("tests.helpers.fakes:FakeDetector", face_px=40))
    assert isinstance(load_detector("toy", "cpu", "fp32"), FakeDetector) and find_detector("toy") == ()
    assert models_fingerprint(Config(detector="toy")) != models_fingerprint(Config())
    assert load_config(detector="toy", min_face_px=60).detection_scale(1920, 1080) == (1280, 60)
    models = fervid.load_models(detector="toy", device="cpu")
    path = write(tmp_path / "a.mp4", scene(10, (8, 8)))
    result = fervid.process(path, models=models, detector="toy", device="cpu")
    assert result.provenance["detector"] == FakeDetector.name and result.provenance["counters"]["faces"] > 0


def test_a_new_reader_is_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mp4", scene(10, (8, 8)))
    monkeypatch.setitem(READERS, "toy", READERS["av"])
    with open_video(path, reader=load_config(reader="toy").reader) as reader:
        assert len(list(reader.frames())) == 10


def test_a_new_embedder_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Entry("tests.helpers.fakes:FakeEmbedder", weights="tests.test_registry:find_toy")
    monkeypatch.setitem(EMBEDDERS, "toy", row)
    assert isinstance(load_embedder("toy", "cpu"), FakeEmbedder)
    assert models_fingerprint(Config(persons="toy")) != models_fingerprint(Config())


def find_toy() -> Path:
    """Any file passes for the weights of the toy."""
    return Path(__file__)


def test_a_new_architecture_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    from fervid.networks.registry import build

    monkeypatch.setitem(ARCHITECTURES, "toy", Entry("tests.test_registry:toy_network", options={"width": 3}))
    assert build("toy", 7) == ("toy", 7, 3)


def toy_network(n_classes: int, *, width: int) -> tuple[str, int, int]:
    """What it was called with."""
    return "toy", n_classes, width
