"""The command line: parse, call, print. Nothing here that the Python API lacks.

Each file registers its commands on the one app, in the order in which `fervid --help` lists them.
"""

import gc
import sys

from fervid.cli.shared import app

from fervid.cli import line  # isort: skip
from fervid.cli import bulk  # isort: skip
from fervid.cli import views  # isort: skip
from fervid.cli import report  # isort: skip
from fervid.cli import study  # isort: skip
from fervid.cli import lab  # isort: skip

__all__ = ["app", "bulk", "lab", "line", "main", "report", "study", "views"]


def main() -> None:
    """Run the `fervid` command."""
    try:
        app()
    finally:
        if "triton" not in sys.modules:  # it prints pages about objects that are left
            gc.freeze()  # else Python looks through all that torch brought before it ends: half a second
