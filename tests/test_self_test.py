"""The self-test passes here, and notices each kind of difference."""

import copy
import json
from typing import Any

import pytest

from fervid.config import Config
from fervid.errors import DeviceError
from fervid.models import load_models
from fervid.pipeline import Result, process_video
from fervid.self_test import compare, run_self_test, sample


@pytest.fixture(scope="module")
def result() -> Result:
    config = Config(device="cpu")
    return process_video(sample(), None, config, load_models(config))


@pytest.fixture
def expected() -> dict[str, Any]:
    return copy.deepcopy(json.loads(sample().with_suffix(".json").read_text("utf-8")))


def test_this_installation_passes() -> None:
    outcome = run_self_test("cpu")
    assert outcome.passed and outcome.exit_code == 0, outcome
    assert outcome.taken_s < 60 and outcome.device == "cpu"
    assert json.loads(json.dumps(outcome.to_dict()))["passed"] is True


def failed(result: Result, expected: dict[str, Any]) -> set[str]:
    return {check.name.partition(",")[0] for check in compare(result, expected) if not check.passed}


def test_each_difference_fails_its_check(result: Result, expected: dict[str, Any]) -> None:
    assert failed(result, expected) == set()
    one = expected["rows"][0]
    for changed, names in (
        ({"model": "0" * 64}, {"the bundled model is used"}),
        ({"shots": 1}, {"shots"}),
        ({"rows": [one | {"dominant": "anger"}, *expected["rows"][1:]]}, {"dominant expression per second"}),
        ({"rows": [one | {"happiness": 0.6}, *expected["rows"][1:]]}, {"probabilities"}),
        ({"rows": [one | {"anger": None}, *expected["rows"][1:]]}, {"probabilities"}),
        ({"rows": [one | {"x": 0.5}, *expected["rows"][1:]]}, {"positions of faces"}),
        ({"rows": [one | {"track": 7}, *expected["rows"][1:]]}, {"tracks"}),
        ({"rows": [one | {"status": "no_face"}, *expected["rows"][1:]]}, {"seconds with a face"}),
        ({"rows": expected["rows"][1:]}, {"seconds with a face", "dominant expression per second"}),
    ):
        assert failed(result, expected | changed) == names, changed


def test_rounding_of_another_machine_passes(result: Result, expected: dict[str, Any]) -> None:
    for row in expected["rows"]:
        if row["happiness"] is not None:
            row["happiness"] += 0.05
            row["x"] -= 0.02
    assert failed(result, expected) == set()


def test_an_error_on_the_way_is_a_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(config: Config) -> None:
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr("fervid.self_test.load_models", broken)
    outcome = run_self_test("cpu")
    assert not outcome.passed and outcome.exit_code == 1
    assert [check.found for check in outcome.checks] == ["RuntimeError: no kernel image is available"]


def test_a_device_that_is_missing_is_wrong_usage() -> None:
    with pytest.raises(DeviceError):
        run_self_test("cuda:99")
