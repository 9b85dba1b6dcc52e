"""Cuts compared with PySceneDetect (pip install scenedetect opencv-python-headless): F1, milliseconds.

python -m tests.benchmarks.shots [FILMS] [FIRST]

Seeds from 1000 on were not used during the development of fervid.shots (0 to 5 were). A change counts as found if its
true span and its found span meet, within half a frame at 25 and at 5 frames per second.
"""

import argparse
from collections.abc import Callable
from functools import partial
from time import process_time

import numpy as np

from fervid.shots.detect import ShotDetector
from fervid.types import thumbnails
from fervid.video.sampling import BATCH
from tests.helpers.films import RATE, Film, film, score
from tests.helpers.walking_people import dialogue


def grey(frames: np.ndarray) -> np.ndarray:
    """Convert frames to black and white (ITU-R BT.601)."""
    luma = (frames @ np.float32([0.299, 0.587, 0.114])).round().astype(np.uint8)
    return np.repeat(luma[..., None], 3, -1)


def grey_dialogue(seed: int, shots: int = 8) -> Film:
    """A film of portraits in black and white."""
    colour = dialogue(seed, shots)
    return Film(grey(colour.frames), colour.changes)


#: Functions that make a film from a seed.
CASES: dict[str, Callable[..., Film]] = {
    "hard": partial(film, kinds=("cut",)),
    "fade": partial(film, kinds=("fade",)),
    "dissolve": partial(film, kinds=("dissolve",)),
    "mixed": partial(film, kinds=("cut", "cut", "fade", "dissolve")),
    "flash": partial(film, kinds=("cut",), disturb="flash"),
    "fast pan": partial(film, kinds=("cut",), disturb="pan"),
    "flicker": partial(film, kinds=("cut",), disturb="flicker"),
    "strobe": partial(film, kinds=("cut",), disturb="strobe"),
    "crossing": partial(film, kinds=("cut",), disturb="crossing"),
    "portraits": dialogue,
    "grey portraits": grey_dialogue,
}


def ours(film: Film, fps: int) -> list[tuple[float, float]]:
    """Return the spans of the changes that fervid finds."""
    detector = ShotDetector()
    for i in range(0, len(film.frames), BATCH):
        part = film.frames[i : i + BATCH]
        detector.push(np.arange(i, i + len(part)) / fps, thumbnails(part))
    detector.finish()
    return [(shot.from_s, shot.to_s) for shot in detector.shots()[1:]]


def scenedetect(name: str, film: Film, fps: int) -> list[tuple[float, float]]:
    """Return the cuts that a detector of PySceneDetect finds with its defaults, and a minimum scene length of 0.4 s."""
    from scenedetect import AdaptiveDetector, ContentDetector
    from scenedetect.common import FrameTimecode

    kind = {"content": ContentDetector, "adaptive": AdaptiveDetector}[name]
    detector = kind(min_scene_len=max(1, round(0.4 * fps)))
    cuts = []
    for i, frame in enumerate(film.frames):
        cuts += detector.process_frame(FrameTimecode(i, fps=float(fps)), np.ascontiguousarray(frame[..., ::-1]))
    cuts += detector.post_process(FrameTimecode(len(film.frames) - 1, fps=float(fps)))
    return [((cut.frame_num - 1) / fps, cut.frame_num / fps) for cut in cuts]


METHODS = {
    "fervid": ours,
    "Content": lambda film, fps: scenedetect("content", film, fps),
    "Adaptive": lambda film, fps: scenedetect("adaptive", film, fps),
}


def main() -> None:
    """Print the table, with the false and the missed changes of fervid, and the CPU time per frame."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("films", nargs="?", type=int, default=4, help="films per case (default %(default)s)")
    parser.add_argument("first", nargs="?", type=int, default=1000, help="first seed (default %(default)s)")
    args = parser.parse_args()
    print(f"{'F1, %':15}" + "".join(f"{f'{name} {fps}/s':>16}" for fps in (RATE, 5) for name in METHODS))
    seconds = dict.fromkeys(METHODS, 0.0)
    n = 0
    for case, make in CASES.items():
        counts = {(name, fps): np.zeros(3) for fps in (RATE, 5) for name in METHODS}
        for seed in range(args.first, args.first + args.films):
            whole = make(seed)
            for fps in (RATE, 5):
                shown = whole.sampled(fps)
                n += len(shown.frames)
                for name, method in METHODS.items():
                    start = process_time()
                    found = method(shown, fps)
                    seconds[name] += process_time() - start
                    counts[name, fps] += score(whole, found, 0.5 / RATE if fps == RATE else 0.1)
        shares = (200 * hit / max(2 * hit + false + missed, 1) for hit, false, missed in counts.values())
        print(
            f"{case:15}"
            + "".join(f"{share:16.1f}" for share in shares)
            + "   "
            + " ".join(f"{int(c[1])}+{int(c[2])}-" for (name, _), c in counts.items() if name == "fervid")
        )
    print(f"{'ms per frame':15}" + "".join(f"{name} {1e3 * s / n:.2f}   " for name, s in seconds.items()))


if __name__ == "__main__":
    main()
