"""What a batch costs beside bare calls, how it scales, its memory: `python -m tests.benchmarks.batch [--clips 200]`.

Short clips are cut from sample_videos without re-encoding and processed with the real models, in rounds: bare calls of
process_video in this process, which is warm; then a batch of one worker; then a batch of two. Rounds are interleaved
because machines are shared; ratios are medians over the rounds. Start-up (processes, imports, models) is told apart.
CPU time hardly depends on what else runs; wall time does, and waiting shows only there: both are printed.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av

from fervid.config import Config
from fervid.jobs.batch import Event, JobFinished, Request, run_batch
from fervid.jobs.local_engine import LocalEngine
from fervid.models import Models, load_models
from fervid.pipeline import process_video

SAMPLES = Path(__file__).parents[2] / "sample_videos"


@dataclass(frozen=True)
class Taken:
    """Seconds a clip, of wall and of CPU, once every worker is warm; and until then, in all."""

    wall_s: float
    cpu_s: float
    start_s: float = 0.0


def cut_clips(folder: Path, n: int, seconds: float) -> list[Path]:
    """Copy the first packets of the sample videos n times, each with a title of its own: no two are the same."""
    folder.mkdir(parents=True)
    samples = sorted(SAMPLES.glob("*.mp4"))
    return [_cut(samples[i % len(samples)], folder / f"{i:04}.mp4", seconds, str(i)) for i in range(n)]


def _cut(clip: Path, out: Path, seconds: float, title: str) -> Path:
    with av.open(str(clip)) as source, av.open(str(out), "w") as target:
        origin = source.streams.video[0]
        stream = target.add_stream_from_template(origin)
        target.metadata["title"] = title
        for packet in source.demux(origin):
            if packet.dts is None or packet.dts * packet.time_base >= seconds:
                break
            packet.stream = stream
            target.mux(packet)
    return out


def run_bare(clips: list[Path], out: Path, models: Models) -> Taken:
    """Process one clip after another in this process."""
    out.mkdir(parents=True)
    wall, cpu = time.perf_counter(), time.process_time()
    for clip in clips:
        process_video(clip, out / f"{clip.name}.parquet", Config(device="cpu"), models)
    return Taken((time.perf_counter() - wall) / len(clips), (time.process_time() - cpu) / len(clips))


def run_workers(clips: list[Path], out: Path, workers: int, look: Callable[[], None] = lambda: None) -> Taken:
    """Process them in a batch, with one more for each worker, to warm it; `look` is called after each clip.

    The wall time runs to the end of run_batch, when all is written and the workers are gone.
    """
    marks: list[tuple[float, float]] = []

    def watch(event: Event) -> None:
        if isinstance(event, JobFinished):
            assert event.row.status == "ok", event.row
            marks.append((time.perf_counter(), _cpu_s()))
            look()

    config, started = Config(device="cpu"), time.perf_counter()
    run_batch(Request(tuple(map(str, clips)), out), config, LocalEngine(config, workers), watch)
    (warm, cpu), (_, end_cpu), n = marks[workers - 1], marks[-1], len(clips) - workers
    return Taken((time.perf_counter() - warm) / n, (end_cpu - cpu) / n, warm - started)


def _children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def _cpu_s() -> float:
    """CPU seconds of this process and of its living children."""
    total = time.process_time()
    for pid in _children():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def watch_memory(clips: list[Path], out: Path) -> list[int]:
    """Peak resident MiB of the one worker after each clip."""
    peaks: list[int] = []

    def look() -> None:
        (pid,) = _children()
        status = Path(f"/proc/{pid}/status").read_text()
        peaks.append(int(status.split("VmHWM:")[1].split()[0]) // 1024)

    run_workers(clips, out, 1, look)
    return peaks


def compare(clips: list[Path], work: Path, rounds: int) -> None:
    """Run the rounds and print each, then the ratios."""
    models = load_models(Config(device="cpu"))
    run_bare(clips[:3], work / "warm", models)
    print("seconds a clip, wall (CPU), of warm processes:\n clips           bare       1 worker      2 workers")
    size = -(-len(clips) // rounds)
    table: list[list[Taken]] = []
    for i in range(0, len(clips), size):
        part = clips[i : i + size]
        bare = run_bare(part, work / f"bare{i}", models)
        table.append([bare, *(run_workers(part, work / f"out{i}-{n}", n) for n in (1, 2))])
        print(f"{len(part):6d} " + " ".join(f"{t.wall_s:6.3f} ({t.cpu_s:.3f})" for t in table[-1]), flush=True)
    ratio = _medians(table)
    print(f"overhead of a batch of one worker: {ratio['wall'][0]:.2f} x wall, {ratio['cpu'][0]:.2f} x CPU (goal 1.1)")
    print(f"from one worker to two: {ratio['wall'][1]:.2f} x as fast (goal 1.8), {ratio['cpu'][1]:.2f} x CPU a clip")
    print(f"start-up, the first clip included: {statistics.median(row[1].start_s for row in table):.1f} s")


def _medians(table: list[list[Taken]]) -> dict[str, tuple[float, float]]:
    """Wall: one worker to bare, one to two. CPU: one worker to bare, two to one."""
    return {
        "wall": (statistics.median(o.wall_s / b.wall_s for b, o, _ in table),
                 statistics.median(o.wall_s / t.wall_s for _, o, t in table)),
        "cpu": (statistics.median(o.cpu_s / b.cpu_s for b, o, _ in table),
                statistics.median(t.cpu_s / o.cpu_s for _, o, t in table)),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--only", choices=["time", "memory"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="batch-") as folder:
        work = Path(folder)
        clips = cut_clips(work / "clips", args.clips, args.seconds)
        load = os.getloadavg()[0]
        print(f"{len(clips)} clips of {args.seconds:g} s; load of the machine before: {load:.1f}")
        if args.only != "memory":
            compare(clips, work, args.rounds)
        if args.only != "time":
            peaks = watch_memory(clips, work / "memory")
            tenth = peaks[min(9, len(peaks) - 1)]
            print(
                f"peak memory of a worker: {tenth} MiB after 10 clips, {peaks[-1]} MiB after {len(peaks)} "
                f"({peaks[-1] / tenth - 1:+.1%}, goal +10%)"
            )


if __name__ == "__main__":
    main()
