"""TODO."""

from collections.abc import Callable
from functools import partial

from fervid.networks.base import Network
from fervid.networks.published import _TORCHVISION, SECNN, Baseline, DlibFace, _torchvision, _vgg16, _vggface2
from fervid.networks.seresnet import SEResNet

__all__ = ["ARCHITECTURES", "build", "make"]


#: Every network that fervid trains and loads; the name is written beside the weights. All but ours are in zoo.py.
ARCHITECTURES = (
    "seresnet", "baseline", "basecnn", "secnn13", "secnn15", "secnn17",
    "vgg16", "resnet18", "resnet50", "efficientnet_b3", "efficientnet_b4", "vggface2", "dlibface",
)  # fmt: skip


def build(arch: str, n_classes: int) -> Network:
    """Build an architecture by name, its weights random; KeyError if unknown (callers check against ARCHITECTURES)."""
    if arch == "seresnet":
        return SEResNet(n_classes)

    return make(arch, n_classes)


def make(arch: str, n_classes: int) -> Network:
    """Build a network of this module by name, its weights random; KeyError if it is unknown."""
    return _MAKERS[arch](n_classes)


_MAKERS: dict[str, Callable[[int], Network]] = {
    "baseline": partial(Baseline, convolutions=((64, 3), (128, 5), (512, 3), (512, 3)), grid=3, dense=(256, 512)),
    "basecnn": partial(Baseline, convolutions=((32, 3), (64, 3)), grid=12, dense=(128,)),
    "secnn13": partial(SECNN, blocks=(1, 1, 1, 2)),
    "secnn15": partial(SECNN, blocks=(1, 1, 2, 2)),
    "secnn17": partial(SECNN, blocks=(1, 2, 2, 2)),
    **{arch: partial(_torchvision, arch=arch) for arch in _TORCHVISION},
    "vgg16": _vgg16,
    "vggface2": _vggface2,
    "dlibface": DlibFace,
}
