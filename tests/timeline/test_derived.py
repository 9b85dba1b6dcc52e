"""Derived columns do not cross gaps or tracks, weight by quality, and leave the raw columns unchanged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fervid.timeline.derived import baseline, smooth
from fervid.types import Rows
from tests.helpers.hypothesis_settings import steady

LABELS = ("anger", "neutral")


def rows(seen: list[tuple[int, int, float]], quality: float = 1.0) -> Rows:
    """(second, track, anger); track -1 is a second without a face."""
    second, track, anger = (np.array(column) for column in zip(*seen))
    anger = np.where(track >= 0, anger, np.nan)
    return {
        "second": second, "track": track, "anger": anger, "neutral": 1 - anger,
        "face_seconds": np.where(track >= 0, 1.0, 0.0), "quality": np.where(track >= 0, quality, np.nan),
    }  # fmt: skip


def test_a_step_by_hand():
    # weights exp(-1/2) and exp(-2) one and two seconds away, exp(-9/2) three
    given_rows = rows([(i, 0, float(i == 3)) for i in range(7)])
    near = np.exp(-0.5 * np.arange(4) ** 2)
    whole = near[0] + 2 * near[1:].sum()
    assert smooth(given_rows, LABELS, 1.0)["anger_smooth"][3] == pytest.approx(1 / whole)
    assert smooth(given_rows, LABELS, 1.0)["anger_smooth"][0] == pytest.approx(near[3] / near.sum())


@pytest.mark.parametrize("other", [(3, 1), (4, 0)])  # another track, as after a cut; the same one after a gap
def test_smoothing_does_not_cross_a_cut_or_a_gap(other):
    first = [(i, 0, 0.2) for i in range(3)]
    curves = smooth(rows([*first, (*other, 1.0)]), LABELS, 5.0)
    assert curves["anger_smooth"].tolist() == pytest.approx([0.2, 0.2, 0.2, 1.0])


def test_a_blurred_second_counts_less():
    seen = rows([(0, 0, 0.0), (1, 0, 1.0), (2, 0, 0.0)])
    clear = smooth(seen, LABELS, 1.0)["anger_smooth"][1]
    seen["quality"][1] = 0.1
    assert smooth(seen, LABELS, 1.0)["anger_smooth"][1] < clear / 2


def test_curves_are_nan_without_a_face():
    seen = rows([(0, -1, 0.0), (1, 0, 0.3), (2, -1, 0.0)])
    for curves in (smooth(seen, LABELS, 2.0), baseline(seen, LABELS)):
        assert all(np.isnan(column).tolist() == [True, False, True] for column in curves.values())


def test_baseline_is_the_difference_from_the_median_of_the_track():
    seen = rows([(i, track, 0.1 * i + 0.5 * track) for i in range(5) for track in (0, 1)])
    difference = baseline(seen, LABELS)
    assert difference["anger_baseline"].reshape(5, 2).T.tolist() == [pytest.approx([-0.2, -0.1, 0, 0.1, 0.2])] * 2
    assert difference["neutral_baseline"] == pytest.approx(-difference["anger_baseline"])


def test_baseline_of_a_person_is_over_all_tracks_of_the_person():
    seen = rows([(0, 0, 0.0), (1, 1, 0.4), (2, 2, 0.2), (3, 3, 0.9)])
    seen["person"] = np.array([0, 0, 0, -1])  # the person of track 3 is unknown: it has its own median
    assert baseline(seen, LABELS)["anger_baseline"].tolist() == pytest.approx([-0.2, 0.2, 0, 0])


def test_the_median_of_an_even_number_is_a_mean_of_two():
    assert baseline(rows([(0, 0, 0.0), (1, 0, 0.4)]), LABELS)["anger_baseline"].tolist() == pytest.approx([-0.2, 0.2])


SEEN = st.lists(st.tuples(st.integers(0, 30), st.integers(-1, 3), st.floats(0, 1)), max_size=40)


@steady
@given(SEEN, st.sampled_from([0.1, 1.0, 7.0]))
def test_curves_sum_to_one_stay_in_range_and_change_no_input(seen, sigma_s):
    unique = sorted({(second, track): value for second, track, value in seen}.items())
    if not unique:
        return
    given_rows = rows([(*key, value) for key, value in unique])
    before = {name: column.copy() for name, column in given_rows.items()}
    curves = smooth(given_rows, LABELS, sigma_s)
    faces = given_rows["track"] >= 0
    assert np.allclose((curves["anger_smooth"] + curves["neutral_smooth"])[faces], 1)
    for track in set(given_rows["track"][faces]):
        raw, curve = (c[given_rows["track"] == track] for c in (given_rows["anger"], curves["anger_smooth"]))
        assert raw.min() - 1e-9 <= curve.min() and curve.max() <= raw.max() + 1e-9
    assert all(np.array_equal(before[name], given_rows[name], equal_nan=True) for name in before)
