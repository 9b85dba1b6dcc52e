"""Arrow columns equal those of pa.array, without importing pandas."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fervid.timeline.schema import categorical_array, number_array
from tests.helpers.hypothesis_settings import steady


@steady
@given(st.lists(st.tuples(st.sampled_from(["", "ok", "no_face", "Überraschung"]), st.booleans())), st.booleans())
def test_words_equal_those_of_arrow(rows, masked):
    words, null = [word for word, _ in rows], np.array([gone for _, gone in rows], bool)
    ours = categorical_array(np.array(words, object), null) if masked else categorical_array(words)
    theirs = pa.array(words, pa.string(), mask=null if masked else None).dictionary_encode()
    ours.validate(full=True)
    assert ours.equals(theirs)


@steady
@given(
    st.lists(st.tuples(st.integers(-9, 9), st.booleans())), st.sampled_from([pa.int32(), pa.float32(), pa.float64()])
)
def test_numbers_equal_those_of_arrow(rows, kind):
    values, null = np.array([value for value, _ in rows], np.float64), np.array([gone for _, gone in rows], bool)
    ours = number_array(values, kind, null)
    ours.validate(full=True)
    assert ours.equals(pa.array(values.astype(kind.to_pandas_dtype()), kind, mask=null))


@pytest.mark.parametrize("step", ["number_array(np.ones(2), pa.float32())", "categorical_array(['a', 'b'])"])
def test_pandas_is_not_imported(step):
    code = f"import sys, numpy as np, pyarrow as pa; from fervid.timeline.schema import *; {step}; "
    code += "sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
