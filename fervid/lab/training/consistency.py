"""Equal attention to an image and its mirror image (EAC: Zhang et al. 2022, arXiv 2207.10299)."""

import torch
from torch import Tensor, nn

from fervid.errors import ConfigError
from fervid.lab.training.optimisation import stages_of
from fervid.networks.base import Network

__all__ = ["AttentionMaps"]


class AttentionMaps:
    """The class activation maps of a network: its last feature maps, weighted by the rows of the head.

    Parameters
    ----------
    net : Network
    x : Tensor
        An input (n, c, h, w), to find the last feature map.

    Raises
    ------
    ConfigError
        If the head does not weight the channels of a feature map.
    """

    def __init__(self, net: Network, x: Tensor) -> None:
        self.net = net
        self._map = torch.empty(0)
        stage = self._find(x)
        stage.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: object, output: Tensor) -> None:
        self._map = output

    @torch.no_grad()
    def _find(self, x: Tensor) -> nn.Module:
        shapes: dict[str, torch.Size] = {}
        stages = stages_of(self.net)
        hooks = [
            stage.module.register_forward_hook(lambda m, i, out, name=stage.name: shapes.update({name: out.shape}))
            for stage in stages
        ]
        training = self.net.training
        self.net.eval()(x)
        self.net.train(training)
        for hook in hooks:
            hook.remove()
        for stage in reversed(stages):
            shape = shapes.get(stage.name, torch.Size())
            if len(shape) == 4 and shape[-1] > 1:
                if shape[1] == self.net.head.in_features:
                    return stage.module
                break
        raise ConfigError("consistency: needs a network whose head weights the channels of its last feature map")

    def difference(self) -> Tensor:
        """Measure how the attention of mirrored images differs from the mirrored attention.

        The network's last input must have been a batch of images, followed by their mirror images in the same order.

        Returns
        -------
        Tensor
            The mean squared difference.
        """
        maps = torch.einsum("kc,nchw->nkhw", self.net.head.weight, self._map.float())
        plain, mirrored = maps.chunk(2)
        return (plain - mirrored.flip(-1)).square().mean()
