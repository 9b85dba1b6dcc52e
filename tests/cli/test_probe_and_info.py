"""`fervid probe` and `fervid info`."""

import json
from pathlib import Path

import pandas as pd

from tests.helpers.command_line import ONE_FACE, run


def test_probe_shows_the_file_and_the_plan() -> None:
    code, printed, _ = run("probe", ONE_FACE, "--json")
    facts = json.loads(printed)
    assert code == 0
    assert facts["file"]["displayed"] == "640x360" and facts["file"]["codec"] == "h264"
    assert facts["plan"]["detection_size"] == "640x360"


def test_probe_of_a_bad_file_exits_1(tmp_path: Path) -> None:
    assert run("probe", tmp_path / "nothing.mp4")[0] == 1


def test_info_shows_provenance_and_summary(one_face: tuple[Path, Path, str]) -> None:
    code, printed, _ = run("info", one_face[0], "--json")
    assert code == 0
    summary = json.loads(printed)["summary"]
    assert (summary["tracks"], summary["persons"], summary["shots"]) == (1, None, 1)
    assert run("info", one_face[1])[0] == 0


def test_info_of_something_else_exits_2(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("words")
    for name in ("other", "text", "nothing"):
        code, _, error = run("info", tmp_path / f"{name}.parquet")
        assert code == 2 and f"{name}.parquet" in error
    error = run("info", "seresnett")[2]
    assert "seresnett: no such file or bundled model; expected a timeline, mobilefacenet, seresnet or" in error
    assert "is a folder; name one timeline in it" in run("info", tmp_path)[2]
