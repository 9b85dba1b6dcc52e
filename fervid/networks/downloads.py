"""Weights that others publish: fetched once, into torch's own cache."""

import hashlib
import os
import re
import urllib.request
from pathlib import Path

import torch

__all__ = ["VGGFACE2", "cache_path", "fetch"]

#: InceptionResnetV1 on VGGFace2 (Cao et al. 2018), by facenet-pytorch.
VGGFACE2 = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/20180402-114759-vggface2.pt"
_TIMEOUT_S = 30


def cache_path(url: str) -> Path:
    """Where a download lies once it is there."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def fetch(url: str) -> Path:
    """Fetch a file unless it is there -> its place; OSError if it cannot be had whole, and nothing is left."""
    path = cache_path(url)
    if path.is_file():
        return path
    part = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            content = answer.read()
        # torchvision writes the first digits of the sha256 into the name
        digits = re.search(r"-([0-9a-f]{8})\.pth$", path.name)
        if digits and not hashlib.sha256(content).hexdigest().startswith(digits[1]):
            raise OSError("what came is damaged")
        part.write_bytes(content)
        part.replace(path)
    except OSError:  # URLError, a timeout, a full disk
        part.unlink(missing_ok=True)
        raise
    return path
