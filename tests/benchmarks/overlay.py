"""`fervid overlay` against bare decoding and encoding: `python -m tests.benchmarks.overlay VIDEO... [--rounds 3]`.

Bare: the reader's frames as yuv420p into the same encoder with the same options and threads, without audio or drawing.
Runs are interleaved and figures are medians; the video is processed once before, which does not count.
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import fervid
from fervid.video.open import open_video
from fervid.video.writers.clip import ClipWriter


def bare_copy(video: Path, out: Path) -> None:
    """Decode every frame and encode it again."""
    with open_video(video) as reader:
        size = [side - side % 2 for side in (reader.info.width_px, reader.info.height_px)]
        with ClipWriter(out, reader.info.frame_rate or 25, tick=reader.time_base, threads=0) as clip:
            for frame in reader.frames():
                clip.write_frame(frame.canvas(*size), frame.pts_s, frame.duration_s)


def timed(job: Callable[[], object]) -> tuple[float, float]:
    """Measure the seconds of wall-clock and of CPU time of a job."""
    wall, cpu = time.perf_counter(), time.process_time()
    job()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Print one row per video and job."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(f"{'video':34s} {'what':12s} {'wall s':>8s} {'CPU s':>8s} {'x real time':>12s} {'CPU / bare':>11s}")
    with tempfile.TemporaryDirectory() as name:
        timeline, faces, out = (Path(name) / part for part in ("timeline.parquet", "faces.parquet", "out.mp4"))
        for video in args.videos:
            fervid.process(video, timeline, faces=faces, device="cpu")
            jobs: dict[str, Callable[[], object]] = {
                "bare": lambda v=video: bare_copy(v, out),
                "overlay": lambda v=video: fervid.overlay(v, timeline, out, faces=faces),
                "blurred": lambda v=video: fervid.overlay(v, timeline, out, faces=faces, blur_faces=True),
            }
            measured = defaultdict(list)
            for _ in range(args.rounds):
                for what, job in jobs.items():
                    measured[what].append(timed(job))
            length = fervid.probe(video)["file"]["duration_s"]
            bare = statistics.median(cpu for _, cpu in measured["bare"])
            for what, times in measured.items():
                wall, cpu = (statistics.median(column) for column in zip(*times))
                print(f"{video.name:34s} {what:12s} {wall:8.2f} {cpu:8.2f} {length / wall:12.1f} {cpu / bare:11.2f}")


if __name__ == "__main__":
    main()
