"""Cuts between parts of real videos, found by fervid and by PySceneDetect, in colour and in black and white.

python -m tests.benchmarks.joins VIDEO... (pip install scenedetect opencv-python-headless)

Each video is divided into parts of three seconds. Every part is joined with every part of every other video, and the
cut must be found at its frame; any other one that is found is false (or a cut within the videos).
"""

import argparse
from itertools import permutations
from pathlib import Path

import numpy as np

from fervid.video.open import open_video
from fervid.video.reader import Sampling
from fervid.video.sampling import sample_frames
from tests.benchmarks.shots import METHODS, grey
from tests.helpers.films import RATE, SIZE, Film

_PART_S = 3.0


def parts(path: Path, fps: float) -> list[np.ndarray]:
    """Sample the frames (n, 90, 160, 3) of a video, in parts of three seconds."""
    with open_video(path, sampling=Sampling(fps)) as video:
        frames = np.stack([frame.rgb(*SIZE) for frame, *_ in sample_frames(video.frames(), fps)])
    n = round(_PART_S * fps)
    return [frames[i : i + n] for i in range(0, len(frames) - n // 2, n)]


def main() -> None:
    """Print one row per rate and colour."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="+", type=Path)
    args = parser.parse_args()
    print(f"{'found / joins (false)':24}" + "".join(f"{name:>18}" for name in METHODS))
    for fps in (RATE, 5):
        videos = [parts(path, fps) for path in args.video]
        for name, change in {"colour": lambda frames: frames, "black and white": grey}.items():
            counts = {method: np.zeros(3, int) for method in METHODS}
            for one, other in permutations(videos, 2):
                for a in map(change, one):
                    for b in map(change, other):
                        film = Film(np.concatenate([a, b]))
                        for method, find in METHODS.items():
                            found = [abs(to_s * fps - len(a)) < 0.5 for _, to_s in find(film, fps)]
                            counts[method] += any(found), 1, len(found) - any(found)
            row = (f"{hit} / {n} ({false})" for hit, n, false in counts.values())
            print(f"{f'{name}, {fps}/s':24}" + "".join(f"{text:>18}" for text in row), flush=True)


if __name__ == "__main__":
    main()
