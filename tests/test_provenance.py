"""One resume key for every way to run: it changes with whatever decides a result, and with nothing else."""

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from fervid.config import DEFAULT_WEIGHTS, Config, load_config
from fervid.errors import MissingDependency, WeightsError
from fervid.models import Models
from fervid.networks.weights import find_weights
from fervid.pipeline import process_video
from fervid.provenance import RESULTS_VERSION, models_fingerprint, resume_key
from fervid.timeline.read import read_provenance
from tests.helpers.fakes import FakeClassifier, FakeDetector
from tests.helpers.scenes import scene, write


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A copy of the bundled model."""
    bundled = find_weights(DEFAULT_WEIGHTS)
    for path in (bundled, bundled.with_suffix(".json")):
        shutil.copy(path, tmp_path / f"mine{path.suffix}")
    return tmp_path / "mine.safetensors"


def test_key_covers_everything_that_determines_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [
        resume_key("a", Config(), "m"),
        resume_key("b", Config(), "m"),
        resume_key("a", Config(fps=4.0), "m"),
        resume_key("a", Config(), "n"),
    ]
    for number in ("RESULTS_VERSION", "SCHEMA_VERSION"):
        with monkeypatch.context() as patch:
            patch.setattr(f"fervid.provenance.{number}", 99)
            keys.append(resume_key("a", Config(), "m"))
    assert len(set(keys)) == 6
    assert resume_key("a", load_config(), "m") == keys[0]


def test_unknown_content_or_models_have_no_key() -> None:
    assert resume_key("", Config(), "m") == resume_key("a", Config(), "") == ""


def test_weights_and_facts_of_the_classifier_count(weights: Path) -> None:
    config = Config(weights=str(weights))
    before = models_fingerprint(config)
    assert models_fingerprint(Config()) == before  # content counts, names stand in the configuration
    facts = json.loads(weights.with_suffix(".json").read_text())
    facts["heads"][0]["temperature"] *= 2
    weights.with_suffix(".json").write_text(json.dumps(facts))
    assert models_fingerprint(config) != before
    weights.with_suffix(".json").unlink()
    with pytest.raises(WeightsError, match=r"mine\.json: cannot be read"):
        models_fingerprint(config)


def test_the_weights_of_the_detector_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = models_fingerprint(Config())
    package = importlib.util.find_spec("facenet_pytorch")
    assert package is not None and package.origin is not None
    shutil.copytree(Path(package.origin).with_name("data"), tmp_path / "data")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    assert models_fingerprint(Config()) == before
    (tmp_path / "data" / "onet.pt").write_bytes(b"another")
    assert models_fingerprint(Config()) != before
    (tmp_path / "data" / "onet.pt").unlink()
    with pytest.raises(WeightsError, match=r"onet\.pt: cannot be read"):
        models_fingerprint(Config())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match="facenet-pytorch"):
        models_fingerprint(Config())


def test_the_weights_of_the_embedder_count(tmp_path: Path) -> None:
    found = {models_fingerprint(Config())}
    for content in (b"one", b"other"):
        (tmp_path / "faces.pt").write_bytes(content)
        found.add(models_fingerprint(Config(persons=str(tmp_path / "faces.pt"))))
    assert len(found) == 3


def test_a_result_holds_its_key(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", scene(10, (8, 8)))
    models = Models(FakeDetector(), FakeClassifier(), "cpu", fingerprint="m")
    process_video(path, tmp_path / "t.parquet", Config(), models, faces_out=tmp_path / "f.parquet")
    for name in ("t.parquet", "f.parquet"):
        facts = read_provenance(tmp_path / name)
        assert facts["results_version"] == RESULTS_VERSION
        assert facts["resume_key"] == resume_key(facts["source"]["sha256"], Config(), "m")
    unknown = process_video(path, None, Config(), replace(models, fingerprint=""))
    assert unknown.provenance["resume_key"] == ""


def test_facts_are_checked_before_any_video(weights: Path) -> None:
    facts = weights.with_suffix(".json")
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"std": 0}))
    with pytest.raises(WeightsError, match=r"mine\.json: std: expected positive numbers"):
        models_fingerprint(Config(weights=str(weights)))
