"""The line on a GPU, held to the CPU: `python -m pytest -m gpu`. Never run yet; the same checks run on "cpu" too."""

import pytest
import torch

from tests.benchmarks.gpu import main
from tests.gpu_checks import CHECKS, missing

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize(
    "device",
    [pytest.param("cuda:0", marks=(pytest.mark.gpu, NO_GPU)), pytest.param("cpu", marks=pytest.mark.slow)],
)
def test_a_gpu_finds_what_the_cpu_finds(name, device):
    """On the CPU the checks themselves are tried."""
    if reason := missing(name, device):
        pytest.skip(reason)
    CHECKS[name](device)


@pytest.mark.slow
def test_the_script_itself(tmp_path, capsys):
    facts = main(["--device", "cpu", "--tiny", "--out", str(tmp_path / "facts.json")])
    assert not [name for name in facts if "FAILED" in name]
    assert facts["check detector"]["faces"] > 10
    assert facts["native 640x360, reader av, frames/s"] > 0
    assert facts["1080p, 2 processes, av: share"] > 0
    assert (tmp_path / "facts.json").read_text().startswith("{")
