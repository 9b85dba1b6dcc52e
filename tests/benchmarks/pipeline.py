"""The pipeline compared with bare decoding and a simple loop: `python -m tests.benchmarks.pipeline VIDEO...`.

Each contestant runs in a process of its own, for its own peak memory, loads its models before the clock starts, and
runs once to warm up; then all take turns, and medians of the rounds are printed. Everything runs on one torch thread
and one decoding thread; fervid decodes concurrently, on a second thread.

By hand: decode with PyAV, facenet_pytorch.MTCNN.detect on each sampled frame (at full size, with its own defaults),
`seresnet` in fp32 on each face, one by one.
"""

import argparse
import multiprocessing
import resource
import statistics
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import av
import numpy as np

COLUMNS = ("wall s", "CPU s", "x real time", "CPU/decoding", "peak MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path, help="videos to process")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions; medians are printed (default %(default)s)")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=CONTESTANTS,
        default=list(CONTESTANTS),
        metavar="NAME",
        help=f"contestants to run: {', '.join(CONTESTANTS)} (default all)",
    )
    parser.add_argument(
        "--hand-seconds", type=float, default=2, help="seconds of video for the loops by hand (default 2)"
    )
    args = parser.parse_args()
    for video in args.videos:
        with av.open(str(video)) as container:
            length = float(container.duration / av.time_base)
        print(f"{video.name}, {length:.1f} s")
        print(f"  {'':22s}", *(f"{name:>12s}" for name in COLUMNS))
        compare(video, length, args.only, args.rounds, args.hand_seconds)


def compare(video: Path, length: float, names: list[str], rounds: int, hand_seconds: float) -> None:
    """Print one row per contestant."""
    seconds = {name: min(length, hand_seconds) if "by hand" in name else length for name in names}
    workers = {name: Worker(name, video, seconds[name]) for name in names}
    measured: dict[str, list] = {name: [] for name in names}
    for _ in range(rounds):
        for name, worker in workers.items():
            measured[name].append(worker.run())
    base = None
    for name, times in measured.items():
        wall, cpu, peak = (statistics.median(column) for column in zip(*times))
        base = base or cpu / seconds[name]
        figures = (
            f"{wall:.2f}",
            f"{cpu:.2f}",
            f"{seconds[name] / wall:.1f}",
            f"{cpu / seconds[name] / base:.2f}",
            f"{peak:.0f}",
        )
        print(f"  {name:22s}", *(f"{figure:>12s}" for figure in figures), flush=True)
    for worker in workers.values():
        worker.end()


class Worker:
    """One contestant in a process of its own."""

    def __init__(self, name: str, video: Path, seconds: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=work, args=(other, name, video, seconds), daemon=True)
        self._process.start()
        self._pipe.recv()

    def run(self) -> tuple[float, float, float]:
        self._pipe.send("go")
        return self._pipe.recv()

    def end(self) -> None:
        self._pipe.send(None)
        self._process.join()


def work(pipe: Connection, name: str, video: Path, seconds: float) -> None:
    """Run on request, and send wall and CPU seconds, and the peak memory so far in MB."""
    job = CONTESTANTS[name](video, seconds)
    job(min(seconds, 2.0))
    pipe.send("ready")
    while pipe.recv():
        wall, cpu = time.perf_counter(), time.process_time()
        job(seconds)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        pipe.send((wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


Job = Callable[[float], object]


def decoding(video: Path, seconds: float) -> Job:
    """Decode every frame with PyAV on one thread and drop it."""

    def run(until: float) -> None:
        for _ in decoded(video, until):
            pass

    return run


def decoded(video: Path, seconds: float):
    with av.open(str(video)) as container:
        stream = max(container.streams.video, key=lambda s: s.codec_context.width)
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            if frame.time is not None and frame.time >= seconds:
                return
            yield frame


def fervid_pipeline(detector: str = "mtcnn", **options: object) -> Callable[[Path, float], Job]:
    """Load fervid's models, and process with these options."""

    def load(video: Path, seconds: float) -> Job:
        import fervid

        given = {"device": "cpu", "detector": detector, **options}
        models = fervid.load_models(**given)
        return lambda until: fervid.process(video, models=models, end_s=until, **given)

    return load


def by_hand(fps: float | None) -> Callable[[Path, float], Job]:
    """Load models, and process in a simple loop."""

    def load(video: Path, seconds: float) -> Job:
        import torch
        from PIL import Image

        from fervid.emotions.torch_classifier import TorchClassifier

        torch.set_num_threads(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from facenet_pytorch import MTCNN

            detector = MTCNN(keep_all=True, device="cpu")
        classifier = TorchClassifier("seresnet", "cpu")

        def run(until: float) -> None:
            next_s = 0.0
            for frame in decoded(video, until):
                if fps and frame.time < next_s - 1e-6:
                    continue
                next_s = frame.time + (1 / fps if fps else 0)
                image = frame.to_ndarray(format="rgb24")
                boxes, _ = detector.detect(image)
                for x0, y0, x1, y1 in np.clip(boxes, 0, None).astype(int) if boxes is not None else ():
                    face = Image.fromarray(image[y0:y1, x0:x1]).convert("L").resize((48, 48))
                    with torch.inference_mode():
                        logits = classifier.net(classifier.prepare(np.asarray(face)[None, ..., None]))
                        torch.softmax(logits[:, :7], 1)

        return run

    return load


CONTESTANTS: dict[str, Callable[[Path, float], Job]] = {
    "bare decoding": decoding,
    "fervid 5 fps": fervid_pipeline(fps=5),
    "fervid 5 fps fast": fervid_pipeline(fps=5, sampling="fast"),
    "fervid native": fervid_pipeline(fps="native"),
    "centerface 5 fps": fervid_pipeline("centerface", fps=5),
    "centerface 5 fps fast": fervid_pipeline("centerface", fps=5, sampling="fast"),
    "centerface native": fervid_pipeline("centerface", fps="native"),
    "by hand 5 fps": by_hand(5),
    "by hand native": by_hand(None),
}


if __name__ == "__main__":
    main()
