"""Timelines have one row per second and track, no second is missing, and the numbers match those computed by hand."""

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
    return fill_gaps(summarise(map(emotion_batch, batches), LABELS), LABELS, first, lambda: end_s)


def row(rows: Rows, second: int, track: int) -> dict:
    (i,) = np.flatnonzero((rows["second"] == second) & (rows["track"] == track))
    return {name: column[i] for name, column in rows.items()}


@st.composite
def videos(draw) -> list[Seen]:
    """Frames sampled at any times of up to 8 seconds, with up to 4 of 5 tracks in each."""
    at_ms = draw(st.lists(st.integers(0, 7999), max_size=50, unique=True).map(sorted))
    random = np.random.default_rng(draw(st.integers(0, 9999)))
    samples = []
    for ms in at_ms:
        tracks = random.permutation(5)[: random.integers(0, 5)]
        samples.append(
            Seen(ms / 1000, tuple(random_face(random, track) for track in tracks), random.uniform(0.01, 1.5))
        )
    return samples


def random_face(random: np.random.Generator, track: int) -> Face:
    x, y, w, h = random.uniform(0, 100, 4)
    p = random.dirichlet([0.3] * 3)
    return Face((x, y, x + w, y + h), random.uniform(0.5, 1), int(track), tuple(p))


# -- every second ---------------------------------------------------------------------------------------


@steady
@given(videos(), st.floats(0, 12))
def test_every_second_has_rows_of_tracks_or_one_faceless_row(samples, end_s):
    rows = rows_of(samples, end_s=end_s) if samples else rows_of(end_s=end_s)
    last = max(math.ceil(end_s - 1e-6), math.floor(samples[-1].pts_s) + 1 if samples else 0)
    seen: dict[int, set] = {s: set() for s in range(last)}
    for sample in samples:
        seen[math.floor(sample.pts_s)] |= {face.track for face in sample.faces}
    expected = [(s, t) for s, tracks in seen.items() for t in (sorted(tracks) or [-1])]
    assert list(zip(rows["second"], rows["track"])) == expected


@steady
@given(videos(), st.floats(0, 12))
def test_samples_and_faces_are_counted(samples, end_s):
    rows = rows_of(samples, end_s=end_s) if samples else rows_of(end_s=end_s)
    for i, (second, track) in enumerate(zip(rows["second"], rows["track"])):
        here = [sample for sample in samples if second <= sample.pts_s < second + 1]
        faces = [face for sample in here for face in sample.faces if face.track == track]
        assert (rows["n_sampled"][i], rows["n_faces"][i]) == (len(here), len(faces))
        assert rows["status"][i] == (OK if faces else NO_FACE if here else NO_DATA)


@steady
@given(videos())
def test_numbers_stay_in_their_ranges(samples):
    rows = rows_of(samples, end_s=9.0) if samples else rows_of(end_s=9.0)
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
def test_rows_do_not_depend_on_batches(samples, cuts):
    if not samples:
        return
    whole, parts = rows_of(samples), rows_of(*split(samples, cuts))
    for name in whole:
        assert np.array_equal(whole[name], parts[name], equal_nan=name in (*LABELS, *REAL)), name


def test_no_face_differs_from_no_data():
    rows = rows_of([Seen(0.0, (Face(),)), Seen(1.0), Seen(3.5)], end_s=5.2)
    assert rows["status"].tolist() == [OK, NO_FACE, NO_DATA, NO_FACE, NO_DATA, NO_DATA]
    assert rows["n_sampled"].tolist() == [1, 1, 0, 1, 0, 0]


def test_nothing_decoded_is_no_data_to_the_declared_end():
    assert rows_of(end_s=2.5)["status"].tolist() == [NO_DATA] * 3
    assert rows_of(end_s=0.0)["status"].tolist() == []


def test_a_timeline_may_start_later():
    rows = rows_of([Seen(6.5, (Face(),))], end_s=8.0, first=5)
    assert list(zip(rows["second"], rows["status"])) == [(5, NO_DATA), (6, OK), (7, NO_DATA)]


@pytest.mark.parametrize("end_s, seconds", [(2.0, 2), (2.0000001, 2), (2.04, 3), (1.2, 2), (0.0, 2)])
def test_the_end_rounds_up_to_a_second(end_s, seconds):
    assert len(rows_of([Seen(0.0), Seen(1.0)], end_s=end_s)["second"]) == seconds


def test_the_end_is_computed_after_the_last_row():
    taken: list = []
    batches = counted([emotion_batch([Seen(t)]) for t in (0.0, 1.0, 2.0)], taken)
    rows = fill_gaps(summarise(batches, LABELS), LABELS, 0, lambda: float(len(taken)) + 1)
    assert len(rows["second"]) == 4


def test_a_second_is_yielded_as_soon_as_the_next_starts():
    taken: list = []
    batches = counted([emotion_batch([Seen(t)]) for t in (0.0, 0.5, 1.0, 1.5, 2.0)], taken)
    seconds = summarise(batches, LABELS)
    assert next(seconds)["second"].tolist() == [0] and len(taken) == 3


# -- by hand --------------------------------------------------------------------------------------------


