"""One long video over 1 and 2 workers, against one worker that reads it whole.

    python -m tests.benchmarks.shards VIDEO [--minutes 3] [--piece 60] [--runs 3]

The clip is looped to some minutes, not encoded again. Runs are interleaved; medians of wall-clock and CPU seconds
(this process and its workers, with the loading of models in each). All timelines have to be the same bytes.
"""

import argparse
import resource
import statistics
import tempfile
from pathlib import Path
from time import perf_counter

import av

import fervid
from fervid.config import Config
from fervid.jobs.shards import Shards
from fervid.models import Models
from fervid.pipeline import process_video


def loop(video: Path, out: Path, minutes: float) -> Path:
    """Repeat the packets of a video until it lasts so long."""
    with av.open(str(video)) as source, av.open(str(out), "w") as made:
        stream = source.streams.video[0]
        copy = made.add_stream_from_template(stream)
        packets = [p for p in source.demux(stream) if p.size]
        start = min(p.dts for p in packets)
        length = max(p.pts + p.duration for p in packets) - min(p.pts for p in packets)
        times = [(p.pts - start, p.dts - start, p.is_keyframe, bytes(p)) for p in packets]
        for i in range(max(1, round(minutes * 60 / float(length * stream.time_base)))):
            for pts, dts, key, data in times:
                packet = av.Packet(data)
                packet.pts, packet.dts, packet.is_keyframe = pts + i * length, dts + i * length, key
                packet.time_base, packet.stream = stream.time_base, copy
                made.mux(packet)
    return out


def cpu_s() -> float:
    """CPU seconds of this process and of the workers that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def run(video: Path, out: Path, workers: int, segment_s: float, models: Models) -> tuple[float, float, bytes]:
    """Process it -> wall-clock seconds, CPU seconds, the bytes; 0 workers read it whole."""
    wall, cpu = perf_counter(), cpu_s()
    shards = Shards(workers, segment_s=segment_s) if workers else None
    result = process_video(video, out, Config(device="cpu"), models, sharding=shards)
    assert not result.whole, result.whole
    return perf_counter() - wall, cpu_s() - cpu, out.read_bytes()


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--piece", type=float, default=60)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        video = loop(asked.video, Path(folder) / f"long{asked.video.suffix}", asked.minutes)
        models = fervid.load_models(device="cpu")
        times: dict[int, list[tuple[float, float]]] = {0: [], 1: [], 2: []}
        made: set[bytes] = set()
        for _ in range(asked.runs):
            for workers, taken in times.items():
                wall, cpu, data = run(video, Path(folder) / "t.parquet", workers, asked.piece, models)
                taken.append((wall, cpu))
                made.add(data)
    assert len(made) == 1, "the timelines differ"
    print(f"{asked.video.name}, {asked.minutes:g} minutes, pieces of {asked.piece:g} s, {asked.runs} runs: same bytes")
    for workers, taken in times.items():
        wall, cpu = (statistics.median(column) for column in zip(*taken))
        print(f"{f'{workers} workers' if workers else 'whole':10} {wall:7.1f} s  {cpu:7.1f} s of CPU")


if __name__ == "__main__":
    main()
