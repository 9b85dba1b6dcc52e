"""TorchClassifier: batch independence, precision, fused normalisation, invalid weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fervid.emotions.torch_classifier import TorchClassifier
from fervid.errors import WeightsError
from fervid.lab.data.datasets import FER2013


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_predictions_do_not_depend_on_the_batch(precision: str) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (70, 48, 48, 1), np.uint8)
    classifier = TorchClassifier("seresnet", "cpu", precision=precision)
    together = classifier.predict(crops)
    indices = [0, 31, 63, 69]
    single = np.concatenate([classifier.predict(crops[[i]]) for i in indices])
    assert (together[indices] == single).all()
    assert np.allclose(together.sum(1), 1, atol=1e-6)
    assert classifier.predict(crops[:0]).shape == (0, 7)


def test_bf16_is_within_its_documented_tolerance() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (64, 48, 48, 1), np.uint8)
    fp32, bf16 = (TorchClassifier("seresnet", "cpu", precision=name).predict(crops) for name in ("fp32", "bf16"))
    assert 0 < np.abs(fp32 - bf16).max() < 0.04


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
