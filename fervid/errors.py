"""Every error that fervid raises deliberately.

    FervidError
    ├── UsageError (ValueError)           the request cannot be carried out as written     exit 2
    │   ├── ConfigError                   an option, or a key of a pipeline file
    │   ├── OutputError                   where the result should be written
    │   ├── DeviceError                   a device that this machine does not have
    │   ├── WeightsError                  a model that is unknown or unusable
    │   ├── DataError                     a data set or a timeline that cannot be read
    │   └── MissingDependency (ImportError)   an optional part that is not installed
    ├── VideoError (OSError)              this video cannot be read; others may be        exit 1
    └── RunError (RuntimeError)           the run has to stop: disk full, weights altered   exit 3

`VideoError.reason` is one word for the manifest: missing, not_a_file, unreadable, empty_file, not_media, no_moov,
no_video_stream, no_frames, too_large, bad_range, unsupported.
"""

__all__ = [
    "ConfigError",
    "DataError",
    "DeviceError",
    "FervidError",
    "MissingDependency",
    "OutputError",
    "RunError",
    "UsageError",
    "VideoError",
    "WeightsError",
    "install_extra",
]


class FervidError(Exception):
    """The base of all errors that fervid raises deliberately."""

    exit_code = 3


class UsageError(FervidError, ValueError):
    """The request cannot be carried out as it is written."""

    exit_code = 2


class ConfigError(UsageError):
    """An option, or a key of a pipeline file, is unknown or out of range."""


class OutputError(UsageError):
    """The result cannot be written where it was requested."""


class DeviceError(UsageError):
    """The requested device is not available; fervid never falls back to another one silently."""


class WeightsError(UsageError):
    """The requested model is unknown, or fervid cannot load its file."""


class DataError(UsageError):
    """A data set or a timeline is not what it should be."""


class MissingDependency(UsageError, ImportError):
    """An optional part is not installed; the message contains the pip command."""


class VideoError(FervidError, OSError):
    """One video cannot be read. `reason` is one word for the manifest."""

    exit_code = 1

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class RunError(FervidError, RuntimeError):
    """The run has to stop: the disk is full, or the bundled weights were altered."""

    exit_code = 3


def install_extra(extra: str) -> str:
    """Say how to install an extra; fervid is installed from a clone of its repository, not from a package index.

    Parameters
    ----------
    extra : str
        A key of `project.optional-dependencies` in pyproject.toml.

    Returns
    -------
    str
    """
    return f"pip install -e '.[{extra}]' in the clone of fervid (docs/installation.md#extras)"
