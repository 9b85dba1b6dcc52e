"""What sampling saves of decoding, and what fast sampling changes: `python -m tests.benchmarks.sampling VIDEO...`.

For each video: CPU seconds of decoding every frame and of decoding for exact and fast sampling at 5 looks a second, in
turns, medians of --rounds. Then (unless --no-line) the line with every look searched, on the same frames with
deblocking and without it on B-frames, on all but key frames, on all: how far the luma is off, and the readings.
"""

import argparse
import statistics
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from fervid.backends.pyav_reader import PyAVReader
from fervid.frames import choose_frames
from fervid.video import Sampling, open_video

FPS = 5
WAYS = {"every frame": None, "exact": Sampling(FPS), "fast": Sampling(FPS, fast=True)}


def main() -> None:
    """Print a block a video."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-line", action="store_true")
    args = parser.parse_args()
    line = None if args.no_line else Line()
    for video in args.videos:
        print(video.name)
        decoding(video, args.rounds)
        if line:
            compare(video, line)


def decoding(video: Path, rounds: int) -> None:
    """CPU seconds of each way of sampling."""
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    decoded = {}
    for _ in range(rounds):
        for name, sampling in WAYS.items():
            begun = time.process_time()
            with open_video(video, sampling=sampling) as reader:
                for _ in reader.frames():
                    pass
            taken[name].append(time.process_time() - begun)
            decoded[name] = reader.health.decoded
    base = statistics.median(taken["every frame"])
    for name, seconds in taken.items():
        spent = statistics.median(seconds)
        print(f"  {name:12} {decoded[name]:6} frames {spent:7.2f} CPU s {spent / base:6.2f}", flush=True)


class Line:
    """fervid at 5 looks a second, fast, each searched in full."""

    def __init__(self) -> None:
        import fervid

        self._options = {"device": "cpu", "fps": FPS, "sampling": "fast", "detection": "every"}
        self._models = fervid.load_models(**self._options)

    def run(self, video: Path) -> tuple[pd.DataFrame, pd.DataFrame, list[np.ndarray]]:
        """The timeline, the readings, and the luma of every look."""
        import fervid

        with tempfile.TemporaryDirectory() as folder:
            faces = Path(folder) / "faces.parquet"
            result = fervid.process(video, models=self._models, faces=faces, **self._options)
            readings = pd.read_parquet(faces)
        with open_video(video, sampling=WAYS["fast"]) as reader:
            luma = [frame.luma() for frame, _, _ in choose_frames(reader.frames(), FPS)]
        return result.to_pandas(), readings, luma


@contextmanager
def deblocking(skipped: str):
    """Have FFmpeg skip the loop filter for these frames: none, bidir, nokey, all."""
    prepare = PyAVReader._prepare

    def prepared(reader: PyAVReader) -> None:
        prepare(reader)
        context = reader._stream.codec_context
        context.options = {**context.options, "skip_loop_filter": skipped}

    PyAVReader._prepare = prepared
    try:
        yield
    finally:
        PyAVReader._prepare = prepare


def compare(video: Path, line: Line) -> None:
    """What comes of frames that are not deblocked."""
    from fervid.labels import EMOTIONS

    with deblocking("none"):
        seconds, readings, luma = line.run(video)
    for skipped in ("bidir", "nokey", "all"):
        with deblocking(skipped):
            other_seconds, other_readings, other_luma = line.run(video)
        off = [np.abs(one.astype(np.int16) - other) for one, other in zip(luma, other_luma, strict=True)]
        noise = max(np.square(one.astype(np.float32)).mean() for one in off)
        pairs = readings.merge(other_readings, on=["pts_s", "track"], suffixes=("", "_b"))
        both = seconds.merge(other_seconds, on=["second", "track"], suffixes=("", "_b"))
        names = [name for name in EMOTIONS if name in pairs]
        look = np.abs(pairs[names].to_numpy() - pairs[[f"{name}_b" for name in names]].to_numpy())
        second = np.abs(both[names].to_numpy(float) - both[[f"{name}_b" for name in names]].to_numpy(float))
        other = int((both["dominant"].astype(object).fillna("") != both["dominant_b"].astype(object).fillna("")).sum())
        print(
            f"  {skipped:6} luma: mean {np.mean([one.mean() for one in off]):.2f}, worst "
            f"{10 * np.log10(255**2 / max(noise, 1e-9)):.1f} dB; faces {len(readings)}, {len(other_readings)}, in both "
            f"{len(pairs)}; probabilities: a look max {look.max():.3f} mean {look.mean():.4f}, a second max "
            f"{np.nanmax(second):.3f}; other dominant {other} of {len(both)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
