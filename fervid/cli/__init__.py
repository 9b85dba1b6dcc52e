"""The command line: parse, call, print. Nothing here that the Python API lacks.

Each file registers its commands on the one app, in the order in which `fervid --help` lists them.
"""

import gc
import sys

from fervid.cli.app import app

from fervid.cli import process  # isort: skip
from fervid.cli import batch  # isort: skip
from fervid.cli import views  # isort: skip
from fervid.cli import studies  # isort: skip
from fervid.cli import lab  # isort: skip

__all__ = ["app", "batch", "lab", "main", "process", "studies", "views"]


def main() -> None:
    """Run the `fervid` command."""
    try:
        app()
    finally:
        if "triton" not in sys.modules:  # it prints pages about objects that are left
            gc.freeze()  # else Python looks through all that torch brought before it ends: half a second
