"""GGUF, the format of llama.cpp: numbers and texts about the model, a table of tensors, and their data.

The one thing to know: whether the last tensor is filled up to the alignment is up to the writer, so a file that ends
within that filling is neither complete nor worth waiting for.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass

from lfssync.formats.reading import COMPLETE, Finding, Reader, unknown

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_HEADER_MAX_BYTES = 32 << 20
_WINDOW_BYTES = 1 << 20
_ALIGNMENT_KEY = b"general.alignment"
_ALIGNMENT = 32
_ALIGNMENT_MAX = 1 << 20
_DIMENSIONS_MAX = 8

_STRING, _ARRAY = 8, 9
_VALUE_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""How large values of a type are that has a fixed size."""

BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
"""How many weights of a tensor type make a block of how many bytes. Source: ggml.h and ggml-common.h."""


_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
"""How values of a type are stored, as `struct` calls it."""
_LISTED_MAX = 32

TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
}  # fmt: skip
"""What the types of tensors are called. Source: ggml.h."""

Value = int | float | str | list[str]


@dataclass(frozen=True, slots=True)
class Described:
    """What a header says.

    Args:
        values: Those asked for, by key: numbers, texts, and short lists of texts.
        weights: How many weights there are of each type.
        tensors: How many tensors there are.
    """

    values: dict[str, Value]
    weights: dict[str, int]
    tensors: int


def described(reader: Reader, is_wanted: Callable[[str], bool]) -> Described | None:
    """What the header of a file says about the model; None when it cannot be read.

    Args:
        reader: The file.
        is_wanted: Which keys to give the values of.

    Raises:
        OSError: The file cannot be read.
    """
    cursor = _Cursor(reader)
    try:
        if reader.at(0, len(MAGIC)) != MAGIC:
            return None
        return _described(cursor, is_wanted)
    except (_EndsError, _StrangeError):
        return None


def _described(cursor: _Cursor, is_wanted: Callable[[str], bool]) -> Described:
    cursor.skip(len(MAGIC))
    if cursor.number("<I") not in _VERSIONS:
        raise _StrangeError
    tensors, count = cursor.number("<Q"), cursor.number("<Q")
    values: dict[str, Value] = {}
    for _ in range(count):
        key = cursor.string().decode("utf-8", "replace")
        kind = cursor.number("<I")
        if not is_wanted(key):
            cursor.value(kind)
        elif (found := cursor.known_value(kind)) is not None:
            values[key] = found
    weights: dict[str, int] = {}
    for _ in range(tensors):
        cursor.skip(cursor.number("<Q"))
        dimensions = cursor.number("<I")
        if dimensions > _DIMENSIONS_MAX:
            raise _StrangeError
        size = math.prod([cursor.number("<Q") for _ in range(dimensions)])
        name = TYPES.get(cursor.number("<I"), "other")
        weights[name] = weights.get(name, 0) + size
        cursor.skip(8)
    return Described(values, weights, tensors)


class _EndsError(Exception):
    """The file is shorter than its header."""


class _StrangeError(Exception):
    """The header is none, or larger than any real one."""


def check(reader: Reader) -> Finding:
    """Compare the file with what its header says."""
    if wrong := reader.begins(MAGIC):
        return wrong
    cursor = _Cursor(reader)
    try:
        wanted_bytes, padded_bytes = _extent(cursor)
    except _EndsError:
        return reader.within_header()
    except _StrangeError:
        return unknown("has a header that cannot be read")
    if wanted_bytes <= reader.size_bytes < padded_bytes:
        return unknown("may be filled up at its end")
    if padded_bytes < 0 and wanted_bytes <= reader.size_bytes:
        return unknown("has tensors of an unknown type")
    return COMPLETE if reader.size_bytes == padded_bytes else reader.against(wanted_bytes)


