"""The pipeline for a GPU on a simulated GPU: the device of each tensor, and what waits for the device."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from fervid import pipeline
from fervid.config import load_config
from fervid.cuda import mtcnn as device_mtcnn
from fervid.cuda.pipeline import DevicePipeline
from fervid.emotions import torch_classifier
from fervid.models import load_models
from fervid.pipeline import process_video
from fervid.runtime import cuda_graphs
from fervid.runtime.cuda_graphs import CUDAGraphModule
from tests.helpers.compare_timelines import differences
from tests.helpers.fake_cuda import DEVICE, FakeDevice, FakeTensor, fake_cuda, on_device

SAMPLES = Path(__file__).parents[2] / "sample_videos"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A GPU with little memory, so that tests are fast: graphs of 16 crops."""
    fake_cuda(monkeypatch)
    whole, prefetch = CUDAGraphModule, pipeline.prefetch

    def scarce(function: Callable[[torch.Tensor], torch.Tensor], example: torch.Tensor) -> CUDAGraphModule:
        if len(example) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(function, example)

    def prefetch_on_device(stage: Generator, depth: int = 2) -> Generator:
        return prefetch(on_device(stage), depth)

    monkeypatch.setattr(cuda_graphs, "_WARM_UP", 1)
    monkeypatch.setattr(torch_classifier, "CUDAGraphModule", scarce)
    monkeypatch.setattr(device_mtcnn, "_REFINE", (24, 32, 32))
    monkeypatch.setattr(device_mtcnn, "_FINISH", (48, 8, 8))
    monkeypatch.setattr(pipeline, "prefetch", prefetch_on_device)
    with FakeDevice():
        yield


def test_the_timeline_is_that_of_the_cpu(request):
    """All tensors on one device, no synchronisation within a graph, and no NumPy array made of a device tensor."""
    config = load_config(device="cpu", fps=2, end_s=0.6, detection="every", min_face_px=60, precision="fp32")
    expected = process_video(SAMPLES / "two_faces.mp4", None, config, load_models(config))
    request.getfixturevalue("gpu")
    models = load_models(load_config(device="cuda", precision="fp32"))
    assert models.device == "cuda:0" and isinstance(models.on_device, DevicePipeline)
    found = process_video(SAMPLES / "two_faces.mp4", None, config, models)
    assert models.on_device.batch_size == 64
    off = differences(expected.to_pandas(), found.to_pandas())
    assert off["rows_that_differ"] == off["other_dominant"] == 0
    assert off["prob"] < 0.005 and off["box"] < 1e-4
    assert found.provenance["counters"] == expected.provenance["counters"]


def test_a_graph_computes_its_function(gpu):
    weight = torch.arange(12.0).view(4, 3).to(DEVICE)
    graph = CUDAGraphModule(
        lambda x: (x.float() @ weight).relu_() - 1, torch.zeros((2, 4), dtype=torch.uint8, device=DEVICE)
    )
    for x in (torch.ones(2, 4, dtype=torch.uint8), torch.arange(8, dtype=torch.uint8).view(2, 4)):
        expected = x.float() @ torch.arange(12.0).view(4, 3) - 1
        for given in (x, x.to(DEVICE)):  # it is copied from any device
            found = graph(given)
            assert isinstance(found, FakeTensor)
            torch.testing.assert_close(found.cpu(), expected)
    first = graph(torch.zeros(2, 4, dtype=torch.uint8))
    graph(torch.ones(2, 4, dtype=torch.uint8))
    assert (first.cpu() == -1).all()  # its result is not overwritten


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * float(x.sum()),
        lambda x: x[x > 0],
        lambda x: x + torch.ones(3, device=DEVICE).cpu().to(DEVICE),
        lambda x: x + torch.tensor([1.0, 2.0, 3.0], device=DEVICE),
        lambda x: torch.nonzero(x),
    ],
)
def test_operations_that_wait_for_the_device_are_not_recorded(gpu, function):
    with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
        CUDAGraphModule(function, torch.ones(3, device=DEVICE))


def test_the_fake_refuses_what_a_gpu_refuses(gpu):
    tensor = torch.zeros(3, device=DEVICE)
    with pytest.raises(RuntimeError, match="on one device, found cuda:0 and cpu"):
        tensor + torch.zeros(3)
    with pytest.raises((RuntimeError, TypeError)):
        np.asarray(tensor)
    assert (tensor + torch.tensor(1.0)).cpu().tolist() == [1, 1, 1]  # a scalar may be on any device
