"""A network of one fixed shape as one CUDA graph: a hundred small kernels cost the launch of one."""

import threading
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["CUDAGraphModule"]

_WARM_UP = 3


class CUDAGraphModule:
    """A function of one tensor of one shape. On a GPU it is recorded once and replayed; elsewhere it is called.

    As in https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs: warm up on a side stream, record, and from
    then on copy the input, wherever it lies, into the place that the graph reads, replay, and copy what it wrote. The
    function must not ask the device for anything. Calls from several threads take turns, and must be on one stream.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], example: Tensor) -> None:
        """Record the function with an input like `example`; torch.OutOfMemoryError if there is no room for it."""
        self.shape, self._function = example.shape, function
        self._graph: torch.cuda.CUDAGraph | None = None
        self._turn = threading.Lock()
        if example.is_cuda:
            with torch.inference_mode(), torch.cuda.device(example.device):
                self._record(example)

    def _record(self, example: Tensor) -> None:
        self._input = torch.empty_like(example).copy_(example)
        here, side, graph = torch.cuda.current_stream(), torch.cuda.Stream(), torch.cuda.CUDAGraph()
        side.wait_stream(here)
        with torch.cuda.stream(side):  # left as it was found, even if the recording cannot be ended
            for _ in range(_WARM_UP):
                self._function(self._input)
            _forget_workspaces()
            with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):  # others go on copying frames
                self._output = self._function(self._input)
        here.wait_stream(side)
        self._graph = graph

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        """Give function(x) in memory of its own; ValueError for another shape than the example's."""
        if x.shape != self.shape:
            raise ValueError(f"expected {tuple(self.shape)}, found {tuple(x.shape)}")
        if self._graph is None:
            return self._function(x)
        with self._turn:
            self._input.copy_(x)
            self._graph.replay()
            return self._output.clone()


def _forget_workspaces() -> None:
    """Make cuBLAS ask for its workspace anew, while a graph is recorded: it then lies in that graph's own memory.

    torch keeps one for each stream, graphs hold its bare address, and the end of any graph frees those of its stream:
    others recorded there would write into freed memory (https://github.com/pytorch/pytorch/issues/193402).
    """
    torch.cuda.synchronize()
    torch._C._cuda_clearCublasWorkspaces()
