"""Attribution: heat maps of where in a face a network finds its evidence.

Captum computes Grad-CAM and occlusion. It is an optional dependency, imported on use.
"""

import importlib
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fervid.errors import ConfigError, MissingDependency, install_extra

__all__ = ["METHODS", "Stage", "activations", "cam", "gradcam", "occlusion", "stages"]

#: Grad-CAM: Selvaraju et al. 2017, arXiv 1610.02391. CAM: Zhou et al. 2016, arXiv 1512.04150. Occlusion: Zeiler and
#: Fergus 2014, arXiv 1311.2901. Activations: what each stage of the network responds to, whatever the emotion.
METHODS = ("gradcam", "cam", "occlusion", "activations")


@dataclass(frozen=True)
class Stage:
    """The last layer of a network at one resolution.

    Parameters
    ----------
    name : str
    layer : nn.Module
    cells : int
        Cells per side of its feature maps.
    """

    name: str
    layer: nn.Module
    cells: int


def stages(net: nn.Module, x: Tensor) -> list[Stage]:
    """Find the last layer at each resolution by a forward pass.

    Parameters
    ----------
    net : nn.Module
    x : Tensor
        Crops (n, c, h, w).

    Returns
    -------
    list of Stage
        In the order of the network.

    Raises
    ------
    ConfigError
        If no layer has feature maps.
    """
    last: dict[int, tuple[Stage, Tensor]] = {}

    def add_hook(name: str, layer: nn.Module) -> Any:
        def record(_layer: nn.Module, _input: Any, out: Any) -> None:
            if isinstance(out, Tensor) and out.ndim == 4 and out.shape[2] > 1:
                cells = out.shape[2]
                if last and cells > min(last):
                    return  # upsampled again before dense layers
                if cells in last and last[cells][1] is out:
                    return  # a block that returns the output of its last layer
                last.pop(cells, None)
                last[cells] = Stage(name, layer, cells), out

        return layer.register_forward_hook(record)

    hooks = [add_hook(name, layer) for name, layer in net.named_modules() if name]
    try:
        with torch.no_grad():
            net(x)
    finally:
        for hook in hooks:
            hook.remove()
    if not last:
        raise ConfigError("this network has no convolutional layer whose output is a map; use --method occlusion")
    return [stage for stage, _ in last.values()]


def gradcam(net: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Compute Grad-CAM on the last feature maps.

    Parameters
    ----------
    net : nn.Module
    x : Tensor
        Crops (n, c, h, w).
    target : Tensor
        (n,) int64, the output to explain for each crop.

    Returns
    -------
    Tensor
        Heat maps (n, h, w); the largest value of each is 1.

    Raises
    ------
    MissingDependency
        If captum is not installed.
    """
    layer = stages(net, x[:1])[-1].layer
    with torch.enable_grad():
        heat = _captum("LayerGradCam")(net, layer).attribute(
            x.detach().requires_grad_(), target=target, relu_attributions=True
        )
    return _upsample(heat.detach()[:, 0], x)


def cam(net: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Compute class activation maps from the weights of the last layer.

    Parameters
    ----------
    net, x, target
        As for `gradcam`.

    Returns
    -------
    Tensor
        As from `gradcam`.

    Raises
    ------
    ConfigError
        Unless the network ends in global average pooling and one linear layer.
    """
    maps = _outputs(net, stages(net, x[:1])[-1].layer, x)
    final = [layer for layer in net.modules() if isinstance(layer, nn.Linear)][-1:]
    logits = net(x)
    if (
        not final
        or final[0].in_features != maps.shape[1]
        or not torch.allclose(F.linear(maps.mean((2, 3)), final[0].weight, final[0].bias), logits, atol=1e-3, rtol=1e-3)
    ):
        raise ConfigError("cam needs a network that ends in global average pooling and one linear layer; use gradcam")
    return _upsample(F.relu((final[0].weight[target][:, :, None, None] * maps).sum(1)), x)


def occlusion(net: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Measure by how much the output falls while a window is covered with the mean face.

    The window has a sixth of the side and moves by half of that.

    Parameters
    ----------
    net, x, target
        As for `gradcam`.

    Returns
    -------
    Tensor
        As from `gradcam`.
    """
    window = max(1, x.shape[-1] // 6)
    step = max(1, window // 2)
    heat = _captum("Occlusion")(net).attribute(
        x,
        sliding_window_shapes=(x.shape[1], window, window),
        strides=(x.shape[1], step, step),
        target=target,
        baselines=0.0,
    )
    return _upsample(F.relu(heat.detach().sum(1)), x)


def activations(net: nn.Module, x: Tensor) -> Tensor:
    """Average the magnitude of all channels of each of the k stages.

    Parameters
    ----------
    net : nn.Module
    x : Tensor
        Crops (n, c, h, w).

    Returns
    -------
    Tensor
        Heat maps (n, k, h, w); the largest value of each is 1.
    """
    return torch.stack([_upsample(_outputs(net, stage.layer, x).abs().mean(1), x) for stage in stages(net, x[:1])], 1)


def _captum(name: str) -> Any:
    try:
        return getattr(importlib.import_module("captum.attr"), name)
    except ImportError:
        raise MissingDependency(f"captum is not installed: {install_extra('lab')}") from None


def _outputs(net: nn.Module, layer: nn.Module, x: Tensor) -> Tensor:
    """Give the output (n, c, h, w) of a layer in a forward pass of x."""
    kept: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _layer, _input, out: kept.append(out.detach()))
    try:
        with torch.no_grad():
            net(x)
    finally:
        hook.remove()
    return kept[-1]


def _upsample(heat: Tensor, x: Tensor) -> Tensor:
    """Resize maps (n, h, w) to the size of x, and divide each by its largest value."""
    heat = F.interpolate(heat[:, None], x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    return heat / heat.amax((1, 2), keepdim=True).clamp_min(1e-12)
