"""The three networks of MTCNN (Zhang et al. 2016, arXiv 1604.02878) with facenet-pytorch's weights, as functions."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fervid.faces.detector_weights import find_mtcnn

__all__ = ["Weights", "load_network", "onet", "pnet", "rnet"]

Weights = dict[str, Tensor]


def pnet(x: Tensor, w: Weights) -> tuple[Tensor, Tensor]:
    """Run P-Net, without the head for box offsets.

    Parameters
    ----------
    x : Tensor, shape (n, 4, h, w)
        RGB in 0..255, and a channel of zeros.
    w : Weights

    Returns
    -------
    Tensor, shape (n, h', w')
        Logit of a face in each cell.
    Tensor, shape (n, h', w', 32)
        Features of each cell, the input of the head.
    """
    x = _max_pool_2x2(_wide_layer(x, w, 1))
    x = _wide_layer(_wide_layer(x, w, 2), w, 3).permute(0, 2, 3, 1)
    return x @ w["head.weight"][0] + w["head.bias"][0], x


def rnet(x: Tensor, w: Weights) -> Tensor:
    """Run R-Net.

    Parameters
    ----------
    x : Tensor, shape (n, 4, 24, 24)
        RGB in 0..255, and a channel of zeros.
    w : Weights

    Returns
    -------
    Tensor, shape (n, 5)
        Logit of a face, box offsets.
    """
    x = F.max_pool2d(_layer(x, w, 1), 3, 2, ceil_mode=True)
    x = F.max_pool2d(_layer(x, w, 2), 3, 2, ceil_mode=True)
    return _head(_layer(x, w, 3), w, 4)


def onet(x: Tensor, w: Weights) -> Tensor:
    """Run O-Net.

    Parameters
    ----------
    x : Tensor, shape (n, 4, 48, 48)
        RGB in 0..255, and a channel of zeros.
    w : Weights

    Returns
    -------
    Tensor, shape (n, 15)
        Logit of a face, box offsets, landmarks (five x, five y).
    """
    x = F.max_pool2d(_layer(x, w, 1), 3, 2, ceil_mode=True)
    x = F.max_pool2d(_layer(x, w, 2), 3, 2, ceil_mode=True)
    x = F.max_pool2d(_layer(x, w, 3), 2, 2, ceil_mode=True)
    return _head(_layer(x, w, 4), w, 5)


def _layer(x: Tensor, w: Weights, i: int) -> Tensor:
    return F.prelu(F.conv2d(x, w[f"conv{i}.weight"], w[f"conv{i}.bias"]), w[f"prelu{i}.weight"])


def _head(x: Tensor, w: Weights, i: int) -> Tensor:
    """Apply two dense layers, whose weights expect the pixels of (n, channels, rows, columns) column by column."""
    x = (x.to_dense() if x.is_mkldnn else x).permute(0, 3, 2, 1).flatten(1)
    x = F.prelu(F.linear(x, w[f"dense{i}.weight"], w[f"dense{i}.bias"]), w[f"prelu{i}.weight"])
    return F.linear(x, w["head.weight"], w["head.bias"])


def _wide_layer(x: Tensor, w: Weights, i: int) -> Tensor:
    """Compute _layer with PReLU over whole rows of pixels: twice as fast as over ten channels at a time."""
    x = F.conv2d(x, w[f"conv{i}.weight"], w[f"conv{i}.bias"]).permute(0, 2, 3, 1)
    n, rows, columns, channels = x.shape
    x = F.prelu(x.reshape(n * rows, columns * channels), w[f"prelu{i}.weight"].repeat(columns))
    return x.view(n, rows, columns, channels).permute(0, 3, 1, 2)


def _max_pool_2x2(x: Tensor) -> Tensor:
    """Max-pool 2 x 2 in ceil mode, at a third of the cost of `F.max_pool2d`, which also computes indices."""
    n, channels, rows, columns = x.shape
    tall = x.new_empty((n, (rows + 1) // 2, columns, channels)).permute(0, 3, 1, 2)
    torch.maximum(x[:, :, : rows - 1 : 2], x[:, :, 1::2], out=tall[:, :, : rows // 2])
    tall[:, :, rows // 2 :] = x[:, :, rows - rows % 2 :]
    half = x.new_empty((n, (rows + 1) // 2, (columns + 1) // 2, channels)).permute(0, 3, 1, 2)
    torch.maximum(tall[..., : columns - 1 : 2], tall[..., 1::2], out=half[..., : columns // 2])
    half[..., columns // 2 :] = tall[..., columns - columns % 2 :]
    return half


def load_network(name: str, device: torch.device) -> Weights:
    """Load the weights of a network that facenet-pytorch ships, without importing that package, which takes seconds.

    The input scaling (x - 127.5) / 128 is part of conv1. The heads are one: row 0 is the logit of a face, the
    difference of the two inputs of the softmax; then come the box offsets and, in O-Net, the landmarks. On a CPU, the
    weights of R- and O-Net have oneDNN's own layout, which is a quarter faster for their small inputs.

    Parameters
    ----------
    name : str
        "pnet", "rnet" or "onet".
    device : torch.device

    Returns
    -------
    Weights

    Raises
    ------
    MissingDependency
        If facenet-pytorch is not installed.
    """
    path = next(path for path in find_mtcnn() if path.stem == name)
    w: Weights = torch.load(path, map_location=device, weights_only=True)
    scaled = w["conv1.weight"] / 128
    w["conv1.bias"] -= 127.5 * scaled.sum((1, 2, 3))
    w["conv1.weight"] = F.pad(scaled, (0, 0, 0, 0, 0, 1))  # IntegralImage returns a fourth channel of zeros
    for part in ("weight", "bias"):
        face, *others = (w.pop(key).squeeze() for key in sorted(w) if "_" in key and key.endswith(part))
        w[f"head.{part}"] = torch.cat((face[1:] - face[:1], *others))
    if name == "pnet" or device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return {key: t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for key, t in w.items()}
    reordered = [key for key in w if key.startswith(("conv", "prelu")) and key.replace("prelu", "conv") in w]
    return w | {key: w[key].to_mkldnn() for key in reordered}
