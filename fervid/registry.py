"""What can be chosen by name: a registry is a table of entries, and adding to it is one row and one module.

The tables stand beside what they name: video.open.READERS, faces.detectors.DETECTORS, tracks.embedders.EMBEDDERS,
networks.registry.ARCHITECTURES, views.export.export.FORMATS. Config, command-line help, doctor and error messages are
made from their rows. Reading a table imports nothing heavy; `Entry.load` imports the one module that was chosen.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Entry", "describe"]


@dataclass(frozen=True)
class Entry:
    """One row of a registry.

    Parameters
    ----------
    target : str
        Where the implementation is, as "package.module:name".
    help : str
        One line that describes the entry to a user.
    extra : str
        The optional dependency group that it needs (`pip install '.[extra]'` in a checkout); empty if none.
    options : dict
        Keyword arguments with which the implementation is called.
    """

    target: str
    help: str = ""
    extra: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def load(self) -> Any:
        """Import the implementation.

        Returns
        -------
        Any
            The class or function that `target` names.

        Raises
        ------
        ImportError
            If its module, or an optional dependency of it, is not installed.
        """
        module, _, name = self.target.partition(":")
        return getattr(importlib.import_module(module), name)


def describe(entries: Mapping[str, Entry]) -> str:
    """List the entries of a registry for help texts, as "a (what it is), b (what it is)".

    Parameters
    ----------
    entries : Mapping[str, Entry]

    Returns
    -------
    str
    """
    return ", ".join(f"{name} ({entry.help})" if entry.help else name for name, entry in entries.items())
