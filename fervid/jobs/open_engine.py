"""Which engine a batch runs on, and with whom."""

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fervid.config import Config
from fervid.errors import ConfigError, MissingDependency
from fervid.jobs.engine import Engine, Limits, default_limits, default_workers
from fervid.jobs.job import run_job
from fervid.jobs.local_engine import LocalEngine
from fervid.jobs.shards import choose_shards, share_job
from fervid.models import load_models

__all__ = ["EngineOptions", "open_engine"]


@dataclass(frozen=True)
class EngineOptions:
    """What is asked of an engine; None leaves it to the engine. `address` and `gpus_per_worker` are for Ray."""

    workers: int | None = None
    timeout_s: float | None = None
    stall_s: float | None = 600.0
    memory_gb: float | None = None
    shards: int | str | None = None
    address: str | None = None
    gpus_per_worker: float | None = None

    def __post_init__(self) -> None:
        for name in ("workers", "timeout_s", "stall_s", "memory_gb", "gpus_per_worker"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{name} = {value:g}: expected a number above 0")


def open_engine(name: str, config: Config, crew: EngineOptions, out: Path) -> Engine:
    """The engine of this name, "local" or "ray", for results below `out`; ConfigError if there is none."""
    limits = Limits(crew.timeout_s, crew.stall_s, int(crew.memory_gb * 1e9) if crew.memory_gb else None)
    if name == "ray":
        if crew.shards not in (None, 1):
            raise ConfigError("--shards: the pieces of a video are shared on one machine; leave out --engine ray")
        options = {"address": crew.address or "auto", "gpus_per_worker": crew.gpus_per_worker, "out": out}
        return _ray_engine()(config, crew.workers, limits, load=load_models, work=run_job, **options)
    if name != "local":
        raise ConfigError(f"unknown engine {name!r}: expected local or ray")
    if crew.address is not None or crew.gpus_per_worker is not None:
        raise ConfigError("--address and --gpus-per-worker are for a Ray cluster: add --engine ray")
    size = crew.workers or default_workers(config.device)
    if limits.memory_bytes is None:
        limits = replace(limits, memory_bytes=default_limits(size).memory_bytes)
    shards = choose_shards(crew.shards, size)
    if shards is None:
        return LocalEngine(config, size, limits)
    return LocalEngine(config, size, limits, work=functools.partial(share_job, shards=shards))


def _ray_engine() -> Any:
    """The class of the engine of a Ray cluster, which is an optional part."""
    try:
        from fervid.jobs.ray_engine import RayEngine
    except ImportError as e:
        if (e.name or "").partition(".")[0] != "ray":
            raise
        raise MissingDependency("--engine ray needs Ray, which is not installed: pip install 'fervid[ray]'") from None
    return RayEngine
