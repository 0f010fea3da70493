"""GGUF, the format of llama.cpp: numbers and texts about the model, a table of tensors, and their data.

The one thing to know: whether the last tensor is filled up to the alignment is up to the writer, so a file that ends
within that filling is neither complete nor worth waiting for.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import struct

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
