"""Fixtures of the tests of detectors."""

import numpy as np
import pytest

from tests.helpers.portraits import portraits


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Five images (5, 288, 480, 3), four of them with faces."""
    return portraits()
