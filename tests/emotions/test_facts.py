"""The facts beside weights: what is checked, and what each error says."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fervid.emotions.facts import read_facts
from fervid.emotions.torch_classifier import TorchClassifier
from fervid.errors import DataError, WeightsError
from fervid.networks.registry import build
from fervid.networks.weights import bundled

SEVEN = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
FACTS: dict[str, Any] = {
    "arch": "seresnet",
    "heads": [{"name": "a", "labels": SEVEN, "temperature": 1.5}],
    "input_px": 48,
    "mean": 0.5,
    "std": 0.25,
    "framing": {"landmarks": [[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], "box": 0.9, "zoom": 1.0},
}
UNIFORM = [1 / 7] * 7


def head(**changes: Any) -> dict[str, Any]:
    return {"heads": [FACTS["heads"][0] | changes]}


@pytest.fixture
def weights(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    def write(changes: dict[str, Any]) -> Path:
        (tmp_path / "m.json").write_text(json.dumps(FACTS | changes))
        return tmp_path / "m.safetensors"

    return write


def test_facts_of_older_files_have_defaults(weights: Callable[[dict[str, Any]], Path]) -> None:
    facts = read_facts(weights({}))
    assert (facts.channels, facts.terms, facts.sha256) == (1, "", None)
    assert (facts.heads[0].prior, facts.heads[0].trained_prior) == (None, None)
    assert (facts.mean, facts.std) == ((0.5,), (0.25,))


def test_facts_of_colour_weights(weights: Callable[[dict[str, Any]], Path]) -> None:
    facts = read_facts(weights({"colour": True, "mean": [0.4, 0.5, 0.6], "terms": "MIT"} | head(prior=UNIFORM)))
    assert (facts.channels, facts.mean, facts.std, facts.terms) == (3, (0.4, 0.5, 0.6), (0.25,) * 3, "MIT")
    assert facts.heads[0].prior == tuple(UNIFORM)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": "yes"}, "colour: expected true or false, found yes"),
        ({"mean": [0.4, 0.5, 0.6]}, "mean: expected a number, found"),
        ({"colour": True, "mean": [0.4, 0.5]}, "mean: expected a number, or one for each of red, green and blue"),
        ({"std": 0}, "std: expected positive numbers, found 0"),
        ({"std": math.nan}, "std: expected a number, found nan"),
        ({"std": True}, "std: expected a number, found True"),
        ({"input_px": 48.5}, "input_px: expected a whole number from 8 to 1024, found 48.5"),
        ({"input_px": 4}, "input_px: expected a whole number"),
        ({"terms": 3}, "terms: expected a sentence, found 3"),
        ({"heads": []}, "heads: expected a list of at least one head"),
        ({"heads": [3]}, "heads: expected a name, labels and a temperature"),
        (head(temperature=0), "head a: temperature: expected a positive number, found 0"),
        (head(temperature=-1.2), "head a: temperature: expected a positive number, found -1.2"),
        (head(temperature=math.nan), "head a: temperature: expected a positive number, found nan"),
        (head(temperature="warm"), "head a: temperature: expected a positive number, found warm"),
        (head(labels=[*SEVEN[:6], "angry"]), "head a: labels: expected different emotions"),
        (head(labels=["bored"]), "unknown emotion 'bored'"),
        ({"heads": FACTS["heads"] * 2}, "heads: expected a different name for each"),
        (head(prior=[1.0]), "head a: prior: expected 7 positive numbers that sum to 1"),
        (head(prior=[0.5, 0, 0.1, 0.1, 0.1, 0.1, 0.1]), "head a: prior: expected 7 positive numbers"),
        (head(prior=[0.2] * 7), "head a: prior: expected 7 positive numbers that sum to 1"),
        (head(trained_prior=[0.2] * 7), "head a: trained_prior: expected 7 positive numbers that sum to 1"),
        ({"framing": {"landmarks": [], "box": 1}}, "framing: expected landmarks"),
    ],
)
def test_each_wrong_fact_is_named(
    weights: Callable[[dict[str, Any]], Path], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(WeightsError) as error:
        read_facts(weights(changes))
    assert words in str(error.value)
    assert "m.json: " in str(error.value) and "\n" not in str(error.value)


def test_missing_keys_are_named(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(json.dumps({k: v for k, v in FACTS.items() if k not in ("mean", "heads")}))
    with pytest.raises(WeightsError, match=r"m\.json: heads, mean missing; `fervid train` writes"):
        read_facts(tmp_path / "m.safetensors")
    (tmp_path / "m.json").write_text("[]")
    with pytest.raises(WeightsError, match="expected a JSON object, found list"):
        read_facts(tmp_path / "m.safetensors")


@pytest.mark.parametrize("name", bundled())
def test_facts_of_bundled_weights_state_their_prior(name: str) -> None:
    facts = read_facts(bundled()[name])
    for one in facts.heads:
        assert one.prior is not None and one.trained_prior is not None
        assert math.isclose(math.fsum(one.prior), 1, abs_tol=1e-4)


def test_colour_that_contradicts_the_weights_is_refused(weights: Callable[[dict[str, Any]], Path]) -> None:
    torch.manual_seed(0)
    path = weights({"colour": True})
    save_file(build("seresnet", 7).state_dict(), path)
    with pytest.raises(WeightsError, match=r"first convolution takes 1 channel\(s\), but 3 according to m\.json"):
        TorchClassifier(str(path), "cpu")


def test_colour_network_refuses_grey_crops(weights: Callable[[dict[str, Any]], Path]) -> None:
    torch.manual_seed(0)
    path = weights({"colour": True, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]})
    net = build("seresnet", 7, channels=3).eval()
    save_file(net.state_dict(), path)
    classifier = TorchClassifier(str(path), "cpu")
    crop = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), np.uint8)
    x = (torch.from_numpy(crop).permute(0, 3, 1, 2) / 255 - torch.tensor([0.4, 0.5, 0.6])[:, None, None]) / (
        torch.tensor([0.2, 0.25, 0.3])[:, None, None]
    )
    with torch.inference_mode():
        expected = torch.softmax(net(x) / 1.5, 1).numpy()
    assert np.allclose(classifier.predict(crop), expected, atol=1e-5)
    for wrong in (crop[..., 0], crop[..., :1], crop[:, :40], crop.astype(np.float32)):
        with pytest.raises(DataError, match=r"takes colour crops \(m, 48, 48, 3\) of uint8, found"):
            classifier.predict(wrong)


def test_grey_network_takes_crops_with_and_without_the_axis_of_channels(tmp_path: Path) -> None:
    classifier = TorchClassifier("seresnet", "cpu")
    crop = np.random.default_rng(0).integers(0, 256, (3, 48, 48), np.uint8)
    assert (classifier.predict(crop) == classifier.predict(crop[..., None])).all()
    with pytest.raises(DataError, match="takes grey crops"):
        classifier.predict(np.repeat(crop[..., None], 3, 3))


def test_half_precision_weights_are_the_same_as_in_full(tmp_path: Path) -> None:
    """Bundled matrices are stored in fp16; loading must not compute in it."""
    source = bundled()["seresnet"]
    save_file({k: v.float() for k, v in load_file(source).items()}, tmp_path / "m.safetensors")
    facts = json.loads(source.with_suffix(".json").read_text())
    (tmp_path / "m.json").write_text(json.dumps({k: v for k, v in facts.items() if k != "sha256"}))
    crop = np.random.default_rng(0).integers(0, 256, (2, 48, 48), np.uint8)
    one, other = (TorchClassifier(w, "cpu").predict(crop) for w in ("seresnet", str(tmp_path / "m.safetensors")))
    assert (one == other).all()
