"""The command line: parse, call the Python API, print.

Each module registers its commands on the one app, in the order in which `fervid --help` lists them.
"""

import gc
import sys

from fervid.cli.app import app

from fervid.cli import process  # isort: skip
from fervid.cli import batch  # isort: skip
from fervid.cli import views  # isort: skip
from fervid.cli import studies  # isort: skip
from fervid.cli import lab  # isort: skip
from fervid.cli import installation  # isort: skip

__all__ = ["app", "batch", "installation", "lab", "main", "process", "studies", "views"]


def main() -> None:
    """Run the `fervid` command."""
    try:
        app()
    finally:
        if "triton" not in sys.modules:  # triton prints pages about objects that are not collected
            gc.freeze()  # skips a collection of all that torch loaded, which takes half a second at exit
