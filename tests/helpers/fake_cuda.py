"""A simulated GPU: tensors that claim to be on cuda:0, with their numbers in plain memory.

It refuses what a GPU refuses: tensors of two devices in one operation, an array made of a tensor that is not copied
back first, and, while a graph is recorded, everything that waits for the device, copies from elsewhere, or takes its
shape from the numbers. A recorded graph is replayed operation by operation, on the memory with which it was recorded.
It does not show what kernels compute, how fast, and in what order on several streams.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

__all__ = ["DEVICE", "FakeDevice", "FakeTensor", "fake_cuda", "on_device"]

T = TypeVar("T")
DEVICE = torch.device("cuda", 0)
_COPIES = ("aten::_to_copy", "aten::copy_")
#: Operations that read numbers from the device, which a graph cannot contain.
_SYNCHRONISING = (
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::bincount",
    "aten::_unique2",
    "aten::masked_select",
    "aten::repeat_interleave.Tensor",
    "aten::equal",
    "aten::is_nonzero",
)
_recorded: list[tuple[Any, ...]] | None = None


class FakeTensor(torch.Tensor):
    """A tensor on the simulated GPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, real: torch.Tensor) -> "FakeTensor":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            real.shape,
            strides=real.stride(),
            storage_offset=real.storage_offset(),
            dtype=real.dtype,
            device=DEVICE,
        )
        made.held = real
        return made

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def new_tensor(self, data: Any, **kwargs: Any) -> Any:
        return torch.tensor(data, **{"dtype": self.dtype, "device": self.device} | kwargs)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


class FakeDevice(TorchDispatchMode):
    """Context in which tensors that are created on a GPU are FakeTensors."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
    there = any(isinstance(x, FakeTensor) for x in given)
    name = func.name()
    requested = next((x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.device)), None)
    crosses = name.split(".")[0] in _COPIES
    if there and not crosses and any(not isinstance(x, FakeTensor) and x.dim() for x in given):
        raise RuntimeError(f"{name}: expected all tensors on one device, found cuda:0 and cpu")
    made_there = (
        (there if requested is None else requested.type == "cuda")
        if name != "aten::copy_"
        else (isinstance(args[0], FakeTensor))
    )
    if _recorded is not None and (there or made_there):
        _check_recording(name, args, given, made_there)
    plain = _real(args), _real({k: v for k, v in kwargs.items() if k != "pin_memory"})
    found = func(*plain[0], **plain[1])
    if _recorded is not None and there:
        _recorded.append((func, *plain, found))
    if not made_there:
        return found
    passed = {id(x.held): x for x in given if isinstance(x, FakeTensor)}  # operations in place return these
    return tree_map_only(torch.Tensor, lambda x: passed.get(id(x)) if id(x) in passed else FakeTensor(x), found)


def _real(tree: Any) -> Any:
    here = tree_map_only(FakeTensor, lambda x: x.held, tree)
    return tree_map_only(torch.device, lambda _: torch.device("cpu"), here)


def _check_recording(name: str, args: Any, given: list[torch.Tensor], made_there: bool) -> None:
    mixed = {isinstance(x, FakeTensor) for x in given} | {made_there}
    masked = name.startswith("aten::index") and any(
        isinstance(x, torch.Tensor) and x.dtype in (torch.bool, torch.uint8) for x in tree_flatten(args[1])[0]
    )
    if name in _SYNCHRONISING or masked or (len(mixed) > 1 and given):
        raise RuntimeError(f"{name}: operation not permitted when stream is capturing")


class _Graph:
    """Replaces torch.cuda.CUDAGraph."""

    def __init__(self) -> None:
        self.operations: list[tuple[Any, ...]] = []

    def replay(self) -> None:
        for func, args, kwargs, before in self.operations:
            now = func(*args, **kwargs)
            for old, new in zip(tree_flatten(before)[0], tree_flatten(now)[0]):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


@contextmanager
def _recording(graph: _Graph, **_: Any) -> Iterator[None]:
    global _recorded
    _recorded = graph.operations
    try:
        yield
    finally:
        _recorded = None


class _Stream:
    """Replaces streams and events: here each call completes before it returns."""

    def __init__(self, *_: Any) -> None: ...

    def wait_stream(self, other: "_Stream") -> None: ...

    def wait_event(self, event: "_Stream") -> None: ...

    def record(self, stream: "_Stream") -> None: ...


def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make torch.cuda describe a GPU of 140 GB; each thread has to compute within `FakeDevice()`."""
    torch._C._ensureCUDADeviceGuardSet()
    memory = {"mem_get_info": (140 * 2**30, 141 * 2**30), "memory_reserved": 0, "memory_allocated": 0}
    answers: dict[str, Callable] = {
        "_lazy_init": lambda: None, "is_available": lambda: True, "is_initialized": lambda: True,
        "device_count": lambda: 1, "set_device": lambda _: None, "synchronize": lambda *_: None,
        "empty_cache": lambda: None, "is_bf16_supported": lambda **_: True,
        "Stream": _Stream, "Event": _Stream, "current_stream": _Stream, "stream": nullcontext, "device": nullcontext,
        "CUDAGraph": _Graph, "graph": _recording,
        **{name: lambda *_, fact=fact: fact for name, fact in memory.items()},
    }  # fmt: skip
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr(torch._C, "_InferenceMode", lambda _: torch.no_grad())  # which does not accept such tensors
    load, tensor = torch.load, torch.tensor
    monkeypatch.setattr(torch, "tensor", lambda data, device=None, **kwargs: tensor(data, **kwargs).to(device))
    monkeypatch.setattr(
        torch,
        "load",
        lambda path, map_location, **kwargs: tree_map_only(
            torch.Tensor, lambda x: x.to(map_location), load(path, "cpu", **kwargs)
        ),
    )
    monkeypatch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda *_: None)


def on_device(stage: Generator[T]) -> Generator[T]:
    """Make the thread of a stage compute on the simulated GPU."""
    with FakeDevice():
        yield from stage
