"""Correctness and speed of fervid on a GPU, in under four minutes: `python -m tests.benchmarks.gpu [--out FILE.json]`.

First run the checks of tests/helpers/gpu_checks.py, then measure speeds, each printed with its goal. The films are
synthetic. Tasks run in a child process, which is replaced when a task fails, crashes or hangs, so that a GPU in a bad
state affects no later task. Tasks that are skipped for lack of time are reported. A hang ends with the stacks of all
threads. `--device cpu --tiny` tests the script itself: its measurements mean nothing.
"""

import argparse
import faulthandler
import json
import platform
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import product
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fervid.config import load_config
from fervid.cuda import mtcnn as device_mtcnn
from fervid.cuda.mtcnn import DeviceMTCNN
from fervid.diagnostics import diagnose
from fervid.emotions.classify import classify
from fervid.emotions.torch_classifier import TorchClassifier
from fervid.errors import FervidError
from fervid.networks.weights import bundled
from fervid.pipeline import WholeVideo, process_video
from fervid.runtime.profiling import Profiler
from fervid.shots.detect import ShotDetector, assign_shots
from fervid.timeline.aggregate import summarise
from fervid.tracks.tracker import Tracker, link
from fervid.video.open import open_video
from tests.benchmarks.films import draw, make
from tests.helpers.gpu_checks import CHECKS, missing
from tests.helpers.gpu_processes import (
    ChildProcess,
    Workers,
    decoding_rate,
    gpu_utilisation,
    load_device_models,
    synchronize,
)

#: Numbers of processes that share the GPU, largest first.
WORKERS = (8, 4, 2)


@dataclass
class Run:
    """One run of the script: device, size, deadline, folder of the films, and the pipe for results."""

    device: str
    tiny: bool
    end: float
    folder: Path
    pipe: Connection
    failed: bool = False

    @property
    def left_s(self) -> float:
        return self.end - time.perf_counter()

    def report(self, name: str, value: object, goal: str = "") -> None:
        show(name, value, goal)
        self.pipe.send((name, value))

    def film(self, height: int, seconds: float) -> Path:
        """Make a film with one face, unless it exists."""
        path = self.folder / f"{height}p_{seconds:g}s.mp4"
        if not path.exists():
            make(path.with_stem("unfinished"), height=height, minutes=seconds / 60).rename(path)
        return path


def show(name: str, value: object, goal: str = "") -> None:
    shown = f"{value:,.4g}" if isinstance(value, float) else value
    print(f"  {name:44s} {shown}{f'   (goal {goal})' if goal else ''}", flush=True)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0", help="device to measure (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=230, help="time limit of the whole run (default %(default)s)")
    parser.add_argument("--out", type=Path, help="JSON file for the results, updated after each task")
    parser.add_argument(
        "--tiny", action="store_true", help="run each task with the smallest input, as a test of this script"
    )
    parser.add_argument(
        "--only", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK", help="tasks to run (default all)"
    )
    args = parser.parse_args(arguments)
    if args.device != "cpu" and not torch.cuda.is_available():
        parser.error(f"--device {args.device}: torch {torch.__version__} sees no CUDA device")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        end = time.perf_counter() + args.seconds
        common = (args.device, args.tiny, end, Path(folder))
        child: ChildProcess | None = None
        for name in args.only:
            left_s, (_, needed_s, most_s) = end - time.perf_counter(), TASKS[name]
            print(f"{name}, {left_s:.0f} s left", flush=True)
            if left_s < needed_s and not args.tiny:
                results[f"{name}: skipped"] = f"{left_s:.0f} s left, {needed_s} needed"
                show("skipped", results[f"{name}: skipped"])
                continue
            child = child or ChildProcess(perform, *common)
            limit_s = left_s if args.tiny else min(most_s, left_s)
            child.submit((name, limit_s))
            if error := child.wait(min(limit_s + _START_S, left_s + 15), results.__setitem__):
                if error != FAILED:
                    results[f"{name}: FAILED"] = error
                    show(f"{name}: FAILED", error)
                child.stop(0)
                child = None
            if args.out:
                args.out.write_text(json.dumps(results, indent=2, default=str) + "\n")
        if child:
            child.stop()
    if failed := [name for name in results if name.endswith("FAILED")]:
        print(f"{len(failed)} failed: {', '.join(failed)}", flush=True)
    return results


#: The end of a task that has failed and has reported its error.
FAILED = "failed"
#: Seconds that a process may take to start, and to print its stacks if it hangs.
_START_S = 45


