"""A classifier from a safetensors file and the card of facts beside it."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from fervid.errors import RunError, WeightsError
from fervid.faces.crop import FaceAlignment
from fervid.files import file_sha256
from fervid.labels import emotion
from fervid.networks.base import Network, fuse_batch_norm
from fervid.networks.registry import ARCHITECTURES, build
from fervid.networks.weights import FACTS, find_weights
from fervid.runtime.cuda_graphs import CUDAGraphModule
from fervid.runtime.device import deterministic_fp32, enough_memory, has_bf16, is_out_of_memory, resolve_device
from fervid.runtime.threads import one_thread

__all__ = ["Head", "TorchClassifier"]


@dataclass(frozen=True)
class Head:
    """One set of classes that a network answers for: its outputs begin at `first`, and it has its own temperature."""

    name: str
    labels: tuple[str, ...]
    temperature: float
    first: int

    @property
    def outputs(self) -> slice:
        """Which of the network's outputs are these."""
        return slice(self.first, self.first + len(self.labels))


class TorchClassifier:
    """A Classifier (see emotions.py) on a CPU or a GPU. Batches have one fixed shape: results do not depend on it.

    A network may have several heads (FER2013's seven labels, FER+'s eight); the line asks the first, unless another
    is named. `precision` is fp32, bf16, or auto: bf16 on a device that has it (AMX, AVX512_BF16, Ampere), 2 to 4 times
    as fast on a CPU and within 0.04 of the probabilities in fp32 (tests/benchmarks/classifier.py), else fp32.
    """

    def __init__(self, weights: str, device: str = "auto", head: str | None = None, *, precision: str = "fp32") -> None:
        self.path = find_weights(weights)
        facts = _read_facts(self.path)
        self.name = self.path.stem
        self.sha256 = _check_hash(self.path, facts)
        self.heads = _read_heads(facts["heads"], self.path)
        self.head = self._choose(head)
        self.labels, self.temperature = self.head.labels, self.head.temperature
        self.crop_px = int(facts["input_px"])
        self.framing = FaceAlignment(**facts["framing"])
        self._mean, self._std = float(facts["mean"]), float(facts["std"])
        self.device = resolve_device(device)
        self.precision = precision
        if precision == "auto":
            self.precision = "bf16" if has_bf16(self.device) else "fp32"
        self.batch_size = 32 if self.device == "cpu" else 256
        with enough_memory(self.device):
            self.net = self._load(facts["arch"])
            if self.device != "cpu":
                self._answer  # noqa: B018 - recorded now, before other threads compute on the device

    def _choose(self, asked: str | None) -> Head:
        found = {head.name: head for head in self.heads}
        if asked is not None and asked not in found:
            raise WeightsError(f"{self.path}: no head {asked!r}; expected {', '.join(found)}")
        return found[asked] if asked else self.heads[0]

    def _load(self, arch: str) -> Network:
        if arch not in ARCHITECTURES:
            raise WeightsError(f"{self.path}: unknown architecture {arch!r}; expected {', '.join(ARCHITECTURES)}")
        net = build(arch, sum(len(head.labels) for head in self.heads))
        try:
            net.load_state_dict({k: v.float() for k, v in load_file(self.path).items()})
        except (SafetensorError, RuntimeError, OSError) as e:
            reason = str(e).splitlines()[0]
            raise WeightsError(f"{self.path}: not the weights of a {arch} ({reason})") from None
        return net.eval().requires_grad_(False).to(self.device).to(memory_format=torch.channels_last)

    def predict(self, crop: np.ndarray) -> np.ndarray:
        """Crops (m, crop_px, crop_px) uint8 -> calibrated probabilities (m, K) float32 of this head."""
        logits = torch.from_numpy(self.logits(crop)[:, self.head.outputs])
        return torch.softmax(logits.double() / self.temperature, 1).float().numpy()

    @one_thread
    @torch.inference_mode()
    def logits(self, crop: np.ndarray) -> np.ndarray:
        """Crops (m, crop_px, crop_px) uint8 -> what the network says (m, outputs of all heads) float32."""
        parts = [np.zeros((0, self.heads[-1].outputs.stop), np.float32)]
        for start in range(0, len(crop), self.batch_size):
            full = np.zeros((self.batch_size, 1, self.crop_px, self.crop_px), np.uint8)
            part = crop[start : start + self.batch_size]
            full[: len(part), 0] = part
            parts.append(self._answer(torch.from_numpy(full))[: len(part)].cpu().numpy())
        return np.concatenate(parts)

    @cached_property
    def _answer(self) -> CUDAGraphModule:
        """The network as the line runs it, for full batches; `net` stays as it was trained, for who looks into it."""
        return self._recorded()

    def _recorded(self) -> CUDAGraphModule:
        """Fold the network and record it for the largest batch, up to batch_size, that the device has room for."""
        swift = fuse_batch_norm(self.net).to(self._number).to(memory_format=torch.channels_last)

        def answer(crop: torch.Tensor) -> torch.Tensor:
            return self.net.head(swift.features(self._scaled(crop).to(self._number)).float())

        while True:
            shape = (self.batch_size, 1, self.crop_px, self.crop_px)
            try:
                with deterministic_fp32():
                    return CUDAGraphModule(answer, torch.zeros(shape, dtype=torch.uint8, device=self.device))
            except RuntimeError as e:
                if self.batch_size == 1 or not is_out_of_memory(e):
                    raise
            self.batch_size //= 2

    @property
    def _number(self) -> torch.dtype:
        return {"fp32": torch.float32, "bf16": torch.bfloat16}[self.precision]

    def prepare(self, crop: np.ndarray) -> torch.Tensor:
        """Crops (m, 1, crop_px, crop_px) uint8 -> what `net` sees, on its device."""
        return self._scaled(torch.tensor(crop, device=self.device))

    def _scaled(self, crop: torch.Tensor) -> torch.Tensor:
        return ((crop.float() / 255 - self._mean) / self._std).contiguous(memory_format=torch.channels_last)


def _read_facts(weights: Path) -> dict[str, Any]:
    """Read the JSON beside the weights; WeightsError names what is missing."""
    path = weights.with_suffix(".json")
    try:
        facts = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as e:
        raise WeightsError(
            f"{path}: the facts beside the weights cannot be read ({e}); `fervid train` writes this file"
        ) from None
    if missing := [name for name in FACTS if name not in facts]:
        raise WeightsError(f"{path}: no {', '.join(missing)} in it; `fervid train` writes this file")
    return facts


def _read_heads(facts: list[dict[str, Any]], weights: Path) -> tuple[Head, ...]:
    heads: list[Head] = []
    try:
        for fact in facts:
            labels = tuple(emotion(name) for name in fact["labels"])
            first = heads[-1].outputs.stop if heads else 0
            heads.append(Head(fact["name"], labels, float(fact["temperature"]), first))
    except (KeyError, TypeError, ValueError) as e:
        path = weights.with_suffix(".json")
        raise WeightsError(f"{path}: heads: expected name, labels and temperature of each ({e!r})") from None
    if not heads:
        raise WeightsError(f"{weights.with_suffix('.json')}: heads: expected at least one, found none")
    return tuple(heads)


def _check_hash(weights: Path, facts: dict[str, Any]) -> str:
    found = file_sha256(weights)
    if facts.get("sha256", found) != found:
        raise RunError(
            f"{weights}: sha256 is {found[:12]}..., expected {facts['sha256'][:12]}...: altered or damaged; "
            "install again"
        )
    return found
