"""Where torch runs: the device asked for."""

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

#: How CUDA and its libraries say that memory ran out, where it is not torch's allocator that asked for it.
_NO_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def resolve_device(asked: str) -> str:
    """Give "cpu" or "cuda:i"; "auto" is the first GPU if there is one. DeviceError if a GPU is asked for and absent."""
    if asked == "cpu":
        return "cpu"
    if asked == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    kind, _, number = asked.partition(":")
    if kind != "cuda" or not (number.isdigit() or number == ""):
        raise DeviceError(f"unknown device {asked!r}: expected auto, cpu, cuda or cuda:0, cuda:1 ...")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= count:
        found = f"torch sees {count} CUDA device{'s' * (count != 1)}"
        raise DeviceError(f"--device {asked}: {found}; use --device cpu, or install a driver that torch can use")
    return f"cuda:{int(number or 0)}"


def limit_memory(share: float) -> None:
    """Hold this process to a share, 0 to 1, of each GPU's memory."""
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        torch.cuda.set_per_process_memory_fraction(share, i)


def has_bf16(device: str) -> bool:
    """Tell whether bfloat16 arithmetic is quick there: AMX or AVX512_BF16 in a CPU, Ampere or later in a GPU."""
    if device.startswith("cuda"):
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in probes)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Tell whether an error, or one that it came from, says that a device's memory, or page-locked memory, ran out.

    A context, a cuBLAS handle and page-locked memory are not torch's to allocate, and fail with a plain RuntimeError;
    while a graph is recorded, the error of memory is followed by one of the recording that it ended.
    """
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError):
            return True
        if isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY):
            return True
        error = error.__context__
    return False


@contextmanager
def wrap_out_of_memory(device: str) -> Iterator[None]:
    """Say in a DeviceError that a GPU has no room for the networks, where torch would say it in many lines."""
    try:
        yield
    except RuntimeError as e:
        if not is_out_of_memory(e):
            raise
        reason = str(e).splitlines()[0]
        raise DeviceError(f"{device} has no room for the networks ({reason}); end other programs on it") from None


def bind_thread(device: torch.device) -> None:
    """Make a GPU, and torch's context on it, the current ones of this thread: decoders take what is current there.

    A thread that has not used CUDA has none, and torchcodec then fails with CUDA_ERROR_INVALID_CONTEXT.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.cuda.synchronize(device)


@contextmanager
def deterministic_fp32() -> Iterator[None]:
    """Compute in float32 proper on a GPU, by the same kernels each time.

    By default cuDNN rounds float32 to the ten bits of TF32, which moves boxes. The settings are the process's, not the
    thread's: they are put back when the last thread that asked for them is done.
    """
    _EXACT.enter()
    try:
        yield
    finally:
        _EXACT.leave()


class _Exact:
    """The settings of `exact`, and how many blocks need them."""

    def __init__(self) -> None:
        self._turn, self._blocks = threading.Lock(), 0
        self._before: list[tuple[Any, str, Any]] = []

    def enter(self) -> None:
        with self._turn:
            self._blocks += 1
            if self._blocks == 1:
                wanted = _settings()
                self._before = [(owner, name, getattr(owner, name)) for owner, name, _ in wanted]
                _put(wanted)

    def leave(self) -> None:
        with self._turn:
            self._blocks -= 1
            if not self._blocks:
                _put(self._before)


_EXACT = _Exact()


def _settings() -> list[tuple[Any, str, Any]]:
    """What to set, by the names that torch has for it: from 2.9 on the older ones warn, and clash with the newer."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    kernels = [(cudnn, "deterministic", True), (cudnn, "benchmark", False)]
    if hasattr(cudnn, "conv"):
        return [*kernels, (cudnn.conv, "fp32_precision", "ieee"), (matmul, "fp32_precision", "ieee")]
    return [*kernels, (cudnn, "allow_tf32", False), (matmul, "allow_tf32", False)]


def _put(settings: list[tuple[Any, str, Any]]) -> None:
    for owner, name, value in settings:
        setattr(owner, name, value)
