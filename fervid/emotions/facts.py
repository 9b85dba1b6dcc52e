"""The facts beside a classifier's weights: a JSON file that is checked as a whole before anything is computed.

Optional keys have the meaning of older files as their default: grey crops, a prior that is not stated, no terms.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fervid.errors import DataError, WeightsError
from fervid.faces.crop import FaceAlignment
from fervid.labels import emotion
from fervid.networks.weights import FACTS

__all__ = ["PRIOR_TOLERANCE", "Facts", "Head", "describe_weights", "is_number", "read_facts"]

#: How far the values of a prior may sum to something other than 1.
PRIOR_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Head:
    """One labelling of a network with several: its classes, its temperature, and its outputs from `first` on.

    Parameters
    ----------
    name : str
    labels : tuple of str
        The K emotions.
    temperature : float
        Divisor of the logits, fitted on validation faces (Guo et al. 2017, arXiv 1706.04599).
    first : int
        Index of its first output.
    prior : tuple of float, optional
        The K class frequencies that the calibrated output softmax(logits / temperature) assumes; None: not known.
    trained_prior : tuple of float, optional
        The K class frequencies of the data that the head was trained on; None: not known.
    """

    name: str
    labels: tuple[str, ...]
    temperature: float
    first: int
    prior: tuple[float, ...] | None = None
    trained_prior: tuple[float, ...] | None = None

    @property
    def outputs(self) -> slice:
        """The outputs of the network that belong to this head."""
        return slice(self.first, self.first + len(self.labels))


@dataclass(frozen=True)
class Facts:
    """What the line has to know about weights.

    Parameters
    ----------
    path : Path
        The JSON file.
    arch : str
        A key of networks.registry.ARCHITECTURES; the classifier checks it.
    heads : tuple of Head
        At least one; the first answers by default.
    crop_px : int
        Side of the crops.
    channels : int
        1 for grey crops, 3 for RGB.
    mean, std : tuple of float
        Per channel: the network sees (pixel / 255 - mean) / std.
    alignment : FaceAlignment
        How faces lie in the training images.
    sha256 : str, optional
        Hash of the weights.
    terms : str
        The terms of weights and training data, in a sentence; empty if there are none to state.
    """

    path: Path
    arch: str
    heads: tuple[Head, ...]
    crop_px: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    alignment: FaceAlignment
    sha256: str | None = None
    terms: str = ""

    def head(self, name: str | None) -> Head:
        """Choose a head.

        Parameters
        ----------
        name : str or None
            The first one if None.

        Returns
        -------
        Head

        Raises
        ------
        WeightsError
            If there is no head of this name.
        """
        known = {head.name: head for head in self.heads}
        if name is not None and name not in known:
            raise WeightsError(f"{self.path}: no head {name!r}; expected {', '.join(known)}")
        return known[name] if name is not None else self.heads[0]


def read_facts(weights: Path) -> Facts:
    """Read and check the facts beside weights, without importing torch.

    Parameters
    ----------
    weights : Path
        The .safetensors file, as `networks.weights.find_weights` finds it.

    Returns
    -------
    Facts

    Raises
    ------
    WeightsError
        If the file is missing, or a value is; the message names the file, the key, and what was expected.
    """
    path = weights.with_suffix(".json")
    try:
        facts = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as e:
        raise WeightsError(
            f"{path}: cannot read the facts of the weights ({e}); `fervid train` writes this file"
        ) from None
    if not isinstance(facts, dict):
        raise WeightsError(f"{path}: expected a JSON object, found {type(facts).__name__}")
    if missing := [name for name in FACTS if name not in facts]:
        raise WeightsError(f"{path}: {', '.join(missing)} missing; `fervid train` writes this file")
    try:
        colour = _expect(facts.get("colour", False), bool, "colour", "true or false")
        channels = 3 if colour else 1
        std = _per_channel(facts["std"], channels, "std")
        if min(std) <= 0:
            raise _Wrong("std", "positive numbers", facts["std"])
        return Facts(
            path,
            _expect(facts["arch"], str, "arch", "a name"),
            _read_heads(facts["heads"]),
            _read_size(facts["input_px"]),
            channels,
            _per_channel(facts["mean"], channels, "mean"),
            std,
            _read_alignment(facts["framing"]),
            facts.get("sha256"),
            _expect(facts.get("terms", ""), str, "terms", "a sentence"),
        )
    except _Wrong as e:
        raise WeightsError(f"{path}: {e}") from None


def describe_weights(weights: Path) -> dict[str, Any]:
    """Describe weights by their facts.

    Parameters
    ----------
    weights : Path
        The .safetensors file.

    Returns
    -------
    dict
        Plain values: architecture, input, hash, terms, and per head its classes with their priors and the temperature.

    Raises
    ------
    WeightsError
        As for `read_facts`.
    """
    facts = read_facts(weights)
    return {
        "weights": str(weights),
        "terms": facts.terms,
        "arch": facts.arch,
        "input": f"{facts.crop_px}x{facts.crop_px}, {'colour' if facts.channels == 3 else 'grey'}",
        "framing": facts.alignment.fit,
        "sha256": facts.sha256,
        "heads": {
            head.name: {
                "labels": list(head.labels),
                "temperature": head.temperature,
                "prior": head.prior and dict(zip(head.labels, head.prior)),
                "trained_prior": head.trained_prior and dict(zip(head.labels, head.trained_prior)),
            }
            for head in facts.heads
        },
    }


class _Wrong(ValueError):
    """A value of the facts is not what it should be."""

    def __init__(self, key: str, expected: str, found: object) -> None:
        super().__init__(f"{key}: expected {expected}, found {found if isinstance(found, str) else repr(found)}")


def _expect(value: Any, kind: type, key: str, expected: str) -> Any:
    if not isinstance(value, kind):
        raise _Wrong(key, expected, value)
    return value


def is_number(value: object) -> bool:
    """Report whether a value read from a file is a finite number.

    Parameters
    ----------
    value : object

    Returns
    -------
    bool
        False for true and false, which are numbers in Python.
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read_size(value: Any) -> int:
    if not is_number(value) or value != int(value) or not 8 <= value <= 1024:
        raise _Wrong("input_px", "a whole number from 8 to 1024", value)
    return int(value)


