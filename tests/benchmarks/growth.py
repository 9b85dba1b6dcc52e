"""Time and memory by the length of a film and the number of faces in it: `python -m tests.benchmarks.growth`.

Draw films (films.py), process each in a process of its own at 5 sampled frames per second, and print the CPU seconds
per second of video, without start-up and compared with bare decoding, and the peak resident size.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

from tests.benchmarks.films import ENCODERS, make
from tests.benchmarks.pipeline import decoded

COLUMNS = ("faces", "minutes", "frames", "readings", "CPU s/s", "decoding", "ratio", "peak MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 10, 60], help="lengths of the films in minutes")
    parser.add_argument("--faces", type=int, nargs="+", default=[1], help="numbers of faces in the films")
    parser.add_argument("--height", type=int, default=720, help="height of the image in pixels (default %(default)s)")
    parser.add_argument("--codec", choices=ENCODERS, default="h264", help="video codec (default %(default)s)")
    parser.add_argument("--still", action="store_true", help="repeat the first frame")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    print(*(f"{name:>9s}" for name in COLUMNS), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for faces in args.faces:
            for minutes in args.minutes:
                film = Path(folder) / "film.mp4"
                make(film, faces=faces, height=args.height, codec=args.codec, minutes=minutes, still=args.still)
                results = context.Queue()
                child = context.Process(target=measure, args=(film, minutes * 60, results))
                child.start()
                frames, readings, process_s, bare_s, peak = results.get()
                child.join()
                figures = f"{process_s:.4f}", f"{bare_s:.4f}", f"{process_s / bare_s:.2f}", f"{peak:.0f}"
                print(*(f"{x!s:>9s}" for x in (faces, f"{minutes:g}", frames, readings, *figures)), flush=True)


def measure(film: Path, seconds: float, results: multiprocessing.Queue) -> None:
    """Send frames, readings, CPU seconds per second of fervid and of bare decoding (of the first minute), peak MB."""
    import fervid

    models = fervid.load_models(device="cpu")
    fervid.process(film, models=models, device="cpu", end_s=2)
    started = time.process_time()
    counters = fervid.process(film, film.with_suffix(".parquet"), models=models, device="cpu").provenance["counters"]
    process_s = (time.process_time() - started) / seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started, some = time.process_time(), min(seconds, 60.0)
    for _ in decoded(film, some):
        pass
    results.put((counters["looks"], counters["faces"], process_s, (time.process_time() - started) / some, peak))


if __name__ == "__main__":
    main()