def perform(pipe: Connection, device: str, tiny: bool, end: float, folder: Path) -> None:
    """Perform tasks as the child process."""
    faulthandler.enable(sys.__stderr__)
    with suppress(EOFError):
        while task := pipe.recv():
            name, limit_s = task
            faulthandler.dump_traceback_later(limit_s, exit=True, file=sys.__stderr__)
            run = Run(device, tiny, end, folder, pipe)
            with report_errors(run, name):
                TASKS[name][0](run)
            faulthandler.cancel_dump_traceback_later()
            pipe.send(FAILED if run.failed else "")


@contextmanager
def report_errors(run: Run, name: str) -> Iterator[None]:
    """Report an error and mark the run as failed, instead of raising it."""
    try:
        yield
    except Exception as e:  # noqa: BLE001 - the other tasks must run
        run.failed = True
        run.report(f"{name}: FAILED", f"{type(e).__name__}: {str(e)[:600]}")
        if not isinstance(e, (AssertionError, FervidError)):
            traceback.print_exc()


def check_task(name: str) -> Callable[[Run], None]:
    """Make a task of one of CHECKS."""

    def task(run: Run) -> None:
        if reason := missing(name, run.device):
            run.report(f"check {name}: skipped", reason)
        elif not run.tiny or name in ("detector", "crops"):
            run.report(f"check {name}", CHECKS[name](run.device))

    return task


def machine(run: Run) -> None:
    facts = diagnose()
    for name in ("cuda", "nvdec", "cores", "system"):
        run.report(name, facts[name])
    run.report(
        "versions", f"Python {platform.python_version()}, " + ", ".join(f"{p} {version(p)}" for p in ("torch", "av"))
    )
    run.report("CUDA, cuDNN, FFmpeg", [torch.version.cuda, torch.backends.cudnn.version(), facts["ffmpeg"]])
    if run.device != "cpu":
        free, total = torch.cuda.mem_get_info(run.device)
        run.report("memory, GB free and total", f"{free / 1e9:.1f}, {total / 1e9:.1f}")


def detection(run: Run) -> None:
    """Measure the detector by itself, on images in the device's memory."""
    detector = DeviceMTCNN(run.device)
    drawn = [p for p, _ in zip(draw(1, 640, 360, still=False), range(4 if run.tiny else 128))]
    images = torch.from_numpy(np.stack(drawn)).to(run.device)
    for n in (4,) if run.tiny else (1, 8, 32, 64, 128):
        per_s = rate(run, lambda n=n: detector.detect(images[:n], 20), n)
        run.report(f"detection 640x360, batches of {n}, frames/s", per_s, "5,000" if n >= 32 else "")
    if run.device != "cpu":
        original, device_mtcnn.deterministic_fp32 = device_mtcnn.deterministic_fp32, nullcontext  # type: ignore[assignment]
        try:
            run.report(
                "detection 640x360, batches of 64, TF32 in P-Net, frames/s",
                rate(run, lambda: detector.detect(images[:64], 20), 64),
            )
        finally:
            device_mtcnn.deterministic_fp32 = original


def classification(run: Run) -> None:
    for name, precision in product(bundled(), ("fp32", "bf16")):
        classifier = TorchClassifier(name, run.device, precision=precision)
        shape = (64 if run.tiny else 2048, classifier.crop_px, classifier.crop_px, classifier.channels)
        crop = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        per_s = rate(run, lambda c=classifier, crop=crop: c.predict(crop), len(crop))
        run.report(f"classification {name} {precision}, crops/s", per_s)


def native(run: Run) -> None:
    """Measure the pipeline on 472 frames of 640x360 with one face, at the native rate, with loaded models."""
    frames = 12 if run.tiny else 472
    film, models = run.film(360, 16), load_device_models(run.device)
    for reader in readers(run, film):
        config = load_config(fps="native", reader=reader, device=run.device, end_s=frames / 30)
        process_video(film, None, config, models)
        with Profiler() as profiler, gpu_utilisation(run.device) as utilisation:
            per_s = rate(run, lambda c=config: process_video(film, None, c, models), frames)
        run.report(f"native 640x360, reader {reader}, frames/s", per_s, "2,000")
        run.report(f"native 640x360, reader {reader}: utilisation", utilisation())
        shares = {s.stage: round(1e3 * s.wall_s / max(s.calls, 1), 2) for s in profiler.stages()[:9]}
        run.report(f"native 640x360, reader {reader}: wall ms per call", shares)


