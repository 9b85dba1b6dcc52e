"""Download published weights once, into the cache of torch.hub."""

import hashlib
import os
import re
import urllib.request
from pathlib import Path

import torch

from fervid.registry import EMBEDDERS

__all__ = ["VGGFACE2", "cache_path", "fetch"]

#: InceptionResnetV1 on VGGFace2 (Cao et al. 2018), by facenet-pytorch.
VGGFACE2 = EMBEDDERS["vggface2"].url
_TIMEOUT_S = 30


def cache_path(url: str) -> Path:
    """Give the path in the cache at which the download of a URL is stored.

    Parameters
    ----------
    url : str

    Returns
    -------
    Path
    """
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def fetch(url: str) -> Path:
    """Download a file unless the cache already holds it.

    Parameters
    ----------
    url : str
        Address of the file. If its name ends in the first digits of its sha256, as torchvision's do, they are checked.

    Returns
    -------
    Path
        The file in the cache.

    Raises
    ------
    OSError
        If the download fails or is damaged. No partial file remains.
    """
    path = cache_path(url)
    if path.is_file():
        return path
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
            content = response.read()
        digits = re.search(r"-([0-9a-f]{8})\.pth$", path.name)
        if digits and not hashlib.sha256(content).hexdigest().startswith(digits[1]):
            raise OSError("the download is damaged")
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError:  # URLError, a timeout, a full disk
        temporary.unlink(missing_ok=True)
        raise
    return path
