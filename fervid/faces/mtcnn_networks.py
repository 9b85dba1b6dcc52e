"""The three networks of MTCNN (Zhang et al. 2016, arXiv 1604.02878), with facenet-pytorch's weights, as functions.

And what their outputs mean: the box arithmetic, on tensors of any device.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from fervid.faces.detector_weights import find_mtcnn

__all__ = [
    "CELL",
    "STRIDE",
    "Weights",
    "cell_box",
    "landmarks",
    "load_net",
    "moved",
    "onet",
    "pnet",
    "rnet",
    "scales_of",
    "squared",
]

#: What one P-Net output sees, and the step to the next, in pixels of its level.
CELL, STRIDE = 12, 2

Weights = dict[str, Tensor]


def pnet(x: Tensor, w: Weights) -> tuple[Tensor, Tensor]:
    """(n, 4, h, w) -> in every cell the logit of a face (n, h', w') and the features (n, h', w', 32) of its box."""
    x = _halve(_wide_layer(x, w, 1))
    x = _wide_layer(_wide_layer(x, w, 2), w, 3).permute(0, 2, 3, 1)
    return x @ w["head.weight"][0] + w["head.bias"][0], x


def rnet(x: Tensor, w: Weights) -> Tensor:
    """(n, 4, 24, 24) -> (n, 5): the logit of a face, box offsets."""
    x = F.max_pool2d(_layer(x, w, 1), 3, 2, ceil_mode=True)
    x = F.max_pool2d(_layer(x, w, 2), 3, 2, ceil_mode=True)
    return _head(_layer(x, w, 3), w, 4)


def onet(x: Tensor, w: Weights) -> Tensor:
    """(n, 4, 48, 48) -> (n, 15): the logit of a face, box offsets, landmarks (five x, five y)."""
    x = F.max_pool2d(_layer(x, w, 1), 3, 2, ceil_mode=True)
    x = F.max_pool2d(_layer(x, w, 2), 3, 2, ceil_mode=True)
    x = F.max_pool2d(_layer(x, w, 3), 2, 2, ceil_mode=True)
    return _head(_layer(x, w, 4), w, 5)


def _layer(x: Tensor, w: Weights, i: int) -> Tensor:
    return F.prelu(F.conv2d(x, w[f"conv{i}.weight"], w[f"conv{i}.bias"]), w[f"prelu{i}.weight"])


def _head(x: Tensor, w: Weights, i: int) -> Tensor:
    """Two dense layers; the weights count the pixels of (n, channels, rows, columns) column by column."""
    x = (x.to_dense() if x.is_mkldnn else x).permute(0, 3, 2, 1).flatten(1)
    x = F.prelu(F.linear(x, w[f"dense{i}.weight"], w[f"dense{i}.bias"]), w[f"prelu{i}.weight"])
    return F.linear(x, w["head.weight"], w["head.bias"])


def _wide_layer(x: Tensor, w: Weights, i: int) -> Tensor:
    """Do what _layer does, with PReLU over whole rows of pixels: ten channels at a time take twice as long."""
    x = F.conv2d(x, w[f"conv{i}.weight"], w[f"conv{i}.bias"]).permute(0, 2, 3, 1)
    n, rows, columns, channels = x.shape
    x = F.prelu(x.reshape(n * rows, columns * channels), w[f"prelu{i}.weight"].repeat(columns))
    return x.view(n, rows, columns, channels).permute(0, 3, 1, 2)


def _halve(x: Tensor) -> Tensor:
    """Max-pool 2 x 2 in ceil mode, at a third of the cost of `F.max_pool2d`, which also notes the indices."""
    n, channels, rows, columns = x.shape
    tall = x.new_empty((n, (rows + 1) // 2, columns, channels)).permute(0, 3, 1, 2)
    torch.maximum(x[:, :, : rows - 1 : 2], x[:, :, 1::2], out=tall[:, :, : rows // 2])
    tall[:, :, rows // 2 :] = x[:, :, rows - rows % 2 :]
    half = x.new_empty((n, (rows + 1) // 2, (columns + 1) // 2, channels)).permute(0, 3, 1, 2)
    torch.maximum(tall[..., : columns - 1 : 2], tall[..., 1::2], out=half[..., : columns // 2])
    half[..., columns // 2 :] = tall[..., columns - columns % 2 :]
    return half


def load_net(name: str, device: torch.device) -> Weights:
    """Read a network that facenet-pytorch ships, without importing that package, which takes seconds.

    The input scaling (x - 127.5) / 128 goes into conv1. The heads become one: row 0 is the logit of a face, that is the
    difference of the two inputs of the softmax; then the box offsets and, in O-Net, the landmarks. On a CPU the small
    inputs of R- and O-Net gain a quarter from oneDNN's own layout.
    """
    path = next(path for path in find_mtcnn() if path.stem == name)
    w: Weights = torch.load(path, map_location=device, weights_only=True)
    scaled = w["conv1.weight"] / 128
    w["conv1.bias"] -= 127.5 * scaled.sum((1, 2, 3))
    w["conv1.weight"] = F.pad(scaled, (0, 0, 0, 0, 0, 1))  # IntegralImage gives a fourth channel, 0
    for part in ("weight", "bias"):
        face, *others = (w.pop(key).squeeze() for key in sorted(w) if "_" in key and key.endswith(part))
        w[f"head.{part}"] = torch.cat((face[1:] - face[:1], *others))
    if name == "pnet" or device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return {key: t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for key, t in w.items()}
    convolved = [key for key in w if key.startswith(("conv", "prelu")) and key.replace("prelu", "conv") in w]
    return w | {key: w[key].to_mkldnn() for key in convolved}


def scales_of(height: int, width: int, min_face_px: float, factor: float) -> Iterator[float]:
    """Give the scales at which a cell sees min_face_px, then larger faces, until the picture is smaller than a cell."""
    scale = CELL / min_face_px
    shorter = min(height, width) * scale
    while shorter >= CELL:
        yield scale
        scale, shorter = scale * factor, shorter * factor


def cell_box(x: Tensor, y: Tensor, scale: float) -> Tensor:
    """Place P-Net's cells in column x and row y (m,) of a pyramid level in the image -> (m, 4)."""
    corner = STRIDE * torch.stack((x, y), 1).float()
    return torch.cat(((corner + 1).div(scale).floor_(), (corner + CELL).div(scale).floor_()), 1)


def moved(box: Tensor, offset: Tensor, *, inclusive: bool = True) -> Tensor:
    """Move each edge by offset (m, 4), in sides of the box, which count their last pixel if `inclusive`."""
    side = box[:, 2:] - box[:, :2] + float(inclusive)
    return box + offset * side.repeat(1, 2)


def squared(box: Tensor) -> Tensor:
    """Grow each box about its centre to a square of its longer side."""
    side = box[:, 2:] - box[:, :2]
    longest = side.amax(1, keepdim=True)
    corner = box[:, :2] + side * 0.5 - longest * 0.5
    return torch.cat((corner, corner + longest), 1)


def landmarks(box: Tensor, place: Tensor) -> Tensor:
    """Five x and five y (m, 10), in sides of the box -> (m, 5, 2) in pixels."""
    corner, side = box[:, None, :2], box[:, None, 2:] - box[:, None, :2] + 1
    return side * place.view(len(place), 2, 5).mT + corner - 1
