"""For gpu.py: processes that share one GPU, what a decoder delivers alone, and how busy a GPU is."""

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

#: Where containers mount the driver, whose libnvcuvid.so.1 decodes; processes that are started later search there.
_DRIVER = ("/usr/local/nvidia/lib64", "/usr/local/nvidia/lib")
#: Seconds to wait for nvidia-smi's first line.
_FIRST_LINE_S = 3


def warm_models(device: str) -> Models:
    models = load_models(load_config(device=device))
    return models if models.on_device else replace(models, on_device=DevicePipeline(device))


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


# -- how busy ---------------------------------------------------------------------------------------------


@contextmanager
def busy(device: str) -> Iterator[Callable[[], str]]:
    """Watch the GPU during a block -> mean use of its processors and of its decoders, by nvidia-smi."""
    if device == "cpu":
        yield lambda: "no GPU"
        return
    query = [
        "nvidia-smi", f"--id={torch.device(device).index or 0}",
        "--query-gpu=utilization.gpu,utilization.decoder", "--format=csv,noheader,nounits", "-lms", "100",
    ]  # fmt: skip
    try:
        watch = subprocess.Popen(query, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
    except OSError:
        yield lambda: "not known: no nvidia-smi"
        return
    assert watch.stdout
    select.select([watch.stdout], [], [], _FIRST_LINE_S)  # it takes a while to start: what it says then is of before
    lines: list[str] = []
    try:
        yield lambda: _means(lines)
    finally:
        watch.terminate()
        lines += (watch.communicate()[0] or b"").decode(errors="replace").splitlines()


def _means(lines: list[str]) -> str:
    """Lines of "GPU, decoder" in percent, some not a number -> what they say."""
    seen: tuple[list[float], list[float]] = ([], [])
    for line in lines[1:]:
        for column, part in zip(seen, line.split(",")):
            with suppress(ValueError):
                column.append(float(part))
    if not seen[0]:
        return f"not known: nvidia-smi says {' '.join(lines)[:120]!r}"
    gpu, decoder = (f"{fmean(column):.0f}%" if column else "not known" for column in seen)
    return f"GPU {gpu}, decoders {decoder} ({len(seen[0])} samples)"


# -- processes --------------------------------------------------------------------------------------------


class Apart:
    """A process that does one task after another, and tells by pairs of a name and a value."""

    def __init__(self, target: Callable[..., None], *args: object, daemon: bool = False) -> None:
        """Start `target(pipe, *args)`, which receives tasks until one is None, and answers each, at last with a str."""
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        given = os.environ.get("LD_LIBRARY_PATH", "").split(":")
        places = [place for place in (*given, *_DRIVER) if place and Path(place).is_dir()]
        if places:
            os.environ["LD_LIBRARY_PATH"] = ":".join(dict.fromkeys(places))
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=target, args=(theirs, *args), daemon=daemon)
        self._process.start()
        theirs.close()  # else nobody notices that the process has ended

    def ask(self, task: object) -> None:
        with suppress(OSError):  # answer() says that it has ended
            self._pipe.send(task)

    def answer(self, limit_s: float, on_fact: Callable[[str, Any], None] = lambda name, value: None) -> str:
        """Wait for the task to be done -> "", or what went wrong; the process may be gone then."""
        end = time.perf_counter() + limit_s
        try:
            while self._pipe.poll(max(0.0, end - time.perf_counter())):
                told = self._pipe.recv()
                if isinstance(told, str):
                    return told
                on_fact(*told)
        except (EOFError, OSError):
            self._process.join(10)
            return f"its process ended with code {self._process.exitcode}"
        return f"no answer in {limit_s:.0f} s"

    def end(self, patience_s: float = 5) -> None:
        self.ask(None)
        self._process.join(patience_s)
        self._process.kill()
        self._process.join()
        self._pipe.close()


class Crew:
    """n processes beside each other on one GPU, as `fervid batch --workers N` starts them."""

    def __init__(self, n: int, device: str) -> None:
        self._device, self._all = device, [Apart(work, device, daemon=True) for _ in range(n)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for one in self._all:
            one.ask(None)
        for one in self._all:
            one.end(1 if exc[0] else 5)

    def together(self, n: int, film: Path, reader: str, seconds: float, limit_s: float) -> tuple[float, float, str]:
        """n at once -> frames a second of their decoders alone and of their lines, and how busy the GPU was."""
        end, frames = time.perf_counter() + limit_s, n * math.ceil(30 * seconds)
        self._ask(n, ("warm up", film, reader, seconds), end)
        alone = frames / self._ask(n, ("decode", film, reader, seconds), end)
        with busy(self._device) as load:
            whole = frames / self._ask(n, ("process", film, reader, seconds), end)
        return alone, whole, load()

    def _ask(self, n: int, task: tuple[str, Path, str, float], end: float) -> float:
        """Have n do the same at once -> seconds until the last is done."""
        start = time.perf_counter()
        for one in self._all[:n]:
            one.ask(task)
        for one in self._all[:n]:
            if error := one.answer(end - time.perf_counter()):
                raise RuntimeError(f"{task[0]}: {error}")
        return time.perf_counter() - start


def work(pipe: Connection, device: str) -> None:
    """One of a crew: does what it is asked until it is asked for nothing."""
    models: Models | None = None
    with suppress(EOFError):
        while task := pipe.recv():
            what, film, reader, seconds = task
            try:
                models = models or warm_models(device)
                if what == "decode":
                    decoded_per_s(film, reader, device, seconds)
                else:
                    end_s = min(1.0, seconds) if what == "warm up" else seconds
                    config = load_config(fps="native", reader=reader, device=device, end_s=end_s)
                    process_video(film, None, config, models)
                pipe.send("")
            except Exception as e:  # noqa: BLE001 - crosses the pipe
                pipe.send(f"{type(e).__name__}: {e}")
