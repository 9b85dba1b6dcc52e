"""Load the network that `--persons` names: a key of registry.EMBEDDERS, or a file with the weights of vggface2."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fervid.errors import MissingDependency
from fervid.registry import EMBEDDERS, Entry
from fervid.tracks.persons import Embedder

__all__ = ["find_embedder", "load_embedder"]

#: The network whose weights a file holds.
_OF_FILES = "vggface2"


def find_embedder(name: str) -> Path:
    """Find the weights of an embedder without loading them.

    Parameters
    ----------
    name : str
        A key of EMBEDDERS, or the path of a file with the weights of vggface2.

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
    entry = _entry(name)
    with _offer_none():
        return entry.find_weights(name) if "weights" in entry.takes else entry.find_weights()


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
    find_embedder(name)
    with _offer_none():
        return _entry(name).create(weights=name, device=device)


@contextmanager
def _offer_none() -> Iterator[None]:
    """Add to an error about a missing package that the option can be left out."""
    try:
        yield
    except MissingDependency as e:
        raise MissingDependency(f"{e}; or add --persons none") from None


def _entry(name: str) -> Entry:
    return EMBEDDERS[name if name in EMBEDDERS else _OF_FILES]
