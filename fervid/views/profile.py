"""Where the time of a run went, as a table and as data."""

import sys
from typing import Any

from fervid.stopwatch import Stopwatch

__all__ = ["print_profile", "profile"]


def profile(watch: Stopwatch) -> dict[str, Any]:
    """Give the seconds of CPU and of the wall clock, in all and stage by stage; stages overlap on the wall clock."""
    return {
        "cpu_s": round(watch.cpu_s, 3),
        "wall_s": round(watch.wall_s, 3),
        "stages": {
            spent.stage: {"cpu_s": round(spent.cpu_s, 3), "wall_s": round(spent.wall_s, 3), "calls": spent.calls}
            for spent in watch.stages()
        },
    }


def print_profile(watch: Stopwatch) -> None:
    """Print the stages by falling CPU time on stdout."""
    facts = profile(watch)
    rows = [("stage", "CPU s", "share", "wall s", "calls")]
    for stage, spent in facts["stages"].items():
        wall, calls = (f"{spent['wall_s']:.2f}", str(spent["calls"])) if spent["calls"] else ("", "")
        rows.append((stage, f"{spent['cpu_s']:.2f}", f"{spent['cpu_s'] / facts['cpu_s']:.0%}", wall, calls))
    rows.append(("in all", f"{facts['cpu_s']:.2f}", "", f"{facts['wall_s']:.2f}", ""))
    sys.stdout.write("\n")
    for stage, *figures in rows:
        sys.stdout.write(f"{stage:<16}" + "".join(f"{figure:>9}" for figure in figures).rstrip() + "\n")
