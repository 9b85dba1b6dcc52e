"""Optimal assignment, with and without SciPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment

from fervid.tracks.assignment import pair
from tests.helpers.hypothesis_settings import steady


@steady
@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.integers(0, 9)))
def test_no_pairing_is_cheaper(price):
    rows, columns = pair(price)
    assert len(rows) == len(columns) == min(price.shape)
    assert (np.diff(rows) > 0).all() and len(np.unique(columns)) == len(columns)
    assert price[rows, columns].sum() == price[linear_sum_assignment(price)].sum()


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_empty_sides_give_no_pairs(shape):
    rows, columns = pair(np.zeros(shape))
    assert len(rows) == len(columns) == 0