def _extent(cursor: _Cursor) -> tuple[int, int]:
    """How long the file is at least, and with what fills it up; the latter is negative where that cannot be told."""
    cursor.skip(len(MAGIC))
    if cursor.number("<I") not in _VERSIONS:
        raise _StrangeError
    tensors, values = cursor.number("<Q"), cursor.number("<Q")
    alignment = _ALIGNMENT
    for _ in range(values):
        key = cursor.string()
        kind = cursor.number("<I")
        if key == _ALIGNMENT_KEY and kind == 4:
            alignment = cursor.number("<I")
        else:
            cursor.value(kind)
    if not 0 < alignment <= _ALIGNMENT_MAX:
        raise _StrangeError
    end, is_known = 0, True
    for _ in range(tensors):
        cursor.skip(cursor.number("<Q"))
        dimensions = cursor.number("<I")
        if dimensions > _DIMENSIONS_MAX:
            raise _StrangeError
        weights = math.prod([cursor.number("<Q") for _ in range(dimensions)])
        block, block_bytes = BLOCKS.get(cursor.number("<I"), (0, 0))
        is_known = is_known and block > 0
        end = max(end, cursor.number("<Q") + (weights // block * block_bytes if block else 0))
    wanted = (_filled_up(cursor.at, alignment) if tensors else cursor.at) + end
    return wanted, _filled_up(cursor.at, alignment) + _filled_up(end, alignment) if is_known else -1


def _filled_up(size_bytes: int, alignment: int) -> int:
    return -(-size_bytes // alignment) * alignment


class _Cursor:
    """Reads a header from its start to its end, a window at a time."""

    def __init__(self, reader: Reader) -> None:
        self.at = 0
        self._reader = reader
        self._window = b""
        self._window_at = 0

    def number(self, form: str) -> int:
        """The next number, in the form that `struct` knows."""
        start = self.at
        self.skip(struct.calcsize(form))
        number: int = struct.unpack(form, self._bytes(start, self.at - start))[0]
        return number

    def string(self) -> bytes:
        """The next string; only as much of it as a key may have."""
        size_bytes = self.number("<Q")
        start = self.at
        self.skip(size_bytes)
        return self._bytes(start, min(size_bytes, 1 << 16))

    def skip(self, size_bytes: int) -> None:
        """Go on by so many bytes."""
        self.at += size_bytes
        if self.at > _HEADER_MAX_BYTES:
            raise _StrangeError
        if self.at > self._reader.size_bytes:
            raise _EndsError

    def known_value(self, kind: int) -> Value | None:
        """Read a value; None for lists of anything but a few texts."""
        if kind == _STRING:
            return self.string().decode("utf-8", "replace")
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        start = self.at
        if kind == _ARRAY and self.number("<I") == _STRING and (count := self.number("<Q")) <= _LISTED_MAX:
            return [self.string().decode("utf-8", "replace") for _ in range(count)]
        self.at = start
        self.value(kind)
        return None

    def value(self, kind: int) -> None:
        """Go over a value."""
        if kind == _STRING:
            self.skip(self.number("<Q"))
        elif kind == _ARRAY:
            kind, count = self.number("<I"), self.number("<Q")
            if kind == _STRING:
                for _ in range(count):
                    self.skip(self.number("<Q"))
            elif kind in _VALUE_BYTES:
                self.skip(_VALUE_BYTES[kind] * count)
            else:  # arrays of arrays are allowed, and nobody makes them
                raise _StrangeError
        elif kind in _VALUE_BYTES:
            self.skip(_VALUE_BYTES[kind])
        else:
            raise _StrangeError

    def _bytes(self, start: int, count: int) -> bytes:
        if not self._window_at <= start <= start + count <= self._window_at + len(self._window):
            self._window, self._window_at = self._reader.at(start, max(count, _WINDOW_BYTES)), start
        found = self._window[start - self._window_at : start - self._window_at + count]
        if len(found) < count:
            raise _EndsError
        return found