def test_one_second_by_hand():
    one = Face((10, 20, 50, 80), 0.9, 3, (0.7, 0.2, 0.1))
    two = Face((20, 10, 60, 90), 0.7, 3, (0.3, 0.4, 0.3))
    other = Face(track=1, prob=(0.1, 0.1, 0.8))  # another track, without influence
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
    # the frame at 0.0 stands for 0.24 s, that at 0.5 for 0.1 s
    assert found["face_seconds"] == pytest.approx(0.34)
    assert (found["n_sampled"], found["n_faces"]) == (2, 2)


def test_certainty_has_no_entropy():
    found = row(rows_of([Seen(0.0, (Face(prob=(0, 1, 0)),))]), 0, 0)
    assert (found["entropy"], found["spread"], found["dominant"]) == (pytest.approx(0), 0, LABELS[1])


def test_tracks_do_not_mix():
    samples = [Seen(i / 5, (Face(track=7, prob=(1, 0, 0)), Face(track=2, prob=(0, 0, 1)))) for i in range(5)]
    rows = rows_of(samples)
    assert rows["track"].tolist() == [2, 7]
    assert (rows["happiness"].tolist(), rows["neutral"].tolist()) == ([0, 1], [1, 0])


# -- face_seconds ---------------------------------------------------------------------------------------


def sampled_at(*pts_s: float, of: tuple[float, ...] | None = None, duration_s: float = 0.24) -> list[Seen]:
    """Return frames sampled at these times, with a face at the times `of` (default: all)."""
    return [Seen(t, (Face(),) if of is None or t in of else (), duration_s) for t in pts_s]


@pytest.mark.parametrize(
    "samples, seconds",
    [
        # five frames; each stands for the 0.2 s until the next
        (sampled_at(0.0, 0.2, 0.4, 0.6, 0.8), 1.0),
        (sampled_at(0.0, 0.2, 0.4, 0.6, 0.8, of=(0.0, 0.2, 0.4)), 0.6),
        (sampled_at(0.0, 0.2, 0.4, 0.6, 0.8, of=(0.8,)), 0.2),
        # a frame stands for nothing before it
        (sampled_at(0.02, 0.22, 0.42, 0.62, 0.82), 0.98),
        (sampled_at(0.02, 0.22, 0.42, 0.62, 0.82, of=(0.02,)), 0.2),
        (sampled_at(0.02, 0.22, 0.42, 0.62, 0.82, of=(0.82,)), 0.18),
        # uneven: 0.1 stands for 0.24 of the 0.5 after it, 0.6 for 0.05, 0.65 for 0.24 of 0.35
        (sampled_at(0.1, 0.6, 0.65), 0.24 + 0.05 + 0.24),
        # a gap of 0.6 s: the time that no frame stands for is not counted
        (sampled_at(0.0, 0.2, 0.8), 0.2 + 0.24 + 0.2),
        # every frame of a video of 2 frames per second
        (sampled_at(0.0, 0.5, duration_s=0.5), 1.0),
        (sampled_at(0.0, 0.5, of=(0.5,), duration_s=0.5), 0.5),
        # a still slide
        (sampled_at(0.0, duration_s=3.4), 1.0),
    ],
)
def test_face_seconds_by_hand(samples, seconds):
    assert row(rows_of(samples), 0, 0)["face_seconds"] == pytest.approx(seconds)


def test_face_seconds_are_counted_per_track():
    both, one = (Face(track=0), Face(track=1)), (Face(track=1),)
    rows = rows_of([Seen(0.0, both), Seen(0.2, both), Seen(0.4, one), Seen(0.6), Seen(0.8, both)])
    assert rows["face_seconds"] == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("rate", [Fraction(24_000, 1001), 25, Fraction(30_000, 1001), 30, 60])
@pytest.mark.parametrize("fps", [1, 5, 12, 30, None])
def test_a_face_in_every_sample_is_visible_all_the_time(rate, fps):
    chosen = sample_frames(at_rate(rate, 6), fps)
    rows = rows_of([Seen(pts_s, (Face(),), duration_s) for _, pts_s, duration_s in chosen])
    assert rows["second"].tolist()[:5] == [0, 1, 2, 3, 4]
    assert rows["face_seconds"][:5] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    "after, seconds",
    [
        ((Face(track=1),), [0.18, 0.02 + 0.2]),  # as at 29.97 frames per second: 0.82 stands until 1.02
        ((), [0.18]),  # what reaches into a second makes no row there
        ((Face(track=2),), [0.18, 0.2]),  # nor does it count for another track
    ],
)
def test_a_sample_reaches_into_the_next_second(after, seconds):
    rows = rows_of([Seen(0.82, (Face(track=1),), 0.2), Seen(1.02, after, 0.2)])
    assert rows["face_seconds"][rows["track"] >= 0] == pytest.approx(seconds)


def test_a_slide_is_visible_in_every_second():
    rows = rows_of([Seen(t, (Face(),), 3.4 if t == 0 else 1.0) for t in (0.0, 1.0, 2.0)])
    assert rows["face_seconds"].tolist() == [1, 1, 1]
