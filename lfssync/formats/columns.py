"""Tables in columns: Parquet, and Arrow as a file, as Feather and as a stream.

All but the stream repeat their magic at the end, behind a footer and its length. A stream is a chain of messages, each
of which tells its length; the one thing to know is that its end mark is optional, so that without one the end of a
message may be the end of the file.

Source: https://parquet.apache.org/docs/file-format/ and https://arrow.apache.org/docs/format/Columnar.html
"""

from __future__ import annotations

import struct

from lfssync.formats.reading import COMPLETE, Finding, Reader, incomplete, unknown
from lfssync.model import human_bytes

PARQUET = b"PAR1"
PARQUET_ENCRYPTED = b"PARE"
ARROW = b"ARROW1"
FEATHER = b"FEA1"
STREAM = b"\xff\xff\xff\xff"

_STRUCT_BEGINS = b"\x15"
"""How a Parquet footer begins: its first field is a number."""

_MESSAGES = 100_000
_BODY_FIELD = 3
"""Which field of an Arrow message tells how long its body is. Source: Message.fbs."""


def parquet(reader: Reader) -> Finding:
    """Look for the footer of a Parquet file."""
    return reader.begins(PARQUET) or _footer(reader, PARQUET, first=_STRUCT_BEGINS)


def parquet_encrypted(reader: Reader) -> Finding:
    """Look for the footer of a Parquet file with an encrypted one."""
    return reader.begins(PARQUET_ENCRYPTED) or _footer(reader, PARQUET_ENCRYPTED)


def feather(reader: Reader) -> Finding:
    """Look for the footer of a Feather file of the first version."""
    return reader.begins(FEATHER) or _footer(reader, FEATHER)


def arrow(reader: Reader) -> Finding:
    """Look for the footer of an Arrow file, or walk through a stream."""
    if reader.at(0, len(STREAM)) == STREAM:
        return _stream(reader)
    return reader.begins(ARROW) or _footer(reader, ARROW)


def _footer(reader: Reader, magic: bytes, first: bytes = b"") -> Finding:
    trailer_bytes = 4 + len(magic)
    trailer = reader.at(reader.size_bytes - trailer_bytes, trailer_bytes)
    if trailer.endswith(magic) and reader.size_bytes >= len(magic) + trailer_bytes:
        (footer_bytes,) = struct.unpack_from("<I", trailer)
        footer_at = reader.size_bytes - trailer_bytes - footer_bytes
        if footer_bytes and footer_at >= len(magic) and reader.at(footer_at, 1).startswith(first):
            return COMPLETE
    return incomplete(f"ends after {human_bytes(reader.size_bytes)} without its footer")


def _stream(reader: Reader) -> Finding:
    at = 0
    for _ in range(_MESSAGES):
        if at == reader.size_bytes:
            return unknown("ends without a mark, as it may")
        prefix = reader.at(at, 8)
        if prefix[:4] != STREAM[: len(prefix)]:
            return unknown("holds what is no message")
        if len(prefix) < 8:
            break
        (metadata_bytes,) = struct.unpack_from("<i", prefix, 4)
        at += 8
        if metadata_bytes == 0:
            return reader.against(at)
        metadata = reader.at(at, min(max(metadata_bytes, 0), 1 << 20))
        if metadata_bytes < 0 or (body_bytes := _body_bytes(metadata)) is None:
            if at + metadata_bytes > reader.size_bytes:
                break
            return unknown("holds what is no message")
        at += metadata_bytes + body_bytes
        if at > reader.size_bytes:
            break
    else:
        return unknown("has too many parts to look into")
    return incomplete(f"ends after {human_bytes(reader.size_bytes)} within a message")


def _body_bytes(message: bytes) -> int | None:
    """How long the body of a message is; None when it is cut off, or none.

    Source: https://flatbuffers.dev/internals/, "Tables"
    """
    try:
        (table,) = struct.unpack_from("<I", message)
        (back,) = struct.unpack_from("<i", message, table)
        fields = table - back
        if fields < 0:
            return None
        (fields_bytes,) = struct.unpack_from("<H", message, fields)
        slot = 4 + 2 * _BODY_FIELD
        if slot + 2 > fields_bytes:
            return 0
        (offset,) = struct.unpack_from("<H", message, fields + slot)
        body_bytes: int = struct.unpack_from("<q", message, table + offset)[0] if offset else 0
    except struct.error:
        return None
    return body_bytes if body_bytes >= 0 else None
