"""TorchClassifier: batch independence, precision, fused normalisation, invalid weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fervid.emotions.torch_classifier import TorchClassifier
from fervid.errors import WeightsError
from fervid.lab.data.datasets import FER2013
from fervid.networks.weights import bundled


def noise(n: int, classifier: TorchClassifier) -> np.ndarray:
    """Crops (n, S, S, C) of the kind that a classifier takes."""
    shape = (n, classifier.crop_px, classifier.crop_px, classifier.channels)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("weights", bundled())
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_predictions_do_not_depend_on_the_batch(weights: str, precision: str) -> None:
    classifier = TorchClassifier(weights, "cpu", precision=precision)
    crops = noise(70, classifier)
    together = classifier.predict(crops)
    indices = [0, 31, 63, 69]
    single = np.concatenate([classifier.predict(crops[[i]]) for i in indices])
    assert (together[indices] == single).all()
    assert np.allclose(together.sum(1), 1, atol=1e-6)
    assert classifier.predict(crops[:0]).shape == (0, 7)


@pytest.mark.parametrize("weights", bundled())
def test_bf16_is_within_its_documented_tolerance(weights: str) -> None:
    exact, fast = (TorchClassifier(weights, "cpu", precision=name) for name in ("fp32", "bf16"))
    crops = noise(64, exact)
    documented = {"seresnet": 0.04, "mobilefacenet": 0.08}[weights]
    assert 0 < np.abs(exact.predict(crops) - fast.predict(crops)).max() < documented


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match=r"m\.json"):
        TorchClassifier(str(tmp_path / "m.safetensors"), "cpu")
    metadata = {
        "arch": "seresnet",
        "heads": [{"name": "a", "labels": FER2013, "temperature": 1}],
        "input_px": 48,
        "mean": 0,
        "std": 1,
    }
    metadata |= {"framing": {"landmarks": [[0, 0]] * 5, "box": 1, "zoom": 1}}
    (tmp_path / "m.json").write_text(json.dumps(metadata))
    with pytest.raises(WeightsError, match="not the weights of a seresnet"):
        TorchClassifier(str(tmp_path / "m.safetensors"), "cpu")
    for framing in ({"landmarks": [[0, 0]] * 5, "box": 1}, {"landmarks": 3, "box": 1, "zoom": 1}, None):
        (tmp_path / "m.json").write_text(json.dumps(metadata | {"framing": framing}))
        with pytest.raises(WeightsError, match=r"m\.json: framing: expected landmarks"):
            TorchClassifier(str(tmp_path / "m.safetensors"), "cpu")
