"""Turn video files into per-second emotion timelines, offline and in bulk.

    import fervid

    result = fervid.process("interview.mp4", "timeline.parquet")
    frame = fervid.load_timeline("timeline.parquet", by="second")

Importing the package loads none of its dependencies; each name loads what it needs on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fervid._version import __version__
from fervid.errors import FervidError, RunError, UsageError, VideoError

if TYPE_CHECKING:
    from fervid.api import (
        agree,
        batch,
        disfa,
        doctor,
        evaluate,
        explain,
        export,
        forget,
        info,
        load_models,
        load_timeline,
        load_timelines,
        overlay,
        plot,
        predict,
        probe,
        process,
        report,
        score,
        selftest,
        train,
    )
    from fervid.config import Config
    from fervid.jobs.batch import Summary
    from fervid.models import Models
    from fervid.pipeline import Result

__all__ = [
    "Config",
    "FervidError",
    "Models",
    "Result",
    "RunError",
    "Summary",
    "UsageError",
    "VideoError",
    "__version__",
    "agree",
    "batch",
    "disfa",
    "doctor",
    "evaluate",
    "explain",
    "export",
    "forget",
    "info",
    "load_models",
    "load_timeline",
    "load_timelines",
    "overlay",
    "plot",
    "predict",
    "probe",
    "process",
    "report",
    "score",
    "selftest",
    "train",
]

#: Where the public classes are; the functions are in fervid.api.
_CLASSES = {
    "Config": "fervid.config",
    "Models": "fervid.models",
    "Result": "fervid.pipeline",
    "Summary": "fervid.jobs.batch",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name in _CLASSES:
        return getattr(importlib.import_module(_CLASSES[name]), name)
    if name in __all__:
        from fervid import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
