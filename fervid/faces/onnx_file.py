"""Read a network out of an ONNX file: its steps and its weights, as far as plain convolutional networks need them.

ONNX is a protocol buffer (github.com/onnx/onnx, onnx/onnx.proto): a message is a run of fields, each with a key that
holds its number and its wire type (protobuf.dev/programming-guides/encoding). A few numbers are all that is needed.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fervid.errors import WeightsError

__all__ = ["Step", "read_onnx"]

#: Numbers of the fields that are read: of ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto.
_GRAPH = 7
_NODE, _INITIALIZER = 1, 5
_INPUT, _OUTPUT, _OPERATOR, _ATTRIBUTE = 1, 2, 4, 5
_NAME, _FLOAT, _INT, _INTS = 1, 2, 3, 8
_DIMS, _TYPE, _FLOATS, _TENSOR_NAME, _RAW = 1, 2, 4, 8, 9
_DTYPES: dict[int, np.dtype] = {1: np.dtype("<f4"), 7: np.dtype("<i8")}

_Value = int | memoryview


@dataclass(frozen=True)
class Step:
    """One operator of the network: its name, the names of what it takes and gives, and its numbers."""

    operator: str
    takes: tuple[str, ...]
    gives: str
    whole: dict[str, list[int]]
    real: dict[str, float]


def read_onnx(path: Path) -> tuple[list[Step], dict[str, np.ndarray]]:
    """Read the steps of a network, in their order, and its weights by name; WeightsError if the file is another."""
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
    takes, gives = ([_text(value) for number, value in fields if number == which] for which in (_INPUT, _OUTPUT))
    whole: dict[str, list[int]] = {}
    real: dict[str, float] = {}
    for attribute in (list(_fields(_bytes(value))) for number, value in fields if number == _ATTRIBUTE):
        name = next(_text(value) for number, value in attribute if number == _NAME)
        for number, value in attribute:
            if number == _FLOAT:
                (real[name],) = struct.unpack("<f", _bytes(value))
            elif number in (_INT, _INTS):
                whole.setdefault(name, []).extend(_whole(value))
    return Step(_text(_only(message, _OPERATOR)), tuple(takes), gives[0], whole, real)


def _tensor(message: memoryview) -> tuple[str, np.ndarray]:
    shape: list[int] = []
    name, kind, raw = "", 1, b""
    for number, value in _fields(message):
        if number == _DIMS:
            shape += _whole(value)
        elif number == _TYPE and isinstance(value, int):
            kind = value
        elif number == _TENSOR_NAME:
            name = _text(value)
        elif number in (_RAW, _FLOATS):
            raw = bytes(_bytes(value))
    return name, np.frombuffer(raw, _DTYPES[kind]).reshape(shape)


def _fields(message: bytes | memoryview) -> Iterator[tuple[int, _Value]]:
    """Give number and value of each field of a message: whole numbers as such, all else as bytes."""
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
            raise ValueError("it ends within a field")
        yield key >> 3, view[at : at + length]
        at += length


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """Read a whole number, seven bits a byte, the lowest first -> it, and where the next field is."""
    value = shift = 0
    while True:
        byte = view[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _whole(value: _Value) -> list[int]:
    """Whole numbers, one to a field or packed into one."""
    if isinstance(value, int):
        return [value]
    found, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        found.append(number)
    return found


def _bytes(value: _Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message should be")
    return value


def _text(value: _Value) -> str:
    return bytes(_bytes(value)).decode()


def _only(message: bytes | memoryview, number: int) -> memoryview:
    """The one field of this number."""
    (value,) = (value for found, value in _fields(message) if found == number)
    return _bytes(value)
