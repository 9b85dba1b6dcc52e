"""Tracks on synthetic films with known people: with detection in every sampled frame, and between keyframes.

Faces are found by MTCNN, shots by fervid.shots. IDF1, MOTA and switches against the truth; and how the two compare: how
many of the faces of "every" are found (overlap at least 0.5), their overlap, and the IDF1 of the tracks of one against
those of the other, which shows whether the same faces share a number.

python -m tests.benchmarks.identities [VIDEO ...] [--seeds 2] [--first 1000] [--seconds 12]
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from fervid.config import Config
from fervid.faces.mtcnn import MTCNN
from fervid.models import Models
from fervid.pipeline import find_faces
from fervid.runtime.threads import one_thread
from fervid.shots.detect import ShotDetector, assign_shots
from fervid.tracks.tracker import Tracker, link
from fervid.video.open import open_video
from fervid.video.sampling import sample_frames
from tests.helpers.fakes import FakeClassifier
from tests.helpers.simulated_people import Scene, Scores, Sightings, evaluate, iou
from tests.helpers.walking_people import write

SCENES = {
    "calm, 3": Scene(3, speed=0.5, size=(640, 360)),
    "calm, 3, cuts": Scene(3, speed=0.5, cuts_s=3.0, size=(640, 360)),
    "lively, 4, cuts": Scene(4, speed=1.5, cuts_s=3.0, size=(640, 360)),
    "shaky, 3, drops": Scene(3, shake=0.15, dropped=0.1, size=(640, 360)),
    "one, cuts": Scene(1, cuts_s=2.0, size=(640, 360)),
    "crowd, 12, cuts": Scene(12, speed=0.8, cuts_s=4.0, size=(1280, 720)),
}
Found = dict[float, tuple[np.ndarray, np.ndarray]]


@one_thread
def tracked(path: Path, fps: float | None, detection: str, models: Models, seconds: float = 1e9) -> Found:
    """Return the boxes and tracks of each sampled frame of a video, by its time."""
    config, found = Config(fps=fps, detection=detection), {}
    with open_video(path) as reader:
        frames = sample_frames(reader.frames(0, seconds), fps)
        faces = find_faces(frames, reader.info, config, models)
        for batch in link(assign_shots(faces, ShotDetector()), Tracker()):
            for t in batch.sampled_s.tolist():
                found[t] = batch.box_px[batch.pts_s == t], batch.track[batch.pts_s == t]
    return found


def against_truth(frames: list[Sightings], found: Found) -> Scores:
    """Compute the scores on the sampled frames."""
    truth = {round(frame.pts_s, 3): (frame.truth, frame.present) for frame in frames}
    first = frames[0].pts_s
    times = list(found)
    return evaluate([truth[round(t + first, 3)] for t in times], [found[t] for t in times])


def compared(every: Found, some: Found) -> tuple[Scores, np.ndarray]:
    """Compute the scores of the tracks of `some` against those of `every`, and each face's overlap with its nearest."""
    scores = evaluate(list(every.values()), [some[t] for t in every])
    overlap = [iou(box, some[t][0]).max(1, initial=0) for t, (box, _) in every.items() if len(box)]
    return scores, np.concatenate(overlap) if overlap else np.ones(0)


def format_scores(scores: list[Scores]) -> str:
    """Format the mean IDF1 and MOTA, %, and switches."""
    figures = (100 * np.mean([s.idf1 for s in scores]), 100 * np.mean([s.mota for s in scores]))
    return "".join(f"{figure:7.1f}" for figure in figures) + f"{np.mean([s.switches for s in scores]):5.1f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "video", nargs="*", type=Path, help="videos without known people, for which only the two methods are compared"
    )
    parser.add_argument("--seeds", type=int, default=2, help="scenes per kind, one seed each (default %(default)s)")
    parser.add_argument("--first", type=int, default=1000, help="first seed (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=12, help="length of each scene (default %(default)s)")
    parser.add_argument("--scenes", default="", help="run only scenes whose name contains this")
    args = parser.parse_args()
    models = Models(MTCNN(device="cpu"), FakeClassifier(), "cpu")
    print(f"{'':24}{'every':>19}{'adaptive':>19}   of every's: found, overlap 50, 5, 1%, IDF1, switches")
    with tempfile.TemporaryDirectory() as folder:
        for name, scene in SCENES.items():
            if args.scenes not in name:
                continue
            film = Path(folder) / "film.mp4"
            for fps in (5.0, None):
                scores: list[tuple[Scores, ...]] = []
                overlaps = []
                for seed in range(args.first, args.first + args.seeds):
                    frames = write(film, Scene(**{**vars(scene), "seconds": args.seconds}), seed)
                    every, some = (tracked(film, fps, how, models) for how in ("every", "adaptive"))
                    both, overlap = compared(every, some)
                    scores.append((against_truth(frames, every), against_truth(frames, some), both))
                    overlaps.append(overlap)
                show(f"{name} {fps:g}/s" if fps else f"{name} native", [list(s) for s in zip(*scores)], overlaps)
        for path in args.video:
            for fps in (5.0, None):
                every, some = (tracked(path, fps, how, models, args.seconds) for how in ("every", "adaptive"))
                both, overlap = compared(every, some)
                show(f"{path.stem[:16]} {fps:g}/s" if fps else f"{path.stem[:16]} native", [[], [], [both]], [overlap])


def show(name: str, scores: list[list[Scores]], overlaps: list[np.ndarray]) -> None:
    """Print one row."""
    every, some, both = scores
    overlap = np.concatenate(overlaps)
    shares = (100 * (overlap >= 0.5).mean(), *np.percentile(overlap, [50, 5, 1]))
    print(
        f"{name:24}"
        + (format_scores(every) + format_scores(some) if every else " " * 38)
        + f"   {shares[0]:6.1f}"
        + "".join(f"{share:6.2f}" for share in shares[1:])
        + f"{100 * np.mean([s.idf1 for s in both]):7.1f}"
        + f"{np.mean([s.switches for s in both]):5.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
