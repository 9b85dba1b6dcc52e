"""Where in a face a network finds its evidence: Grad-CAM, CAM, occlusion, activations -> heat maps.

Captum computes Grad-CAM and occlusion; it is an optional part, loaded when it is asked for.
"""

import importlib
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fervid.errors import ConfigError, MissingDependency

__all__ = ["METHODS", "Stage", "activations", "cam", "gradcam", "occlusion", "stages"]

#: Grad-CAM: Selvaraju et al. 2017, arXiv 1610.02391. CAM: Zhou et al. 2016, arXiv 1512.04150. Occlusion: Zeiler and
#: Fergus 2014, arXiv 1311.2901. Activations: what each stage of the network answers to, whatever the emotion.
METHODS = ("gradcam", "cam", "occlusion", "activations")


@dataclass(frozen=True)
class Stage:
    """The last layer of a network at one resolution: its name, and how many cells its maps have to a side."""

    name: str
    layer: nn.Module
    cells: int


def stages(net: nn.Module, x: Tensor) -> list[Stage]:
    """Watch crops x (n, c, h, w) go through a network, and give the last layer at each resolution, in that order."""
    last: dict[int, tuple[Stage, Tensor]] = {}

    def watch(name: str, layer: nn.Module) -> Any:
        def note(_layer: nn.Module, _inside: Any, out: Any) -> None:
            if isinstance(out, Tensor) and out.ndim == 4 and out.shape[2] > 1:
                cells = out.shape[2]
                if last and cells > min(last):
                    return  # enlarged again, before dense layers: nothing new to see
                if cells in last and last[cells][1] is out:
                    return  # a block that only passes on what its last layer gave
                last.pop(cells, None)
                last[cells] = Stage(name, layer, cells), out

        return layer.register_forward_hook(note)

    hooks = [watch(name, layer) for name, layer in net.named_modules() if name]
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
    """Evidence for the outputs `target` (n,) in crops x (n, c, h, w) -> heat (n, h, w), each map's largest being 1."""
    layer = stages(net, x[:1])[-1].layer
    with torch.enable_grad():
        heat = _captum("LayerGradCam")(net, layer).attribute(
            x.detach().requires_grad_(), target=target, relu_attributions=True
        )
    return _spread(heat.detach()[:, 0], x)


def cam(net: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """As gradcam, from the weights of the last layer; ConfigError unless it is linear on globally averaged maps."""
    maps = _outputs(net, stages(net, x[:1])[-1].layer, x)
    final = [layer for layer in net.modules() if isinstance(layer, nn.Linear)][-1:]
    logits = net(x)
    if (
        not final
        or final[0].in_features != maps.shape[1]
        or not torch.allclose(F.linear(maps.mean((2, 3)), final[0].weight, final[0].bias), logits, atol=1e-3, rtol=1e-3)
    ):
        raise ConfigError("cam needs a network that ends in global average pooling and one linear layer; use gradcam")
    return _spread(F.relu((final[0].weight[target][:, :, None, None] * maps).sum(1)), x)


def occlusion(net: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """As gradcam: how much of the output falls when a sixth of the side is covered with the mean of all faces."""
    window = max(1, x.shape[-1] // 6)
    step = max(1, window // 2)
    heat = _captum("Occlusion")(net).attribute(
        x,
        sliding_window_shapes=(x.shape[1], window, window),
        strides=(x.shape[1], step, step),
        target=target,
        baselines=0.0,
    )
    return _spread(F.relu(heat.detach().sum(1)), x)


def activations(net: nn.Module, x: Tensor) -> Tensor:
    """What each of the k stages answers to in crops x (n, c, h, w): mean size of its channels -> heat (n, k, h, w)."""
    return torch.stack([_spread(_outputs(net, stage.layer, x).abs().mean(1), x) for stage in stages(net, x[:1])], 1)


def _captum(name: str) -> Any:
    try:
        return getattr(importlib.import_module("captum.attr"), name)
    except ImportError:
        raise MissingDependency("captum is not installed: pip install 'fervid[lab]'") from None


def _outputs(net: nn.Module, layer: nn.Module, x: Tensor) -> Tensor:
    """What a layer gives (n, c, h, w) while the network sees x."""
    kept: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _layer, _inside, out: kept.append(out.detach()))
    try:
        with torch.no_grad():
            net(x)
    finally:
        hook.remove()
    return kept[-1]


def _spread(heat: Tensor, x: Tensor) -> Tensor:
    """Enlarge maps (n, h, w) to the size of x, and divide each by its largest value."""
    heat = F.interpolate(heat[:, None], x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    return heat / heat.amax((1, 2), keepdim=True).clamp_min(1e-12)
