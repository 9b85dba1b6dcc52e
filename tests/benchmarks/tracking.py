"""Tracks against SORT and ByteTrack as `trackers` ships them, on the same detections: IDF1, MOTA, switches; CPU time.

All wait for a lost face as long, one second, and are told the time of each look. fervid cuts where shots.py finds cuts
in pictures that are drawn for the looks; "+cuts" is ByteTrack told the same cuts. Seeds from 1000 on were never looked
at while tracks.py was made. --parts takes fervid's tracker apart instead, to see what each part buys.

pip install trackers supervision opencv-python-headless motmetrics
python -m tests.benchmarks.tracking [--seeds 3] [--first 1000] [--parts]
"""

import argparse
from collections.abc import Callable
from time import process_time
from unittest.mock import patch

import numpy as np

from fervid import tracks
from fervid.shots.detect import ShotDetector, assign_shots
from fervid.tracks.tracker import Tracker, link
from fervid.types import ShotBatch, thumbnails
from tests.helpers.fakes import Face, Seen, face_batch, shot_batch
from tests.helpers.films import PHOTOGRAPHS, RATE, shot
from tests.helpers.simulated_people import Scene, Scores, Sightings, evaluate, sightings

SCENES = {
    f"{name} {fps}/s{' cuts' if cuts_s else ''}": Scene(people, 20.0, fps, speed, shake, cuts_s=cuts_s, **other)
    for fps in (25, 5)
    for cuts_s in (0.0, 3.0)
    for name, people, speed, shake, other in (
        ("calm, 3", 3, 0.5, 0.0, {}),
        ("lively, 6", 6, 1.5, 0.0, {}),
        ("shaky, 5, drops", 5, 1.0, 0.15, {"dropped": 0.1}),
        ("crowd, 20", 20, 0.8, 0.0, {}),
    )
}
MEMORY_S = 1.0
Found = list[tuple[np.ndarray, np.ndarray]]


def drawn(scene: Scene, looks: list[Sightings], seed: int) -> np.ndarray:
    """Thumbnails (n, 18, 32, 3) of the looks: a photograph for each shot, an oval for each face that can be seen."""
    random, thumbs, names = np.random.default_rng(seed), [], [""]
    for number in dict.fromkeys(look.shot for look in looks):
        here = [look for look in looks if look.shot == number]
        names.append(random.choice([name for name in PHOTOGRAPHS if name != names[-1]]))
        frames = [round((look.pts_s - here[0].pts_s) * RATE) for look in here]
        pictures = shot(random, names[-1], frames[-1] + 1, speed=0.02 + 0.3 * scene.shake)[frames]
        for picture, look in zip(pictures, here):
            scale = picture.shape[1] / scene.size[0]
            for (x0, y0, x1, y1), who in zip(look.truth * scale, look.present):
                y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
                oval = ((x - (x0 + x1) / 2) / (x1 - x0)) ** 2 + ((y - (y0 + y1) / 2) / (y1 - y0)) ** 2 < 0.25
                picture[oval] = 90 + 37 * (who + np.arange(3)) % 120
        thumbs.append(thumbnails(pictures.astype(np.uint8)))
    return np.concatenate(thumbs)


def divided(looks: list[Sightings], thumb: np.ndarray) -> list[ShotBatch]:
    """The looks as the line has them, with the shots that shots.py finds."""
    seen = [Seen(k.pts_s, tuple(Face(tuple(b), s) for b, s in zip(k.box.tolist(), k.score.tolist()))) for k in looks]
    parts = [slice(i, i + 8) for i in range(0, len(looks), 8)]
    return list(assign_shots((face_batch(seen[part], thumb[part]) for part in parts), ShotDetector()))


def ours(looks: list[Sightings], shots: list[ShotBatch]) -> Found:
    """The tracks of the line."""
    found = []
    for batch in link(shots, Tracker(max_lost_s=MEMORY_S)):
        found += [(batch.box_px[batch.pts_s == t], batch.track[batch.pts_s == t]) for t in batch.sampled_s]
    return found


