"""fervid: video files into per-second emotion timelines, offline and in bulk.

import fervid
result = fervid.process("interview.mp4", "timeline.parquet")
frame = fervid.load_timeline("timeline.parquet", by="second")
"""

from typing import TYPE_CHECKING, Any

from fervid._version import __version__
from fervid.errors import FervidError, RunError, UsageError, VideoError

if TYPE_CHECKING:
    from fervid.api import (
        agree,
        batch,
        disfa,
        export,
        forget,
        load_models,
        load_timeline,
        load_timelines,
        overlay,
        plot,
        probe,
        process,
        report,
    )

__all__ = [
    "FervidError",
    "RunError",
    "UsageError",
    "VideoError",
    "__version__",
    "agree",
    "batch",
    "disfa",
    "export",
    "forget",
    "load_models",
    "load_timeline",
    "load_timelines",
    "overlay",
    "plot",
    "probe",
    "process",
    "report",
]


def __getattr__(name: str) -> Any:
    """Load the API on first use (PEP 562)."""
    if name in __all__:
        from fervid import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
