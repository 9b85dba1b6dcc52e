"""How weights change: learning rates per layer, frozen layers, the optimiser, and sharpness-aware steps."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fervid.errors import ConfigError
from fervid.lab.training.recipe import Recipe
from fervid.networks.base import Network

__all__ = ["Stage", "frozen_stages", "optimiser_of", "perturbed", "stages_of"]


@dataclass(frozen=True)
class Stage:
    """A part of a network between two feature maps.

    Parameters
    ----------
    name : str
        Such as "blocks.3".
    module : nn.Module
    block : bool
        Whether it is one of a sequence of blocks; the first layers are not.
    """

    name: str
    module: nn.Module
    block: bool


def stages_of(net: Network) -> list[Stage]:
    """List the parts of a network in the order in which they compute, without the head.

    Parameters
    ----------
    net : Network

    Returns
    -------
    list of Stage
    """
    found: list[Stage] = []

    def walk(module: nn.Module, prefix: str, block: bool) -> None:
        for name, child in module.named_children():
            if prefix == "" and name in ("drop", "head"):
                continue
            children = list(child.children())
            of_blocks = isinstance(child, nn.Sequential) and any(list(one.children()) for one in children)
            if of_blocks or (prefix == "" and name == "backbone"):
                walk(child, f"{prefix}{name}.", of_blocks)
            else:
                found.append(Stage(f"{prefix}{name}", child, block))

    walk(net, "", False)
    return found


def frozen_stages(net: Network, blocks: int) -> list[Stage]:
    """List the first layers of a network and so many blocks.

    Parameters
    ----------
    net : Network
    blocks : int
        0 lists nothing.

    Returns
    -------
    list of Stage

    Raises
    ------
    ConfigError
        If the network has fewer blocks.
    """
    if not blocks:
        return []
    stages = stages_of(net)
    at = [i for i, stage in enumerate(stages) if stage.block]
    if len(at) < blocks:
        raise ConfigError(f"freeze_blocks = {blocks}: the network has {len(at)} blocks; expected fewer")
    return stages[: at[blocks - 1] + 1]


def optimiser_of(net: Network, recipe: Recipe) -> torch.optim.Optimizer:
    """Build the optimiser of all trainable weights; biases and norms have no weight decay.

    Parameters
    ----------
    net : Network
    recipe : Recipe

    Returns
    -------
    Optimizer
        Each of its groups has a "factor" on the learning rate.
    """
    grouped: dict[tuple[float, bool], list[nn.Parameter]] = {}
    factors = _factors(net, recipe)
    for name, p in net.named_parameters():
        if p.requires_grad:
            factor = recipe.head_factor if name.startswith("head.") else factors.get(name, 1.0)
            grouped.setdefault((factor, p.ndim > 1), []).append(p)
    groups = [
        {"params": grouped[key], "weight_decay": recipe.weight_decay if key[1] else 0.0, "factor": key[0]}
        for key in sorted(grouped, reverse=True)
    ]
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.peak_rate)
    return torch.optim.SGD(groups, lr=recipe.peak_rate, momentum=0.9, nesterov=True)


def _factors(net: Network, recipe: Recipe) -> dict[str, float]:
    """Give the learning rate of each parameter in parts of the last layers': geometric from the first stage on."""
    if recipe.layer_decay == 1:
        return {}
    stages = [stage for stage in stages_of(net) if list(stage.module.parameters())]
    last = max(len(stages) - 1, 1)
    return {
        f"{stage.name}.{name}": recipe.layer_decay ** (1 - i / last)
        for i, stage in enumerate(stages)
        for name, _ in stage.module.named_parameters()
    }


@contextlib.contextmanager
def perturbed(net: nn.Module, rho: float) -> Iterator[None]:
    """Move the weights uphill for the block, by `rho` along the gradients (Foret et al. 2021, arXiv 2010.01412).

    The statistics of batch norms do not change within the block; the gradients are cleared for it.

    Parameters
    ----------
    net : nn.Module
        With gradients.
    rho : float
        Length of the move.
    """
    moved = [(p, p.grad) for p in net.parameters() if p.grad is not None]
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) and m.training]
    momenta = [m.momentum for m in norms]
    before = _moved(moved, rho)
    for m in norms:
        m.momentum = 0.0
    net.zero_grad(set_to_none=True)
    try:
        yield
    finally:
        with torch.no_grad():
            for (p, _), value in zip(moved, before):
                p.copy_(value)
        for m, momentum in zip(norms, momenta):
            m.momentum = momentum


@torch.no_grad()
def _moved(moved: Sequence[tuple[nn.Parameter, Tensor]], rho: float) -> list[Tensor]:
    """Move weights along their gradients, and give their values before."""
    before = [p.clone() for p, _ in moved]
    scale = rho / (torch.stack([grad.norm() for _, grad in moved]).norm() + 1e-12)
    for p, grad in moved:
        p.add_(grad * scale)
    return before
