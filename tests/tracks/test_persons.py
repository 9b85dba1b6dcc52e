"""Tracks of one face become one person, those visible at once never do, and unknown stays unknown."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fervid.tracks.persons import PersonClusterer, group
from fervid.types import TrackBatch
from tests.helpers.fakes import FakeEmbedder, split
from tests.helpers.hypothesis_settings import steady

SIDE = 48


def passed(faces: Sequence[tuple[float, int, int]], quality: float = 1.0, cuts: Sequence[int] = ()) -> PersonClusterer:
    """Cluster faces (time, track, person); the brightness of the crop encodes the person for FakeEmbedder."""
    clusterer = PersonClusterer(FakeEmbedder())
    seen_at: dict[float, list[tuple[float, int, int]]] = {}
    for face in faces:
        seen_at.setdefault(face[0], []).append(face)
    parts = [batch_of([f for t in part for f in seen_at[t]], part, quality) for part in split(sorted(seen_at), cuts)]
    assert list(clusterer.watch(iter(parts))) == parts
    return clusterer


def batch_of(faces: list[tuple[float, int, int]], sampled_s: Sequence[float], quality: float) -> TrackBatch:
    m, random = len(faces), np.random.default_rng(0)
    bright = np.array([40 * person for _, _, person in faces], np.uint8)
    box = np.tile(np.array([10, 10, 10 + SIDE, 10 + SIDE], np.float32), (m, 1))
    marks = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)], np.float32)
    return TrackBatch(
        sampled_s=np.array(sampled_s),
        duration_s=np.full(len(sampled_s), 0.2),
        frame_px=np.full((m, 2), 500, np.int32),
        shot=np.zeros(len(sampled_s), np.int32),
        pts_s=np.array([t for t, _, _ in faces], np.float64),
        box_px=box,
        score=np.ones(m, np.float32),
        landmarks_px=10 + SIDE * np.tile(marks, (m, 1, 1)),
        quality=np.full(m, quality, np.float32),
        crop=random.integers(0, 255, (m, SIDE, SIDE, 1), np.uint8),
        appearance=np.zeros((m, 12, 12, 3), np.uint8),
        recognition_crop=np.tile(bright[:, None, None], (1, 4, 4)),
        prob=np.zeros((m, 0), np.float32),
        track=np.array([track for _, track, _ in faces], np.int32),
    )


def persons(clusterer: PersonClusterer, tracks: Sequence[int]) -> list[int]:
    return clusterer.columns({"track": np.array(tracks)})["person"].tolist()


def test_tracks_of_one_face_are_one_person_however_many_there_are():
    faces = [
        (i / 5, track, person)
        for track, person in enumerate((0, 1, 0, 2, 1, 0))
        for i in range(5 * track, 5 * track + 5)
    ]
    clusterer = passed(faces)
    columns = clusterer.columns({"track": np.array([0, 1, 2, 3, 4, 5, -1])})
    assert columns["person"].tolist() == [0, 1, 0, 2, 1, 0, -1]
    assert (columns["person_confidence"][[0, 1, 2, 4, 5]] > 0.9).all() and np.isnan(columns["person_confidence"][6])


def test_tracks_visible_at_once_are_two_persons():
    twins = [(i / 5, track, 1) for i in range(10) for track in (0, 1)]
    clusterer = passed([*twins, *[(5 + i / 5, 2, 1) for i in range(10)]])
    first, second, third = persons(clusterer, [0, 1, 2])
    assert first != second and third in (first, second)
    assert clusterer.columns({"track": np.array([2])})["person_confidence"][0] < 0.1  # it may be either


def test_faces_of_low_quality_stay_unknown():
    clusterer = passed([(i / 5, 0, 1) for i in range(5)], quality=0.2)
    assert persons(clusterer, [0]) == [-1] and clusterer.embedder.seen == 0


def test_no_faces_at_all():
    columns = passed([]).columns({"track": np.array([-1, -1])})
    assert columns["person"].tolist() == [-1, -1] and np.isnan(columns["person_confidence"]).all()


def test_an_hour_of_one_face_costs_a_few_crops():
    clusterer = passed([(i / 5, 0, 1) for i in range(18_000)], cuts=range(0, 18_000, 100))
    assert clusterer.embedder.seen < 20 and len(clusterer._embeddings[0].embedding) <= 5


FACES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5), st.integers(0, 4)), max_size=40)


@steady
@given(FACES.filter(bool), st.lists(st.integers(0, 99), max_size=5))
def test_persons_do_not_depend_on_batches(seen, cuts):
    faces = sorted({(t / 5, track): (t / 5, track, person) for t, track, person in seen}.values())
    one, other = (g.columns({"track": np.arange(6)}) for g in (passed(faces), passed(faces, cuts=cuts)))
    assert all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)


@steady
@given(st.integers(0, 9999), st.integers(1, 30))
def test_clusters_respect_cannot_link(seed, n):
    random = np.random.default_rng(seed)
    embedding = random.normal(size=(n, 4))
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    apart = np.array([(a, b) for a in range(n) for b in range(a) if random.random() < 0.3], int).reshape(-1, 2)
    person, confidence = group(embedding, apart, 0.6)
    assert (person[apart[:, 0]] != person[apart[:, 1]]).all()
    assert list(dict.fromkeys(person.tolist())) == list(range(person.max() + 1))
    assert ((confidence >= 0) & (confidence <= 1)).all()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_tracks(n):
    person, confidence = group(np.eye(3)[:n], np.zeros((0, 2), int), 0.5)
    assert person.tolist() == list(range(n)) and len(confidence) == n
