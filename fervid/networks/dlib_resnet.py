"""dlib's face recognition network (King 2017, CC0): 29 convolutions, trained on three million faces.

Its weights ship in the package face-recognition-models. The layers are those of dlib's example
dnn_face_recognition_ex.cpp; the file is in dlib's serialisation format, from which only tensors are read.
"""

import importlib.util
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fervid.errors import MissingDependency, WeightsError, install_extra

__all__ = ["MEAN", "SIDE_PX", "STD", "DlibResNet", "find_dlib_weights", "read_dlib_weights"]

#: Side of the faces on which the network was trained.
SIDE_PX = 150
#: Means that dlib subtracts from red, green and blue before it divides by 256.
_MEANS = np.array([122.782, 117.001, 104.298])
#: Normalisation of the grey input: (pixel / 255 - MEAN) / STD, the mean and standard deviation of FER2013.
MEAN, STD = 0.51, 0.255
_PACKAGE = "face_recognition_models"
_FILE = "models/dlib_face_recognition_resnet_model_v1.dat"
_WIDTHS = (32, 32, 32, 64, 64, 64, 64, 128, 128, 128, 256, 256, 256, 256)
_DOWN = (3, 7, 10, 13)


class Residual(nn.Module):
    """Two convolutions added to the input, which is average-pooled where the block halves the resolution.

    Whichever of the two is smaller is padded with zeros, as in dlib.

    Parameters
    ----------
    inside, outside : int
        Numbers of input and output channels.
    down : bool
        Whether the block halves the resolution.
    """

    def __init__(self, inside: int, outside: int, down: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, 2, 0) if down else nn.Conv2d(inside, outside, 3, 1, 1)
        self.norm1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1)
        self.norm2 = nn.BatchNorm2d(outside)
        self.down = down

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inside, h, w) to (n, outside, h', w')."""
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        if self.down:
            x = F.avg_pool2d(x, 2)
            high, wide = max(x.shape[2], y.shape[2]), max(x.shape[3], y.shape[3])
            x = F.pad(x, (0, wide - x.shape[3], 0, high - x.shape[2], 0, y.shape[1] - x.shape[1]))
            y = F.pad(y, (0, wide - y.shape[3], 0, high - y.shape[2]))
        return torch.relu(x + y)


class DlibResNet(nn.Module):
    """The trunk of dlib's network, up to the features before its embedding layer.

    Parameters
    ----------
    blocks : int
        How many of the 14 residual blocks to keep; the last one sees a single cell of the image.
    """

    def __init__(self, blocks: int = 14) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 32, 7, 2), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(3, 2))
        sizes = zip((32, *_WIDTHS), _WIDTHS)
        layers = [Residual(inside, outside, i in _DOWN) for i, (inside, outside) in enumerate(sizes)]
        self.blocks = nn.Sequential(*layers[:blocks])

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised grey faces (n, 1, 150, 150) to features (n, 256)."""
        return self.blocks(self.stem(x)).mean((2, 3))


def find_dlib_weights() -> Path:
    """Locate the weights inside the package that ships them, without importing it.

    Returns
    -------
    Path

    Raises
    ------
    MissingDependency
        If the package is not installed.
    """
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise MissingDependency(f"--persons dlib needs {_PACKAGE}: {install_extra('persons')}")
    return Path(found.submodule_search_locations[0]) / _FILE


def read_dlib_weights(path: Path) -> dict[str, Tensor]:
    """Read dlib's file into a state dict of DlibResNet, plus `embedding` (128, 256).

    dlib stores a frozen batch norm as a scale and a shift per channel; here it becomes a batch norm of mean 0 and
    variance 1 with that scale and shift.

    Parameters
    ----------
    path : Path
        The file that `find_dlib_weights` locates.

    Returns
    -------
    dict[str, Tensor]

    Raises
    ------
    WeightsError
        If the file cannot be read or holds another network.
    """
    try:
        data = path.read_bytes()
    except OSError as e:
        raise WeightsError(f"{path}: cannot be read ({e.strerror}); it ships in the package {_PACKAGE}") from None
    names = ["stem.0", "stem.1"] + [
        f"blocks.{i}.{layer}" for i in range(14) for layer in ("conv1", "norm1", "conv2", "norm2")
    ]
    state: dict[str, Tensor] = {}
    try:
        tensors = list(_tensors(data))
        own = DlibResNet().state_dict()
        for name, values in zip(names, tensors[:-1], strict=True):
            shape = own[f"{name}.weight"].shape
            if name == "stem.0":
                values = _grey(values)
            n = shape.numel()
            if len(values) != n + shape[0]:
                raise ValueError(f"{name} has {len(values)} numbers")
            state[f"{name}.weight"] = torch.from_numpy(values[:n].reshape(shape).copy())
            state[f"{name}.bias"] = torch.from_numpy(values[n:].copy())
            if len(shape) == 1:
                state[f"{name}.running_mean"] = torch.zeros(shape)
                state[f"{name}.running_var"] = torch.full(shape, 1 - nn.BatchNorm2d(1).eps)
        state["embedding"] = torch.from_numpy(tensors[-1].reshape(256, 128).T.copy())
    except (ValueError, IndexError) as e:
        raise WeightsError(f"{path}: not dlib's face recognition network ({e})") from None
    return state


def _grey(values: np.ndarray) -> np.ndarray:
    """Fold the three colours and dlib's normalisation into a convolution over one normalised grey channel."""
    weight, bias = values[:-32].reshape(32, 3, 7, 7), values[-32:]
    shift = (255 * MEAN - _MEANS) / 256
    bias = bias + (weight.sum((2, 3)) * shift).sum(1)
    return np.concatenate([(weight.sum(1) * (255 * STD / 256)).ravel(), bias]).astype(np.float32)


#: The kinds of layer that have weights, and how many integers (outputs, inputs) precede them.
_KINDS = {b"con_4": 0, b"affine_": 0, b"fc_2": 2}


def _tensors(data: bytes) -> Iterator[np.ndarray]:
    """Yield the weights of each layer that has any, in the order in which the layers are applied.

    A layer is stored as its kind and a tensor: version 2, four sizes, 32-bit floats. The innermost layer comes first.
    """
    for found in re.finditer(b"|".join(_KINDS), data):
        at = found.end()
        head = []
        for _ in range(_KINDS[found[0]] + 5):
            value, at = _integer(data, at)
            head.append(value)
        yield np.frombuffer(data, "<f4", math.prod(head[-4:]), at)


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """Read an integer (one byte with sign and length, then its bytes); also give the position after it."""
    n = data[at] & 15
    return int.from_bytes(data[at + 1 : at + 1 + n], "little"), at + 1 + n
