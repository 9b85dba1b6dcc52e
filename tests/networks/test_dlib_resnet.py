"""dlib's network: reading its file, and recalibrating batch normalisation without changing the output."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fervid.errors import WeightsError
from fervid.lab.training.pretrained import recalibrate_bn
from fervid.networks.dlib_resnet import DlibResNet, find_dlib_weights, read_dlib_weights

SHAPES = [(32, 3, 7)]
for _count, _in_channels, _out_channels in ((3, 32, 32), (4, 32, 64), (3, 64, 128), (3, 128, 256), (1, 256, 256)):
    for _i in range(_count):
        SHAPES += [(_out_channels, _in_channels if _i == 0 else _out_channels, 3), (_out_channels, _out_channels, 3)]


def integer(value: int) -> bytes:
    """Encode an integer as dlib does: the number of bytes, then the bytes in little-endian order."""
    n = max(1, (value.bit_length() + 7) // 8)
    return bytes([n]) + value.to_bytes(n, "little")


def layer(kind: bytes, head: list[int], values: np.ndarray) -> bytes:
    sizes = [len(values), 1, 1, 1]
    return integer(len(kind)) + kind + b"".join(map(integer, [*head, 2, *sizes])) + values.astype("<f4").tobytes()


def write_network(path: Path, seed: int = 0) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Write random weights in dlib's format -> weight, bias, scale and shift of each convolution."""
    rng, layers, data = np.random.default_rng(seed), [], b"\x01\x01\x01\x0dloss_metric_2"
    for out_channels, in_channels, side in SHAPES:
        weight = rng.normal(
            0, (2 / (in_channels * side * side)) ** 0.5, (out_channels, in_channels, side, side)
        ).astype("f4")
        bias, scale, shift = (rng.normal(c, 0.1, out_channels).astype("f4") for c in (0, 1, 0))
        data += layer(b"con_4", [], np.concatenate([weight.ravel(), bias]))
        data += layer(b"affine_", [], np.concatenate([scale, shift]))
        layers.append(tuple(map(torch.from_numpy, (weight, bias, scale, shift))))
    data += layer(b"fc_2", [128, 256], rng.normal(0, 0.1, 256 * 128)) + b"\x01\x01"
    path.write_bytes(data)
    return layers


def dlib_output(rgb: Tensor, layers: list[tuple[Tensor, Tensor, Tensor, Tensor]]) -> Tensor:
    """Compute the network of dnn_face_recognition_ex.cpp on colour pixels (n, 3, 150, 150) from 0 to 255."""

    def apply(x: Tensor, index: int, stride: int = 1) -> Tensor:
        weight, bias, scale, shift = layers[index]
        padding = weight.shape[2] // 2 if stride == 1 else 0
        return F.conv2d(x, weight, bias, stride, padding) * scale[:, None, None] + shift[:, None, None]

    x = (rgb - torch.tensor([122.782, 117.001, 104.298])[:, None, None]) / 256
    x = F.max_pool2d(apply(x, 0, stride=2).relu(), 3, 2)
    for block in range(14):
        down = block in (3, 7, 10, 13)
        y = apply(apply(x, 1 + 2 * block, stride=2 if down else 1).relu(), 2 + 2 * block)
        short = F.avg_pool2d(x, 2) if down else x
        total = torch.zeros(len(x), y.shape[1], *(max(a, b) for a, b in zip(short.shape[2:], y.shape[2:])))
        total[:, :, : y.shape[2], : y.shape[3]] += y
        total[:, : short.shape[1], : short.shape[2], : short.shape[3]] += short
        x = total.relu()
    return x.mean((2, 3))


def test_loaded_network_matches_dlib(tmp_path: Path) -> None:
    layers = write_network(tmp_path / "net.dat")
    net = DlibResNet().eval()
    state = read_dlib_weights(tmp_path / "net.dat")
    assert state.pop("embedding").shape == (128, 256)
    net.load_state_dict(state, strict=False)
    grey = torch.randint(0, 256, (2, 1, 150, 150), generator=torch.Generator().manual_seed(1)).float()
    with torch.inference_mode():
        expected = dlib_output(grey.expand(-1, 3, -1, -1), layers)
        torch.testing.assert_close(net((grey / 255 - 0.51) / 0.255), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("content", [b"", b"con_4", b"not a network", b"con_4\x01\x02\x02\x80\x12\x01\x01"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.dat").write_bytes(content)
    with pytest.raises(WeightsError, match=r"net\.dat: not dlib's face recognition network"):
        read_dlib_weights(tmp_path / "net.dat")


@pytest.mark.skipif(
    not importlib.util.find_spec("face_recognition_models"), reason="face-recognition-models is not installed"
)
def test_package_contains_the_weights() -> None:
    state = read_dlib_weights(find_dlib_weights())
    assert all(torch.isfinite(value).all() for value in state.values())


def test_recalibrated_batch_norm_keeps_the_output(tmp_path: Path) -> None:
    write_network(tmp_path / "net.dat")
    net = DlibResNet(13)
    net.load_state_dict(read_dlib_weights(tmp_path / "net.dat"), strict=False)
    x = torch.randn(32, 1, 150, 150, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        before = net.eval()(x)
    recalibrate_bn(net, x)
    with torch.inference_mode():
        torch.testing.assert_close(net(x), before, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(net.train()(x), before, rtol=1e-2, atol=1e-2)  # with batch statistics
