"""The detectors by name."""

from fervid.errors import ConfigError
from fervid.faces.detector import FaceDetector

__all__ = ["load_detector"]


def load_detector(name: str, device: str, precision: str) -> FaceDetector:
    """Load a detector; `precision` (fp32, bf16, auto) is centerface's, mtcnn computes in fp32.

    ConfigError for an unknown name, DeviceError, MissingDependency and WeightsError as the detector says.
    """
    if name == "mtcnn":
        from fervid.faces.mtcnn import MTCNN

        return MTCNN(device=device)
    if name == "centerface":
        from fervid.faces.centerface import CenterFace

        return CenterFace(device=device, precision=precision)
    raise ConfigError(f"unknown detector {name!r}: expected mtcnn or centerface")
