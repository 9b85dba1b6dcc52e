"""How much decoding sampling saves, and what fast sampling changes: `python -m tests.benchmarks.sampling VIDEO...`.

For each video: the CPU seconds of decoding every frame, and of decoding for exact and for fast sampling at 5 frames per
second, interleaved, as medians of --rounds. Then (unless --no-timeline) the timeline of fast sampling compared with
that of exact sampling. With --deblocking, the pipeline with every sampled frame searched, on the same frames with
deblocking and without it on B-frames, on all but keyframes, and on all: the error of the luma and of the readings.
"""

import argparse
import statistics
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from fervid.video.open import open_video
from fervid.video.reader import Sampling
from fervid.video.readers.pyav import PyAVReader
from fervid.video.sampling import sample_frames

FPS = 5
SAMPLINGS = {"every frame": None, "exact": Sampling(FPS), "fast": Sampling(FPS, fast=True)}


def main() -> None:
    """Print one block per video."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path, help="videos to process")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions; medians are printed (default %(default)s)")
    parser.add_argument("--no-timeline", action="store_true", help="measure only decoding, without comparing timelines")
    parser.add_argument(
        "--deblocking", action="store_true", help="measure the effect of skipping the deblocking filter"
    )
    args = parser.parse_args()
    pipeline = Pipeline() if args.deblocking else None
    for video in args.videos:
        print(video.name)
        decoding(video, args.rounds)
        if not args.no_timeline:
            tolerance(video)
        if pipeline:
            compare(video, pipeline)


def decoding(video: Path, rounds: int) -> None:
    """Print the CPU seconds of each kind of sampling."""
    measured: dict[str, list[float]] = {name: [] for name in SAMPLINGS}
    decoded = {}
    for _ in range(rounds):
        for name, sampling in SAMPLINGS.items():
            started = time.process_time()
            with open_video(video, sampling=sampling) as reader:
                for _ in reader.frames():
                    pass
            measured[name].append(time.process_time() - started)
            decoded[name] = reader.health.decoded
    base = statistics.median(measured["every frame"])
    for name, seconds in measured.items():
        median = statistics.median(seconds)
        print(f"  {name:12} {decoded[name]:6} frames {median:7.2f} CPU s {median / base:6.2f}", flush=True)


def tolerance(video: Path) -> None:
    """Print how far the timeline of fast sampling is from that of exact sampling, with faces paired by their boxes."""
    import fervid
    from fervid.labels import EMOTIONS

    runs = []
    for sampling in ("exact", "fast"):
        options = {"device": "cpu", "fps": FPS, "sampling": sampling}
        table = fervid.process(video, models=fervid.load_models(**options), **options).to_pandas()
        runs.append(table[table["track"].notna()].reset_index())
    exact, fast = runs
    pairs = exact.merge(fast, on="second", suffixes=("", "_b"))
    pairs["overlap"] = overlap(*(pairs[[f"{k}{side}" for k in "xywh"]].to_numpy(float).T for side in ("", "_b")))
    pairs = pairs.sort_values("overlap", ascending=False, kind="stable")
    pairs = pairs[pairs["overlap"] > 0.3].drop_duplicates("index").drop_duplicates("index_b")
    names = [name for name in EMOTIONS if name in pairs]
    off = np.abs(pairs[names].to_numpy(float) - pairs[[f"{name}_b" for name in names]].to_numpy(float))
    same = pairs["dominant"].astype(object) == pairs["dominant_b"].astype(object)
    print(
        f"  rows {len(exact)}, {len(fast)}, paired {len(pairs)}; sampled faces "
        f"{exact['n_faces'].sum()}, {fast['n_faces'].sum()}"
    )
    if len(pairs):
        print(
            f"  overlap median {pairs['overlap'].median():.3f}; probabilities off by mean {np.nanmean(off):.4f}, "
            f"95% {np.nanpercentile(off, 95):.3f}, max {np.nanmax(off):.3f}; same dominant {same.sum()}",
            flush=True,
        )


def overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Compute the intersection over union of boxes (4, n): x, y, w, h."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[:2] + one[2:], other[:2] + other[2:])
    shared = np.clip(high - low, 0, None).prod(0)
    return shared / (one[2:].prod(0) + other[2:].prod(0) - shared)


class Pipeline:
    """fervid with fast sampling at 5 frames per second, each of which is searched."""

    def __init__(self) -> None:
        import fervid

        self._options = {"device": "cpu", "fps": FPS, "sampling": "fast", "detection": "every"}
        self._models = fervid.load_models(**self._options)

    def run(self, video: Path) -> tuple[pd.DataFrame, pd.DataFrame, list[np.ndarray]]:
        """Return the timeline, the readings, and the luma of every sampled frame."""
        import fervid

        with tempfile.TemporaryDirectory() as folder:
            faces = Path(folder) / "faces.parquet"
            result = fervid.process(video, models=self._models, faces=faces, **self._options)
            readings = pd.read_parquet(faces)
        with open_video(video, sampling=SAMPLINGS["fast"]) as reader:
            luma = [frame.luma() for frame, _, _ in sample_frames(reader.frames(), FPS)]
        return result.to_pandas(), readings, luma


@contextmanager
def deblocking(skipped: str):
    """Make FFmpeg skip the loop filter for these frames: none, bidir, nokey, all."""
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


def compare(video: Path, pipeline: Pipeline) -> None:
    """Print what changes in frames that are not deblocked."""
    from fervid.labels import EMOTIONS

    with deblocking("none"):
        seconds, readings, luma = pipeline.run(video)
    for skipped in ("bidir", "nokey", "all"):
        with deblocking(skipped):
            other_seconds, other_readings, other_luma = pipeline.run(video)
        off = [np.abs(one.astype(np.int16) - other) for one, other in zip(luma, other_luma, strict=True)]
        noise = max(np.square(one.astype(np.float32)).mean() for one in off)
        pairs = readings.merge(other_readings, on=["pts_s", "track"], suffixes=("", "_b"))
        both = seconds.merge(other_seconds, on=["second", "track"], suffixes=("", "_b"))
        names = [name for name in EMOTIONS if name in pairs]
        frame = np.abs(pairs[names].to_numpy() - pairs[[f"{name}_b" for name in names]].to_numpy())
        second = np.abs(both[names].to_numpy(float) - both[[f"{name}_b" for name in names]].to_numpy(float))
        other = int((both["dominant"].astype(object).fillna("") != both["dominant_b"].astype(object).fillna("")).sum())
        print(
            f"  {skipped:6} luma: mean {np.mean([one.mean() for one in off]):.2f}, worst "
            f"{10 * np.log10(255**2 / max(noise, 1e-9)):.1f} dB; faces {len(readings)}, {len(other_readings)}, in both "
            f"{len(pairs)}; probabilities: per frame max {frame.max():.3f} mean {frame.mean():.4f}, per second max "
            f"{np.nanmax(second):.3f}; other dominant {other} of {len(both)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
