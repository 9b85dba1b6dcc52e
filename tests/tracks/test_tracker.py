"""Numbers follow faces: through gaps, through each other, at any step of time."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fervid.tracks.tracker import Tracker, link
from fervid.types import concatenate
from tests.helpers.fakes import Face, Seen, counted, same, shot_batch, split
from tests.helpers.hypothesis_settings import steady


def face(x: float, y: float = 100, size: float = 60, score: float = 1.0) -> Face:
    return Face((x - size / 2, y - size / 2, x + size / 2, y + size / 2), score)


def numbers(samples: list[Seen], **options: float) -> list[list[int]]:
    """The track of each face, sample by sample; -1 for a face that belongs to none."""
    linked = concatenate(list(link([shot_batch([sample]) for sample in samples], Tracker(**options))))
    found: dict[tuple, list[int]] = {}
    for pts_s, box, track in zip(linked.pts_s, linked.box_px.tolist(), linked.track.tolist()):
        found.setdefault((pts_s, *box), []).append(track)
    places = [[(sample.pts_s, *np.float32(f.box).tolist()) for f in sample.faces] for sample in samples]
    return [[found[place].pop(0) if found.get(place) else -1 for place in here] for here in places]


def crowd(seed: int, samples: int = 20, most: int = 6) -> list[Seen]:
    """People who wander about, come and go; no two boxes are equal, so no two ways to pair them are as good."""
    random = np.random.default_rng(seed)
    place, speed = random.uniform(0, 600, (most, 2)), random.uniform(-200, 200, (most, 2))
    size, t, seen = random.uniform(30, 120, most), 0.0, []
    for _ in range(samples):
        t += float(random.choice([0.04, 0.2, 0.5, 2.5]))
        here = random.permutation(most)[: random.integers(0, most + 1)]
        where = place[here] + speed[here] * t % 600 + random.normal(0, 2, (len(here), 2))
        scores = random.uniform(0.6, 1.0, len(here))
        seen.append(Seen(t, tuple(face(x, y, size[i], s) for (x, y), i, s in zip(where, here, scores))))
    return seen


# -- one face -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step_s", [1 / 60, 1 / 25, 0.2, 1.0])
@pytest.mark.parametrize("speed", [0, 30, 60])
def test_a_face_keeps_its_number(step_s, speed):
    samples = [Seen(i * step_s, (face(100 + speed * i * step_s),)) for i in range(50)]
    assert numbers(samples) == [[0]] * 50


@pytest.mark.parametrize("max_lost_s", [0.6, 1.0, 3.0])
@pytest.mark.parametrize("share, number", [(0.9, 0), (1.0, 0), (1.1, 1)])
def test_a_face_may_be_missing_for_max_lost_s(max_lost_s, share, number):
    seen = [Seen(i / 5, (face(100),)) for i in range(5)]
    back = Seen(0.8 + share * max_lost_s, (face(100),))
    assert numbers([*seen, back], max_lost_s=max_lost_s)[-1] == [number]


def test_a_face_that_stays_on_display_is_not_lost():
    """A frozen call: the frame that follows comes shortly after the start of a second."""
    seen = [Seen(0.0, (face(100),), 1.09), Seen(1.09, (face(100),), 0.2), Seen(1.29, (face(100),), 0.2)]
    assert numbers(seen) == [[0]] * 3
    assert numbers([replace(seen[0], duration_s=0.2), *seen[1:]])[-1] == [1]


def test_samples_without_a_face_do_not_matter():
    seen, back = [Seen(0.0, (face(100),)), Seen(0.2, (face(102),))], Seen(0.9, (face(105),))
    empty = [Seen(t) for t in (0.3, 0.5, 0.7)]
    assert numbers([*seen, *empty, back]) == [[0], [0], [], [], [], [0]]


def test_a_moving_face_is_found_again_where_it_went():
    # 120 pixels per second, away for 0.5 s: 60 pixels, a whole face further on
    seen = [Seen(i / 5, (face(100 + 24 * i),)) for i in range(10)]
    gone = Seen(1.8 + 0.5, (face(316 + 60),))
    assert numbers([*seen, gone])[-1] == [0]


def test_a_face_elsewhere_is_another_one():
    samples = [Seen(i / 5, (face(100 if i < 3 else 500),)) for i in range(6)]
    assert numbers(samples) == [[0]] * 3 + [[1]] * 3


def test_a_face_of_another_size_is_another_one():
    samples = [Seen(i / 5, (face(100, size=30 if i < 3 else 150),)) for i in range(6)]
    assert numbers(samples) == [[0]] * 3 + [[1]] * 3


def test_a_face_that_comes_nearer_keeps_its_number():
    assert numbers([Seen(i / 5, (face(100, size=30 * 1.15**i),)) for i in range(15)]) == [[0]] * 15


def test_samples_at_almost_the_same_time_do_not_determine_speed():
    # as in files of variable rate, or where two clips were joined
    times = [0.0, 0.001, *(0.001 + i / 30 for i in range(1, 30))]
    for seed in range(20):
        jitter = np.random.default_rng(seed).normal(0, 1, len(times))
        assert numbers([Seen(t, (face(100 + x),)) for t, x in zip(times, jitter)]) == [[0]] * len(times)


def test_after_an_hour_everything_is_new():
    assert numbers([Seen(0.0, (face(1), face(300))), Seen(3600.0, (face(1), face(300)))]) == [[0, 1], [2, 3]]


# -- weak faces -----------------------------------------------------------------------------------------


def test_a_weak_face_begins_no_track_and_continues_one():
    weak, strong = face(100, score=0.89), face(100, score=0.9)
    samples = [Seen(i / 5, (f,)) for i, f in enumerate((weak, weak, strong, weak, weak))]
    assert numbers(samples, start_score=0.9) == [[-1], [-1], [0], [0], [0]]


def test_a_weak_stranger_takes_no_number():
    samples = [Seen(0.0, (face(100),)), Seen(0.2, (face(400, score=0.5), face(100))), Seen(0.4, (face(400),))]
    assert numbers(samples) == [[0], [-1, 0], [1]]


def test_link_leaves_unnumbered_faces_out_and_keeps_the_samples():
    weak = face(400, score=0.5)
    samples = [Seen(0.0), Seen(0.2, (weak, face(100))), Seen(0.4, (weak,)), Seen(0.6, (face(100),))]
    (batch,) = link([shot_batch(samples)], Tracker())
    assert batch.track.tolist() == [0, 0] and batch.pts_s.tolist() == [0.2, 0.6]
    assert batch.box_px.tolist() == [[70, 70, 130, 130]] * 2
    assert batch.sampled_s.tolist() == [0.0, 0.2, 0.4, 0.6]


# -- track starts --------------------------------------------------------------------------------------------


def test_a_face_seen_once_among_dense_samples_takes_no_number():
    samples = [Seen(i / 25, (face(100), face(400)) if i == 7 else (face(100),)) for i in range(30)]
    assert numbers(samples) == [[0, -1] if i == 7 else [0] for i in range(30)]


def test_a_number_is_not_spent_on_a_face_that_takes_none():
    samples = [Seen(i / 25, (face(400),) if i == 0 else (face(100),) if i > 20 else ()) for i in range(30)]
    assert numbers(samples)[-1] == [0]


@pytest.mark.parametrize("step_s", [0.5, 1.0])
def test_sparse_samples_may_show_a_face_once(step_s):
    assert numbers([Seen(0.0), Seen(step_s, (face(100),)), Seen(2 * step_s)]) == [[], [0], []]


@pytest.mark.parametrize("step_s, number", [(1 / 25, -1), (1 / 5, 0)])
def test_a_face_at_the_last_sample_of_a_shot(step_s, number):
    samples = [Seen(0.0), Seen(step_s, (face(100),)), Seen(2 * step_s, shot=1), Seen(3 * step_s, shot=1)]
    assert numbers(samples)[1] == [number]


# -- shots ----------------------------------------------------------------------------------------------


@steady
@given(st.integers(0, 9999), st.lists(st.integers(0, 19), max_size=4), st.lists(st.integers(0, 99), max_size=4))
def test_no_track_spans_two_shots(seed, edges, cuts):
    samples = [replace(sample, shot=sum(i >= edge for edge in edges)) for i, sample in enumerate(crowd(seed))]
    linked = concatenate(list(link([shot_batch(part) for part in split(samples, cuts)], Tracker())))
    shot = linked.shot[np.searchsorted(linked.sampled_s, linked.pts_s)]
    assert len({*zip(linked.track, shot)}) == len({*linked.track})


def test_a_face_that_stays_where_it_is_over_a_cut_is_another_one():
    samples = [Seen(i / 25, (face(100),), shot=i // 10) for i in range(30)]
    assert numbers(samples) == [[i // 10] for i in range(30)]


# -- bad input ------------------------------------------------------------------------------------------


def test_time_that_runs_backwards_ends_every_track():
    times = [*(i / 5 for i in range(5)), *(i / 5 for i in range(5))]
    tracker, box = Tracker(), np.array([face(100).box], np.float32)
    assert [tracker.update(t, box, np.ones(1)).tolist() for t in times] == [[0]] * 5 + [[1]] * 5


def test_strobing_shots_of_one_sample_give_no_tracks():
    assert numbers([Seen(i / 25, (face(100),), shot=i) for i in range(20)]) == [[-1]] * 20


def test_a_quarter_of_an_hour_of_one_face_waits_for_nothing():
    taken: list = []
    batches = counted([shot_batch([Seen(8.0 * k + i / 5, (face(100),)) for i in range(40)]) for k in range(112)], taken)
    for n, batch in enumerate(link(batches, Tracker()), 1):
        assert len(taken) - n <= 1 and set(batch.track.tolist()) == {0}


def test_false_alarms_do_not_pile_up_in_memory():
    tracker = Tracker()
    samples = [Seen(i / 25, (face(100), face(random, 500))) for i, random in enumerate(np.arange(1500) * 997 % 5000)]
    for _ in link([shot_batch([sample]) for sample in samples], tracker):
        assert len(tracker.rejected) < 100


def test_boxes_without_area_and_a_face_that_fills_the_frame():
    odd = Face((5, 5, 5, 5)), Face((0, 0, 1920, 1080))
    assert numbers([Seen(i / 5, odd) for i in range(4)]) == [[0, 1]] * 4


def test_no_faces_at_all():
    (batch,) = link([shot_batch([Seen(0.0), Seen(0.2)])], Tracker())
    assert len(batch) == 0 and batch.sampled_s.tolist() == [0.0, 0.2] and batch.track.dtype == np.int32


# -- many faces -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate, speed", [(5, 60), (5, 120), (10, 120), (25, 60), (25, 200)])
@pytest.mark.parametrize("apart", [0, 0.5, 7])
def test_two_faces_that_cross_keep_their_numbers(rate, speed, apart):
    meet_s = 3 + apart / 100  # they meet at a sample, or between two
    samples = []
    for i in range(6 * rate):
        shift = speed * (i / rate - meet_s)
        samples.append(Seen(i / rate, (face(300 + shift, 100), face(300 - shift, 100 + apart))))
    assert numbers(samples) == [[0, 1]] * len(samples)


def test_neighbours_do_not_swap():
    # side by side, touching, both drift to the right by a third of a face per sample
    samples = [Seen(i / 5, (face(100 + 20 * i), face(160 + 20 * i), face(220 + 20 * i))) for i in range(20)]
    assert numbers(samples) == [[0, 1, 2]] * 20


def test_a_newcomer_does_not_take_a_number_from_its_neighbour():
    samples = [Seen(0.0, (face(100),)), Seen(0.2, (face(140), face(104)))]
    assert numbers(samples) == [[0], [1, 0]]


def test_two_hundred_faces():
    grid = [(80 * (i % 20), 80 * (i // 20)) for i in range(200)]
    samples = [Seen(i / 5, tuple(face(x + 6 * i, y - 4 * i, 40) for x, y in grid)) for i in range(5)]
    assert numbers(samples) == [list(range(200))] * 5


def test_reset_ends_every_track_and_uses_no_number_again():
    tracker, box, score = Tracker(), np.array([face(100).box], np.float32), np.ones(1, np.float32)
    before = [tracker.update(t, box, score).tolist() for t in (0.0, 0.2)]
    tracker.reset()
    after = [tracker.update(t, box, score).tolist() for t in (0.4, 0.6)]
    assert before + after == [[0], [0], [1], [1]]


# -- properties -----------------------------------------------------------------------------------------


@steady
@given(st.integers(0, 9999))
def test_track_numbers_are_dense_and_unique_per_sample(seed):
    tracks = numbers(crowd(seed))
    alive = [t for sample in tracks for t in sample if t >= 0]
    assert sorted(set(alive)) == list(range(len(set(alive))))
    first_seen = list(dict.fromkeys(alive))
    assert first_seen == sorted(first_seen)
    assert all(len({t for t in sample if t >= 0}) == sum(t >= 0 for t in sample) for sample in tracks)


@steady
@given(st.integers(0, 9999), st.lists(st.integers(0, 99), max_size=8))
def test_numbers_do_not_depend_on_batches(seed, cuts):
    samples = crowd(seed)
    whole = list(link([shot_batch(samples)], Tracker()))
    parts = link([shot_batch(part) for part in split(samples, cuts)], Tracker())
    assert same(list(parts), whole)


@steady
@given(st.integers(0, 9999))
def test_the_order_of_the_faces_in_a_sample_does_not_matter(seed):
    samples, random = crowd(seed), np.random.default_rng(seed)
    orders = [random.permutation(len(sample.faces)) for sample in samples]
    mixed = [Seen(sample.pts_s, tuple(sample.faces[i] for i in order)) for sample, order in zip(samples, orders)]
    plain = [track[i] for track, order in zip(numbers(samples), orders) for i in order]
    other = [track for sample in numbers(mixed) for track in sample]
    renamed = dict(zip(plain, other))  # the numbers may differ, who shares one may not
    assert [renamed[track] for track in plain] == other
    assert len(set(renamed.values())) == len(renamed)
