"""What identifies a result. Batches, studies, shards and Ray resume by the one key that is made here."""

import hashlib
import json
from pathlib import Path
from typing import Any

from fervid.config import Config
from fervid.errors import WeightsError
from fervid.files import file_sha256, to_utf8
from fervid.timeline.schema import SCHEMA_VERSION

__all__ = ["RESULTS_VERSION", "describe_source", "models_fingerprint", "requested_prior", "resume_key"]

#: The version of fervid's results, raised by hand whenever its own code changes any value of a timeline: a rerun then
#: processes every video again rather than mix two versions in one folder. tests/test_results_version.py holds the
#: values that belong to this number and fails if they change without it.
RESULTS_VERSION = 2


def models_fingerprint(config: Config) -> str:
    """Hash the models that a configuration names, without loading them; check the facts of the classifier.

    Parameters
    ----------
    config : Config

    Returns
    -------
    str
        A SHA-256 over the weights of the detector, the weights and facts of the classifier, the values of a requested
        prior, and the weights of the embedder if persons are distinguished.

    Raises
    ------
    MissingDependency, WeightsError
        If a model is not installed or cannot be read.
    ConfigError
        If the prior does not fit the weights.
    """
    from fervid.faces.detectors import find_detector
    from fervid.networks.weights import model_fingerprint
    from fervid.tracks.embedders import find_embedder

    files = list(find_detector(config.detector))
    if config.persons:
        files.append(find_embedder(config.persons))
    digest = hashlib.sha256(model_fingerprint(config.weights).encode())
    prior = requested_prior(config)
    if prior is not None:
        digest.update(json.dumps(prior).encode())
    for file in files:
        try:
            digest.update(file_sha256(file).encode())
        except OSError as e:
            raise WeightsError(f"{file}: cannot be read ({e.strerror or e}); install its package again") from None
    return digest.hexdigest()


def requested_prior(config: Config) -> tuple[float, ...] | None:
    """Read the prior that a configuration requests: its values, as the name of a file says nothing about its content.

    Parameters
    ----------
    config : Config

    Returns
    -------
    tuple of float or None
        None for that of the weights, which is a part of their facts.

    Raises
    ------
    ConfigError
        As for `emotions.prior.find_prior`.
    WeightsError
        If the weights are unknown or their facts cannot be read.
    """
    from fervid.emotions.facts import read_facts
    from fervid.emotions.prior import find_prior
    from fervid.networks.weights import find_weights

    weights = find_weights(config.weights)
    found = find_prior(config.prior, read_facts(weights).heads[0], weights)
    return None if config.prior == "default" else found.values


def describe_source(path: Path) -> dict[str, Any]:
    """Describe a file for the metadata of what is made from it.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict[str, Any]
        Its name, its size in bytes, and its SHA-256.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    return {"name": to_utf8(path.name), "bytes": path.stat().st_size, "sha256": file_sha256(path)}


def resume_key(sha256: str, config: Config, models: str) -> str:
    """Identify a result by everything that decides it: two videos with one key have the same timeline.

    Parameters
    ----------
    sha256 : str
        Hash of the video's content; "" if it is unknown.
    config : Config
    models : str
        What `models_fingerprint` returns; "" if the models are unknown.

    Returns
    -------
    str
        A SHA-256; "" if the content or the models are unknown, and then no result can be resumed.
    """
    if not sha256 or not models:
        return ""
    decisive: list[Any] = [sha256, config.to_dict(), models, SCHEMA_VERSION, RESULTS_VERSION]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
