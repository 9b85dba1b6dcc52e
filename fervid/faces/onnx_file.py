"""Read the steps and weights of a plain convolutional network from an ONNX file.

ONNX is a protocol buffer (github.com/onnx/onnx, onnx/onnx.proto): a message is a sequence of fields, each with a key
that holds its number and its wire type (protobuf.dev/programming-guides/encoding). Only a few fields are needed.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fervid.errors import WeightsError

__all__ = ["Step", "read_onnx"]

#: Numbers of the fields to read, of ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto.
_GRAPH = 7
_NODE, _INITIALIZER = 1, 5
_INPUT, _OUTPUT, _OPERATOR, _ATTRIBUTE = 1, 2, 4, 5
_NAME, _FLOAT, _INT, _INTS = 1, 2, 3, 8
_DIMS, _TYPE, _FLOATS, _TENSOR_NAME, _RAW = 1, 2, 4, 8, 9
_DTYPES: dict[int, np.dtype] = {1: np.dtype("<f4"), 7: np.dtype("<i8")}

_Value = int | memoryview


@dataclass(frozen=True)
class Step:
    """One operator of a network.

    Parameters
    ----------
    operator : str
        Its name, such as "Conv".
    inputs : tuple[str, ...]
        Names of its inputs, weights included.
    output : str
    ints : dict of list of int
        Attributes that are integers.
    floats : dict of float
        Attributes that are real numbers.
    """

    operator: str
    inputs: tuple[str, ...]
    output: str
    ints: dict[str, list[int]]
    floats: dict[str, float]


def read_onnx(path: Path) -> tuple[list[Step], dict[str, np.ndarray]]:
    """Read a network.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list[Step]
        In the order of execution.
    dict[str, ndarray]
        The weights, by name.

    Raises
    ------
    WeightsError
        If the file cannot be read, or is not an ONNX network.
    """
    try:
        graph = _only(path.read_bytes(), _GRAPH)
        fields = list(_fields(graph))
        steps = [_step(_bytes(value)) for number, value in fields if number == _NODE]
        weights = dict(_tensor(_bytes(value)) for number, value in fields if number == _INITIALIZER)
    except (OSError, ValueError, IndexError, KeyError, struct.error) as e:
        raise WeightsError(f"{path}: not a readable ONNX network ({type(e).__name__}: {e})") from None
    return steps, weights


def _step(message: memoryview) -> Step:
    fields = list(_fields(message))
    inputs, outputs = ([_text(value) for number, value in fields if number == wanted] for wanted in (_INPUT, _OUTPUT))
    ints: dict[str, list[int]] = {}
    floats: dict[str, float] = {}
    for attribute in (list(_fields(_bytes(value))) for number, value in fields if number == _ATTRIBUTE):
        name = next(_text(value) for number, value in attribute if number == _NAME)
        for number, value in attribute:
            if number == _FLOAT:
                (floats[name],) = struct.unpack("<f", _bytes(value))
            elif number in (_INT, _INTS):
                ints.setdefault(name, []).extend(_integers(value))
    return Step(_text(_only(message, _OPERATOR)), tuple(inputs), outputs[0], ints, floats)


def _tensor(message: memoryview) -> tuple[str, np.ndarray]:
    shape: list[int] = []
    name, kind, raw = "", 1, b""
    for number, value in _fields(message):
        if number == _DIMS:
            shape += _integers(value)
        elif number == _TYPE and isinstance(value, int):
            kind = value
        elif number == _TENSOR_NAME:
            name = _text(value)
        elif number in (_RAW, _FLOATS):
            raw = bytes(_bytes(value))
    return name, np.frombuffer(raw, _DTYPES[kind]).reshape(shape)


def _fields(message: bytes | memoryview) -> Iterator[tuple[int, _Value]]:
    """Yield number and value of each field of a message: integers as int, all else as bytes."""
    view, at = memoryview(message), 0
    while at < len(view):
        key, at = _varint(view, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(view, at)
            yield key >> 3, value
            continue
        if kind == 2:
            length, at = _varint(view, at)
        else:
            length = {1: 8, 5: 4}[kind]
        if at + length > len(view):
            raise ValueError("truncated within a field")
        yield key >> 3, view[at : at + length]
        at += length


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """Read an integer, seven bits per byte, the lowest first -> its value, and the offset after it."""
    value = shift = 0
    while True:
        byte = view[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _integers(value: _Value) -> list[int]:
    """Read the integers of a field: one, or several that are packed."""
    if isinstance(value, int):
        return [value]
    found, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        found.append(number)
    return found


def _bytes(value: _Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("found an integer, expected a message")
    return value


def _text(value: _Value) -> str:
    return bytes(_bytes(value)).decode()


def _only(message: bytes | memoryview, number: int) -> memoryview:
    """Read the bytes of the only field of this number."""
    (value,) = (value for found, value in _fields(message) if found == number)
    return _bytes(value)
