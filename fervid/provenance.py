"""What identifies a result: the source, the configuration, the models and the version of fervid."""

import hashlib
import json
from pathlib import Path
from typing import Any

from fervid.config import Config
from fervid.files import to_utf8
from fervid.timeline.schema import SCHEMA_VERSION

__all__ = ["fingerprint", "job_key", "model_hash"]


def model_hash(config: Config) -> str:
    """The sha256 of the models that a config names, without loading them."""
    from fervid.networks.weights import model_fingerprint

    own = model_fingerprint(config.weights)
    if not config.persons:
        return own
    from fervid.tracks.embedders import find_embedder

    both = own.encode() + find_embedder(config.persons).read_bytes()
    return hashlib.sha256(both).hexdigest()


def fingerprint(path: Path) -> dict[str, Any]:
    """Name, bytes and sha256 of a file, for the provenance of what is made of it."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": to_utf8(path.name), "bytes": path.stat().st_size, "sha256": digest}


def job_key(sha256: str, config: Config, model: str) -> str:
    """What decides a result: content, config, model, schema. Two inputs with one key have the same timeline."""
    if not sha256:
        return ""
    decides: list[Any] = [sha256, config.to_dict(), model, SCHEMA_VERSION]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
