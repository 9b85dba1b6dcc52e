"""Peak memory on a short and on a long video: `python -m tests.benchmarks.memory [--video CLIP] [--minutes 1 20]`.

Repeat a clip (by default sample_videos/two_faces.mp4) without re-encoding up to the requested length, process each
length in a process of its own, and print the peak resident size.
"""

import argparse
import multiprocessing
import resource
import tempfile
from pathlib import Path

import av

import fervid

SAMPLE = Path(__file__).parents[2] / "sample_videos" / "two_faces.mp4"


def repeat(clip: Path, out: Path, minutes: float) -> Path:
    """Repeat the packets of a clip until the copy is this long."""
    with av.open(str(out), "w") as target:
        stream, offset = None, 0
        while True:
            with av.open(str(clip)) as source:
                origin = source.streams.video[0]
                stream = stream or target.add_stream_from_template(origin)
                for packet in source.demux(origin):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, stream
                    target.mux(packet)
                offset += origin.duration
                if offset * origin.time_base >= minutes * 60:
                    return out


def peak_mib(path: Path, results: multiprocessing.Queue) -> None:
    """Process a video and report this process's peak resident size in MiB."""
    fervid.process(path, path.with_suffix(".parquet"), faces=path.with_suffix(".faces.parquet"), device="cpu")
    results.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, default=SAMPLE)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 20])
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for minutes in args.minutes:
            path = repeat(args.video, Path(folder) / f"{minutes:g}.mp4", minutes)
            results = context.Queue()
            child = context.Process(target=peak_mib, args=(path, results))
            child.start()
            peaks.append(results.get())
            child.join()
            ratio = peaks[-1] / peaks[0]
            print(f"{minutes:6g} minutes: peak {peaks[-1]:7.0f} MiB, {ratio:.2f} x the first", flush=True)


if __name__ == "__main__":
    main()
