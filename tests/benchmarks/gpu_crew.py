"""For gpu.py: how busy a GPU is, what a decoder delivers alone, and several processes that share one GPU."""

import multiprocessing
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from fervid.backends.device_line import DeviceLine
from fervid.config import load_config
from fervid.pipeline import Models, load_models, process_video
from fervid.video import open_video


def warm_models(device: str) -> Models:
    models = load_models(load_config(device=device))
    return models if models.on_device else replace(models, on_device=DeviceLine(device))


def finish(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def decoded_per_s(film: Path, reader: str, device: str, seconds: float) -> float:
    """Frames a second of a reader alone, nothing made of them."""
    start, n = time.perf_counter(), 0
    with open_video(film, reader=reader, device=device) as video:
        for frame in video.frames(0.0, seconds):
            if reader == "torchcodec":
                frame._reader.pixels(frame._number)  # it decodes what it is asked for
            n += 1
    finish(device)
    return n / (time.perf_counter() - start)


@contextmanager
def busy(device: str) -> Iterator[Callable[[], str]]:
    """Watch the GPU during a block -> mean use of its processors and of its decoders, by nvidia-smi."""
    if device == "cpu":
        yield lambda: "no GPU"
        return
    query = [
        "nvidia-smi",
        "--query-gpu=utilization.gpu,utilization.decoder",
        "--format=csv,noheader,nounits",
        "-lms",
        "100",
    ]
    try:
        watch = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)
    except OSError:
        yield lambda: "not known: no nvidia-smi"
        return
    lines: list[str] = []
    try:
        yield lambda: _means(lines)
    finally:
        watch.terminate()
        lines += (watch.communicate()[0] or "").splitlines()


def _means(lines: list[str]) -> str:
    rows = []
    for line in lines:
        with suppress(ValueError):
            rows.append([float(part) for part in line.split(",")])
    if not rows:
        return "not known"
    gpu, decoder = np.mean(rows, 0)
    return f"GPU {gpu:.0f}%, decoders {decoder:.0f}% ({len(rows)} samples)"


def together(device: str, n: int, film: Path, reader: str, seconds: float) -> tuple[float, float, str]:
    """n processes at once -> frames a second of their decoders alone and of their lines, and how busy the GPU was."""
    context = multiprocessing.get_context("spawn")
    pipes, workers = [], []
    for _ in range(n):
        ours, theirs = context.Pipe()
        workers.append(context.Process(target=work, args=(theirs, film, reader, device, seconds), daemon=True))
        workers[-1].start()
        pipes.append(ours)
    try:
        ask(pipes, "warm up")
        alone = n * 30 * seconds / ask(pipes, "decode")
        with busy(device) as load:
            whole = n * 30 * seconds / ask(pipes, "process")
        return alone, whole, load()
    finally:
        for pipe in pipes:
            with suppress(OSError):
                pipe.send(None)
        for worker in workers:
            worker.join(10)
            worker.kill()


def ask(pipes: list[Connection], what: str) -> float:
    """Have all do the same at once -> seconds until the last is done."""
    start = time.perf_counter()
    for pipe in pipes:
        pipe.send(what)
    for pipe in pipes:
        if error := pipe.recv():
            raise RuntimeError(f"{what}: {error}")
    return time.perf_counter() - start


def work(pipe: Connection, film: Path, reader: str, device: str, seconds: float) -> None:
    """One of several processes: does what it is asked until it is asked for nothing."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    models: Models | None = None
    while what := pipe.recv():
        try:
            models = models or warm_models(device)
            if what == "decode":
                decoded_per_s(film, reader, device, seconds)
            else:
                end_s = min(1.0, seconds) if what == "warm up" else seconds
                process_video(film, None, load_config(fps="native", reader=reader, device=device, end_s=end_s), models)
            pipe.send("")
        except Exception as e:  # noqa: BLE001 - crosses the pipe
            pipe.send(f"{type(e).__name__}: {e}")
