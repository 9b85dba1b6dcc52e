"""Initialise a network with pretrained weights: a file, a bundled model, or a download."""

import os
import pickle
from pathlib import Path

import torch
import torch.nn.functional as F
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
    """Load pretrained weights into all layers but the head, whose rows stand for other classes.

    Parameters
    ----------
    net : Network
    arch : str
        Its architecture.
    init : str, optional
        As in Recipe.init.

    Returns
    -------
    bool
        Whether its batch norms are frozen; they need `recalibrate_bn` before training.

    Raises
    ------
    WeightsError
        If weights are missing or do not fit; without a network, the message says where to put a file.
    """
    path = find_backbone(arch, init)
    if path is None:
        return False
    of_dlib = path.suffix == ".dat"
    found = read_dlib_weights(path) if of_dlib else _read(path)
    if arch == "mobilefacenet":
        found = _as_mobilefacenet(found, net)
    _fill(net, found, f"{path}: not the weights of a {arch}")
    return of_dlib


def find_backbone(arch: str, init: str | None) -> Path | None:
    """Find the file that Recipe.init names, and download it if necessary.

    Parameters
    ----------
    arch : str
    init : str, optional

    Returns
    -------
    Path or None
        None to train from scratch.

    Raises
    ------
    WeightsError
        If it cannot be found, downloaded or read.
    """
    init = init or ("download" if arch in ("vggface2", "dlibface") else "scratch")
    if init == "scratch":
        return None
    path = _download(arch) if init == "download" else bundled().get(init, Path(init))
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such initial weights; expected a .safetensors, .pt or .dat file, "
            f"{', '.join(bundled())}, download or scratch"
        )
    if not os.access(path, os.R_OK):
        raise WeightsError(f"{path}: no permission to read it")
    return path


@torch.no_grad()
def recalibrate_bn(net: nn.Module, x: Tensor) -> None:
    """Recalibrate the batch norms to the statistics of `x` without changing the network's output, up to rounding.

    Frozen batch norms have their statistics folded into scale and shift; training needs them separate.

    Parameters
    ----------
    net : nn.Module
    x : Tensor
        Inputs (n, c, h, w), for one forward pass.
    """

    def recalibrate(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
        var, mean = torch.var_mean(inputs[0].float(), (0, 2, 3), correction=0)
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        norm.bias.add_(scale * (mean - norm.running_mean))
        norm.weight.copy_(scale * torch.sqrt(var + norm.eps))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)

    hooks = [m.register_forward_pre_hook(recalibrate) for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    training = net.training
    net.eval()(x)
    net.train(training)
    for hook in hooks:
        hook.remove()


def weights_url(arch: str) -> str:
    """Give the URL of an architecture's published weights.

    Parameters
    ----------
    arch : str

    Returns
    -------
    str

    Raises
    ------
    WeightsError
        If none are published.
    """
    if arch == "vggface2":
        return VGGFACE2
    from torchvision import models

    if arch not in models.list_models():
        raise WeightsError(f"no published weights for {arch}: leave out --init, or pass a file")
    return models.get_model_weights(arch).DEFAULT.url


def _download(arch: str) -> Path:
    """Find an architecture's published weights in their package, or download them into torch's cache once."""
    if arch == "dlibface":
        return find_dlib_weights()
    url = weights_url(arch)
    try:
        return fetch(url)
    except OSError as e:
        reason = getattr(e, "reason", None) or e
        raise WeightsError(
            f"{arch}: cannot download its weights ({reason}); download {url} elsewhere and put it at "
            f"{cache_path(url)}, or pass it with --init FILE"
        ) from None


def _read(path: Path) -> dict[str, Tensor]:
    """Read a state dict; torch unpickles a .pt with a reader that builds tensors only and runs no code."""
    try:
        found = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as e:
        raise WeightsError(f"{path}: cannot be read as a state dict ({str(e).partition(chr(10))[0]})") from None
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise WeightsError(f"{path}: expected a state dict of tensors")
    return {name.removeprefix("module."): value.float() for name, value in found.items()}


def _as_mobilefacenet(found: dict[str, Tensor], net: Network) -> dict[str, Tensor]:
    """Rename the published tensors, and resample the weights per position to the network's size of crops."""
    renamed = {
        f"blocks.{name.removeprefix('features.')}" if name.startswith("features.") else name: value
        for name, value in found.items()
    }
    pooling, own = "gdconv.depthwise.weight", net.state_dict()["gdconv.depthwise.weight"]
    value = renamed.get(pooling)
    if value is not None and value.ndim == 4 and value.shape != own.shape:
        factor = value.shape[-1] * value.shape[-2] / (own.shape[-1] * own.shape[-2])  # the sum stays
        renamed[pooling] = F.interpolate(value, own.shape[-2:], mode="bilinear", align_corners=True) * factor
    return renamed


def _fill(net: Network, found: dict[str, Tensor], wrong: str) -> None:
    own = {name: value for name, value in net.state_dict().items() if not name.startswith("head.")}
    chosen = {}
    for name, value in own.items():
        tensor = found.get(name, found.get(name.removeprefix("backbone.")))
        if tensor is not None and tensor.shape == value.shape:
            chosen[name] = tensor
    missing = [name for name in own if name not in chosen and not name.endswith("num_batches_tracked")]
    if missing:
        raise WeightsError(
            f"{wrong} ({len(missing)} of its {len(own)} tensors are missing or of another shape, "
            f"such as {missing[0].removeprefix('backbone.')})"
        )
    net.load_state_dict(chosen, strict=False)
