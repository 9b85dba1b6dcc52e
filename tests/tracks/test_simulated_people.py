"""The scores of simulated people are those of the literature, and the tracker holds what the benchmark promises."""

import numpy as np
import pytest

from fervid.tracks.tracker import Tracker, link
from tests.helpers.fakes import Face, Seen, shot_batch
from tests.helpers.simulated_people import Scene, Scores, Sightings, evaluate, iou, sightings


def ours(samples: list[Sightings]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Boxes and tracks of each sample, with the cuts as they are."""
    seen = [
        Seen(k.pts_s, tuple(Face(tuple(b), s) for b, s in zip(k.box.tolist(), k.score.tolist())), shot=k.shot)
        for k in samples
    ]
    (batch,) = link([shot_batch(seen)], Tracker())
    return [(batch.box_px[batch.pts_s == t], batch.track[batch.pts_s == t]) for t in batch.sampled_s]


def scored(scene: Scene, seed: int = 0) -> Scores:
    samples = sightings(scene, seed)
    return evaluate([(sample.truth, sample.present) for sample in samples], ours(samples))


def test_scores_by_hand():
    box = np.array([[0, 0, 10, 10], [100, 0, 110, 10]], np.float32)
    truth = [(box, np.array([1, 2]))] * 4
    found = [(box, np.array([7, 8]))] * 2 + [(box[:1], np.array([9]))] * 2
    # person 1 is track 7, then 9; person 2 is track 8, then missed twice: 4 of 8 + 6 boxes explained, twice
    assert evaluate(truth, found) == Scores(8 / 14, 1 - 3 / 8, 1, 0, 2, 8)


@pytest.mark.parametrize("seed", [0, 1])
def test_scores_are_those_of_motmetrics(seed):
    mm = pytest.importorskip("motmetrics")
    samples = sightings(Scene(people=5, seconds=6, speed=1.5), seed)
    found = ours(samples)
    book = mm.MOTAccumulator(auto_id=True)
    for sample, (box, track) in zip(samples, found):
        distance = 1 - iou(sample.truth, box)
        book.update(sample.present, track, np.where(distance <= 0.5, distance, np.nan))
    theirs = mm.metrics.create().compute(book, metrics=["idf1", "mota", "num_switches"], name="all").loc["all"]
    mine = evaluate([(sample.truth, sample.present) for sample in samples], found)
    assert (mine.idf1, mine.mota) == pytest.approx((theirs["idf1"], theirs["mota"]), abs=0.003)
    assert abs(mine.switches - theirs["num_switches"]) <= 1


@pytest.mark.parametrize("fps, cuts_s, least", [(25, 0, 0.85), (25, 3, 0.9), (5, 3, 0.9)])
def test_people_keep_their_numbers(fps, cuts_s, least):
    assert scored(Scene(people=4, seconds=12, fps=fps, cuts_s=cuts_s)).idf1 > least


def test_thirty_people_and_none():
    assert scored(Scene(people=30, seconds=4)).idf1 > 0.8
    assert scored(Scene(people=1, seconds=1, misses=1.0)).boxes > 0
