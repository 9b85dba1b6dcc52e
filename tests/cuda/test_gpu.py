"""The pipeline on a GPU compared with the CPU: `python -m pytest -m gpu tests/cuda/test_gpu.py`."""

import json
import os
import time
from multiprocessing.connection import Connection
from typing import Any

import pytest
import torch

from tests.benchmarks import gpu
from tests.benchmarks.gpu import Run, main
from tests.helpers.gpu_checks import CHECKS, missing

#: Warnings about GPUs differ between releases of torch: they are shown and fail no test.
ON_A_GPU = (
    pytest.mark.gpu,
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
)


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize(
    "device",
    [pytest.param("cuda:0", marks=ON_A_GPU), pytest.param("cpu", marks=pytest.mark.slow)],
)
def test_a_gpu_finds_what_the_cpu_finds(name, device):
    """On the CPU, this tests the checks themselves."""
    if reason := missing(name, device):
        pytest.skip(reason)
    CHECKS[name](device)


def breaks(run: Run) -> None:
    raise ValueError("broken")


def crashes(run: Run) -> None:
    run.tell("before the crash", 1)
    os.abort()


def hangs(run: Run) -> None:
    while True:
        time.sleep(1)


def goes_on(run: Run) -> None:
    run.tell("after it", 2)


def perform_these(pipe: Connection, *given: Any) -> None:
    """Perform a task in the other process, which has these tasks too."""
    gpu.TASKS.update(THESE)
    gpu.perform(pipe, *given)


THESE = {
    "breaks": (breaks, 0, 60), "crashes": (crashes, 0, 60), "hangs": (hangs, 0, 2), "goes on": (goes_on, 0, 60),
}  # fmt: skip


@pytest.mark.slow
def test_a_failed_task_does_not_stop_the_others(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "TASKS", THESE)
    monkeypatch.setattr(gpu, "perform", perform_these)
    facts = main(["--device", "cpu", "--out", str(tmp_path / "facts.json")])
    assert facts["breaks: FAILED"] == "ValueError: broken"
    assert facts["before the crash"] == 1 and "ended with code -6" in facts["crashes: FAILED"]
    assert "ended with code 1" in facts["hangs: FAILED"]
    assert facts["after it"] == 2
    assert json.loads((tmp_path / "facts.json").read_text()) == facts


@pytest.mark.slow
def test_the_whole_script(tmp_path, capsys):
    facts = main(["--device", "cpu", "--tiny", "--out", str(tmp_path / "facts.json")])
    assert not [name for name in facts if "FAILED" in name]
    assert facts["check detector"]["faces"] > 10
    assert facts["native 640x360, reader av, frames/s"] > 0
    assert facts["1080p, 2 processes, av: share"] > 0
    assert (tmp_path / "facts.json").read_text().startswith("{")