def _per_channel(value: Any, channels: int, key: str) -> tuple[float, ...]:
    """Read one number for all channels, or one for each."""
    numbers = value if isinstance(value, list) else [value] * channels
    if len(numbers) != channels or not all(map(is_number, numbers)):
        expected = "a number, or one for each of red, green and blue" if channels == 3 else "a number"
        raise _Wrong(key, expected, value)
    return tuple(map(float, numbers))


def _read_alignment(value: Any) -> FaceAlignment:
    try:
        return FaceAlignment.from_facts(value)
    except (KeyError, TypeError, ValueError) as e:
        raise _Wrong("framing", "landmarks (five points), box and zoom", f"an error: {e!r}") from None


def _read_heads(value: Any) -> tuple[Head, ...]:
    if not isinstance(value, list) or not value:
        raise _Wrong("heads", "a list of at least one head", value)
    heads: list[Head] = []
    for one in value:
        heads.append(_read_head(one, heads[-1].outputs.stop if heads else 0))
    names = [head.name for head in heads]
    if len(set(names)) < len(names):
        raise _Wrong("heads", "a different name for each", names)
    return tuple(heads)


def _read_head(value: Any, first: int) -> Head:
    try:
        name, labels = value["name"], tuple(emotion(label) for label in value["labels"])
        temperature = value["temperature"]
    except (KeyError, TypeError, AttributeError, DataError) as e:
        raise _Wrong("heads", "a name, labels and a temperature for each", f"an error: {e!r}") from None
    key = f"head {_expect(name, str, 'heads', 'a name for each')}"
    if len(set(labels)) < len(labels) or not labels:
        raise _Wrong(f"{key}: labels", "different emotions", value["labels"])
    if not is_number(temperature) or temperature <= 0:
        raise _Wrong(f"{key}: temperature", "a positive number", temperature)
    priors = (_read_prior(value.get(name), labels, f"{key}: {name}") for name in ("prior", "trained_prior"))
    return Head(name, labels, float(temperature), first, *priors)


def _read_prior(value: Any, labels: Sequence[str], key: str) -> tuple[float, ...] | None:
    if value is None:
        return None
    whole = isinstance(value, list) and len(value) == len(labels) and all(map(is_number, value))
    if not whole or min(value) <= 0 or abs(np.sum(value) - 1) > PRIOR_TOLERANCE:
        raise _Wrong(key, f"{len(labels)} positive numbers that sum to 1", value)
    return tuple(map(float, value))
