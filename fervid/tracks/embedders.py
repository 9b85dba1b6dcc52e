"""Networks that tell people apart, by what `--persons` names: a key of registry.EMBEDDERS, or a file of weights."""

from pathlib import Path

from fervid.errors import MissingDependency
from fervid.registry import EMBEDDERS, Entry
from fervid.tracks.persons import Embedder

__all__ = ["find_embedder", "load_embedder"]

#: The network whose weights a file holds.
_OF_FILES = "vggface2"


def find_embedder(name: str) -> Path:
    """Find the weights without loading them; those of vggface2 are downloaded once.

    Parameters
    ----------
    name : str
        A key of EMBEDDERS, or a file with weights of vggface2.

    Returns
    -------
    Path

    Raises
    ------
    MissingDependency, WeightsError
        If they are not there; the message says how to get them.
    """
    entry = _entry(name)
    try:
        return entry.find_weights(name) if "weights" in entry.takes else entry.find_weights()
    except MissingDependency as e:
        raise MissingDependency(f"{e}; or leave it out with --persons none") from None


def load_embedder(name: str, device: str) -> Embedder:
    """Load the network.

    Parameters
    ----------
    name : str
        A key of EMBEDDERS, or a file with weights of vggface2.
    device : str
        "cpu" or "cuda:N".

    Returns
    -------
    Embedder

    Raises
    ------
    MissingDependency, WeightsError
        As `find_embedder`.
    """
    find_embedder(name)
    return _entry(name).create(weights=name, device=device)


def _entry(name: str) -> Entry:
    return EMBEDDERS[name if name in EMBEDDERS else _OF_FILES]
