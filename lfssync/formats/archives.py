"""Zip archives, which are what torch, Keras and numpy save: the directory at the end is written last.

The one thing to know: torch and numpy also store archives uncompressed within archives, so an end record counts only
when the directory that it names lies right before it.

Source: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.3.14 to 4.3.16
"""

from __future__ import annotations

import struct

from lfssync.formats.reading import COMPLETE, Finding, Reader, incomplete, unknown
from lfssync.model import human_bytes

FILE = b"PK\x03\x04"
END = b"PK\x05\x06"
_DIRECTORY = b"PK\x01\x02"
_END_64 = b"PK\x06\x06"
_LOCATOR_64 = b"PK\x06\x07"
_END_BYTES = 22
_END_64_BYTES = 56
_LOCATOR_64_BYTES = 20
_COMMENT_MAX_BYTES = 0xFFFF
_CANDIDATES = 64
"""So many end records are looked at; a file full of them was made to be looked at for long."""


def check(reader: Reader) -> Finding:
    """Look for the end record and the directory that it names."""
    if (wrong := reader.begins(FILE)) and reader.at(0, len(END)) != END:
        return wrong
    tail_at = max(0, reader.size_bytes - _END_BYTES - _COMMENT_MAX_BYTES)
    tail = reader.at(tail_at, _END_BYTES + _COMMENT_MAX_BYTES)
    at = len(tail)
    for _ in range(_CANDIDATES):
        at = tail.rfind(END, 0, at)
        if at < 0:
            break
        end = _end(reader, tail_at + at)
        if end is not None and end <= reader.size_bytes:
            return COMPLETE if end == reader.size_bytes else unknown("goes on behind its end")
    return incomplete(f"ends after {human_bytes(reader.size_bytes)} without the directory of an archive")


def _end(reader: Reader, at: int) -> int | None:
    """Where the archive ends by the end record at an offset; None when no directory lies before that."""
    record = reader.at(at, _END_BYTES)
    if len(record) < _END_BYTES:
        return None
    *_, entries, size_bytes, offset, comment_bytes = struct.unpack("<4s4H2LH", record)
    directory_end = at
    locator = reader.at(at - _LOCATOR_64_BYTES, _LOCATOR_64_BYTES)
    if locator.startswith(_LOCATOR_64):
        _, _, directory_end, _ = struct.unpack("<4sLQL", locator)
        large = reader.at(directory_end, _END_64_BYTES)
        if len(large) < _END_64_BYTES or not large.startswith(_END_64):
            return None
        (rest_bytes,) = struct.unpack_from("<Q", large, 4)
        entries, size_bytes, offset = struct.unpack_from("<3Q", large, 32)
        if directory_end + 12 + rest_bytes != at - _LOCATOR_64_BYTES:
            return None
    if offset + size_bytes != directory_end:
        return None
    if entries and reader.at(offset, len(_DIRECTORY)) != _DIRECTORY:
        return None
    return at + _END_BYTES + int(comment_bytes)
