"""The line on a GPU, held to the CPU: `python -m pytest -m gpu tests/cuda/test_gpu.py`. Not run yet on one."""

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

#: What torch has to say about a GPU differs from release to release: warnings there are read, and fail nothing.
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
    """On the CPU the checks themselves are tried."""
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
    """In the other process: it has these tasks, too."""
    gpu.TASKS.update(THESE)
    gpu.perform(pipe, *given)


THESE = {
    "breaks": (breaks, 0, 60), "crashes": (crashes, 0, 60), "hangs": (hangs, 0, 2), "goes on": (goes_on, 0, 60),
}  # fmt: skip


@pytest.mark.slow
def test_what_fails_costs_nothing_else(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "TASKS", THESE)
    monkeypatch.setattr(gpu, "perform", perform_these)
    facts = main(["--device", "cpu", "--out", str(tmp_path / "facts.json")])
    assert facts["breaks: FAILED"] == "ValueError: broken"
    assert facts["before the crash"] == 1 and "ended with code -6" in facts["crashes: FAILED"]
    assert "ended with code 1" in facts["hangs: FAILED"]
    assert facts["after it"] == 2
    assert json.loads((tmp_path / "facts.json").read_text()) == facts


@pytest.mark.slow
def test_the_script_itself(tmp_path, capsys):
    facts = main(["--device", "cpu", "--tiny", "--out", str(tmp_path / "facts.json")])
    assert not [name for name in facts if "FAILED" in name]
    assert facts["check detector"]["faces"] > 10
    assert facts["native 640x360, reader av, frames/s"] > 0
    assert facts["1080p, 2 processes, av: share"] > 0
    assert (tmp_path / "facts.json").read_text().startswith("{")