def shipped(name: str, looks: list[Sightings], shots: list[ShotBatch], *, cuts: bool = False) -> Found:
    """A tracker of the package `trackers`, told the rate and the time of the looks; and our cuts, if asked."""
    import supervision
    import trackers

    rate = 1 / np.median(np.diff([look.pts_s for look in looks]))
    kind = {"SORT": trackers.SORTTracker, "ByteTrack": trackers.ByteTrackTracker}[name]
    tracker = kind(lost_track_buffer=round(30 * MEMORY_S), frame_rate=float(rate))
    found, before, first, most = [], 0, 0, -1
    for look, number in zip(looks, np.concatenate([batch.shot for batch in shots])):
        if cuts and number != before:
            tracker.reset()
            first, before = most + 1, number
        given = supervision.Detections(
            xyxy=look.box.astype(float), confidence=look.score.astype(float), class_id=np.zeros(len(look.box), int)
        )
        out = tracker.update(given, timestamp=look.pts_s)
        track = np.asarray(out.tracker_id if out.tracker_id is not None else [], int)
        known = track >= 0
        found.append((out.xyxy[known], track[known] + first))
        most = max([most, *found[-1][1].tolist()])
    return found


Method = Callable[[list[Sightings], list[ShotBatch]], Found]
METHODS: dict[str, Method] = {
    "fervid": ours,
    "SORT": lambda looks, shots: shipped("SORT", looks, shots),
    "ByteTrack": lambda looks, shots: shipped("ByteTrack", looks, shots),
    "ByteTrack+cuts": lambda looks, shots: shipped("ByteTrack", looks, shots, cuts=True),
}


def without(**parts: object) -> Method:
    """fervid with some of its parts replaced."""

    def run(looks: list[Sightings], shots: list[ShotBatch]) -> Found:
        with patch.multiple(tracks, **parts):
            return ours(looks, shots)

    return run


def uncut(looks: list[Sightings], shots: list[ShotBatch]) -> Found:
    """fervid as if the film were one shot."""
    seen = [Seen(k.pts_s, tuple(Face(tuple(b), s) for b, s in zip(k.box.tolist(), k.score.tolist()))) for k in looks]
    return ours(looks, [shot_batch(seen)])


PARTS: dict[str, Method] = {
    "whole": ours,
    "no cuts": uncut,
    "no weak": without(_GATE_WEAK=-1.0),
    "no speed": without(_SPEED=np.array([1e-3, 1e-3, 1e-3])),
    "no births": without(_CONFIRM_S=-1.0, _DENSE_S=-1.0),
}


def mean(scores: list[Scores]) -> str:
    """IDF1, MOTA and switches of several runs."""
    return (
        f"{100 * np.mean([s.idf1 for s in scores]):6.1f}{100 * np.mean([s.mota for s in scores]):6.1f}"
        f"{np.mean([s.switches for s in scores]):6.1f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--scenes", default="", help="only those with this in their name")
    args = parser.parse_args()
    methods = PARTS if args.parts else METHODS
    print(f"{'IDF1 MOTA switches':24}" + "".join(f"{name:>18}" for name in methods) + "   CPU ms a look")
    for title, scene in SCENES.items():
        if args.scenes not in title:
            continue
        made = [sightings(scene, seed) for seed in range(args.first, args.first + args.seeds)]
        shots = [divided(looks, drawn(scene, looks, seed)) for seed, looks in enumerate(made)]
        row, spent = "", []
        for method in methods.values():
            start = process_time()
            found = [method(looks, batches) for looks, batches in zip(made, shots)]
            spent.append(1e3 * (process_time() - start) / sum(map(len, made)))
            truth = [[(look.truth, look.present) for look in looks] for looks in made]
            row += mean([evaluate(t, f) for t, f in zip(truth, found)])
        print(f"{title:24}{row}   {' '.join(f'{ms:.2f}' for ms in spent)}", flush=True)


if __name__ == "__main__":
    main()
