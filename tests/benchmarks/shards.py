"""A long video processed in segments by 1 and 2 workers, compared with processing it whole.

    python -m tests.benchmarks.shards VIDEO [--minutes 3] [--segment 60] [--runs 3]

The clip is repeated without re-encoding. Runs are interleaved; medians of wall and CPU seconds are printed (of this
process and its workers, including loading the models in each). All timelines must have the same bytes.
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


def repeat(video: Path, out: Path, minutes: float) -> Path:
    """Repeat the packets of a video up to this length."""
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
    """CPU seconds of this process and of its workers that have ended."""
    used = (resource.getrusage(target) for target in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def run(video: Path, out: Path, workers: int, segment_s: float, models: Models) -> tuple[float, float, bytes]:
    """Process the video, whole with 0 workers -> wall seconds, CPU seconds, bytes of the timeline."""
    wall, cpu = perf_counter(), cpu_s()
    shards = Shards(workers, segment_s=segment_s) if workers else None
    result = process_video(video, out, Config(device="cpu"), models, sharding=shards)
    assert not result.whole, result.whole
    return perf_counter() - wall, cpu_s() - cpu, out.read_bytes()


def main() -> None:
    """Print one row per number of workers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path, help="clip to repeat")
    parser.add_argument("--minutes", type=float, default=3, help="length of the video (default %(default)s)")
    parser.add_argument("--segment", type=float, default=60, help="seconds per segment (default %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="repetitions; medians are printed (default %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        video = repeat(args.video, Path(folder) / f"long{args.video.suffix}", args.minutes)
        models = fervid.load_models(device="cpu")
        times: dict[int, list[tuple[float, float]]] = {0: [], 1: [], 2: []}
        outputs: set[bytes] = set()
        for _ in range(args.runs):
            for workers, measured in times.items():
                wall, cpu, data = run(video, Path(folder) / "t.parquet", workers, args.segment, models)
                measured.append((wall, cpu))
                outputs.add(data)
    assert len(outputs) == 1, "the timelines differ"
    print(f"{args.video.name}, {args.minutes:g} minutes, segments of {args.segment:g} s, {args.runs} runs: same bytes")
    for workers, measured in times.items():
        wall, cpu = (statistics.median(column) for column in zip(*measured))
        print(f"{f'{workers} workers' if workers else 'whole':10} {wall:7.1f} s  {cpu:7.1f} s of CPU")


if __name__ == "__main__":
    main()
