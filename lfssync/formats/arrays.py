"""numpy's .npy: a short header with kind and shape, then exactly so much data.

Source: numpy.lib.format, "Format Version 1.0" to "3.0"
"""

from __future__ import annotations

import ast
import math
import re
import struct

from lfssync.formats.reading import Finding, Reader, unknown

MAGIC = b"\x93NUMPY"
_HEADER_MAX_BYTES = 10_000
"""As in numpy itself: longer ones may crash the parser of Python literals."""

_PLAIN = re.compile(r"[<>|=]?([biufcSVUmM])(\d{1,9})(\[.*\])?", re.ASCII)
_UNICODE_BYTES = 4


def check(reader: Reader) -> Finding:
    """Compare the file with what its header says."""
    if wrong := reader.begins(MAGIC):
        return wrong
    start = reader.at(len(MAGIC), 6)
    if len(start) < 6:
        return reader.within_header()
    length, length_bytes = ("<H", 2) if start[0] == 1 else ("<I", 4)
    (header_bytes,) = struct.unpack_from(length, start, 2)
    data_at = len(MAGIC) + 2 + length_bytes + header_bytes
    if start[0] not in (1, 2, 3) or header_bytes > _HEADER_MAX_BYTES:
        return unknown("has a header that cannot be read")
    if reader.size_bytes < data_at:
        return reader.within_header()
    header = reader.at(len(MAGIC) + 2 + length_bytes, header_bytes)
    try:
        data_bytes = _data_bytes(ast.literal_eval(header.decode("utf-8" if start[0] == 3 else "latin-1").strip()))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return unknown("has a header that cannot be read")
    return unknown("holds what has no fixed size") if data_bytes is None else reader.against(data_at + data_bytes)


def _data_bytes(header: object) -> int | None:
    """How much data follows; None for Python objects and for records.

    Raises:
        ValueError: The header is none.
    """
    match header:
        case {"descr": str() as kind, "shape": tuple() as shape}:
            pass
        case {"descr": _, "shape": _}:
            return None
        case _:
            raise ValueError("no header")
    plain = _PLAIN.fullmatch(kind)
    if not plain:
        return None
    if not all(isinstance(count, int) and 0 <= count < 1 << 63 for count in shape):
        raise ValueError("no shape")
    item_bytes = int(plain[2]) * (_UNICODE_BYTES if plain[1] == "U" else 1)
    return math.prod(shape) * item_bytes
