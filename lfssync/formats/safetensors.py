"""safetensors: a length of eight bytes, so much JSON, and data up to the largest offset in it.

Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

from lfssync.formats.reading import Finding, Reader, unknown

if TYPE_CHECKING:
    from lfssync.results import Tensor

_LENGTH_BYTES = 8
_HEADER_MAX_BYTES = 100_000_000
"""The library itself takes no larger header."""

_LOOKED_INTO_BYTES = 32 << 20


def tensors(reader: Reader, limit_bytes: int = _LOOKED_INTO_BYTES) -> dict[str, Tensor] | None:
    """The tensors of a file by name, from its header alone; None when that cannot be read, or is larger than allowed.

    Args:
        reader: The file.
        limit_bytes: How large its header may be.

    Raises:
        OSError: The file cannot be read.
    """
    from lfssync.results import Tensor  # which a pass has no use for: it only checks files

    length = reader.at(0, _LENGTH_BYTES)
    header_bytes = int.from_bytes(length, "little")
    if len(length) < _LENGTH_BYTES or header_bytes > limit_bytes:
        return None
    try:
        header = json.loads(reader.at(_LENGTH_BYTES, header_bytes))
    except (ValueError, RecursionError):
        return None
    found = {}
    for name, entry in header.items() if isinstance(header, dict) else ():
        match entry:
            case {"dtype": str() as dtype, "shape": [*sizes]} if all(_is_size(size) for size in sizes):
                found[name] = Tensor(dtype, tuple(sizes))
            case _ if name != "__metadata__":
                return None
    return found if isinstance(header, dict) else None


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def check(reader: Reader) -> Finding:
    """Compare the file with what its header says."""
    length = reader.at(0, _LENGTH_BYTES)
    if len(length) < _LENGTH_BYTES:
        return reader.within_header()
    (header_bytes,) = struct.unpack("<Q", length)
    if header_bytes > _HEADER_MAX_BYTES or reader.at(_LENGTH_BYTES, 1) not in (b"{", b""):
        return unknown("begins like no file of its kind")
    if reader.size_bytes < _LENGTH_BYTES + header_bytes:
        return reader.within_header()
    if header_bytes > _LOOKED_INTO_BYTES:
        return unknown("has a header too large to look into")
    try:
        data_bytes = _data_bytes(json.loads(reader.at(_LENGTH_BYTES, header_bytes)))
    except (ValueError, RecursionError):
        return unknown("has a header that cannot be read")
    return reader.against(_LENGTH_BYTES + header_bytes + data_bytes)


def _data_bytes(header: object) -> int:
    """Where the data of the last tensor ends.

    Raises:
        ValueError: The header is none.
    """
    if not isinstance(header, dict):
        raise ValueError("no table")
    end = 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        match entry:
            case {"data_offsets": [int(), int() as last]} if last >= 0:
                end = max(end, last)
            case _:
                raise ValueError("no tensor")
    return end
