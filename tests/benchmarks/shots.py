"""Cuts against PySceneDetect (pip install scenedetect opencv-python-headless) on the same pictures: F1, milliseconds.

python -m tests.benchmarks.shots [FILMS] [FIRST_SEED]

Seeds from 1000 on were never looked at while shots.py was made (0 to 5 were). A change counts as found where the spans
of the truth and of what was found meet, within half a frame at 25 looks a second and half a look at 5.
"""

import sys
from collections.abc import Callable
from functools import partial
from time import process_time

import numpy as np

from fervid.shots.detect import ShotDetector
from fervid.types import thumbnails
from fervid.video.sampling import BATCH
from tests.helpers.films import RATE, Film, film, score
from tests.helpers.walking_people import dialogue


def grey(pictures: np.ndarray) -> np.ndarray:
    """Pictures in black and white (ITU-R BT.601)."""
    luma = (pictures @ np.float32([0.299, 0.587, 0.114])).round().astype(np.uint8)
    return np.repeat(luma[..., None], 3, -1)


def grey_dialogue(seed: int, shots: int = 8) -> Film:
    """A film of portraits in black and white."""
    shown = dialogue(seed, shots)
    return Film(grey(shown.frames), shown.changes)


#: What makes the film of a seed, with so many shots.
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


def ours(shown: Film, fps: int) -> list[tuple[float, float]]:
    """Spans of the changes that fervid finds."""
    finder = ShotDetector()
    for i in range(0, len(shown.frames), BATCH):
        part = shown.frames[i : i + BATCH]
        finder.push(np.arange(i, i + len(part)) / fps, thumbnails(part))
    finder.finish()
    return [(shot.from_s, shot.to_s) for shot in finder.shots()[1:]]


def scenedetect(name: str, shown: Film, fps: int) -> list[tuple[float, float]]:
    """The same from a detector of PySceneDetect with its defaults, but a shortest scene of 0.4 s."""
    from scenedetect import AdaptiveDetector, ContentDetector
    from scenedetect.common import FrameTimecode

    kind = {"content": ContentDetector, "adaptive": AdaptiveDetector}[name]
    detector = kind(min_scene_len=max(1, round(0.4 * fps)))
    cuts = []
    for i, picture in enumerate(shown.frames):
        cuts += detector.process_frame(FrameTimecode(i, fps=float(fps)), np.ascontiguousarray(picture[..., ::-1]))
    cuts += detector.post_process(FrameTimecode(len(shown.frames) - 1, fps=float(fps)))
    return [((cut.frame_num - 1) / fps, cut.frame_num / fps) for cut in cuts]


METHODS = {
    "fervid": ours,
    "Content": lambda shown, fps: scenedetect("content", shown, fps),
    "Adaptive": lambda shown, fps: scenedetect("adaptive", shown, fps),
}


def main(films: int = 4, first: int = 1000) -> None:
    """Print the table, with the false and the missed changes of fervid, and the CPU time of a look."""
    print(f"{'F1, %':15}" + "".join(f"{f'{name} {fps}/s':>16}" for fps in (RATE, 5) for name in METHODS))
    spent = dict.fromkeys(METHODS, 0.0)
    n = 0
    for case, make in CASES.items():
        counts = {(name, fps): np.zeros(3) for fps in (RATE, 5) for name in METHODS}
        for seed in range(first, first + films):
            whole = make(seed)
            for fps in (RATE, 5):
                shown = whole.sampled(fps)
                n += len(shown.frames)
                for name, method in METHODS.items():
                    start = process_time()
                    found = method(shown, fps)
                    spent[name] += process_time() - start
                    counts[name, fps] += score(whole, found, 0.5 / RATE if fps == RATE else 0.1)
        shares = (200 * hit / max(2 * hit + false + missed, 1) for hit, false, missed in counts.values())
        print(
            f"{case:15}"
            + "".join(f"{share:16.1f}" for share in shares)
            + "   "
            + " ".join(f"{int(c[1])}+{int(c[2])}-" for (name, _), c in counts.items() if name == "fervid")
        )
    print(f"{'ms a look':15}" + "".join(f"{name} {1e3 * s / n:.2f}   " for name, s in spent.items()))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
