"""Writes entries with their stat data into a git index file, so that `git status` has nothing to read again.

Used by `workingcopy` only, for directories that are git working copies of their own.
The one thing to know: git's own commands can either record content (and read every file for it) or record no stat
data; writing the file ourselves, under git's own lock, is the only way to do neither. GitPython's index cannot: it
takes only names that are UTF-8. Extensions are dropped, git makes them anew.

Source: gitformat-index(5).
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lfssync.errors import TransientError
from lfssync.model import Signature

_HEADER = struct.Struct(">4sLL")
_ENTRY = struct.Struct(">10L20sH")
_EXTENDED = 0x4000
_VALID = 0x8000
_STAGE = 0x3000
_NAME = 0x0FFF
_SKIP_WORKTREE = 0x4000
_REQUIRED_EXTENSIONS = (b"link", b"sdir")
"""A split or a sparse index: its entries are not all in this file."""


class UnsupportedIndexError(Exception):
    """An index in a form that is not written here; git itself has to do it, without stat data."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of the index.

    Args:
        git_mode: 100644, 100755 or 120000.
        blob_oid: 40 hex digits.
        signature: What the file was when it was read, or None when it is not in the work tree (git is told not to
            look).
        owner: Device, user and group numbers of the file.
        trusted: True when git must not compare the file's content (`assume-unchanged`).
    """

    git_mode: str
    blob_oid: str
    signature: Signature | None
    owner: tuple[int, int, int] = (0, 0, 0)
    trusted: bool = False


def patch(index: Path, set_entries: Mapping[bytes, Entry], gone: Iterable[bytes]) -> None:
    """Replace and remove entries of an index file; all others stay as they are.

    Args:
        index: The index file; it need not exist yet.
        set_entries: New entries by path.
        gone: Paths to remove.

    Raises:
        TransientError: Another git command holds the lock.
        UnsupportedIndexError: The index is in version 4, split or sparse.
    """
    lock = index.with_name(index.name + ".lock")
    try:
        fd = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise TransientError(
            f"{lock} exists: another git command is at work there", "let it finish; it is tried again"
        ) from None
    try:
        with os.fdopen(fd, "wb") as file:
            entries = _read(index.read_bytes()) if index.exists() else {}
            removed = set(gone) | {path for path in entries if path[0] in set_entries}
            kept = {key: raw for key, raw in entries.items() if key[0] not in removed}
            kept |= {(path, 0): _pack(path, entry) for path, entry in set_entries.items()}
            version = 3 if any(_flags(raw) & _EXTENDED for raw in kept.values()) else 2
            body = _HEADER.pack(b"DIRC", version, len(kept)) + b"".join(kept[key] for key in sorted(kept))
            file.write(body + hashlib.sha1(body, usedforsecurity=False).digest())
        os.replace(lock, index)
    except BaseException:
        lock.unlink(missing_ok=True)
        raise


def _read(data: bytes) -> dict[tuple[bytes, int], bytes]:
    """Entries of an index as raw bytes, by path and stage."""
    magic, version, count = _HEADER.unpack_from(data)
    if magic != b"DIRC" or version not in (2, 3):
        raise UnsupportedIndexError
    entries = {}
    at = _HEADER.size
    for _ in range(count):
        flags = _flags(data, at)
        start = at + _ENTRY.size + (2 if flags & _EXTENDED else 0)
        end = start + (flags & _NAME) if flags & _NAME < _NAME else data.index(b"\0", start)
        after = at + ((end - at + 8) & ~7)
        entries[data[start:end], (flags & _STAGE) >> 12] = data[at:after]
        at = after
    while at < len(data) - 20:
        name, size = struct.unpack_from(">4sL", data, at)
        if name in _REQUIRED_EXTENSIONS:
            raise UnsupportedIndexError
        at += 8 + size
    return entries


def _flags(raw: bytes, at: int = 0) -> int:
    return int(struct.unpack_from(">H", raw, at + _ENTRY.size - 2)[0])


def _pack(path: bytes, entry: Entry) -> bytes:
    flags = min(len(path), _NAME)
    extended = b""
    if entry.signature is None:
        flags |= _EXTENDED
        extended = struct.pack(">H", _SKIP_WORKTREE)
        numbers = [0] * 10
        numbers[6] = int(entry.git_mode, 8)
    else:
        if entry.trusted:
            flags |= _VALID
        seen = entry.signature
        device, user, group = entry.owner
        numbers = [
            *divmod(seen.ctime_ns, 10**9), *divmod(seen.mtime_ns, 10**9),
            device, seen.inode, int(entry.git_mode, 8), user, group, seen.size_bytes,
        ]  # fmt: skip
    raw = (
        _ENTRY.pack(*(number & 0xFFFFFFFF for number in numbers), bytes.fromhex(entry.blob_oid), flags)
        + extended
        + path
    )
    return raw + b"\0" * (8 - len(raw) % 8)