def host(run: Run) -> None:
    """Measure the CPU time per sampled frame of the stages after detection, without the classifier's network."""
    film, models = run.film(360, 16), load_device_models(run.device)
    config = load_config(fps="native", device=run.device, end_s=0.4 if run.tiny else 15.7)
    with open_video(film) as reader:
        video = WholeVideo(reader, config, models)
        batches = list(video.faces())
    labels = models.classifier.labels
    batches = [
        replace(batch, prob=np.full((len(batch), len(labels)), 1 / len(labels), np.float32)) for batch in batches
    ]
    start = time.process_time()
    tracks = link(assign_shots(iter(batches), ShotDetector()), Tracker(max_lost_s=config.tracker_max_lost_s))
    for _ in summarise(classify(tracks, models.classifier), labels):
        pass
    samples = sum(len(batch.sampled_s) for batch in batches)
    run.report(
        "stages after detection, CPU ms per sampled frame",
        1e3 * (time.process_time() - start) / samples,
        "under 0.5 for 2,000 per second",
    )


def share_of_decoding(run: Run) -> None:
    """Measure the pipeline on 1080p at the native rate, relative to decoding alone."""
    seconds = 0.4 if run.tiny else 20.0
    film, models = run.film(1080 if not run.tiny else 360, 10 if run.tiny else 20), load_device_models(run.device)
    for reader in readers(run, film):
        config = load_config(fps="native", reader=reader, device=run.device, end_s=seconds)
        decoding = statistics.median(
            decoding_rate(film, reader, run.device, seconds) for _ in range(1 if run.tiny else 3)
        )
        process_video(film, None, replace(config, end_s=min(1.0, seconds)), models)
        with gpu_utilisation(run.device) as utilisation:
            pipeline = rate(run, lambda c=config: process_video(film, None, c, models), round(30 * seconds), rounds=3)
        run.report(f"1080p, reader {reader}: decoding alone, frames/s", decoding)
        run.report(f"1080p, reader {reader}: pipeline, frames/s", pipeline)
        run.report(f"1080p, reader {reader}: share", pipeline / decoding, "0.80")
        run.report(f"1080p, reader {reader}: utilisation", utilisation())


def several_decoders(run: Run) -> None:
    """Measure several processes on one GPU, as `fervid batch --workers N` starts them."""
    film = run.film(1080 if not run.tiny else 360, 10 if run.tiny else 20)
    available, seconds = readers(run, film), 0.2 if run.tiny else 20.0
    for reader in available[:1] if run.tiny else available:
        with (
            report_errors(run, f"several decoders, {reader}"),
            Workers(2 if run.tiny else WORKERS[0], run.device) as workers,
        ):
            for n in (2,) if run.tiny else WORKERS:
                if run.left_s < 45 and not run.tiny:
                    run.report(f"{n} processes, reader {reader}: skipped", f"{run.left_s:.0f} s left")
                    continue
                decoding, pipeline, utilisation = workers.measure(n, film, reader, seconds, run.left_s - 10)
                run.report(f"1080p, {n} processes, {reader}: decoding alone, frames/s", decoding)
                run.report(f"1080p, {n} processes, {reader}: pipeline, frames/s", pipeline)
                run.report(f"1080p, {n} processes, {reader}: share", pipeline / decoding, "0.80")
                run.report(f"1080p, {n} processes, {reader}: utilisation", utilisation, "over 70% of the GPU")


#: Tasks in order, each with the seconds that must be left to start it and its time limit in seconds.
TASKS: dict[str, tuple[Callable[[Run], None], float, float]] = {
    "machine": (machine, 0, 60),
    **{f"check {name}": (check_task(name), 30, 75) for name in CHECKS},
    "detector alone": (detection, 20, 60),
    "classifier alone": (classification, 20, 60),
    "native rate": (native, 40, 120),
    "share of decoding": (share_of_decoding, 60, 150),
    "several decoders": (several_decoders, 60, 300),
    "host": (host, 20, 60),
}


# -- measurement ------------------------------------------------------------------------------------------


def rate(run: Run, call: Callable[[], object], n: int, rounds: int = 5) -> float:
    """Measure how many of the n items of a call are processed per second: the median, after one call to warm up.

    Repeat for this many rounds and at least two seconds, so that nvidia-smi can sample the utilisation.
    """
    call()
    measured: list[float] = []
    while len(measured) < (1 if run.tiny else rounds) or (sum(measured) < 2 and not run.tiny):
        synchronize(run.device)
        start = time.perf_counter()
        call()
        synchronize(run.device)
        measured.append(time.perf_counter() - start)
    return n / statistics.median(measured)


def readers(run: Run, film: Path) -> list[str]:
    """Return the readers that can read the film here; report the others."""
    available = []
    for reader in ("av", "nvdec", "torchcodec"):
        try:
            with open_video(film, reader=reader, device=run.device) as video:
                next(iter(video.frames())).stored_luma()
            available.append(reader)
        except Exception as e:  # noqa: BLE001 - the other readers may work
            run.report(f"reader {reader}: skipped", f"{type(e).__name__}: {str(e)[:300]}")
    return available


if __name__ == "__main__":
    main()
