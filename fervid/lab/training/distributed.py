"""Share a training run among processes on one machine's cores, by gloo."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import ProcessContext, ProcessException
from torch.multiprocessing.spawn import spawn as spawn_processes

from fervid.errors import RunError

__all__ = ["all_gather", "broadcast", "rank_and_size", "spawn", "spread"]


@contextlib.contextmanager
def spawn(workers: int, work: Callable[..., None], args: tuple[Any, ...]) -> Iterator[None]:
    """Have workers - 1 other processes do `work(*args)` beside the block, one thread each; RunError if one fails."""
    if workers == 1:
        yield
        return
    before = torch.get_num_threads()
    with TemporaryDirectory(prefix="fervid") as folder:
        meeting = Path(folder, "meeting").as_uri()
        others = spawn_processes(_member, (workers, meeting, work, args), nprocs=workers - 1, join=False)
        try:
            _meet(0, workers, meeting)
            yield
            while not others.join():
                pass
        except (ProcessException, RuntimeError) as e:
            failure = e if isinstance(e, ProcessException) else _failure(others)
            if failure is None:
                raise
            raise RunError(f"a training process stopped: {str(failure).strip().splitlines()[-1]}") from e
        finally:
            _part(others)
            torch.set_num_threads(before)


def _member(index: int, workers: int, meeting: str, work: Callable[..., None], args: tuple[Any, ...]) -> None:
    _meet(index + 1, workers, meeting)
    work(*args)
    distributed.destroy_process_group()


def _meet(rank: int, workers: int, meeting: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=workers)


def _failure(others: ProcessContext) -> ProcessException | None:
    """Find out whether a broken connection comes from another process that failed."""
    try:
        others.join(timeout=5)
    except ProcessException as e:
        return e
    return None


def _part(others: ProcessContext) -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
    for process in others.processes:
        process.terminate()
        process.join()


def rank_and_size() -> tuple[int, int]:
    """Which of how many processes this is."""
    return (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)


def spread(net: nn.Module) -> nn.Module:
    """Wrap a network so that its gradients are the mean over all processes."""
    return nn.parallel.DistributedDataParallel(net) if distributed.is_initialized() else net


def broadcast(values: list[float]) -> list[float]:
    """Give every process the values of the first."""
    if not distributed.is_initialized():
        return values
    said = torch.tensor(values, dtype=torch.float64)
    distributed.broadcast(said, 0)
    return said.tolist()


def all_gather(part: torch.Tensor, n: int) -> torch.Tensor:
    """Join what each process worked out for its rows, every `workers`-th from its rank on -> (n, ...), in all."""
    rank, workers = rank_and_size()
    if workers == 1:
        return part
    rows = torch.zeros(n, *part.shape[1:])
    rows[rank::workers] = part
    distributed.all_reduce(rows)
    return rows
