"""The values of two small runs that belong to the current RESULTS_VERSION, kept in tests/golden/results.json.

python -m tests.helpers.golden        # after raising RESULTS_VERSION in fervid/provenance.py
"""

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fervid.config import load_config
from fervid.models import Models, load_models
from fervid.pipeline import Result, process_video
from fervid.provenance import RESULTS_VERSION
from tests.helpers.fakes import FakeClassifier, FakeDetector, FakeEmbedder
from tests.helpers.scenes import scene, write

__all__ = ["GOLDEN", "RUNS", "largest_difference"]

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "results.json"
#: A face moves, is gone, comes back with another one; then the picture is cut to a third.
STORY = [
    *scene(25, (8, 8), step=1),
    *scene(15),
    *scene(20, (8, 8), (72, 40)),
    *scene(25, (40, 60), bright=240),
    *(255 - image for image in scene(10)),
    *scene(15, (90, 10), step=-1),
]


def story() -> dict[str, list[Any]]:
    """Run the line with fake models on a lossless clip, with every column that can be requested."""
    models = Models(FakeDetector(), FakeClassifier(), "cpu", FakeEmbedder())
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "story.mkv", STORY, codec="ffv1")
        config = load_config(fps=10, persons="dlib", smooth_s=1.0, baseline=True)
        return columns(process_video(path, None, config, models, name="story.mkv"))


def sample() -> dict[str, list[Any]]:
    """Run the line with its real models on two seconds of a sample video."""
    config = load_config(fps=2, end_s=2, device="cpu", precision="fp32")
    path = ROOT / "sample_videos" / "one_face.mp4"
    return columns(process_video(path, None, config, load_models(config), name="one_face.mp4"))


RUNS = {"story": story, "sample": sample}


def columns(result: Result) -> dict[str, list[Any]]:
    """The timeline as plain values, numbers rounded far below anything that a change of the code would do."""
    table = result.table.to_pydict()
    return {name: [_plain(value) for value in values] for name, values in table.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value


def largest_difference(found: dict[str, list[Any]], kept: dict[str, list[Any]]) -> float:
    """The largest difference of two numbers; infinity where texts, lengths, columns or gaps differ."""
    if found.keys() != kept.keys():
        return math.inf
    largest = 0.0
    for name in found:
        if len(found[name]) != len(kept[name]):
            return math.inf
        for one, other in zip(found[name], kept[name]):
            if isinstance(one, float) and isinstance(other, float):
                largest = max(largest, float(np.abs(one - other)))
            elif one != other:
                return math.inf
    return largest


def main() -> None:
    """Rewrite the values; if they differ, RESULTS_VERSION must have been raised."""
    runs = {name: run() for name, run in RUNS.items()}
    if GOLDEN.exists():
        kept = json.loads(GOLDEN.read_text("utf-8"))
        if kept["results_version"] == RESULTS_VERSION and any(
            largest_difference(runs[name], kept[name]) > 1e-4 for name in RUNS
        ):
            raise SystemExit(
                f"the values differ: raise RESULTS_VERSION, {RESULTS_VERSION}, in fervid/provenance.py first"
            )
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps({"results_version": RESULTS_VERSION} | runs, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
