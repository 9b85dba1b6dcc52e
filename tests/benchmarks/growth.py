"""How the line grows with the length of a film and the number of faces in it: `python -m tests.benchmarks.growth`.

Draws films (films.py), processes each in a process of its own at 5 looks a second, and prints CPU seconds a second of
video, without what starting takes and with bare decoding beside it, and the peak resident size.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

from tests.benchmarks.films import ENCODERS, make
from tests.benchmarks.line import decoded

COLUMNS = ("faces", "minutes", "looks", "readings", "CPU s/s", "decoding", "ratio", "peak MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 10, 60])
    parser.add_argument("--faces", type=int, nargs="+", default=[1])
    parser.add_argument("--height", type=int, default=720)
    parser.add_argument("--codec", choices=ENCODERS, default="h264")
    parser.add_argument("--still", action="store_true")
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
                looks, readings, line_s, bare_s, peak = results.get()
                child.join()
                figures = f"{line_s:.4f}", f"{bare_s:.4f}", f"{line_s / bare_s:.2f}", f"{peak:.0f}"
                print(*(f"{x!s:>9s}" for x in (faces, f"{minutes:g}", looks, readings, *figures)), flush=True)


def measure(film: Path, seconds: float, results: multiprocessing.Queue) -> None:
    """Tell looks, readings, CPU seconds a second of the line and of bare decoding (its first minute), peak MB."""
    import fervid

    models = fervid.load_models(device="cpu")
    fervid.process(film, models=models, device="cpu", end_s=2)
    began = time.process_time()
    counters = fervid.process(film, film.with_suffix(".parquet"), models=models, device="cpu").provenance["counters"]
    line_s = (time.process_time() - began) / seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began, some = time.process_time(), min(seconds, 60.0)
    for _ in decoded(film, some):
        pass
    results.put((counters["looks"], counters["faces"], line_s, (time.process_time() - began) / some, peak))


if __name__ == "__main__":
    main()
