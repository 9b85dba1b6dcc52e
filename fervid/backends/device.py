"""Where torch runs: the device asked for."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fervid.errors import DeviceError

__all__ = ["bind_thread", "enough_memory", "exact", "has_bf16", "limit_memory", "resolve_device"]


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
        return torch.cuda.is_bf16_supported(including_emulation=False)
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in probes)


@contextmanager
def enough_memory(device: str) -> Iterator[None]:
    """Say in a DeviceError that a GPU has no room for the networks, where torch would say it in many lines."""
    try:
        yield
    except torch.OutOfMemoryError as e:
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
def exact() -> Iterator[None]:
    """Convolve in float32 proper on a GPU: by default cuDNN rounds it to the ten bits of TF32, which moves boxes."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
