"""Architectures: channels and sizes of crops, fused batch norms, MobileFaceNet in bfloat16."""

import pytest
import torch

from fervid.errors import ConfigError
from fervid.networks.base import Network, fuse_batch_norm
from fervid.networks.registry import build


def randomised(net: Network) -> Network:
    """A network in evaluation mode whose batch norms are not the identity."""
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.2)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return net.eval()


@pytest.mark.parametrize("arch", ["mobilefacenet", "seresnet", "baseline", "secnn13", "resnet18"])
def test_colour_crops_are_taken_by_networks_built_for_them(arch: str) -> None:
    net = build(arch, 7, size_px=48, channels=3).eval()
    x = torch.rand(2, 3, 48, 48)
    assert net(x).shape == (2, 7)
    assert not torch.allclose(net(x), net(x.flip(1)), atol=1e-6)  # the order of the channels matters


def test_dlibface_takes_grey_crops_only() -> None:
    with pytest.raises(ConfigError, match="dlibface takes grey crops"):
        build("dlibface", 7, channels=3)


@pytest.mark.parametrize("size_px", [48, 80, 112, 100])
def test_mobilefacenet_pools_the_whole_crop(size_px: int) -> None:
    net = build("mobilefacenet", 7, size_px=size_px, channels=3).eval()
    assert net.features(torch.rand(2, 3, size_px, size_px)).shape == (2, 512)
    assert sum(p.numel() for p in net.parameters()) < 1_000_000 + 512 * 50


def test_mobilefacenet_repeats_grey_crops_over_the_channels() -> None:
    torch.manual_seed(0)
    net = randomised(build("mobilefacenet", 7, size_px=48))
    grey = torch.rand(3, 1, 48, 48)
    assert torch.allclose(net(grey), net(grey.repeat(1, 3, 1, 1)), atol=1e-6)


@pytest.mark.parametrize(("arch", "channels"), [("mobilefacenet", 3), ("seresnet", 1)])
def test_fusing_batch_norm_keeps_the_output(arch: str, channels: int) -> None:
    torch.manual_seed(0)
    net = randomised(build(arch, 7, size_px=48, channels=channels)).double()
    x = torch.randn(4, channels, 48, 48).double()
    fused = fuse_batch_norm(net)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    assert torch.allclose(net(x), fused(x), rtol=1e-9, atol=1e-9)
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in net.modules())  # the original stays


def test_mobilefacenet_trains_in_bfloat16_with_strided_depthwise_layers_in_fp32() -> None:
    torch.manual_seed(0)
    net = build("mobilefacenet", 7, size_px=48)
    seen: list[tuple[int, torch.dtype]] = []
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d) and module.groups > 1 and module.kernel_size == (3, 3):
            stride = module.stride[0]
            module.register_forward_hook(lambda _m, _x, y, stride=stride: seen.append((stride, y.dtype)))
    with torch.autocast("cpu", torch.bfloat16):
        net(torch.rand(2, 3, 48, 48)).float().sum().backward()
    assert {dtype for stride, dtype in seen if stride == 2} == {torch.float32}
    assert {dtype for stride, dtype in seen if stride == 1} == {torch.bfloat16}
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    seen.clear()
    fuse_batch_norm(net).to(torch.bfloat16)(torch.rand(2, 3, 48, 48).bfloat16())  # outside autocast: as it is cast
    assert {dtype for _, dtype in seen} == {torch.bfloat16}
