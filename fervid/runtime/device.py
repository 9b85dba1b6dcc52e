"""Choose the device that torch runs on, and make its arithmetic and its errors predictable."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fervid.errors import DeviceError

__all__ = [
    "bind_thread",
    "deterministic_fp32",
    "has_bf16",
    "is_out_of_memory",
    "limit_memory",
    "resolve_device",
    "wrap_out_of_memory",
]

#: How CUDA and its libraries report exhausted memory where torch's own allocator was not involved.
_OUT_OF_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def resolve_device(requested: str) -> str:
    """Turn a requested device into the name of one that exists.

    Parameters
    ----------
    requested : str
        "auto" (the first GPU if there is one), "cpu", "cuda" or "cuda:i".

    Returns
    -------
    str
        "cpu" or "cuda:i".

    Raises
    ------
    DeviceError
        If the name is unknown, or names a GPU that torch does not see.
    """
    if requested == "cpu":
        return "cpu"
    if requested == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    kind, _, number = requested.partition(":")
    if kind != "cuda" or not (number.isdigit() or number == ""):
        raise DeviceError(f"unknown device {requested!r}: expected auto, cpu, cuda or cuda:0, cuda:1 ...")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= count:
        found = f"torch sees {count} CUDA device{'s' * (count != 1)}"
        raise DeviceError(f"--device {requested}: {found}; use --device cpu, or install a driver that torch can use")
    return f"cuda:{int(number or 0)}"


def limit_memory(share: float) -> None:
    """Limit this process to a share of the memory of each GPU.

    Parameters
    ----------
    share : float
        From 0 to 1.
    """
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        torch.cuda.set_per_process_memory_fraction(share, i)


def has_bf16(device: str) -> bool:
    """Report whether bfloat16 is fast on a device: a CPU with AMX or AVX512_BF16, a GPU from Ampere on.

    Parameters
    ----------
    device : str
        As `resolve_device` returns it.

    Returns
    -------
    bool
    """
    if device.startswith("cuda"):
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    if torch.backends.cpu.get_cpu_capability() == "AVX2":  # without AVX-512, or held to AVX2 by ATEN_CPU_CAPABILITY
        return False
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in probes)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Report whether an error, or one in its chain of contexts, means that device or page-locked memory ran out.

    CUDA contexts, cuBLAS handles and page-locked memory are not allocated by torch: their failure is a plain
    RuntimeError. During a graph capture, the out-of-memory error is followed by one about the capture that it ended.

    Parameters
    ----------
    error : BaseException or None

    Returns
    -------
    bool
    """
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError):
            return True
        if isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY):
            return True
        error = error.__context__
    return False


@contextmanager
def wrap_out_of_memory(device: str) -> Iterator[None]:
    """Replace torch's many lines about exhausted memory, raised within the block, by one.

    Parameters
    ----------
    device : str
        The device on which the networks are loaded.

    Raises
    ------
    DeviceError
        If the device's memory runs out.
    """
    try:
        yield
    except RuntimeError as e:
        if not is_out_of_memory(e):
            raise
        reason = str(e).splitlines()[0]
        raise DeviceError(
            f"{device} has too little free memory for the networks ({reason}); end other programs that use it"
        ) from None


def bind_thread(device: torch.device) -> None:
    """Make a GPU, and torch's context on it, current in this thread; do nothing for a CPU.

    Decoders use the current context. A thread that has not used CUDA has none, and torchcodec then fails with
    CUDA_ERROR_INVALID_CONTEXT.

    Parameters
    ----------
    device : torch.device
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.cuda.synchronize(device)


@contextmanager
def deterministic_fp32() -> Iterator[None]:
    """Compute in full float32 on a GPU, with the same kernels each time, within the block.

    By default, cuDNN rounds float32 to the ten-bit mantissa of TF32, which moves boxes. The settings belong to the
    process, not to the thread: they are restored when the last thread leaves its block.
    """
    _FP32.enter()
    try:
        yield
    finally:
        _FP32.leave()


class _DeterministicFP32:
    """The backend settings of `deterministic_fp32`, and the number of blocks that need them."""

    def __init__(self) -> None:
        self._lock, self._blocks = threading.Lock(), 0
        self._before: list[tuple[Any, str, Any]] = []

    def enter(self) -> None:
        with self._lock:
            self._blocks += 1
            if self._blocks == 1:
                wanted = _settings()
                self._before = [(owner, name, getattr(owner, name)) for owner, name, _ in wanted]
                _apply(wanted)

    def leave(self) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                _apply(self._before)


_FP32 = _DeterministicFP32()


def _settings() -> list[tuple[Any, str, Any]]:
    """List (owner, name, value) under torch's own names: from 2.9 on, the older ones warn and clash with the newer."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    kernels = [(cudnn, "deterministic", True), (cudnn, "benchmark", False)]
    if hasattr(cudnn, "conv"):
        return [*kernels, (cudnn.conv, "fp32_precision", "ieee"), (matmul, "fp32_precision", "ieee")]
    return [*kernels, (cudnn, "allow_tf32", False), (matmul, "allow_tf32", False)]


def _apply(settings: list[tuple[Any, str, Any]]) -> None:
    for owner, name, value in settings:
        setattr(owner, name, value)
