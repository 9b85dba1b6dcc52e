"""Locate weights and fingerprint models, without importing torch.

A batch calls this before any worker starts, so it must stay cheap to import.
"""

import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fervid.errors import WeightsError
from fervid.files import file_sha256

__all__ = [
    "FACTS",
    "Unreliable",
    "bundled",
    "find_terms",
    "find_unreliable",
    "find_weights",
    "is_weights",
    "model_fingerprint",
]

#: Keys that the JSON file beside the weights must have.
FACTS = ("arch", "heads", "input_px", "mean", "std", "framing")
_CONVERT = "import torch; from safetensors.torch import save_file; save_file(torch.load({!r}, weights_only=True), {!r})"


def bundled() -> dict[str, Path]:
    """List the models that ship with fervid.

    Returns
    -------
    dict[str, Path]
        Their safetensors files by name.
    """
    folder = Path(__file__).parent.parent / "weights"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def is_weights(name: str) -> bool:
    """Check whether a name is that of weights: of a bundled model, or a .safetensors file.

    Parameters
    ----------
    name : str

    Returns
    -------
    bool
    """
    return name in bundled() or name.endswith(".safetensors")


@dataclass(frozen=True)
class Unreliable:
    """Emotions that a model does not recognise reliably in other data than it was trained on.

    Parameters
    ----------
    emotions : tuple of str
    outside : str
        The data in which it does.
    card : str
        The model card, which has the figures.
    """

    emotions: tuple[str, ...]
    outside: str
    card: str

    def sentence(self, names: Sequence[str] = ()) -> str:
        """Say it in words.

        Parameters
        ----------
        names : sequence of str
            How to name the emotions; by themselves if empty.

        Returns
        -------
        str
            Such as "fear and disgust are unreliable outside FER2013".
        """
        *others, last = names or self.emotions
        text = f"{', '.join(others)} and {last} are" if others else f"{last} is"
        return f"{text} unreliable outside {self.outside}"


def find_unreliable(sha256: str | None) -> Unreliable | None:
    """Find what the facts of a bundled model say under their optional key `unreliable`.

    Parameters
    ----------
    sha256 : str or None
        Hash of the weights, as in the metadata of timelines.

    Returns
    -------
    Unreliable or None
        None if no bundled model has this hash, or its facts lack the key.
    """
    name, facts = _bundled_facts(sha256)
    if found := facts.get("unreliable"):
        return Unreliable(tuple(found["emotions"]), found["outside"], f"fervid/weights/{name}.md")
    return None


def find_terms(sha256: str | None) -> str:
    """Find the terms of a bundled model.

    Parameters
    ----------
    sha256 : str or None
        Hash of the weights, as in the metadata of timelines.

    Returns
    -------
    str
        A sentence; empty if no bundled model has this hash.
    """
    _, facts = _bundled_facts(sha256)
    return str(facts.get("terms", ""))


def _bundled_facts(sha256: str | None) -> tuple[str, dict[str, Any]]:
    """Give the name and the facts of the bundled model with a hash; empty ones if there is none."""
    for name, path in bundled().items():
        facts = json.loads(path.with_suffix(".json").read_text("utf-8"))
        if facts["sha256"] == sha256:
            return name, facts
    return "", {}


def find_weights(weights: str) -> Path:
    """Find a bundled model by name, or a safetensors file by path.

    Parameters
    ----------
    weights : str
        A name from `bundled`, or the path of a .safetensors file.

    Returns
    -------
    Path

    Raises
    ------
    WeightsError
        If there is no such file, or if it is a pickle, which could run code; the message gives the conversion.
    """
    known = bundled()
    if weights in known:
        return known[weights]
    path = Path(weights)
    if path.suffix in (".pt", ".pth", ".bin", ".pkl", ".ckpt"):
        raise WeightsError(_explain_pickle(path))
    if path.suffix != ".safetensors" or not path.is_file():
        raise WeightsError(f"{weights}: no such weights; expected {', '.join(known)} or a .safetensors file")
    return path


def _explain_pickle(pickled: Path) -> str:
    """Explain why a pickle is not loaded, and which two files replace it."""
    target = pickled.with_suffix(".safetensors")
    program = shlex.quote(_CONVERT.format(str(pickled), str(target)))
    return (
        f"{pickled}: pickled weights can run code and are not loaded; convert a state dict with: python -c {program} "
        f"and write its facts ({', '.join(FACTS)}) to {target.with_suffix('.json')}: `fervid train` writes both files"
    )


def model_fingerprint(weights: str) -> str:
    """Hash a model: its weights and the facts beside them, which hold its temperature and classes.

    Parameters
    ----------
    weights : str
        As for `find_weights`.

    Returns
    -------
    str
        A sha256, hexadecimal.

    Raises
    ------
    WeightsError
        If either file cannot be read.
    """
    path = find_weights(weights)
    digest = hashlib.sha256()
    for file in (path, path.with_suffix(".json")):
        try:
            digest.update(bytes.fromhex(file_sha256(file)))
        except OSError as e:
            raise WeightsError(f"{file}: cannot be read ({e.strerror}); `fervid train` writes both files") from None
    return digest.hexdigest()
