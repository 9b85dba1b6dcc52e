"""Compare the time of every frame with what FFmpeg says of it: ffprobe where it is installed, else PyAV's decoder.

python -m tests.benchmarks.clocks FILE... [--rate N] [--tolerance S]

Prints one line per file: how its frames were timed, how many frames and how long, and what differs. The first frame is
0 on both sides. The exit code is 1 if anything differs.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np

from fervid.config import load_config
from fervid.errors import FervidError
from fervid.video.open import read_video
from fervid.video.reader import Health, Reader

#: Times that differ by less are equal: containers round to milliseconds.
TOLERANCE_S = 0.002


def main() -> int:
    """Compare all files; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="videos to compare")
    parser.add_argument("--rate", type=float, help="frames per second of raw streams")
    parser.add_argument(
        "--tolerance", type=float, default=TOLERANCE_S, help="seconds by which times may differ (default %(default)s)"
    )
    options = parser.parse_args()
    print(f"compared with {'ffprobe' if shutil.which('ffprobe') else 'PyAV, as ffprobe is not installed'}")
    equal = [compare(path, options.rate, options.tolerance) for path in options.files]
    print(f"{sum(equal)} of {len(equal)} files are equal")
    return 0 if all(equal) else 1


def compare(path: Path, rate: float | None, tolerance_s: float) -> bool:
    """Compare one file and print a line; return whether nothing differs."""
    try:
        own, health, end_s, stream = own_times(path, rate)
    except FervidError as e:
        print(f"{path}: refused ({e})")
        return False
    other = ffprobe_times(path, stream) if shutil.which("ffprobe") else pyav_times(path, stream)
    differences = describe(own, other, tolerance_s)
    reasons = f", {', '.join(health.reasons)}" if health.reasons else ""
    print(f"{path}: {health.clock}{reasons}; {len(own)} frames, {end_s:.3f} s; {differences or 'equal'}")
    return not differences


def own_times(path: Path, rate: float | None) -> tuple[np.ndarray, Health, float, int]:
    """Read a file as the pipeline does -> the time of every frame, the health, the end, the stream."""

    def work(reader: Reader) -> tuple[np.ndarray, Health, float, int]:
        times = np.array([frame.pts_s for frame in reader.frames()])
        return times, reader.health, reader.end_s or 0.0, reader.info.stream

    return read_video(path, load_config(fps="native", rate=rate), work)[0]


def ffprobe_times(path: Path, stream: int) -> np.ndarray:
    """Return the best effort timestamp of every frame, NaN where there is none."""
    command = ["ffprobe", "-v", "error", "-select_streams", str(stream), "-of", "json"]
    command += ["-show_entries", "frame=best_effort_timestamp_time", f"file:{path.absolute()}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    frames = json.loads(done.stdout or "{}").get("frames", [])
    return np.array([float(frame.get("best_effort_timestamp_time", "nan")) for frame in frames])


def pyav_times(path: Path, stream: int) -> np.ndarray:
    """Return when the packet was decoded that released each frame: then it is displayed. Else its timestamp, or NaN."""
    times = []
    with av.open(f"file:{path.absolute()}", metadata_errors="replace") as container:
        chosen = container.streams[stream]
        chosen.codec_context.thread_count = 1
        for packet in container.demux(chosen):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                stamp = None if container.format.name == "avi" else frame.pts
                ticks = frame.dts if frame.dts is not None else stamp
                times.append(float("nan") if ticks is None else float(ticks * chosen.time_base))
    return np.array(times)


def describe(own: np.ndarray, other: np.ndarray, tolerance_s: float) -> str:
    """Describe in a few words what differs; empty if nothing does."""
    if not len(other) or np.isnan(other).all():
        return "FFmpeg has no times to compare with"
    found = []
    if len(own) != len(other):
        found.append(f"{len(other)} frames for FFmpeg")
    n = min(len(own), len(other))
    shift = other[:n] - other[np.flatnonzero(~np.isnan(other))[0]] - own[:n]
    untimed, wrong = np.isnan(shift), np.abs(np.nan_to_num(shift)) > tolerance_s
    if untimed.any():
        found.append(f"FFmpeg has no time for {untimed.sum()}, the first is frame {np.flatnonzero(untimed)[0]}")
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        largest = shift[np.argmax(np.abs(np.nan_to_num(shift)))]
        found.append(
            f"{wrong.sum()} times differ, from frame {first} ({own[first]:.3f} s) on, by up to {largest:+.3f} s"
        )
    return "; ".join(found)


if __name__ == "__main__":
    sys.exit(main())
