"""No result depends on what shares its batch, to the byte, on CPUs with and without AVX-512."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers.batch_independence import AVX2, SUBJECTS, differences


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_grouping_makes_no_difference(subject):
    assert differences(subject) == 0


def test_the_grouping_makes_no_difference_without_avx512():
    command = [sys.executable, "-m", "tests.helpers.batch_independence"]
    done = subprocess.run(command, env=os.environ | AVX2, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == dict.fromkeys(SUBJECTS, 0)
