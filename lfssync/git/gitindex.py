"""Writes entries with their stat data into a git index file, so that `git status` has nothing to read again.

Used by `workingcopy` only, for directories that are git working copies of their own.
The one thing to know: git's own commands can either record content (and read every file for it) or record no stat
data; writing the file ourselves, under git's own lock, is the only way to do neither. GitPython's index cannot: it
takes only names that are UTF-8. Extensions are dropped, git makes them anew.

Source: gitformat-index(5); git-update-index(1), "USING ASSUME-UNCHANGED BIT".
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from lfssync.errors import BlockedError, TransientError
from lfssync.model import Signature, show

_HEADER = struct.Struct(">4sLL")
_ENTRY = struct.Struct(">10L20sH")
_EXTENDED = 0x4000
_VALID = 0x8000
_STAGE = 0x3000
_NAME = 0x0FFF
_SKIP_WORKTREE = 0x4000
_REQUIRED_EXTENSIONS = (b"link", b"sdir")
"""A split or a sparse index: its entries are not all in this file."""

_MARK = "lfssync-index-"
"""Begins the second name of a lock file of ours, by which a later run knows it; the commit's name follows."""

Key = tuple[bytes, int]
"""A path and its stage: 0, or 1 to 3 in a conflict."""


class UnsupportedIndexError(Exception):
    """An index in a form that is not written here; git itself has to do it, without stat data."""


class Look(Enum):
    """What `git status` does about a path."""

    COMPARE = "look whether the file differs from the entry"
    TRUST = "take the file for what the entry says, whatever it holds (assume-unchanged)"
    ABSENT = "expect no file there (skip-worktree)"


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of the index.

    Args:
        git_mode: 100644, 100755 or 120000.
        blob_oid: 40 hex digits.
        signature: What the file was when it was read; None makes git read it again.
        owner: Device, user and group numbers of the file.
        look: What git does about the file.
    """

    git_mode: str
    blob_oid: str
    signature: Signature | None
    owner: tuple[int, int, int] = (0, 0, 0)
    look: Look = Look.COMPARE


@contextlib.contextmanager
def patched(index: Path, set_entries: Mapping[bytes, Entry], gone: Iterable[bytes], commit: str) -> Iterator[None]:
    """Hold the lock of an index with entries replaced and removed; all others stay as they are.

    Leaving the block puts the new content in force, leaving it by an exception drops it.

    Args:
        index: The index file; it need not exist yet.
        set_entries: New entries by path.
        gone: Paths to remove.
        commit: What the new content belongs to, for `recover`.

    Raises:
        TransientError: Another git command holds the lock.
        BlockedError: There are conflicts in it that a person is about to resolve.
        UnsupportedIndexError: The index is split, sparse, or unreadable.
    """
    lock = index.with_name(index.name + ".lock")
    mark = index.with_name(_MARK + commit)
    fd = _lock(lock, mark)
    try:
        with os.fdopen(fd, "wb") as file:
            old = index.read_bytes() if index.exists() else b""
            try:
                version, entries = _read(old) if old else (2, {})
            except (struct.error, IndexError, ValueError) as error:
                raise UnsupportedIndexError from error
            for (path, stage), _ in entries.items():
                if stage:
                    raise BlockedError(
                        f"{show(path)} has conflicts in {index.parent}", "resolve them there: git add, then git commit"
                    )
            if old:
                entries = _smudged(entries, index.stat().st_mtime_ns // 10**9)
            body = _packed(version, _merged(entries, set_entries, gone))
            file.write(body + hashlib.sha1(body, usedforsecurity=False).digest())
            if old:
                os.fchmod(fd, stat.S_IMODE(index.stat().st_mode))
            file.flush()
            os.fsync(fd)
        yield
        os.replace(lock, index)
    except BaseException:
        lock.unlink(missing_ok=True)
        raise
    finally:
        mark.unlink(missing_ok=True)


def _lock(lock: Path, mark: Path) -> int:
    """Take git's lock, by a file that also has a name of ours; returns it open for writing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    fd = os.open(mark, flags, 0o666)
    try:
        try:
            os.link(mark, lock)
        except FileExistsError:
            raise
        except OSError:  # a file system without links: a killed run leaves a lock that nobody can tell from git's own
            os.close(fd)
            fd = os.open(lock, flags | os.O_EXCL, 0o666)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.close(fd)
        mark.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise TransientError(
                f"{lock} exists: another git command is at work there",
                "let it finish (if none runs, remove that file); it is tried again",
            ) from None
        raise
    return fd


def recover(index: Path, head: str | None) -> None:
    """Put away the lock that a killed run of ours left; one of git's own is never touched.

    Args:
        index: The index file.
        head: The commit that is checked out. If it is the one that the run was about to publish, its index follows.
    """
    lock = index.with_name(index.name + ".lock")
    for mark in index.parent.glob(f"{_MARK}*"):
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.lstat(lock), os.lstat(mark)):
                if mark.name == _MARK + (head or ""):
                    os.replace(lock, index)
                else:
                    lock.unlink()
        mark.unlink(missing_ok=True)


