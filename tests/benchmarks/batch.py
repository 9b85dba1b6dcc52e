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

from fervid.bulk import Ended, Event, Request, run_batch
from fervid.config import Config
from fervid.engine import LocalEngine
from fervid.pipeline import Models, load_models, process_video

SAMPLES = Path(__file__).parents[2] / "sample_videos"


@dataclass(frozen=True)
class Taken:
    """Seconds of wall and of CPU, the start of workers left out, which is `start_s` (wall)."""

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
    return Taken(time.perf_counter() - wall, time.process_time() - cpu)


def run_workers(clips: list[Path], out: Path, workers: int, look: Callable[[int], None] = lambda _: None) -> Taken:
    """Process them in a batch; `look` is told after each clip how many are done."""
    ended: list[float] = []
    first_s = 0.0

    def watch(event: Event) -> None:
        nonlocal first_s
        if isinstance(event, Ended):
            assert event.row.status == "ok", event.row
            first_s = first_s or event.row.taken_s
            ended.append(time.perf_counter())
            look(len(ended))

    config = Config(device="cpu")
    started, cpu = time.perf_counter(), _cpu_s()
    run_batch(Request(tuple(map(str, clips)), out), config, LocalEngine(config, workers), watch)
    wall_s, ready_s = time.perf_counter() - started, ended[0] - first_s - started
    return Taken(wall_s - ready_s, _cpu_s() - cpu, ready_s)


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def start_cpu_s(clip: Path, out: Path, bare_s: float) -> float:
    """CPU seconds of the start of a batch of one worker: those of a batch of one clip, less the clip's."""
    return run_workers([clip], out, 1).cpu_s - bare_s


def watch_memory(clips: list[Path], out: Path) -> list[int]:
    """Peak resident MiB of the one worker after each clip."""
    peaks: list[int] = []

    def look(_: int) -> None:
        (pid,) = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        status = Path(f"/proc/{pid}/status").read_text()
        peaks.append(int(status.split("VmHWM:")[1].split()[0]) // 1024)

    run_workers(clips, out, 1, look)
    return peaks


def compare(clips: list[Path], work: Path, rounds: int) -> None:
    """Run the rounds and print each, then the ratios."""
    models = load_models(Config(device="cpu"))
    run_bare(clips[:3], work / "warm", models)
    size = -(-len(clips) // rounds)
    parts = [clips[i : i + size] for i in range(0, len(clips), size)]
    one_clip = run_bare(clips[:1], work / "one", models).cpu_s
    start = statistics.median(start_cpu_s(clips[0], work / f"start{i}", one_clip) for i in range(3))
    print(f"start of a worker: {start:.1f} s of CPU; left out below")
    print(f"{'clips':>6s} {'bare':>14s} {'1 worker':>14s} {'2 workers':>14s}   wall s (CPU s)")
    table: list[list[Taken]] = []
    for i, part in enumerate(parts):
        bare = run_bare(part, work / f"bare{i}", models)
        one, two = (run_workers(part, work / f"out{i}-{n}", n) for n in (1, 2))
        one, two = (Taken(t.wall_s, t.cpu_s - n * start, t.start_s) for t, n in ((one, 1), (two, 2)))
        table.append([bare, one, two])
        print(f"{len(part):6d} " + " ".join(f"{t.wall_s:6.1f} ({t.cpu_s:5.1f})" for t in table[-1]), flush=True)
    ratio = _medians(table)
    print(f"overhead of a batch of one worker: {ratio['wall'][0]:.2f} x wall, {ratio['cpu'][0]:.2f} x CPU (goal 1.1)")
    print(f"from one worker to two: {ratio['wall'][1]:.2f} x as fast (goal 1.8), {ratio['cpu'][1]:.2f} x CPU a clip")
    print(f"start-up until the first job: {statistics.median(row[1].start_s for row in table):.1f} s")


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
            print(f"peak memory of a worker: {tenth} MiB after 10 clips, {peaks[-1]} MiB after {len(peaks)} "
                  f"({peaks[-1] / tenth - 1:+.1%}, goal +10%)")  # fmt: skip


if __name__ == "__main__":
    main()
