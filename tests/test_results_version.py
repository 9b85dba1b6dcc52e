"""A change of fervid's results needs another RESULTS_VERSION, or batches would mix old and new ones."""

import json

import pytest

from fervid.provenance import RESULTS_VERSION
from tests.helpers.golden import GOLDEN, RUNS, largest_difference

KEPT = json.loads(GOLDEN.read_text("utf-8"))
#: Far above the last bits, which differ from CPU to CPU, and far below what a change of the code does.
TOLERANCE = {"story": 1e-5, "sample": 2e-4}


def test_the_values_belong_to_the_current_version() -> None:
    assert KEPT["results_version"] == RESULTS_VERSION, "rewrite them: python -m tests.helpers.golden"


@pytest.mark.parametrize("name", RUNS)
def test_results_do_not_change_without_another_version(name: str) -> None:
    difference = largest_difference(RUNS[name](), KEPT[name])
    assert difference <= TOLERANCE[name], (
        "fervid's results have changed: raise RESULTS_VERSION in fervid/provenance.py, "
        "then run python -m tests.helpers.golden"
    )


def test_every_kind_of_difference_counts() -> None:
    kept = KEPT["story"]
    assert largest_difference(kept, kept) == 0
    for name, other in (("happiness", 0.125), ("status", "else"), ("track", 9)):
        assert largest_difference(kept | {name: [other, *kept[name][1:]]}, kept) > 1e-3
    assert largest_difference(kept | {"shot": kept["shot"][1:]}, kept) == float("inf")
    assert largest_difference({k: v for k, v in kept.items() if k != "shot"}, kept) == float("inf")
