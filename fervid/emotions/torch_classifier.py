"""The classifier that runs in PyTorch, from a safetensors file and the JSON facts beside it (emotions/facts.py)."""

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from fervid.emotions.facts import read_facts
from fervid.emotions.prior import find_prior
from fervid.errors import DataError, RunError, WeightsError
from fervid.files import file_sha256
from fervid.networks.base import Network, fuse_batch_norm
from fervid.networks.registry import ARCHITECTURES, build
from fervid.networks.weights import find_weights
from fervid.runtime.cuda_graphs import CUDAGraphModule
from fervid.runtime.device import deterministic_fp32, has_bf16, is_out_of_memory, resolve_device, wrap_out_of_memory
from fervid.runtime.threads import one_thread

__all__ = ["TorchClassifier"]


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
        bf16 is twice as fast, and probabilities differ by up to 0.08 (seresnet: 0.04; tests/benchmarks/classifier.py).
    prior : str
        The class frequencies that the probabilities assume; as for `emotions.prior.find_prior`.

    Raises
    ------
    WeightsError
        If weights or facts are missing or do not fit together.
    ConfigError
        If the prior does not fit the head.
    RunError
        If the weights have another hash than the facts declare.
    DeviceError
        If the device is not available, or its memory is too small.
    """

    def __init__(
        self,
        weights: str,
        device: str = "auto",
        head: str | None = None,
        *,
        precision: str = "fp32",
        prior: str = "default",
    ) -> None:
        self.path = find_weights(weights)
        self.facts = facts = read_facts(self.path)
        self.name = self.path.stem
        self.sha256 = _check_hash(self.path, facts.sha256)
        self.heads = facts.heads
        self.head = facts.head(head)
        self.prior = find_prior(prior, self.head, self.path)
        self.labels, self.temperature = self.head.labels, self.head.temperature
        self.crop_px, self.channels, self.alignment = facts.crop_px, facts.channels, facts.alignment
        self.device = resolve_device(device)
        self.precision = precision
        if precision == "auto":
            self.precision = "bf16" if has_bf16(self.device) else "fp32"
        self.batch_size = 32 if self.device == "cpu" else 256
        self._mean, self._std = (
            torch.tensor(values, device=self.device)[:, None, None] for values in (facts.mean, facts.std)
        )
        with wrap_out_of_memory(self.device):
            self.net = self._load(facts.arch)
            if self.device != "cpu":
                self._answer  # noqa: B018 - record now, before other threads use the device

    def _load(self, arch: str) -> Network:
        if arch not in ARCHITECTURES:
            raise WeightsError(f"{self.path}: unknown architecture {arch!r}; expected {', '.join(ARCHITECTURES)}")
        net = build(arch, self.heads[-1].outputs.stop, size_px=self.crop_px, channels=self.channels)
        try:
            state = {k: v.float() for k, v in load_file(self.path).items()}
            _check_channels(net, state, self.path)
            net.load_state_dict(state)
        except (SafetensorError, RuntimeError, OSError) as e:
            reason = str(e).splitlines()[0]
            raise WeightsError(f"{self.path}: not the weights of a {arch} ({reason})") from None
        return net.eval().requires_grad_(False).to(self.device).to(memory_format=torch.channels_last)

    def predict(self, crop: np.ndarray) -> np.ndarray:
        """Compute the calibrated probabilities of the chosen head, under the chosen prior.

        Parameters
        ----------
        crop : np.ndarray
            (m, crop_px, crop_px, channels) uint8; grey crops may lack the last axis.

        Returns
        -------
        np.ndarray
            (m, K) float32.

        Raises
        ------
        DataError
            If the crops are of another kind, such as grey ones for a network that sees colour.
        """
        logits = torch.from_numpy(self.logits(crop)[:, self.head.outputs])
        ratio = torch.from_numpy(self.prior.log_ratio)
        return torch.softmax(logits.double() / self.temperature + ratio, 1).float().numpy()

    @one_thread
    @torch.inference_mode()
    def logits(self, crop: np.ndarray) -> np.ndarray:
        """Compute the logits of all heads.

        Parameters
        ----------
        crop : np.ndarray
            As for `predict`.

        Returns
        -------
        np.ndarray
            (m, outputs of all heads) float32.

        Raises
        ------
        DataError
            As for `predict`.
        """
        crop = self._checked(crop)
        parts = [np.zeros((0, self.heads[-1].outputs.stop), np.float32)]
        for start in range(0, len(crop), self.batch_size):
            full = np.zeros((self.batch_size, self.crop_px, self.crop_px, self.channels), np.uint8)
            part = crop[start : start + self.batch_size]
            full[: len(part)] = part
            parts.append(self._answer(torch.from_numpy(full).permute(0, 3, 1, 2))[: len(part)].cpu().numpy())
        return np.concatenate(parts)

    def _checked(self, crop: np.ndarray) -> np.ndarray:
        """Give the crops with their axis of channels."""
        if crop.ndim == 3 and self.channels == 1:
            crop = crop[..., None]
        if crop.dtype != np.uint8 or crop.shape[1:] != (self.crop_px, self.crop_px, self.channels):
            kind = "colour" if self.channels == 3 else "grey"
            raise DataError(
                f"{self.name} takes {kind} crops (m, {self.crop_px}, {self.crop_px}, {self.channels}) of uint8, found "
                f"{crop.shape} of {crop.dtype}"
            )
        return crop

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
            As for `predict`.

        Returns
        -------
        torch.Tensor
            (m, channels, crop_px, crop_px) float32, on the device of `net`.
        """
        return self._scaled(torch.tensor(self._checked(crop), device=self.device).permute(0, 3, 1, 2))

    def _scaled(self, crop: torch.Tensor) -> torch.Tensor:
        return ((crop.float() / 255 - self._mean) / self._std).contiguous(memory_format=torch.channels_last)


def _check_hash(weights: Path, expected: str | None) -> str:
    found = file_sha256(weights)
    if expected not in (None, found):
        raise RunError(
            f"{weights}: sha256 is {found[:12]}..., expected {expected[:12]}...: the file is altered or "
            "damaged; reinstall fervid or restore the file"
        )
    return found


def _check_channels(net: Network, state: dict[str, torch.Tensor], path: Path) -> None:
    """Compare the channels of the first convolution, built after the facts, with those of the weights."""
    for name, own in net.state_dict().items():
        if own.ndim == 4:
            if name in state and state[name].ndim == 4 and state[name].shape[1] != own.shape[1]:
                raise WeightsError(
                    f"{path}: the first convolution takes {state[name].shape[1]} channel(s), but {own.shape[1]} "
                    f"according to {path.with_suffix('.json').name}: correct colour there"
                )
            return
