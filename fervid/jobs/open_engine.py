"""Create the engine that a batch runs on from the options of the command line."""

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fervid.config import Config
from fervid.errors import ConfigError, MissingDependency, install_extra
from fervid.jobs.engine import Engine, Limits, default_limits, default_workers
from fervid.jobs.job import run_job
from fervid.jobs.local_engine import LocalEngine
from fervid.jobs.shards import choose_shards, share_job
from fervid.models import load_models

__all__ = ["EngineOptions", "open_engine"]


@dataclass(frozen=True)
class EngineOptions:
    """Options of an engine. None leaves the choice to the engine.

    Raises
    ------
    ConfigError
        If a number is not positive.
    """

    workers: int | None = None
    timeout_s: float | None = None
    stall_s: float | None = 600.0
    memory_gb: float | None = None
    """Memory per worker."""
    shards: int | str | None = None
    """Workers per long video, or "auto"; local engine only."""
    address: str | None = None
    """Address of the Ray cluster."""
    gpus_per_worker: float | None = None
    """Ray only."""

    def __post_init__(self) -> None:
        for name in ("workers", "timeout_s", "stall_s", "memory_gb", "gpus_per_worker"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{name} = {value:g}: expected a number above 0")


def open_engine(name: str, config: Config, options: EngineOptions, out: Path) -> Engine:
    """Create an engine.

    Parameters
    ----------
    name : str
        local or ray.
    config : Config
        Options of the pipeline.
    options : EngineOptions
        Options of the engine.
    out : Path
        Folder of the results.

    Returns
    -------
    Engine
        No process is started yet.

    Raises
    ------
    ConfigError
        If there is no such engine, or it does not support an option.
    MissingDependency
        If Ray is not installed.
    """
    memory_bytes = int(options.memory_gb * 1e9) if options.memory_gb else None
    limits = Limits(options.timeout_s, options.stall_s, memory_bytes)
    if name == "ray":
        if options.shards not in (None, 1):
            raise ConfigError("--shards splits a video over the workers of one machine; remove --engine ray")
        ray_options = {
            "address": options.address or "auto",
            "gpus_per_worker": options.gpus_per_worker,
            "out": out,
        }
        return _ray_engine()(config, options.workers, limits, load=load_models, work=run_job, **ray_options)
    if name != "local":
        raise ConfigError(f"unknown engine {name!r}: expected local or ray")
    if options.address is not None or options.gpus_per_worker is not None:
        raise ConfigError("--address and --gpus-per-worker require --engine ray")
    size = options.workers or default_workers(config.device)
    if limits.memory_bytes is None:
        limits = replace(limits, memory_bytes=default_limits(size).memory_bytes)
    shards = choose_shards(options.shards, size)
    if shards is None:
        return LocalEngine(config, size, limits)
    return LocalEngine(config, size, limits, work=functools.partial(share_job, shards=shards))


def _ray_engine() -> Any:
    """Return the class of the Ray engine, which is an optional dependency."""
    try:
        from fervid.jobs.ray_engine import RayEngine
    except ImportError as e:
        if (e.name or "").partition(".")[0] != "ray":
            raise
        raise MissingDependency(f"--engine ray needs Ray: {install_extra('ray')}") from None
    return RayEngine
