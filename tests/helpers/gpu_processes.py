"""Helpers of gpu.py: processes that share one GPU, the speed of a decoder by itself, and the utilisation of a GPU."""

import math
import multiprocessing
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import fmean
from typing import Any, Self

import torch

from fervid.config import load_config
from fervid.cuda.pipeline import DevicePipeline
from fervid.models import Models, load_models
from fervid.pipeline import process_video
from fervid.video.open import open_video

#: Folders of libnvcuvid.so.1 in containers with a mounted driver, added to the library path of child processes.
_DRIVER = ("/usr/local/nvidia/lib64", "/usr/local/nvidia/lib")
#: Seconds to wait for nvidia-smi's first line.
_FIRST_LINE_S = 3


def load_device_models(device: str) -> Models:
    """Load the models; on the CPU too, run the pipeline of fervid.cuda."""
    models = load_models(load_config(device=device))
    return models if models.on_device else replace(models, on_device=DevicePipeline(device))


def synchronize(device: str) -> None:
    """Wait for the GPU; do nothing on the CPU."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def decoding_rate(film: Path, reader: str, device: str, seconds: float) -> float:
    """Measure the frames per second of decoding alone."""
    start, n = time.perf_counter(), 0
    with open_video(film, reader=reader, device=device) as video:
        for frame in video.frames(0.0, seconds):
            if reader == "torchcodec":
                frame._pixels()  # it decodes on access
            n += 1
    synchronize(device)
    return n / (time.perf_counter() - start)


# -- utilisation ------------------------------------------------------------------------------------------


@contextmanager
def gpu_utilisation(device: str) -> Iterator[Callable[[], str]]:
    """Record the mean utilisation of the GPU and of its decoders during a block, by nvidia-smi."""
    if device == "cpu":
        yield lambda: "no GPU"
        return
    query = [
        "nvidia-smi",
        f"--id={torch.device(device).index or 0}",
        "--query-gpu=utilization.gpu,utilization.decoder",
        "--format=csv,noheader,nounits",
        "-lms",
        "100",
    ]
    try:
        process = subprocess.Popen(query, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
    except OSError:
        yield lambda: "unknown: no nvidia-smi"
        return
    assert process.stdout
    select.select([process.stdout], [], [], _FIRST_LINE_S)  # the first line is from before the block
    lines: list[str] = []
    try:
        yield lambda: _mean_utilisation(lines)
    finally:
        process.terminate()
        lines += (process.communicate()[0] or b"").decode(errors="replace").splitlines()


def _mean_utilisation(lines: list[str]) -> str:
    """Average lines of "GPU, decoder" in percent, where a value may be missing."""
    columns: tuple[list[float], list[float]] = ([], [])
    for line in lines[1:]:
        for column, value in zip(columns, line.split(",")):
            with suppress(ValueError):
                column.append(float(value))
    if not columns[0]:
        return f"unknown: nvidia-smi printed {' '.join(lines)[:120]!r}"
    gpu, decoder = (f"{fmean(column):.0f}%" if column else "unknown" for column in columns)
    return f"GPU {gpu}, decoders {decoder} ({len(columns[0])} samples)"


# -- processes --------------------------------------------------------------------------------------------


class ChildProcess:
    """A process that performs one task after another, and sends results as pairs of a name and a value.

    It runs `target(pipe, *args)`, which receives tasks until one is None, and ends each with a str: an error or "".
    """

    def __init__(self, target: Callable[..., None], *args: object, daemon: bool = False) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        library_path = os.environ.get("LD_LIBRARY_PATH", "").split(":")
        folders = [folder for folder in (*library_path, *_DRIVER) if folder and Path(folder).is_dir()]
        if folders:
            os.environ["LD_LIBRARY_PATH"] = ":".join(dict.fromkeys(folders))
        context = multiprocessing.get_context("spawn")
        self._pipe, child_pipe = context.Pipe()
        self._process = context.Process(target=target, args=(child_pipe, *args), daemon=daemon)
        self._process.start()
        child_pipe.close()  # so that recv raises EOFError once the process has ended

    def submit(self, task: object) -> None:
        """Send a task without waiting for it."""
        with suppress(OSError):  # wait() reports that the process has ended
            self._pipe.send(task)

    def wait(self, limit_s: float, on_result: Callable[[str, Any], None] = lambda name, value: None) -> str:
        """Wait for the submitted task to end -> "" or the error, after which the process may have ended."""
        end = time.perf_counter() + limit_s
        try:
            while self._pipe.poll(max(0.0, end - time.perf_counter())):
                message = self._pipe.recv()
                if isinstance(message, str):
                    return message
                on_result(*message)
        except (EOFError, OSError):
            self._process.join(10)
            return f"its process ended with code {self._process.exitcode}"
        return f"no answer in {limit_s:.0f} s"

    def stop(self, patience_s: float = 5) -> None:
        """End the process, by force if it has not ended by itself after patience_s."""
        self.submit(None)
        self._process.join(patience_s)
        self._process.kill()
        self._process.join()
        self._pipe.close()


class Workers:
    """n processes that share one GPU, as `fervid batch --workers N` starts them."""

    def __init__(self, n: int, device: str) -> None:
        self._device, self._all = device, [ChildProcess(work, device, daemon=True) for _ in range(n)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for worker in self._all:
            worker.submit(None)
        for worker in self._all:
            worker.stop(1 if exc[0] else 5)

    def measure(self, n: int, film: Path, reader: str, seconds: float, limit_s: float) -> tuple[float, float, str]:
        """Run n workers at once -> frames per second of decoding alone and of the pipeline, and the GPU's utilisation.

        Raises
        ------
        RuntimeError
            If a worker fails, or does not end within limit_s.
        """
        end, frames = time.perf_counter() + limit_s, n * math.ceil(30 * seconds)
        self._run(n, ("warm up", film, reader, seconds), end)
        decoding = frames / self._run(n, ("decode", film, reader, seconds), end)
        with gpu_utilisation(self._device) as utilisation:
            pipeline = frames / self._run(n, ("process", film, reader, seconds), end)
        return decoding, pipeline, utilisation()

    def _run(self, n: int, task: tuple[str, Path, str, float], end: float) -> float:
        """Run the same task in n workers at once -> seconds until all have ended."""
        start = time.perf_counter()
        for worker in self._all[:n]:
            worker.submit(task)
        for worker in self._all[:n]:
            if error := worker.wait(end - time.perf_counter()):
                raise RuntimeError(f"{task[0]}: {error}")
        return time.perf_counter() - start


def work(pipe: Connection, device: str) -> None:
    """Perform tasks as one of Workers."""
    models: Models | None = None
    with suppress(EOFError):
        while task := pipe.recv():
            action, film, reader, seconds = task
            try:
                models = models or load_device_models(device)
                if action == "decode":
                    decoding_rate(film, reader, device, seconds)
                else:
                    end_s = min(1.0, seconds) if action == "warm up" else seconds
                    config = load_config(fps="native", reader=reader, device=device, end_s=end_s)
                    process_video(film, None, config, models)
                pipe.send("")
            except Exception as e:  # noqa: BLE001 - crosses the pipe
                pipe.send(f"{type(e).__name__}: {e}")
