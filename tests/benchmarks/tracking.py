"""Tracks against SORT and ByteTrack as `trackers` ships them, on the same detections: IDF1, MOTA, switches.

pip install trackers supervision opencv-python-headless
python -m tests.benchmarks.tracking [SEEDS]
"""

import sys
from time import process_time

import numpy as np

from fervid.tracks import Tracker
from tests.people import Scene, Scores, Sightings, evaluate, sightings

SCENES = {
    f"{name} {fps}/s{' cuts' if cuts_s else ''}": Scene(people, 20.0, fps, speed, shake, cuts_s=cuts_s, **other)
    for fps in (25, 5)
    for cuts_s in (0.0, 3.0)
    for name, people, speed, shake, other in (
        ("calm, 3", 3, 0.5, 0.0, {}),
        ("lively, 6", 6, 1.5, 0.0, {}),
        ("shaky, 5, drops", 5, 1.0, 0.15, {"dropped": 0.1}),
        ("crowd, 25", 25, 0.8, 0.0, {}),
    )
}
Found = list[tuple[np.ndarray, np.ndarray]]


def ours(looks: list[Sightings]) -> Found:
    """With the cuts as they are known to the line."""
    tracker, found, shot = Tracker(), [], 0
    for look in looks:
        if look.shot != shot:
            tracker.reset()
        shot = look.shot
        found.append((look.box, tracker.update(look.pts_s, look.box, look.score)))
    tracker.reset()
    kept = [(track >= 0) & ~np.isin(track, list(tracker.refused)) for _, track in found]
    return [(box[keep], track[keep]) for (box, track), keep in zip(found, kept)]


def shipped(name: str, looks: list[Sightings]) -> Found:
    """A tracker of the package `trackers`, told the rate of the looks."""
    import supervision
    import trackers

    rate = 1 / np.median(np.diff([look.pts_s for look in looks]))
    kind = {"SORT": trackers.SORTTracker, "ByteTrack": trackers.ByteTrackTracker}[name]
    tracker = kind(lost_track_buffer=30, frame_rate=float(rate))  # one second
    found = []
    for look in looks:
        given = supervision.Detections(xyxy=look.box.astype(float), confidence=look.score.astype(float),
                                       class_id=np.zeros(len(look.box), int))  # fmt: skip
        out = tracker.update(given)
        track = np.asarray(out.tracker_id if out.tracker_id is not None else [], int)
        found.append((out.xyxy[track >= 0], track[track >= 0]))
    return found


METHODS = {
    "fervid": ours,
    "SORT": lambda looks: shipped("SORT", looks),
    "ByteTrack": lambda looks: shipped("ByteTrack", looks),
}  # fmt: skip


def mean(scores: list[Scores]) -> str:
    """IDF1, MOTA and switches of several runs."""
    return (f"{100 * np.mean([s.idf1 for s in scores]):7.1f} {100 * np.mean([s.mota for s in scores]):6.1f} "
            f"{np.mean([s.switches for s in scores]):6.1f}")  # fmt: skip


def main(seeds: int = 3, methods: str = ",".join(METHODS)) -> None:
    """Print the table."""
    names = methods.split(",")
    print(f"{'IDF1 MOTA switches':26}" + "".join(f"{name:>23}" for name in names))
    for title, scene in SCENES.items():
        made = [sightings(scene, seed) for seed in range(seeds)]
        row, spent = "", []
        for name in names:
            start = process_time()
            found = [METHODS[name](looks) for looks in made]
            spent.append(1e3 * (process_time() - start) / sum(map(len, made)))
            truth = [[(look.truth, look.present) for look in looks] for looks in made]
            row += "  " + mean([evaluate(t, f) for t, f in zip(truth, found)])
        print(f"{title:26}{row}   ms {' '.join(f'{ms:.2f}' for ms in spent)}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:3])
