"""Whether a file of a known format is all there: a cheap look at headers, lengths and end records.

Stands between `settle`, which knows who writes, and `stage`, which reads everything. No data is loaded, nothing is
unpickled, and every read is bounded, because what is looked at may be hostile.
The one thing to know: the name decides whether a file is looked into at all, and then its first bytes say what it is,
because a `.bin` or a `.pt` may be anything. What is not recognised is UNKNOWN, and that is no reason to wait.
"""

from __future__ import annotations

from collections.abc import Callable

from lfssync.formats import archives, arrays, columns, gguf, hdf5, safetensors, texts
from lfssync.formats.reading import Completeness, Finding, Reader, incomplete, unknown

__all__ = ["Completeness", "Finding", "Reader", "check", "has_check"]

_BY_MAGIC: tuple[tuple[bytes, Callable[[Reader], Finding]], ...] = (
    (archives.FILE, archives.check),
    (archives.END, archives.check),
    (gguf.MAGIC, gguf.check),
    (hdf5.MAGIC, hdf5.check),
    (arrays.MAGIC, arrays.check),
    (columns.PARQUET, columns.parquet),
    (columns.PARQUET_ENCRYPTED, columns.parquet_encrypted),
    (columns.ARROW, columns.arrow),
    (columns.FEATHER, columns.feather),
)
_BY_EXTENSION: dict[bytes, Callable[[Reader], Finding]] = {
    b"safetensors": safetensors.check,
    **dict.fromkeys((b"pt", b"pth", b"pt2", b"ckpt", b"bin", b"keras", b"npz", b"zip"), archives.check),
    b"gguf": gguf.check,
    **dict.fromkeys((b"h5", b"hdf5"), hdf5.check),
    b"npy": arrays.check,
    b"parquet": columns.parquet,
    **dict.fromkeys((b"arrow", b"feather"), columns.arrow),
    b"json": texts.check,
}
_ANYTHING = frozenset({b"bin"})
"""Extensions that say nothing about an empty file."""


def has_check(path: bytes) -> bool:
    """Whether the name is that of a file that is looked into."""
    return _extension(path) in _BY_EXTENSION


def check(path: bytes, reader: Reader) -> Finding:
    """Whether a file is all there, as far as its format tells.

    Args:
        path: Its name.
        reader: Its content, while nobody writes it.

    Raises:
        OSError: It cannot be read.
    """
    extension = _extension(path)
    by_name = _BY_EXTENSION.get(extension)
    if by_name is None:
        return unknown("no format that is looked into")
    if reader.size_bytes == 0:
        return unknown("is empty") if extension in _ANYTHING else incomplete("is still empty")
    start = reader.at(0, 8)
    by_magic = next((found for magic, found in _BY_MAGIC if start.startswith(magic)), by_name)
    return by_magic(reader)


def _extension(path: bytes) -> bytes:
    stem, _, extension = path.rpartition(b"/")[2].rpartition(b".")
    return extension.lower() if stem else b""
