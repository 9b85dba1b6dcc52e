"""The table of tricks: one run per change, differences from the recipe as it is."""

from pathlib import Path

import pytest

from tests.benchmarks.tricks import main, table
from tests.helpers.face_sets import some_faces, write_parquet

PLAN_TOML = """
[recipe]
arch = "basecnn"
epochs = 1
batch_size = 8

[tricks.mixup]
mixup = 0.5

[tricks.never]
arch = "no such network"
"""


def row(name: str, accuracy: float, recall: float, cpu_s: float) -> dict:
    return {"name": name, "cpu_s": cpu_s, "sets": {"RAF": {"accuracy": accuracy, "mean_recall": recall}}}


def test_differences_by_hand() -> None:
    found = table([row("as it is", 0.7, 0.5, 100), row("SAM", 0.715, 0.49, 190)])
    assert found[0] == ["trick", "RAF: accuracy", "RAF: mean recall", "CPU time"]
    assert found[1:] == [["as it is", "70.0%", "0.500", "1.00"], ["SAM", "71.5% (+1.5)", "0.490 (-0.010)", "1.90"]]


def test_tricks_are_trained_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.toml").write_text(PLAN_TOML)
    train = write_parquet(tmp_path / "train.parquet", some_faces(28))
    check = write_parquet(tmp_path / "check.parquet", some_faces(14, seed=1))
    arguments = [
        *("--data", str(train), "--validation", str(check), "--left-out", f"other={check}"),
        *("--plan", str(tmp_path / "plan.toml"), "--only", "mixup", "--out", str(tmp_path / "runs")),
    ]
    rows = main(arguments)
    assert [one["name"] for one in rows] == ["as it is", "mixup"] and rows[1]["options"]["mixup"] == 0.5
    assert "| mixup " in capsys.readouterr().out
    assert main(arguments) == rows
    assert "epoch" not in capsys.readouterr().out


def test_an_unknown_trick_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.toml").write_text(PLAN_TOML)
    arguments = ["--plan", str(tmp_path / "plan.toml"), "--only", "luck", "--out", str(tmp_path)]
    with pytest.raises(SystemExit):
        main(["--data", "a.parquet", "--left-out", "b=b.parquet", *arguments])
    assert "no trick is called 'luck'; expected as it is, mixup, never" in capsys.readouterr().err
