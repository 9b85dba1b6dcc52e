"""The functions of `import fervid`: one per command of the command line, which calls them, and a few more.

Parameters have the names of the command line's options. Quantities carry their unit: `start_s` for --start,
`min_face_px` for --min-face; for the options of the pipeline, the command line's own name is accepted too
(`start=60.0`). Where the command line expects the name of a file, a str or any other path is accepted.
"""

from fervid.api.analyse import batch, forget, load_models, predict, probe, process
from fervid.api.classifiers import evaluate, explain, score, train
from fervid.api.installation import doctor, selftest
from fervid.api.look import export, info, load_timeline, load_timelines, overlay, plot, report
from fervid.api.studies import agree, disfa

__all__ = [
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
