"""Load the network that `--persons` names: dlib, vggface2, or a file with the weights of vggface2."""

from pathlib import Path

from fervid.errors import MissingDependency
from fervid.tracks.persons import Embedder

__all__ = ["find_embedder", "load_embedder"]


def find_embedder(name: str) -> Path:
    """Find the weights of an embedder without loading them.

    Parameters
    ----------
    name : str
        "dlib", "vggface2", or the path of a file with the weights of vggface2.

    Returns
    -------
    Path

    Raises
    ------
    MissingDependency
        If the package that ships the weights is not installed.
    WeightsError
        If the weights cannot be found or downloaded.
    """
    if name == "dlib":
        from fervid.networks.dlib_resnet import find_dlib_weights

        try:
            return find_dlib_weights()
        except MissingDependency as e:
            raise MissingDependency(f"{e}; or leave it out with --persons none") from None
    from fervid.tracks.facenet_embedder import find_vggface2

    return find_vggface2(name)


def load_embedder(name: str, device: str) -> Embedder:
    """Load an embedder.

    Parameters
    ----------
    name : str
        As for `find_embedder`, which lists the errors.
    device : str
        "cpu" or "cuda:N".

    Returns
    -------
    Embedder
    """
    if name == "dlib":
        find_embedder(name)
        from fervid.tracks.dlib_embedder import DlibFaces

        return DlibFaces(device)
    from fervid.tracks.facenet_embedder import FaceNet

    return FaceNet(name, device)
