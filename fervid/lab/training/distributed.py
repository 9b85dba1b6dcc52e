"""Data-parallel training in several processes on one machine, with gloo."""

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

__all__ = ["all_gather", "broadcast", "data_parallel", "rank_and_size", "spawn"]


@contextlib.contextmanager
def spawn(workers: int, work: Callable[..., None], args: tuple[Any, ...]) -> Iterator[None]:
    """Run `work(*args)` in workers - 1 other processes beside the block, with one thread each.

    Parameters
    ----------
    workers : int
        Number of processes, this one included.
    work : Callable
        Picklable.
    args : tuple

    Raises
    ------
    RunError
        If another process fails.
    """
    if workers == 1:
        yield
        return
    before = torch.get_num_threads()
    with TemporaryDirectory(prefix="fervid") as folder:
        rendezvous = Path(folder, "rendezvous").as_uri()
        others = spawn_processes(_member, (workers, rendezvous, work, args), nprocs=workers - 1, join=False)
        try:
            _join_group(0, workers, rendezvous)
            yield
            while not others.join():
                pass
        except (ProcessException, RuntimeError) as e:
            failure = e if isinstance(e, ProcessException) else _failure(others)
            if failure is None:
                raise
            raise RunError(f"a training process stopped: {str(failure).strip().splitlines()[-1]}") from e
        finally:
            _shut_down(others)
            torch.set_num_threads(before)


def _member(index: int, workers: int, rendezvous: str, work: Callable[..., None], args: tuple[Any, ...]) -> None:
    _join_group(index + 1, workers, rendezvous)
    work(*args)
    distributed.destroy_process_group()


def _join_group(rank: int, workers: int, rendezvous: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=workers)


def _failure(others: ProcessContext) -> ProcessException | None:
    """Give the failure of another process that explains a broken connection, if there is one."""
    try:
        others.join(timeout=5)
    except ProcessException as e:
        return e
    return None


def _shut_down(others: ProcessContext) -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
    for process in others.processes:
        process.terminate()
        process.join()


def rank_and_size() -> tuple[int, int]:
    """Identify this process.

    Returns
    -------
    rank, size : int
        Its rank, and the number of processes.
    """
    return (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)


def data_parallel(net: nn.Module) -> nn.Module:
    """Wrap a network so that its gradients are averaged over all processes.

    Parameters
    ----------
    net : nn.Module

    Returns
    -------
    nn.Module
        The network itself if there is one process.
    """
    return nn.parallel.DistributedDataParallel(net) if distributed.is_initialized() else net


def broadcast(values: list[float]) -> list[float]:
    """Send the values of the first process to all.

    Parameters
    ----------
    values : list of float

    Returns
    -------
    list of float
    """
    if not distributed.is_initialized():
        return values
    sent = torch.tensor(values, dtype=torch.float64)
    distributed.broadcast(sent, 0)
    return sent.tolist()


def all_gather(part: torch.Tensor, n: int) -> torch.Tensor:
    """Collect rows from all processes.

    Parameters
    ----------
    part : Tensor
        The rows of this process: every `workers`-th, starting at its rank.
    n : int
        Number of rows in all.

    Returns
    -------
    Tensor
        (n, ...).
    """
    rank, workers = rank_and_size()
    if workers == 1:
        return part
    rows = torch.zeros(n, *part.shape[1:])
    rows[rank::workers] = part
    distributed.all_reduce(rows)
    return rows
