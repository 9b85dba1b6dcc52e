"""One row per (second, track); every second is there once; numbers that add up by hand."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fervid.timeline.aggregate import NO_DATA, NO_FACE, OK, fill_gaps, summarise
from fervid.types import Rows
from fervid.video.sampling import sample_frames
from tests.helpers.fakes import LABELS, Face, Seen, at_rate, counted, emotion_batch, split, video
from tests.helpers.hypothesis_settings import steady

VIDEO = video(200, 100)
REAL = ("entropy", "spread", "score", "face_px", "x", "y", "w", "h", "quality")


def rows_of(*batches: list[Seen], end_s: float = 0.0, first: int = 0) -> Rows:
    return fill_gaps(summarise(map(emotion_batch, batches), LABELS, VIDEO), LABELS, first, lambda: end_s)


def row(rows: Rows, second: int, track: int) -> dict:
    (i,) = np.flatnonzero((rows["second"] == second) & (rows["track"] == track))
    return {name: column[i] for name, column in rows.items()}


@st.composite
def videos(draw) -> list[Seen]:
    """Looks at any times of up to 8 seconds, with up to 4 of 5 people in each."""
    at_ms = draw(st.lists(st.integers(0, 7999), max_size=50, unique=True).map(sorted))
    random = np.random.default_rng(draw(st.integers(0, 9999)))
    looks = []
    for ms in at_ms:
        people = random.permutation(5)[: random.integers(0, 5)]
        looks.append(Seen(ms / 1000, tuple(someone(random, track) for track in people), random.uniform(0.01, 1.5)))
    return looks


def someone(random: np.random.Generator, track: int) -> Face:
    x, y, w, h = random.uniform(0, 100, 4)
    p = random.dirichlet([0.3] * 3)
    return Face((x, y, x + w, y + h), random.uniform(0.5, 1), int(track), tuple(p))


# -- every second ---------------------------------------------------------------------------------------


@steady
@given(videos(), st.floats(0, 12))
def test_every_second_is_there_as_tracks_or_as_one_faceless_row(looks, end_s):
    rows = rows_of(looks, end_s=end_s) if looks else rows_of(end_s=end_s)
    last = max(math.ceil(end_s - 1e-6), math.floor(looks[-1].pts_s) + 1 if looks else 0)
    seen: dict[int, set] = {s: set() for s in range(last)}
    for look in looks:
        seen[math.floor(look.pts_s)] |= {face.track for face in look.faces}
    expected = [(s, t) for s, tracks in seen.items() for t in (sorted(tracks) or [-1])]
    assert list(zip(rows["second"], rows["track"])) == expected


@steady
@given(videos(), st.floats(0, 12))
def test_looks_and_faces_are_counted(looks, end_s):
    rows = rows_of(looks, end_s=end_s) if looks else rows_of(end_s=end_s)
    for i, (second, track) in enumerate(zip(rows["second"], rows["track"])):
        here = [look for look in looks if second <= look.pts_s < second + 1]
        faces = [face for look in here for face in look.faces if face.track == track]
        assert (rows["n_sampled"][i], rows["n_faces"][i]) == (len(here), len(faces))
        assert rows["status"][i] == (OK if faces else NO_FACE if here else NO_DATA)


@steady
@given(videos())
def test_numbers_stay_in_their_ranges(looks):
    rows = rows_of(looks, end_s=9.0) if looks else rows_of(end_s=9.0)
    face = rows["status"] == OK
    prob = np.stack([rows[name] for name in LABELS], 1)[face]
    assert prob.sum(1) == pytest.approx(1) and (prob >= 0).all()
    assert (rows["face_seconds"][~face] == 0).all()
    assert (rows["face_seconds"] >= 0).all() and (rows["face_seconds"] <= 1 + 1e-9).all()
    assert (rows["entropy"][face] >= 0).all() and (rows["entropy"][face] <= math.log(3) + 1e-9).all()
    assert (rows["spread"][face] >= 0).all() and (rows["spread"][face] <= 0.5).all()
    for name in (*LABELS, *REAL):
        assert np.isnan(rows[name][~face]).all() and not np.isnan(rows[name][face]).any(), name
    dominant = np.array([row[LABELS.index(word)] for row, word in zip(prob, rows["dominant"][face])])
    assert np.array_equal(dominant, prob.max(1) if len(prob) else dominant)
    assert set(rows["dominant"][~face]) <= {""}


@steady
@given(videos(), st.lists(st.integers(0, 99), max_size=8))
def test_rows_do_not_depend_on_batches(looks, cuts):
    if not looks:
        return
    whole, parts = rows_of(looks), rows_of(*split(looks, cuts))
    for name in whole:
        assert np.array_equal(whole[name], parts[name], equal_nan=name in (*LABELS, *REAL)), name


def test_no_face_is_not_no_data():
    rows = rows_of([Seen(0.0, (Face(),)), Seen(1.0), Seen(3.5)], end_s=5.2)
    assert rows["status"].tolist() == [OK, NO_FACE, NO_DATA, NO_FACE, NO_DATA, NO_DATA]
    assert rows["n_sampled"].tolist() == [1, 1, 0, 1, 0, 0]


def test_nothing_decoded_is_no_data_to_the_declared_end():
    assert rows_of(end_s=2.5)["status"].tolist() == [NO_DATA] * 3
    assert rows_of(end_s=0.0)["status"].tolist() == []


def test_a_timeline_may_begin_later():
    rows = rows_of([Seen(6.5, (Face(),))], end_s=8.0, first=5)
    assert list(zip(rows["second"], rows["status"])) == [(5, NO_DATA), (6, OK), (7, NO_DATA)]


@pytest.mark.parametrize("end_s, seconds", [(2.0, 2), (2.0000001, 2), (2.04, 3), (1.2, 2), (0.0, 2)])
def test_the_end_rounds_up_to_a_second(end_s, seconds):
    assert len(rows_of([Seen(0.0), Seen(1.0)], end_s=end_s)["second"]) == seconds


def test_the_end_is_asked_for_after_the_last_row():
    taken: list = []
    batches = counted([emotion_batch([Seen(t)]) for t in (0.0, 1.0, 2.0)], taken)
    rows = fill_gaps(summarise(batches, LABELS, VIDEO), LABELS, 0, lambda: float(len(taken)) + 1)
    assert len(rows["second"]) == 4


def test_a_second_is_let_go_as_soon_as_the_next_begins():
    taken: list = []
    batches = counted([emotion_batch([Seen(t)]) for t in (0.0, 0.5, 1.0, 1.5, 2.0)], taken)
    seconds = summarise(batches, LABELS, VIDEO)
    assert next(seconds)["second"].tolist() == [0] and len(taken) == 3


# -- by hand --------------------------------------------------------------------------------------------


def test_one_second_by_hand():
    one = Face((10, 20, 50, 80), 0.9, 3, (0.7, 0.2, 0.1))
    two = Face((20, 10, 60, 90), 0.7, 3, (0.3, 0.4, 0.3))
    other = Face(track=1, prob=(0.1, 0.1, 0.8))  # of another mind, and of no influence
    found = row(rows_of([Seen(0.0, (other, one)), Seen(0.5, (two,), 0.1)]), 0, 3)
    # the mean of (.7 .2 .1) and (.3 .4 .3)
    assert [found[name] for name in LABELS] == pytest.approx([0.5, 0.3, 0.2], abs=1e-6)
    assert found["dominant"] == LABELS[0]
    # .7 and .3 lie .2 from their mean
    assert found["spread"] == pytest.approx(0.2, abs=1e-6)
    # -.5 ln .5 - .3 ln .3 - .2 ln .2 = .34657 + .36119 + .32189
    assert found["entropy"] == pytest.approx(1.02965, abs=1e-5)
    assert found["score"] == pytest.approx(0.8)
    # the mean box is 15 15 55 85 of 200 x 100 pixels
    assert [found[name] for name in "xywh"] == pytest.approx([0.075, 0.15, 0.2, 0.7])
    assert found["face_px"] == pytest.approx(70)
    # 0.0 stands for 0.24 s, 0.5 for 0.1 s
    assert found["face_seconds"] == pytest.approx(0.34)
    assert (found["n_sampled"], found["n_faces"]) == (2, 2)


def test_certainty_has_no_entropy():
    found = row(rows_of([Seen(0.0, (Face(prob=(0, 1, 0)),))]), 0, 0)
    assert (found["entropy"], found["spread"], found["dominant"]) == (pytest.approx(0), 0, LABELS[1])


def test_tracks_do_not_mix():
    looks = [Seen(i / 5, (Face(track=7, prob=(1, 0, 0)), Face(track=2, prob=(0, 0, 1)))) for i in range(5)]
    rows = rows_of(looks)
    assert rows["track"].tolist() == [2, 7]
    assert (rows["happiness"].tolist(), rows["neutral"].tolist()) == ([0, 1], [1, 0])


# -- face_seconds ---------------------------------------------------------------------------------------


def looks_at(*pts_s: float, of: tuple[float, ...] | None = None, reach_s: float = 0.24) -> list[Seen]:
    """Looks at these times, with a face at the times `of` (at all)."""
    return [Seen(t, (Face(),) if of is None or t in of else (), reach_s) for t in pts_s]


@pytest.mark.parametrize(
    "looks, seconds",
    [
        # five looks; each owns the 0.2 s up to the next
        (looks_at(0.0, 0.2, 0.4, 0.6, 0.8), 1.0),
        (looks_at(0.0, 0.2, 0.4, 0.6, 0.8, of=(0.0, 0.2, 0.4)), 0.6),
        (looks_at(0.0, 0.2, 0.4, 0.6, 0.8, of=(0.8,)), 0.2),
        # the first look comes a little late, as with 29.97 frames a second: the time before it is its own too
        (looks_at(0.02, 0.22, 0.42, 0.62, 0.82), 1.0),
        (looks_at(0.02, 0.22, 0.42, 0.62, 0.82, of=(0.02,)), 0.22),
        (looks_at(0.02, 0.22, 0.42, 0.62, 0.82, of=(0.82,)), 0.18),
        # uneven looks: 0.1 owns 0.1 before it and 0.24 of the 0.5 behind it, 0.6 owns 0.05, 0.65 owns 0.24 of 0.35
        (looks_at(0.1, 0.6, 0.65), 0.1 + 0.24 + 0.05 + 0.24),
        # a look at half a second's hole: what nobody saw is nobody's
        (looks_at(0.0, 0.2, 0.8), 0.2 + 0.24 + 0.2),
        # every frame of a video of 2 frames a second
        (looks_at(0.0, 0.5, reach_s=0.5), 1.0),
        (looks_at(0.0, 0.5, of=(0.5,), reach_s=0.5), 0.5),
        # a slide that stands still
        (looks_at(0.0, reach_s=3.4), 1.0),
    ],
)
def test_face_seconds_by_hand(looks, seconds):
    assert row(rows_of(looks), 0, 0)["face_seconds"] == pytest.approx(seconds)


def test_face_seconds_are_each_tracks_own():
    both, one = (Face(track=0), Face(track=1)), (Face(track=1),)
    rows = rows_of([Seen(0.0, both), Seen(0.2, both), Seen(0.4, one), Seen(0.6), Seen(0.8, both)])
    assert rows["face_seconds"] == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("rate", [Fraction(24_000, 1001), 25, Fraction(30_000, 1001), 30, 60])
@pytest.mark.parametrize("fps", [1, 5, 12, 30, None])
def test_a_face_in_every_look_is_there_all_the_time(rate, fps):
    chosen = sample_frames(at_rate(rate, 6), fps)
    rows = rows_of([Seen(pts_s, (Face(),), reach_s) for _, pts_s, reach_s in chosen])
    assert rows["second"].tolist()[:5] == [0, 1, 2, 3, 4]
    assert rows["face_seconds"][:5] == pytest.approx(1, abs=1e-6)


def test_a_slide_counts_in_every_second():
    rows = rows_of([Seen(t, (Face(),), 3.4 if t == 0 else 1.0) for t in (0.0, 1.0, 2.0)])
    assert rows["face_seconds"].tolist() == [1, 1, 1]
