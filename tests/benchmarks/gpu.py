"""Correctness and speed of the line on a GPU, in under ten minutes: `python -m tests.benchmarks.gpu [--out FILE.json]`.

First the checks of tests/helpers/gpu_checks.py, then the figures that the goals are about, each with its goal. Films
are made here. Every task runs in a process beside this one, which another replaces when a task fails, crashes or hangs:
so a GPU that one task has left in disorder spoils no other. What is left out for lack of time is told. A hang ends with
the stacks of all threads. `--device cpu --tiny` tries the script itself: its figures mean nothing.
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
from fervid.pipeline import WholeVideo, process_video
from fervid.runtime.profiling import Profiler
from fervid.shots.detect import ShotDetector, assign_shots
from fervid.timeline.aggregate import summarise
from fervid.tracks.tracker import Tracker, link
from fervid.video.open import open_video
from tests.benchmarks.films import draw, make
from tests.benchmarks.gpu_crew import Apart, Crew, busy, decoded_per_s, finish, warm_models
from tests.helpers.gpu_checks import CHECKS, missing

#: Of the processes that share a GPU: how many at most, and how many at once.
CREW = (8, 4, 2)


@dataclass
class Run:
    """One run of the script: where, how small, until when, where its films are, and to whom it tells what came out."""

    device: str
    tiny: bool
    end: float
    folder: Path
    pipe: Connection
    failed: bool = False

    @property
    def left_s(self) -> float:
        return self.end - time.perf_counter()

    def tell(self, name: str, value: object, goal: str = "") -> None:
        show(name, value, goal)
        self.pipe.send((name, value))

    def film(self, height: int, seconds: float) -> Path:
        """A film with one face, made once."""
        path = self.folder / f"{height}p_{seconds:g}s.mp4"
        if not path.exists():
            make(path.with_stem("unfinished"), height=height, minutes=seconds / 60).rename(path)
        return path


def show(name: str, value: object, goal: str = "") -> None:
    shown = f"{value:,.4g}" if isinstance(value, float) else value
    print(f"  {name:44s} {shown}{f'   (goal {goal})' if goal else ''}", flush=True)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--seconds", type=float, default=540, help="to end in (default 540)")
    parser.add_argument("--out", type=Path, help="write all that was measured there, as JSON, as it comes")
    parser.add_argument("--tiny", action="store_true", help="as little as possible of everything")
    parser.add_argument(
        "--only", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK", help="leave out others"
    )
    args = parser.parse_args(arguments)
    if args.device != "cpu" and not torch.cuda.is_available():
        parser.error(f"--device {args.device}: torch {torch.__version__} sees no CUDA device")
    facts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        end = time.perf_counter() + args.seconds
        given = (args.device, args.tiny, end, Path(folder))
        helper: Apart | None = None
        for name in args.only:
            left_s, (_, needed_s, most_s) = end - time.perf_counter(), TASKS[name]
            print(f"{name}, {left_s:.0f} s left", flush=True)
            if left_s < needed_s and not args.tiny:
                facts[f"{name}: left out"] = f"{left_s:.0f} s left, {needed_s} needed"
                show("left out", facts[f"{name}: left out"])
                continue
            helper = helper or Apart(perform, *given)
            limit_s = left_s if args.tiny else min(most_s, left_s)
            helper.ask((name, limit_s))
            if wrong := helper.answer(min(limit_s + _START_S, left_s + 15), facts.__setitem__):
                if wrong != FAILED:
                    facts[f"{name}: FAILED"] = wrong
                    show(f"{name}: FAILED", wrong)
                helper.end(0)
                helper = None
            if args.out:
                args.out.write_text(json.dumps(facts, indent=2, default=str) + "\n")
        if helper:
            helper.end()
    if failed := [name for name in facts if name.endswith("FAILED")]:
        print(f"{len(failed)} failed: {', '.join(failed)}", flush=True)
    return facts


#: The answer to a task that has failed and has told so.
FAILED = "failed"
#: Seconds that a process may take to start, and one that hangs to show its stacks.
_START_S = 45


def perform(pipe: Connection, device: str, tiny: bool, end: float, folder: Path) -> None:
    """The other process: does the tasks that it is asked for."""
    faulthandler.enable(sys.__stderr__)
    with suppress(EOFError):
        while task := pipe.recv():
            name, limit_s = task
            faulthandler.dump_traceback_later(limit_s, exit=True, file=sys.__stderr__)
            run = Run(device, tiny, end, folder, pipe)
            with told(run, name):
                TASKS[name][0](run)
            faulthandler.cancel_dump_traceback_later()
            pipe.send(FAILED if run.failed else "")


@contextmanager
def told(run: Run, name: str) -> Iterator[None]:
    """An error costs what it hit, and is told."""
    try:
        yield
    except Exception as e:  # noqa: BLE001 - the rest has to be measured
        run.failed = True
        run.tell(f"{name}: FAILED", f"{type(e).__name__}: {str(e)[:600]}")
        if not isinstance(e, (AssertionError, FervidError)):
            traceback.print_exc()


def checked(name: str) -> Callable[[Run], None]:
    """One of CHECKS as a task."""

    def task(run: Run) -> None:
        if reason := missing(name, run.device):
            run.tell(f"check {name}: left out", reason)
        elif not run.tiny or name in ("detector", "crops"):
            run.tell(f"check {name}", CHECKS[name](run.device))

    return task


def machine(run: Run) -> None:
    facts = diagnose()
    for name in ("cuda", "nvdec", "cores", "system"):
        run.tell(name, facts[name])
    run.tell(
        "versions", f"Python {platform.python_version()}, " + ", ".join(f"{p} {version(p)}" for p in ("torch", "av"))
    )
    run.tell("CUDA, cuDNN, FFmpeg", [torch.version.cuda, torch.backends.cudnn.version(), facts["ffmpeg"]])
    if run.device != "cpu":
        free, total = torch.cuda.mem_get_info(run.device)
        run.tell("memory, GB free and in all", f"{free / 1e9:.1f}, {total / 1e9:.1f}")


def detection(run: Run) -> None:
    """The detector alone, on pictures that are on the device."""
    finder = DeviceMTCNN(run.device)
    drawn = [p for p, _ in zip(draw(1, 640, 360, still=False), range(4 if run.tiny else 128))]
    picture = torch.from_numpy(np.stack(drawn)).to(run.device)
    for n in (4,) if run.tiny else (1, 8, 32, 64, 128):
        per_s = rate(run, lambda n=n: finder.detect(picture[:n], 20), n)
        run.tell(f"detection 640x360, {n} at once, frames/s", per_s, "5,000" if n >= 32 else "")
    if run.device != "cpu":
        proper, device_mtcnn.deterministic_fp32 = device_mtcnn.deterministic_fp32, nullcontext  # type: ignore[assignment]
        try:
            run.tell("same, 64 at once, TF32 in P-Net", rate(run, lambda: finder.detect(picture[:64], 20), 64))
        finally:
            device_mtcnn.deterministic_fp32 = proper


def classification(run: Run) -> None:
    crop = np.random.default_rng(0).integers(0, 256, (64 if run.tiny else 2048, 48, 48), np.uint8)
    for precision in ("fp32", "bf16"):
        classifier = TorchClassifier("seresnet", run.device, precision=precision)
        run.tell(f"classification {precision}, crops/s", rate(run, lambda c=classifier: c.predict(crop), len(crop)))


def native(run: Run) -> None:
    """472 frames of 640x360 with one face, every frame looked at, models warm."""
    frames = 12 if run.tiny else 472
    film, models = run.film(360, 16), warm_models(run.device)
    for reader in readers(run, film):
        config = load_config(fps="native", reader=reader, device=run.device, end_s=frames / 30)
        process_video(film, None, config, models)
        with Profiler() as watch, busy(run.device) as load:
            per_s = rate(run, lambda c=config: process_video(film, None, c, models), frames)
        run.tell(f"native 640x360, reader {reader}, frames/s", per_s, "2,000")
        run.tell(f"native 640x360, reader {reader}: busy", load())
        shares = {s.stage: round(1e3 * s.wall_s / max(s.calls, 1), 2) for s in watch.stages()[:9]}
        run.tell(f"native 640x360, reader {reader}: wall ms a call", shares)


def host(run: Run) -> None:
    """What a core does for each look from the faces on, while the GPU is at the next ones: the network left out."""
    film, models = run.film(360, 16), warm_models(run.device)
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
    for _ in summarise(classify(tracks, models.classifier), labels, video.info, lambda: video.end_s):
        pass
    looks = sum(len(batch.sampled_s) for batch in batches)
    run.tell(
        "from faces on, CPU ms a look", 1e3 * (time.process_time() - start) / looks, "under 0.5 for 2,000 a second"
    )


def share_of_decoding(run: Run) -> None:
    """1080p at native rate, beside what its decoder delivers alone."""
    seconds = 0.4 if run.tiny else 20.0
    film, models = run.film(1080 if not run.tiny else 360, 10 if run.tiny else 20), warm_models(run.device)
    for reader in readers(run, film):
        config = load_config(fps="native", reader=reader, device=run.device, end_s=seconds)
        alone = statistics.median(decoded_per_s(film, reader, run.device, seconds) for _ in range(1 if run.tiny else 3))
        process_video(film, None, replace(config, end_s=min(1.0, seconds)), models)
        with busy(run.device) as load:
            whole = rate(run, lambda c=config: process_video(film, None, c, models), round(30 * seconds), rounds=3)
        run.tell(f"1080p, reader {reader}: decoder alone, frames/s", alone)
        run.tell(f"1080p, reader {reader}: line, frames/s", whole)
        run.tell(f"1080p, reader {reader}: share", whole / alone, "0.80")
        run.tell(f"1080p, reader {reader}: busy", load())


def several_decoders(run: Run) -> None:
    """Processes beside each other on one GPU, as `fervid batch --workers N` starts them, each with its own film."""
    film = run.film(1080 if not run.tiny else 360, 10 if run.tiny else 20)
    able, seconds = readers(run, film), 0.2 if run.tiny else 20.0
    for reader in able[:1] if run.tiny else able:
        with told(run, f"several decoders, {reader}"), Crew(2 if run.tiny else CREW[0], run.device) as crew:
            for n in (2,) if run.tiny else CREW:
                if run.left_s < 45 and not run.tiny:
                    run.tell(f"{n} processes, reader {reader}: left out", f"{run.left_s:.0f} s left")
                    continue
                alone, whole, load = crew.together(n, film, reader, seconds, run.left_s - 10)
                run.tell(f"1080p, {n} processes, {reader}: decoders alone, frames/s", alone)
                run.tell(f"1080p, {n} processes, {reader}: line, frames/s", whole)
                run.tell(f"1080p, {n} processes, {reader}: share", whole / alone, "0.80")
                run.tell(f"1080p, {n} processes, {reader}: busy", load, "over 70% of the GPU")


#: In order, with the seconds that each is given up without, and those after which it is ended.
TASKS: dict[str, tuple[Callable[[Run], None], float, float]] = {
    "machine": (machine, 0, 60),
    **{f"check {name}": (checked(name), 30, 75) for name in CHECKS},
    "detector alone": (detection, 20, 60),
    "classifier alone": (classification, 20, 60),
    "native rate": (native, 40, 120),
    "share of decoding": (share_of_decoding, 60, 150),
    "several decoders": (several_decoders, 60, 300),
    "host": (host, 20, 60),
}


# -- how it is measured -----------------------------------------------------------------------------------


def rate(run: Run, call: Callable[[], object], n: int, rounds: int = 5) -> float:
    """How many of the n things of a call are done in a second: median, after one call to warm up.

    At least so many rounds, and those that fit into two seconds: what watches the GPU beside it needs time to see.
    """
    call()
    taken: list[float] = []
    while len(taken) < (1 if run.tiny else rounds) or (sum(taken) < 2 and not run.tiny):
        finish(run.device)
        start = time.perf_counter()
        call()
        finish(run.device)
        taken.append(time.perf_counter() - start)
    return n / statistics.median(taken)


def readers(run: Run, film: Path) -> list[str]:
    """Those that can read a film here; others are told."""
    able = []
    for reader in ("av", "nvdec", "torchcodec"):
        try:
            with open_video(film, reader=reader, device=run.device) as video:
                next(iter(video.frames())).stored_luma()
            able.append(reader)
        except Exception as e:  # noqa: BLE001 - the others can
            run.tell(f"reader {reader}: left out", f"{type(e).__name__}: {str(e)[:300]}")
    return able


if __name__ == "__main__":
    main()
