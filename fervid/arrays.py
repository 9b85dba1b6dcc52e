"""NumPy columns as Arrow arrays. `pa.array` would do, but it imports pandas: half a second of every start."""

import numpy as np
import pyarrow as pa

__all__ = ["number_array", "word_array"]


def number_array(values: np.ndarray, kind: pa.DataType, null: np.ndarray | None = None) -> pa.Array:
    """Numbers (n,) as an Arrow array of a numeric kind, null where the mask (n,) says so."""
    numbers = np.ascontiguousarray(values, kind.to_pandas_dtype())
    return pa.Array.from_buffers(kind, len(numbers), [_validity(null), pa.py_buffer(numbers)])


def word_array(values: np.ndarray | list[str], null: np.ndarray | None = None) -> pa.DictionaryArray:
    """Words (n,) as a dictionary in the order of first appearance, null where the mask (n,) says so."""
    known: dict[str, int] = {}
    gone = np.zeros(len(values), bool) if null is None else null
    index = [-1 if missing else known.setdefault(word, len(known)) for word, missing in zip(values, gone)]
    spelled = [word.encode() for word in known]
    offsets = np.cumsum([0, *map(len, spelled)], dtype=np.int32)
    words = pa.StringArray.from_buffers(len(spelled), pa.py_buffer(offsets), pa.py_buffer(b"".join(spelled)))
    return pa.DictionaryArray.from_arrays(number_array(np.array(index, np.int32), pa.int32(), null), words)


def _validity(null: np.ndarray | None) -> pa.Buffer | None:
    """Arrow's bitmap: a bit a value, lowest first, 1 where there is one."""
    if null is None or not null.any():
        return None
    return pa.py_buffer(np.packbits(~null, bitorder="little").tobytes())
