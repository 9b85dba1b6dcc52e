"""The networks that tell people apart, by what `--persons` names: dlib, vggface2, or a file with vggface2's weights."""

from pathlib import Path

from fervid.errors import MissingDependency
from fervid.tracks.persons import Embedder

__all__ = ["find_embedder", "load_embedder"]


def find_embedder(asked: str) -> Path:
    """Find the weights without loading them; MissingDependency or WeightsError says how to get them."""
    if asked == "dlib":
        from fervid.networks.dlib_resnet import find_dlib_weights

        try:
            return find_dlib_weights()
        except MissingDependency as e:
            raise MissingDependency(f"{e}; or leave it out with --persons none") from None
    from fervid.tracks.facenet_embedder import find_vggface2

    return find_vggface2(asked)


def load_embedder(asked: str, device: str) -> Embedder:
    """Load the network; the errors are those of find_embedder."""
    if asked == "dlib":
        find_embedder(asked)
        from fervid.tracks.dlib_embedder import DlibFaces

        return DlibFaces(device)
    from fervid.tracks.facenet_embedder import FaceNet

    return FaceNet(asked, device)
