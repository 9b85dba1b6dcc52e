"""Begin a network with what others have trained: a file, a bundled model, or a download."""

import os
import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fervid.errors import WeightsError
from fervid.networks.base import Network
from fervid.networks.dlib_resnet import find_dlib_weights, read_dlib_weights
from fervid.networks.downloads import VGGFACE2, cache_path, fetch
from fervid.networks.weights import bundled

__all__ = ["find_backbone", "load_backbone", "recalibrate_bn", "weights_url"]


def load_backbone(net: Network, arch: str, init: str | None) -> bool:
    """Load all but the head into `net` from what a recipe's `init` names (Recipe.init) -> whether its norms are frozen.

    A head is never taken over: its rows stand for the classes of another set. WeightsError says what is missing, and
    where to put a file when there is no network. Frozen norms want `recalibrate_bn` before a network goes on learning.
    """
    path = find_backbone(arch, init)
    if path is None:
        return False
    of_dlib = path.suffix == ".dat"
    _fill(net, read_dlib_weights(path) if of_dlib else _read(path), f"{path}: not the weights of a {arch}")
    return of_dlib


def find_backbone(arch: str, init: str | None) -> Path | None:
    """Find the file that a recipe's `init` names, fetched if need be; None to begin from scratch."""
    init = init or ("download" if arch in ("vggface2", "dlibface") else "scratch")
    if init == "scratch":
        return None
    path = _download(arch) if init == "download" else bundled().get(init, Path(init))
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such weights to begin with; expected a .safetensors, .pt or .dat file, "
            f"{', '.join(bundled())}, download or scratch"
        )
    if not os.access(path, os.R_OK):
        raise WeightsError(f"{path}: no permission to read it")
    return path


@torch.no_grad()
def recalibrate_bn(net: nn.Module, x: Tensor) -> None:
    """Give each batch norm the mean and variance of what it sees in `x`, and leave the network's answer as it is.

    Frozen norms keep the statistics of their training in scale and shift; a network that goes on learning needs them
    apart. One pass; the answer stays the same to rounding.
    """

    def settle(norm: nn.Module, given: tuple[Tensor]) -> None:
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
        var, mean = torch.var_mean(given[0].float(), (0, 2, 3), correction=0)
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        norm.bias.add_(scale * (mean - norm.running_mean))
        norm.weight.copy_(scale * torch.sqrt(var + norm.eps))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)

    hooks = [m.register_forward_pre_hook(settle) for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    was = net.training
    net.eval()(x)
    net.train(was)
    for hook in hooks:
        hook.remove()


def weights_url(arch: str) -> str:
    """Say where an architecture's own weights are; WeightsError if nobody publishes any."""
    if arch == "vggface2":
        return VGGFACE2
    from torchvision import models

    if arch not in models.list_models():
        raise WeightsError(f"nobody publishes weights for {arch}: leave --init out, or name a file")
    return models.get_model_weights(arch).DEFAULT.url


def _download(arch: str) -> Path:
    """Find an architecture's own weights in their package, or fetch them into torch's cache, once."""
    if arch == "dlibface":
        return find_dlib_weights()
    url = weights_url(arch)
    try:
        return fetch(url)
    except OSError as e:
        reason = getattr(e, "reason", None) or e
        raise WeightsError(
            f"{arch}: its weights cannot be downloaded ({reason}); fetch {url} elsewhere and put it at "
            f"{cache_path(url)}, or name it with --init FILE"
        ) from None


def _read(path: Path) -> dict[str, Tensor]:
    """Read a state dict; a .pt is unpickled by torch's own reader, which makes tensors only and runs no code."""
    try:
        found = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as e:
        raise WeightsError(f"{path}: not a readable state dict ({str(e).partition(chr(10))[0]})") from None
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise WeightsError(f"{path}: expected a state dict (names and tensors), found something else")
    return {name.removeprefix("module."): value.float() for name, value in found.items()}


def _fill(net: Network, found: dict[str, Tensor], wrong: str) -> None:
    own = {name: value for name, value in net.state_dict().items() if not name.startswith("head.")}
    chosen = {}
    for name, value in own.items():
        given = found.get(name, found.get(name.removeprefix("backbone.")))
        if given is not None and given.shape == value.shape:
            chosen[name] = given
    lacking = [name for name in own if name not in chosen and not name.endswith("num_batches_tracked")]
    if lacking:
        raise WeightsError(
            f"{wrong} ({len(lacking)} of its {len(own)} tensors are missing or of another shape, "
            f"such as {lacking[0].removeprefix('backbone.')})"
        )
    net.load_state_dict(chosen, strict=False)
