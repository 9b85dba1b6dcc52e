"""How good, and how honest, a classifier is on labelled faces."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from torch import nn

from fervid.backends.torch_classifier import TorchClassifier
from fervid.errors import DataError
from fervid.lab.datasets import load_faces

__all__ = ["Scores", "calibration_error", "evaluate_weights", "fit_temperature", "predict_logits", "score"]


@dataclass(frozen=True)
class Scores:
    """What `fervid evaluate` prints; `confusion[i, j]` counts faces of class i that were called j."""

    n: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    macro_f1: float
    ece: float
    ece_uncalibrated: float
    f1: dict[str, float]
    confusion: np.ndarray


@torch.inference_mode()
def predict_logits(net: nn.Module, image: np.ndarray, mean_std: tuple[float, float]) -> np.ndarray:
    """Give logits (n, K) float32 for grey faces (n, h, w) uint8, seen once, as the line sees them."""
    net.eval()
    device = next(net.parameters()).device
    mean, std = mean_std
    parts = []
    for start in range(0, len(image), 256):
        x = torch.from_numpy(image[start : start + 256])[:, None].to(device).float()
        x = ((x / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            parts.append(net(x).float().cpu().numpy())
    return np.concatenate(parts)


def fit_temperature(logits: np.ndarray, label: np.ndarray) -> float:
    """Find the temperature that minimises the negative log-likelihood (Guo et al. 2017, arXiv 1706.04599)."""

    def loss(log_t: float) -> float:
        return -float(log_softmax(logits / np.exp(log_t), 1)[np.arange(len(label)), label].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-2.5, 2.5), method="bounded").x))


def calibration_error(prob: np.ndarray, label: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error over equal-width bins (Naeini et al. 2015; Guo et al. 2017, equation 3)."""
    confidence, right = prob.max(1), prob.argmax(1) == label
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(right[which == b].mean() - confidence[which == b].mean()) * (which == b).mean() for b in set(which)]
    return float(sum(gaps))


def evaluate_weights(data: Path, split: str | None, weights: str, device: str) -> dict[str, Any]:
    """Score a bundled model or a .safetensors file on a data set, through the classifier that the line uses."""
    faces = load_faces(data, split)
    classifier = TorchClassifier(weights, device)
    if set(classifier.labels) != set(faces.labels):
        raise DataError(f"the classes differ: {weights} knows {classifier.labels}, {data} has {faces.labels}")
    prob = classifier.predict(faces.image)[:, [classifier.labels.index(name) for name in faces.labels]]
    logits = np.log(np.maximum(prob, 1e-30)) * classifier.temperature
    scores = score(logits, faces.label, faces.labels, classifier.temperature)
    facts = {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(scores).items()}
    facts["f1"] = {name: round(v, 4) for name, v in scores.f1.items()}
    facts["confusion"] = {name: row.tolist() for name, row in zip(faces.labels, scores.confusion)}
    return {"data": str(data), "split": split, "weights": classifier.name, "sha256": classifier.sha256} | facts


def score(logits: np.ndarray, label: np.ndarray, labels: tuple[str, ...], temperature: float) -> Scores:
    """Score logits (n, K) against labels (n,); the interval is a 95% bootstrap over faces (1000 draws, seed 0)."""
    called, k = logits.argmax(1), len(labels)
    confusion = np.bincount(label * k + called, minlength=k * k).reshape(k, k)
    hits, support, claimed = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    f1 = 2 * hits / np.maximum(support + claimed, 1)
    right = called == label
    draws = np.random.default_rng(0).integers(0, len(label), (1000, len(label)))
    low, high = np.percentile(right[draws].mean(1), [2.5, 97.5])
    return Scores(
        n=len(label),
        accuracy=float(right.mean()), accuracy_low=float(low), accuracy_high=float(high),
        macro_f1=float(f1.mean()),
        ece=calibration_error(softmax(logits / temperature, 1), label),
        ece_uncalibrated=calibration_error(softmax(logits, 1), label),
        f1={name: float(v) for name, v in zip(labels, f1)},
        confusion=confusion,
    )  # fmt: skip
