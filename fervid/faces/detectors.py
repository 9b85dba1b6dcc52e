"""Face detectors by name (registry.DETECTORS)."""

from pathlib import Path

from fervid.config import check_choice
from fervid.faces.detector import FaceDetector
from fervid.registry import DETECTORS, DetectorEntry

__all__ = ["find_detector", "load_detector"]


def find_detector(name: str) -> tuple[Path, ...]:
    """Find the files of a detector's weights without loading them, or torch.

    Parameters
    ----------
    name : str
        A key of DETECTORS.

    Returns
    -------
    tuple[Path, ...]
        Empty if the detector has no weights.

    Raises
    ------
    ConfigError
        If the name is unknown.
    MissingDependency, WeightsError
        If the files are not installed, or are other ones.
    """
    entry = _entry(name)
    found = entry.find_weights() if entry.weights else ()
    return (found,) if isinstance(found, Path) else tuple(found)


def load_detector(name: str, device: str, precision: str) -> FaceDetector:
    """Load a detector.

    Parameters
    ----------
    name : str
        A key of DETECTORS.
    device : str
        "cpu" or "cuda:N".
    precision : str
        "fp32", "bf16" or "auto", for the detectors that take it; mtcnn computes in fp32.

    Returns
    -------
    FaceDetector

    Raises
    ------
    ConfigError
        If the name is unknown.
    DeviceError, MissingDependency, WeightsError
        As the detector raises them.
    """
    return _entry(name).create(device=device, precision=precision)


def _entry(name: str) -> DetectorEntry:
    check_choice("detector", name, DETECTORS)
    return DETECTORS[name]