def _smudged(entries: Mapping[Key, bytes], written_s: int) -> dict[Key, bytes]:
    """Have git read those files again that were last written in the very second in which the index was.

    Git does so anyway as long as the index is that old; with a new one it would take them for unchanged. Source:
    git's Documentation/technical/racy-git.txt.
    """
    return {
        key: fixed[:36] + b"\0\0\0\0" + fixed[40:] if struct.unpack_from(">L", fixed, 8)[0] >= written_s else fixed
        for key, fixed in entries.items()
    }


def _merged(
    entries: Mapping[Key, bytes], set_entries: Mapping[bytes, Entry], gone: Iterable[bytes]
) -> Iterator[tuple[Key, bytes]]:
    """All entries afterwards, sorted as git sorts them; no path is a file and a folder at once."""
    removed = {*gone, *set_entries}
    folders = {folder for path in set_entries for folder in _folders(path)}
    merged = {
        key: fixed
        for key, fixed in entries.items()
        if key[0] not in removed and key[0] not in folders and not any(up in set_entries for up in _folders(key[0]))
    }
    merged |= {(path, 0): _fixed(path, entry) for path, entry in set_entries.items()}
    yield from sorted(merged.items())


def _folders(path: bytes) -> Iterator[bytes]:
    at = path.find(b"/")
    while at >= 0:
        yield path[:at]
        at = path.find(b"/", at + 1)


def _read(data: bytes) -> tuple[int, dict[Key, bytes]]:
    """Version and entries of an index: what stands before the name, by path and stage."""
    magic, version, count = _HEADER.unpack_from(data)
    if magic != b"DIRC" or version not in (2, 3, 4):
        raise UnsupportedIndexError
    entries = {}
    at = _HEADER.size
    path = b""
    for _ in range(count):
        flags = _flags(data, at)
        start = at + _ENTRY.size + (2 if flags & _EXTENDED else 0)
        fixed = data[at:start]
        if version == 4:
            strip, start = _varint(data, start)
            end = data.index(b"\0", start)
            path = path[: len(path) - strip] + data[start:end]
            at = end + 1
        else:
            end = start + (flags & _NAME) if flags & _NAME < _NAME else data.index(b"\0", start)
            path = data[start:end]
            at += (end - at + 8) & ~7
        entries[path, (flags & _STAGE) >> 12] = fixed
    while at < len(data) - 20:
        name, size = struct.unpack_from(">4sL", data, at)
        if name in _REQUIRED_EXTENSIONS:
            raise UnsupportedIndexError
        at += 8 + size
    return version, entries


def _packed(version: int, entries: Iterable[tuple[Key, bytes]]) -> bytes:
    """An index file without its checksum."""
    rows = []
    extended = 2
    before = b""
    for (path, _), fixed in entries:
        if _flags(fixed) & _EXTENDED:
            extended = 3
        if version == 4:
            common = _common(before, path)
            rows.append(fixed + _packed_varint(len(before) - common) + path[common:] + b"\0")
            before = path
        else:
            row = fixed + path
            rows.append(row + b"\0" * (8 - len(row) % 8))
    return _HEADER.pack(b"DIRC", 4 if version == 4 else extended, len(rows)) + b"".join(rows)


def _common(one: bytes, other: bytes) -> int:
    """How many bytes two paths begin with alike."""
    for at, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return at
    return min(len(one), len(other))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and where it ends. Source: gitformat-pack(5), "OFS_DELTA"."""
    value = data[at] & 0x7F
    while data[at] & 0x80:
        at += 1
        value = ((value + 1) << 7) | (data[at] & 0x7F)
    return value, at + 1


def _packed_varint(value: int) -> bytes:
    packed = bytes((value & 0x7F,))
    while value := value >> 7:
        value -= 1
        packed = bytes((0x80 | value & 0x7F,)) + packed
    return packed


def _flags(fixed: bytes, at: int = 0) -> int:
    return int(struct.unpack_from(">H", fixed, at + _ENTRY.size - 2)[0])


def _fixed(path: bytes, entry: Entry) -> bytes:
    """What stands before the name."""
    flags = min(len(path), _NAME)
    extended = b""
    numbers = [0] * 10
    numbers[6] = int(entry.git_mode, 8)
    if entry.look is Look.ABSENT:
        flags |= _EXTENDED
        extended = struct.pack(">H", _SKIP_WORKTREE)
    elif entry.look is Look.TRUST:
        flags |= _VALID
    if (seen := entry.signature) is not None:
        device, user, group = entry.owner
        numbers = [
            *divmod(seen.ctime_ns, 10**9), *divmod(seen.mtime_ns, 10**9),
            device, seen.inode, int(entry.git_mode, 8), user, group, seen.size_bytes,
        ]  # fmt: skip
    return _ENTRY.pack(*(number & 0xFFFFFFFF for number in numbers), bytes.fromhex(entry.blob_oid), flags) + extended
