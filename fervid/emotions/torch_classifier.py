"""The classifier that runs in PyTorch, from a safetensors file and the JSON facts beside it."""

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
from fervid.runtime.device import deterministic_fp32, has_bf16, is_out_of_memory, resolve_device, wrap_out_of_memory
from fervid.runtime.threads import one_thread

__all__ = ["Head", "TorchClassifier"]


@dataclass(frozen=True)
class Head:
    """One labelling of a network with several: its classes, its temperature, and its outputs from `first` on.

    Parameters
    ----------
    name : str
    labels : tuple of str
    temperature : float
        Divisor of the logits, fitted on validation faces (Guo et al. 2017, arXiv 1706.04599).
    first : int
        Index of its first output.
    """

    name: str
    labels: tuple[str, ...]
    temperature: float
    first: int

    @property
    def outputs(self) -> slice:
        """The outputs of the network that belong to this head."""
        return slice(self.first, self.first + len(self.labels))


class TorchClassifier:
    """A Classifier on a CPU or a GPU. Every forward pass has the same shape, so results do not depend on batching.

    Parameters
    ----------
    weights : str
        Name of a bundled model, or path of a safetensors file.
    device : str
        "auto", "cpu", "cuda" or "cuda:N".
    head : str, optional
        Which head answers, where the network has several (FER2013's seven labels, FER+'s eight); the first by default.
    precision : str
        "fp32", "bf16", or "auto": bf16 where the device has it (AMX, AVX512_BF16, Ampere), else fp32. On such a CPU
        bf16 is 2 to 4 times as fast, and probabilities differ by up to 0.04 (tests/benchmarks/classifier.py).

    Raises
    ------
    WeightsError
        If weights or facts are missing or do not fit together.
    RunError
        If the weights have another hash than the facts declare.
    DeviceError
        If the device is not available, or its memory is too small.
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
        self.channels = 1
        self.alignment = _read_alignment(facts["framing"], self.path)
        self._mean, self._std = float(facts["mean"]), float(facts["std"])
        self.device = resolve_device(device)
        self.precision = precision
        if precision == "auto":
            self.precision = "bf16" if has_bf16(self.device) else "fp32"
        self.batch_size = 32 if self.device == "cpu" else 256
        with wrap_out_of_memory(self.device):
            self.net = self._load(facts["arch"])
            if self.device != "cpu":
                self._answer  # noqa: B018 - record now, before other threads use the device

    def _choose(self, name: str | None) -> Head:
        heads = {head.name: head for head in self.heads}
        if name is not None and name not in heads:
            raise WeightsError(f"{self.path}: no head {name!r}; expected {', '.join(heads)}")
        return heads[name] if name else self.heads[0]

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
        """Compute the calibrated probabilities of the chosen head.

        Parameters
        ----------
        crop : np.ndarray
            (m, crop_px, crop_px, channels) uint8.

        Returns
        -------
        np.ndarray
            (m, K) float32.
        """
        logits = torch.from_numpy(self.logits(crop)[:, self.head.outputs])
        return torch.softmax(logits.double() / self.temperature, 1).float().numpy()

    @one_thread
    @torch.inference_mode()
    def logits(self, crop: np.ndarray) -> np.ndarray:
        """Compute the logits of all heads.

        Parameters
        ----------
        crop : np.ndarray
            (m, crop_px, crop_px, channels) uint8.

        Returns
        -------
        np.ndarray
            (m, outputs of all heads) float32.
        """
        parts = [np.zeros((0, self.heads[-1].outputs.stop), np.float32)]
        for start in range(0, len(crop), self.batch_size):
            full = np.zeros((self.batch_size, self.crop_px, self.crop_px, self.channels), np.uint8)
            part = crop[start : start + self.batch_size]
            full[: len(part)] = part
            parts.append(self._answer(torch.from_numpy(full).permute(0, 3, 1, 2))[: len(part)].cpu().numpy())
        return np.concatenate(parts)

    @cached_property
    def _answer(self) -> CUDAGraphModule:
        """The network as the line runs it, fused and for full batches; `net` stays as trained, for attribution."""
        return self._recorded()

    def _recorded(self) -> CUDAGraphModule:
        """Fuse the network and record it for the largest batch, up to batch_size, that fits on the device."""
        fused = fuse_batch_norm(self.net).to(self._dtype).to(memory_format=torch.channels_last)

        def answer(crop: torch.Tensor) -> torch.Tensor:
            return self.net.head(fused.features(self._scaled(crop).to(self._dtype)).float())

        while True:
            shape = (self.batch_size, self.channels, self.crop_px, self.crop_px)
            try:
                with deterministic_fp32():
                    return CUDAGraphModule(answer, torch.zeros(shape, dtype=torch.uint8, device=self.device))
            except RuntimeError as e:
                if self.batch_size == 1 or not is_out_of_memory(e):
                    raise
            self.batch_size //= 2

    @property
    def _dtype(self) -> torch.dtype:
        return {"fp32": torch.float32, "bf16": torch.bfloat16}[self.precision]

    def prepare(self, crop: np.ndarray) -> torch.Tensor:
        """Normalise crops into the input of `net`.

        Parameters
        ----------
        crop : np.ndarray
            (m, crop_px, crop_px, channels) uint8.

        Returns
        -------
        torch.Tensor
            (m, channels, crop_px, crop_px) float32, on the device of `net`.
        """
        return self._scaled(torch.tensor(crop, device=self.device).permute(0, 3, 1, 2))

    def _scaled(self, crop: torch.Tensor) -> torch.Tensor:
        return ((crop.float() / 255 - self._mean) / self._std).contiguous(memory_format=torch.channels_last)


def _read_facts(weights: Path) -> dict[str, Any]:
    """Read the JSON facts beside the weights; a WeightsError names the keys that are missing."""
    path = weights.with_suffix(".json")
    try:
        facts = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as e:
        raise WeightsError(
            f"{path}: cannot read the facts of the weights ({e}); `fervid train` writes this file"
        ) from None
    if missing := [name for name in FACTS if name not in facts]:
        raise WeightsError(f"{path}: {', '.join(missing)} missing; `fervid train` writes this file")
    return facts


def _read_alignment(facts: dict[str, Any], weights: Path) -> FaceAlignment:
    try:
        return FaceAlignment.from_facts(facts)
    except (KeyError, TypeError, ValueError) as e:
        path = weights.with_suffix(".json")
        raise WeightsError(f"{path}: framing: expected landmarks (five points), box and zoom ({e!r})") from None


def _read_heads(facts: list[dict[str, Any]], weights: Path) -> tuple[Head, ...]:
    heads: list[Head] = []
    try:
        for fact in facts:
            labels = tuple(emotion(name) for name in fact["labels"])
            first = heads[-1].outputs.stop if heads else 0
            heads.append(Head(fact["name"], labels, float(fact["temperature"]), first))
    except (KeyError, TypeError, ValueError) as e:
        path = weights.with_suffix(".json")
        raise WeightsError(f"{path}: heads: expected a name, labels and a temperature for each ({e!r})") from None
    if not heads:
        raise WeightsError(f"{weights.with_suffix('.json')}: heads: expected at least one, found none")
    return tuple(heads)


def _check_hash(weights: Path, facts: dict[str, Any]) -> str:
    found = file_sha256(weights)
    if facts.get("sha256", found) != found:
        raise RunError(
            f"{weights}: sha256 is {found[:12]}..., expected {facts['sha256'][:12]}...: the file is altered or "
            "damaged; reinstall fervid or restore the file"
        )
    return found
