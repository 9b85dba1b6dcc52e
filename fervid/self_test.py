"""Whether this installation computes what it should: one sample video, processed and compared with a stored result."""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from fervid.config import Config
from fervid.errors import FervidError, UsageError
from fervid.files import shipped_folder
from fervid.labels import EMOTIONS
from fervid.models import load_models
from fervid.pipeline import Result, process_video

__all__ = ["Check", "SelfTest", "compare", "expectation", "run_self_test", "sample"]

_VIDEO = "cut_to_nobody.mp4"
#: CPUs and GPUs differ in the last bits, and those that compute in bfloat16 by up to 0.02.
_PROBABILITY_TOLERANCE = 0.1
#: Of the position and the size of a face, in fractions of the frame.
_BOX_TOLERANCE = 0.03


@dataclass(frozen=True)
class Check:
    """One comparison with the stored result.

    Parameters
    ----------
    name : str
        What was compared.
    passed : bool
    expected, found : str
        For a reader.
    """

    name: str
    passed: bool
    expected: str
    found: str


@dataclass(frozen=True)
class SelfTest:
    """The outcome of a self-test.

    Parameters
    ----------
    checks : tuple of Check
    taken_s : float
        Seconds that the test took.
    device : str
        The device requested.
    """

    checks: tuple[Check, ...]
    taken_s: float
    device: str = field(default="auto")

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def exit_code(self) -> int:
        """0 if every check passed, else 1."""
        return 0 if self.passed else 1

    def to_dict(self) -> dict[str, Any]:
        """Give plain values, ready for JSON.

        Returns
        -------
        dict
        """
        return {"passed": self.passed, **asdict(self), "checks": [asdict(check) for check in self.checks]}


def sample() -> Path:
    """Find the sample video, with the expected result as a .json beside it.

    Returns
    -------
    Path
        Within the package if it comes from a wheel, else in the checkout.
    """
    return shipped_folder("sample_videos") / _VIDEO


def run_self_test(device: str = "auto") -> SelfTest:
    """Process the sample video with the default options and compare the result with the expected one.

    Parameters
    ----------
    device : str, default "auto"
        auto, cpu, cuda or cuda:N.

    Returns
    -------
    SelfTest
        Errors while the video is processed are a check that failed.

    Raises
    ------
    UsageError
        If the device is not available.
    """
    started = perf_counter()
    expected = json.loads(sample().with_suffix(".json").read_text("utf-8"))
    config = Config(device=device)
    try:
        checks = compare(process_video(sample(), None, config, load_models(config)), expected)
    except UsageError:
        raise
    except (FervidError, ImportError, RuntimeError) as e:
        checks = (Check("the sample video is processed", False, "no error", f"{type(e).__name__}: {e}"),)
    return SelfTest(checks, round(perf_counter() - started, 1), device)


def expectation(result: Result) -> dict[str, Any]:
    """Reduce a result to what a self-test compares; this is what the .json beside the sample video holds.

    Parameters
    ----------
    result : Result

    Returns
    -------
    dict
        Plain values: the model, the number of shots, and one row per second and track.
    """
    labels = [name for name in EMOTIONS if name in result.table.column_names]
    names = ["second", "shot", "track", "status", "n_faces", "dominant", "x", "y", "w", "h", *labels]
    return {
        "model": result.provenance["model"]["sha256"],
        "shots": result.provenance["counters"]["shots"],
        "rows": [
            {name: round(row[name], 4) if isinstance(row[name], float) else row[name] for name in names}
            for row in result.table.to_pylist()
        ],
    }


def compare(result: Result, expected: dict[str, Any]) -> tuple[Check, ...]:
    """Compare a result with the expected one, as far as other CPUs and GPUs must agree.

    Parameters
    ----------
    result : Result
    expected : dict
        As `expectation` returns it.

    Returns
    -------
    tuple of Check
    """
    found = expectation(result)
    checks = [
        _same("the whole video is read", "ok", result.status),
        _same("the bundled model is used", expected["model"][:16], found["model"][:16]),
        _same("shots", expected["shots"], found["shots"]),
        _same("seconds with a face", _seconds_with_face(expected), _seconds_with_face(found)),
        _same("tracks", _tracks(expected), _tracks(found)),
        _same("dominant expression per second", _dominant(expected), _dominant(found)),
    ]
    if len(expected["rows"]) == len(found["rows"]):
        labels = tuple(name for name in EMOTIONS if name in expected["rows"][0])
        checks += [
            _close("probabilities", labels, _PROBABILITY_TOLERANCE, expected, found),
            _close("positions of faces", ("x", "y", "w", "h"), _BOX_TOLERANCE, expected, found),
        ]
    return tuple(checks)


def _same(name: str, expected: object, found: object) -> Check:
    return Check(name, expected == found, str(expected), str(found))


def _close(
    name: str, columns: tuple[str, ...], tolerance: float, expected: dict[str, Any], found: dict[str, Any]
) -> Check:
    """Compare numbers; one that is missing on one side only differs infinitely."""
    largest = max(
        _difference(row[column], other.get(column))
        for row, other in zip(expected["rows"], found["rows"], strict=True)
        for column in columns
    )
    return Check(f"{name}, largest difference", largest <= tolerance, f"at most {tolerance:g}", f"{largest:.2g}")


def _difference(expected: float | None, found: float | None) -> float:
    if expected is None or found is None:
        return 0.0 if expected is found else math.inf
    return abs(expected - found)


def _seconds_with_face(facts: dict[str, Any]) -> int:
    return len({row["second"] for row in facts["rows"] if row["status"] == "ok"})


def _tracks(facts: dict[str, Any]) -> int:
    return len({row["track"] for row in facts["rows"]} - {None})


def _dominant(facts: dict[str, Any]) -> str:
    return ", ".join(row["dominant"] or "no face" for row in facts["rows"])
