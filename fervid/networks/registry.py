"""Every architecture that fervid trains and loads, by the name that is written beside its weights."""

from typing import TYPE_CHECKING

from fervid.registry import Entry

if TYPE_CHECKING:
    from fervid.networks.base import Network

__all__ = ["ARCHITECTURES", "build"]

_SECNN = "fervid.networks.published:SECNN"
_CNN = "fervid.networks.published:Baseline"
_TORCHVISION = "fervid.networks.published:torchvision_backbone"
_CHANNELS = ("channels",)
#: To add an architecture, add one row and its module: a `Network` whose first argument is the number of classes, and
#: which takes `channels` and `size_px` if its layers depend on the number of channels or the side of the crops.
ARCHITECTURES: dict[str, Entry] = {
    "seresnet": Entry("fervid.networks.seresnet:SEResNet", takes=_CHANNELS),
    "mobilefacenet": Entry("fervid.networks.mobilefacenet:MobileFaceNet", takes=("size_px",)),
    "baseline": Entry(
        _CNN,
        options={"convolutions": ((64, 3), (128, 5), (512, 3), (512, 3)), "grid": 3, "dense": (256, 512)},
        takes=_CHANNELS,
    ),
    "basecnn": Entry(_CNN, options={"convolutions": ((32, 3), (64, 3)), "grid": 12, "dense": (128,)}, takes=_CHANNELS),
    "secnn13": Entry(_SECNN, options={"blocks": (1, 1, 1, 2)}, takes=_CHANNELS),
    "secnn15": Entry(_SECNN, options={"blocks": (1, 1, 2, 2)}, takes=_CHANNELS),
    "secnn17": Entry(_SECNN, options={"blocks": (1, 2, 2, 2)}, takes=_CHANNELS),
    "vgg16": Entry("fervid.networks.published:vgg16"),
    "resnet18": Entry(_TORCHVISION, options={"arch": "resnet18"}),
    "resnet50": Entry(_TORCHVISION, options={"arch": "resnet50"}),
    "efficientnet_b3": Entry(_TORCHVISION, options={"arch": "efficientnet_b3"}),
    "efficientnet_b4": Entry(_TORCHVISION, options={"arch": "efficientnet_b4"}),
    "vggface2": Entry("fervid.networks.published:vggface2"),
    "dlibface": Entry("fervid.networks.published:DlibFace", extra="persons", takes=_CHANNELS),
}


def build(arch: str, n_classes: int, *, size_px: int = 48, channels: int = 1) -> "Network":
    """Build an architecture by name, with random weights.

    Parameters
    ----------
    arch : str
        A key of ARCHITECTURES; callers check it first.
    n_classes : int
        Number of outputs of the head.
    size_px : int
        Side of the crops.
    channels : int
        1 for grey crops, 3 for colour.

    Returns
    -------
    Network

    Raises
    ------
    KeyError
        If the architecture is unknown.
    ConfigError
        If the architecture takes grey crops only.
    """
    return ARCHITECTURES[arch].create(n_classes, size_px=size_px, channels=channels)
