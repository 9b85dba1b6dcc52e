"""Tracks compared with SORT and ByteTrack from `trackers`, on the same detections: IDF1, MOTA, switches; CPU time.

All keep a lost face for one second, and get the time of each frame. fervid cuts where fervid.shots finds cuts in images
that are drawn for the frames; "+cuts" is ByteTrack with the same cuts. Seeds from 1000 on were not used during the
development of fervid.tracks. --parts measures fervid's tracker without each of its parts instead.

pip install trackers supervision opencv-python-headless motmetrics
python -m tests.benchmarks.tracking [--seeds 3] [--first 1000] [--parts]
"""

import argparse
from collections.abc import Callable
from time import process_time
from unittest.mock import patch

import numpy as np

from fervid.shots.detect import ShotDetector, assign_shots
from fervid.tracks import tracker
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


def drawn(scene: Scene, frames: list[Sightings], seed: int) -> np.ndarray:
    """Draw thumbnails (n, 18, 32, 3): a photograph for each shot, an oval for each visible face."""
    random, thumbs, names = np.random.default_rng(seed), [], [""]
    for number in dict.fromkeys(frame.shot for frame in frames):
        here = [frame for frame in frames if frame.shot == number]
        names.append(random.choice([name for name in PHOTOGRAPHS if name != names[-1]]))
        index = [round((frame.pts_s - here[0].pts_s) * RATE) for frame in here]
        images = shot(random, names[-1], index[-1] + 1, speed=0.02 + 0.3 * scene.shake)[index]
        for image, frame in zip(images, here):
            scale = image.shape[1] / scene.size[0]
            for (x0, y0, x1, y1), person in zip(frame.truth * scale, frame.present):
                y, x = np.mgrid[: image.shape[0], : image.shape[1]]
                oval = ((x - (x0 + x1) / 2) / (x1 - x0)) ** 2 + ((y - (y0 + y1) / 2) / (y1 - y0)) ** 2 < 0.25
                image[oval] = 90 + 37 * (person + np.arange(3)) % 120
        thumbs.append(thumbnails(images.astype(np.uint8)))
    return np.concatenate(thumbs)


def with_shots(frames: list[Sightings], thumb: np.ndarray) -> list[ShotBatch]:
    """Return the frames as the pipeline has them, with the shots that fervid finds."""
    seen = [Seen(k.pts_s, tuple(Face(tuple(b), s) for b, s in zip(k.box.tolist(), k.score.tolist()))) for k in frames]
    parts = [slice(i, i + 8) for i in range(0, len(frames), 8)]
    return list(assign_shots((face_batch(seen[part], thumb[part]) for part in parts), ShotDetector()))


def ours(frames: list[Sightings], shots: list[ShotBatch]) -> Found:
    """Return fervid's tracks."""
    found = []
    for batch in link(shots, Tracker(max_lost_s=MEMORY_S)):
        found += [(batch.box_px[batch.pts_s == t], batch.track[batch.pts_s == t]) for t in batch.sampled_s]
    return found


def shipped(name: str, frames: list[Sightings], shots: list[ShotBatch], *, cuts: bool = False) -> Found:
    """Return the tracks of a tracker of the package `trackers`, which gets the times and, on request, our cuts."""
    import supervision
    import trackers

    rate = 1 / np.median(np.diff([frame.pts_s for frame in frames]))
    kind = {"SORT": trackers.SORTTracker, "ByteTrack": trackers.ByteTrackTracker}[name]
    other = kind(lost_track_buffer=round(30 * MEMORY_S), frame_rate=float(rate))
    found, before, first, most = [], 0, 0, -1
    for frame, number in zip(frames, np.concatenate([batch.shot for batch in shots])):
        if cuts and number != before:
            other.reset()
            first, before = most + 1, number
        detections = supervision.Detections(
            xyxy=frame.box.astype(float), confidence=frame.score.astype(float), class_id=np.zeros(len(frame.box), int)
        )
        out = other.update(detections, timestamp=frame.pts_s)
        track = np.asarray(out.tracker_id if out.tracker_id is not None else [], int)
        known = track >= 0
        found.append((out.xyxy[known], track[known] + first))
        most = max([most, *found[-1][1].tolist()])
    return found


Method = Callable[[list[Sightings], list[ShotBatch]], Found]
METHODS: dict[str, Method] = {
    "fervid": ours,
    "SORT": lambda frames, shots: shipped("SORT", frames, shots),
    "ByteTrack": lambda frames, shots: shipped("ByteTrack", frames, shots),
    "ByteTrack+cuts": lambda frames, shots: shipped("ByteTrack", frames, shots, cuts=True),
}


def without(**parts: object) -> Method:
    """Replace some parts of fervid's tracker."""

    def run(frames: list[Sightings], shots: list[ShotBatch]) -> Found:
        with patch.multiple(tracker, **parts):
            return ours(frames, shots)

    return run


def uncut(frames: list[Sightings], shots: list[ShotBatch]) -> Found:
    """Return fervid's tracks as if the film were one shot."""
    seen = [Seen(k.pts_s, tuple(Face(tuple(b), s) for b, s in zip(k.box.tolist(), k.score.tolist()))) for k in frames]
    return ours(frames, [shot_batch(seen)])


PARTS: dict[str, Method] = {
    "whole": ours,
    "no cuts": uncut,
    "no weak": without(_GATE_WEAK=-1.0),
    "no speed": without(_SPEED=np.array([1e-3, 1e-3, 1e-3])),
    "no track start": without(_CONFIRM_S=-1.0, _DENSE_S=-1.0),
}


def mean(scores: list[Scores]) -> str:
    """Format the mean IDF1, MOTA and switches of several runs."""
    return (
        f"{100 * np.mean([s.idf1 for s in scores]):6.1f}{100 * np.mean([s.mota for s in scores]):6.1f}"
        f"{np.mean([s.switches for s in scores]):6.1f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="scenes per kind, one seed each (default %(default)s)")
    parser.add_argument("--first", type=int, default=1000, help="first seed (default %(default)s)")
    parser.add_argument("--parts", action="store_true", help="measure the tracker of fervid without each of its parts")
    parser.add_argument("--scenes", default="", help="run only scenes whose name contains this")
    args = parser.parse_args()
    methods = PARTS if args.parts else METHODS
    print(f"{'IDF1 MOTA switches':24}" + "".join(f"{name:>18}" for name in methods) + "   CPU ms per frame")
    for title, scene in SCENES.items():
        if args.scenes not in title:
            continue
        made = [sightings(scene, seed) for seed in range(args.first, args.first + args.seeds)]
        shots = [with_shots(frames, drawn(scene, frames, seed)) for seed, frames in enumerate(made)]
        row, cpu_ms = "", []
        for method in methods.values():
            start = process_time()
            found = [method(frames, batches) for frames, batches in zip(made, shots)]
            cpu_ms.append(1e3 * (process_time() - start) / sum(map(len, made)))
            truth = [[(frame.truth, frame.present) for frame in frames] for frames in made]
            row += mean([evaluate(t, f) for t, f in zip(truth, found)])
        print(f"{title:24}{row}   {' '.join(f'{ms:.2f}' for ms in cpu_ms)}", flush=True)


if __name__ == "__main__":
    main()
