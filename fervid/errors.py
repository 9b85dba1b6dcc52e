"""Every error that fervid raises on purpose.

    FervidError
    ├── UsageError (ValueError)           the request cannot be carried out as written     exit 2
    │   ├── ConfigError                   an option or a pipeline key
    │   ├── OutputError                   where the result should go
    │   ├── DeviceError                   a device that this machine has not
    │   ├── WeightsError                  a model that is unknown or not usable
    │   ├── DataError                     a data set or a timeline that cannot be read
    │   └── MissingDependency (ImportError)   an optional part that is not installed
    ├── VideoError (OSError)              this one video cannot be read; others may be      exit 1
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
]


class FervidError(Exception):
    """The root: catch this to catch all that fervid raises on purpose."""

    exit_code = 3


class UsageError(FervidError, ValueError):
    """The request cannot be carried out as it is written."""

    exit_code = 2


class ConfigError(UsageError):
    """An option or a key of a pipeline file is unknown or out of range."""


class OutputError(UsageError):
    """The result cannot be written where it was asked for."""


class DeviceError(UsageError):
    """The device asked for is not on this machine; there is no silent fallback."""


class WeightsError(UsageError):
    """The model asked for is unknown, or its file is not one that fervid loads."""


class DataError(UsageError):
    """A data set or a timeline is not what its name says."""


class MissingDependency(UsageError, ImportError):
    """An optional part is not installed; the message holds the pip command."""


class VideoError(FervidError, OSError):
    """One video cannot be read. `reason` is one word for the manifest."""

    exit_code = 1

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class RunError(FervidError, RuntimeError):
    """The run itself has to stop: the disk is full, or the bundled weights were altered."""

    exit_code = 3
