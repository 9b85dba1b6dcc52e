"""Which class frequencies the probabilities assume, and other frequencies that a user requests in their place.

A probability depends on how frequent its class is assumed to be: by Bayes' rule, p(class | face) is proportional to
p(face | class) times the prior p(class). Where the facts of the weights state the prior of a head, it can be replaced:
p' is proportional to p * requested / stated.
"""

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fervid.emotions.facts import PRIOR_TOLERANCE, Head, is_number
from fervid.errors import ConfigError, DataError
from fervid.labels import emotion

__all__ = ["PRIORS", "Prior", "find_prior"]

#: The priors with a name; any other is a file.
PRIORS = {
    "default": "as the weights state it",
    "uniform": "all classes equally frequent",
    "trained": "the frequencies in the training data",
}


@dataclass(frozen=True)
class Prior:
    """The class frequencies that probabilities assume.

    Parameters
    ----------
    name : str
        A key of PRIORS, or the name of a file.
    values : tuple of float, optional
        The K frequencies; None if the weights do not state them.
    log_ratio : np.ndarray
        What is added to the logarithms of the head's own probabilities, (K,) float64; zeros for "default".
    """

    name: str
    values: tuple[float, ...] | None
    log_ratio: np.ndarray

    def to_dict(self, labels: tuple[str, ...]) -> dict[str, Any]:
        """Give the prior as it is written into the metadata of timelines.

        Parameters
        ----------
        labels : tuple of str
            The K emotions.

        Returns
        -------
        dict
            `name`, and `values` by emotion, None if they are not known.
        """
        values = None if self.values is None else dict(zip(labels, (round(value, 6) for value in self.values)))
        return {"name": self.name, "values": values}


def find_prior(prior: str, head: Head, path: Path) -> Prior:
    """Find the class frequencies that a user requests for a head.

    Parameters
    ----------
    prior : str
        A key of PRIORS, or a .toml or .json file that gives every emotion of the head its frequency, alone or in a
        single table `prior`.
    head : Head
    path : Path
        The weights, to name them in errors.

    Returns
    -------
    Prior

    Raises
    ------
    ConfigError
        If the head's own prior, or that of its training data, is not stated, or the file does not fit.
    """
    k = len(head.labels)
    if prior == "default":
        return Prior(prior, head.prior, np.zeros(k))
    if prior == "trained":
        requested = head.trained_prior
        if requested is None:
            raise ConfigError(
                f"prior = trained: {path} does not state the frequencies in the training data of its head {head.name}"
            )
    else:
        requested = (1 / k,) * k if prior == "uniform" else _read_file(Path(prior), head)
    if head.prior is None:
        raise ConfigError(
            f"prior = {prior}: {path} does not state the prior of its head {head.name}, so that its "
            "probabilities cannot be re-weighted; leave out --prior"
        )
    name = prior if prior in PRIORS else Path(prior).name
    return Prior(name, requested, np.log(np.array(requested) / np.array(head.prior)))


def _read_file(path: Path, head: Head) -> tuple[float, ...]:
    """Read the frequencies of a head's classes, in their order."""
    if path.suffix not in (".toml", ".json"):
        raise ConfigError(f"prior = {path}: expected {', '.join(PRIORS)}, or a .toml or .json file")
    try:
        text = path.read_text("utf-8")
        written = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as e:
        reason = "no such file" if isinstance(e, FileNotFoundError) else f"cannot be read ({e.strerror})"
        raise ConfigError(f"prior = {path}: {reason}; expected {', '.join(PRIORS)}, or a file") from None
    except ValueError as e:
        raise ConfigError(f"{path}: not readable as {path.suffix[1:].upper()} ({e})") from None
    if not isinstance(written, Mapping):
        raise ConfigError(f"{path}: expected a number for each emotion, found {type(written).__name__}")
    if list(written) == ["prior"] and isinstance(written["prior"], Mapping):  # the table of a recipe
        written = written["prior"]
    values: dict[str, float] = {}
    for key, value in written.items():
        try:
            name = emotion(key)
        except DataError as e:
            raise ConfigError(f"{path}: {e}") from None
        if name not in head.labels:
            raise ConfigError(f"{path}: {key} is no class of the head {head.name}; expected {', '.join(head.labels)}")
        if name in values:
            raise ConfigError(f"{path}: {name} occurs twice, as {key} too")
        if not is_number(value) or value <= 0:
            raise ConfigError(f"{path}: {key} = {value!r}: expected a number above 0")
        values[name] = float(value)
    if missing := [name for name in head.labels if name not in values]:
        expected = f"expected a number for each of {', '.join(head.labels)}"
        raise ConfigError(f"{path}: {', '.join(missing)} missing; {expected}")
    if abs((total := math.fsum(values.values())) - 1) > PRIOR_TOLERANCE:
        percentages = "; divide each by 100" if abs(total / 100 - 1) <= PRIOR_TOLERANCE else ""
        raise ConfigError(f"{path}: the frequencies sum to {total:.4g}, expected 1{percentages}")
    return tuple(values[name] for name in head.labels)
