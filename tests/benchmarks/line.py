"""The whole line beside bare decoding of the same file: `python -m tests.benchmarks.line VIDEO... [--rounds 5]`.

Runs are interleaved, figures are medians. The models are loaded once, before the clock starts.
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import av

import fervid


def bare_decoding(path: Path) -> None:
    """Decode every frame with PyAV on one thread and drop it."""
    with av.open(str(path)) as container:
        stream = max(container.streams.video, key=lambda s: s.codec_context.width)
        stream.codec_context.thread_count = 1
        for _ in container.decode(stream):
            pass


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Give wall and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    models = fervid.load_models(device="cpu")
    print(f"{'video':34s} {'what':14s} {'wall s':>8s} {'CPU s':>8s} {'x real time':>12s} {'CPU / decoding':>15s}")
    for video in args.videos:
        jobs: dict[str, Callable[[], object]] = {
            "bare decoding": lambda v=video: bare_decoding(v),
            "5 fps": lambda v=video: fervid.process(v, models=models, fps=5),
            "native": lambda v=video: fervid.process(v, models=models, fps="native"),
        }
        taken = defaultdict(list)
        for _ in range(args.rounds):
            for name, job in jobs.items():
                taken[name].append(timed(job))
        length = fervid.probe(video)["file"]["duration_s"]
        decoding = statistics.median(cpu for _, cpu in taken["bare decoding"])
        for name, times in taken.items():
            wall, cpu = (statistics.median(column) for column in zip(*times))
            print(f"{video.name:34s} {name:14s} {wall:8.2f} {cpu:8.2f} {length / wall:12.1f} {cpu / decoding:15.2f}")


if __name__ == "__main__":
    main()
