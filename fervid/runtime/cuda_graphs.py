"""Run a network of one fixed input shape as one CUDA graph: a hundred small kernels cost the launch of one."""

import threading
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["CUDAGraphModule"]

_WARM_UP = 3


class CUDAGraphModule:
    """A function of one tensor of a fixed shape: captured once and replayed on a GPU, called directly elsewhere.

    This follows https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs: warm up on a side stream and capture;
    from then on copy the input (from any device) into the graph's input buffer, replay, and clone the output buffer.
    The function must not synchronise with the device. Calls from several threads are serialised; they must use one
    stream.

    Parameters
    ----------
    function : callable
        Maps a tensor to a tensor.
    example : Tensor
        Fixes the shape, the dtype and the device.

    Raises
    ------
    torch.OutOfMemoryError
        If the graph does not fit into the device's memory.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], example: Tensor) -> None:
        self.shape, self._function = example.shape, function
        self._graph: torch.cuda.CUDAGraph | None = None
        self._lock = threading.Lock()
        if example.is_cuda:
            with torch.inference_mode(), torch.cuda.device(example.device):
                self._capture(example)

    def _capture(self, example: Tensor) -> None:
        self._input = torch.empty_like(example).copy_(example)
        current, side, graph = torch.cuda.current_stream(), torch.cuda.Stream(), torch.cuda.CUDAGraph()
        side.wait_stream(current)
        with torch.cuda.stream(side):  # restores the current stream even if the capture fails
            for _ in range(_WARM_UP):
                self._function(self._input)
            _clear_workspaces()
            # thread_local: other threads keep copying frames during the capture
            with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                self._output = self._function(self._input)
        current.wait_stream(side)
        self._graph = graph

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        """Compute the function.

        Parameters
        ----------
        x : Tensor
            An input of the example's shape.

        Returns
        -------
        Tensor
            function(x), in memory of its own.

        Raises
        ------
        ValueError
            If the shape differs from the example's.
        """
        if x.shape != self.shape:
            raise ValueError(f"expected {tuple(self.shape)}, found {tuple(x.shape)}")
        if self._graph is None:
            return self._function(x)
        with self._lock:
            self._input.copy_(x)
            self._graph.replay()
            return self._output.clone()


def _clear_workspaces() -> None:
    """Make cuBLAS allocate its workspace during the capture, within the memory pool of the graph.

    torch keeps one workspace per stream, and graphs hold its bare address. When any graph is destroyed, the workspaces
    of its stream are freed, and other graphs captured on that stream would write into freed memory
    (https://github.com/pytorch/pytorch/issues/193402).
    """
    torch.cuda.synchronize()
    torch._C._cuda_clearCublasWorkspaces()
