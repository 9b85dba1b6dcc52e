"""How many sampled frames are keyframes, and whether shots begin with one: on synthetic films and on videos.

python -m tests.benchmarks.keyframes [VIDEO ...] [--films 4] [--first 30]

No network is needed: with a detector that finds and confirms one face everywhere, only time and images cause keyframes.
"""

import argparse
from pathlib import Path

import numpy as np

from fervid.shots.detect import ShotDetector
from fervid.types import FrameBatch
from tests.benchmarks.adaptive import read
from tests.benchmarks.shots import CASES
from tests.helpers.films import RATE
from tests.helpers.keyframes import keyframes_of, to_batch


def count(batches: list[FrameBatch]) -> np.ndarray:
    """Count frames, keyframes; cuts and fades, those between two keyframes; dissolves, those with a keyframe within."""
    detector, key = ShotDetector(), keyframes_of(batches)
    pts_s = np.concatenate([batch.pts_s for batch in batches])
    for batch in batches:
        detector.push(batch.pts_s, batch.thumb)
    detector.finish()
    hard = [key[one.index - 1] and key[one.index] for one in detector.boundaries if one.kind != "dissolve"]
    soft = [key[(pts_s >= e.from_s) & (pts_s <= e.to_s)].any() for e in detector.boundaries if e.kind == "dissolve"]
    return np.array([len(key), key.sum(), len(hard), sum(hard), len(soft), sum(soft)])


def main() -> None:
    """Print one row per case or video, and rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="*", type=Path, help="videos to process in addition to the synthetic films")
    parser.add_argument("--films", type=int, default=4, help="films per case (default %(default)s)")
    parser.add_argument("--first", type=int, default=30, help="first seed (default %(default)s)")
    args = parser.parse_args()
    heads = ("frames", "keyframes", "cuts, fades", "with key", "dissolves", "with key")
    print(f"{'':26}" + "".join(f"{head:>12}" for head in heads))
    total = np.zeros(6, int)
    for case, make in CASES.items():
        films = [make(seed, shots=5) for seed in range(args.first, args.first + args.films)]
        for fps in (RATE, 5):
            row = np.sum([count([to_batch(film, fps)]) for film in films], axis=0)
            total += row
            print(f"{f'{case} {fps}/s':26}" + "".join(f"{n:12}" for n in row), flush=True)
    print(f"{'all':26}" + "".join(f"{n:12}" for n in total))
    for path in args.video:
        for fps in (None, 5.0):
            row = count(read(path, fps, 20)[0])
            print(f"{path.stem[:18]:19}{fps or 'native':7}" + "".join(f"{n:12}" for n in row), flush=True)


if __name__ == "__main__":
    main()
