"""Refs as the files that git keeps them in: read and moved without starting git, which costs milliseconds each time.

Used by `repository` for a mirror's own git dir, and by `delivery` for a remote on this machine's disks. The one thing
to know: only the plain case is answered here, and as git would. For anything else (a link, a half-written file, another
format of refs) the answer is "ask git", so that its rules and its errors stay the ones that count.

Source: gitrepository-layout(5); git-pack-refs(1); git-update-ref(1).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

_OID = re.compile(rb"([0-9a-f]{40})\n?")
_COMMIT = re.compile(rb"commit [0-9]+\0tree ([0-9a-f]{40})\n")
_ZERO = "0" * 40
_PACKED_LIMIT_BYTES = 1 << 20
_COMMIT_LIMIT_BYTES = 1 << 20
_OTHER_FORMATS = ("reftable", "commondir")
"""What there is beside refs that are kept otherwise: in tables, or in the git dir that a linked worktree belongs to."""


def read(git_dir: Path, names: Iterable[str]) -> dict[str, str] | None:
    """Where refs stand.

    Args:
        git_dir: The git dir.
        names: Their full names.

    Returns:
        40-digit ids by name, without those that are not there; None when only git can tell.
    """
    if any(os.path.lexists(git_dir / other) for other in _OTHER_FORMATS) or not (git_dir / "refs").is_dir():
        return None
    found, absent = {}, set()
    try:
        for name in names:
            text = _loose(git_dir / name)
            if text is None:
                absent.add(name)
            elif (oid := _OID.fullmatch(text)) and oid[1].decode() != _ZERO:
                found[name] = oid[1].decode()
            else:
                return None
        if absent:  # only now: a ref that is packed meanwhile is there before its own file goes
            packed = _packed(git_dir / "packed-refs")
            if packed is None:
                return None
            found |= {name: packed[name] for name in absent & packed.keys()}
    except OSError:
        return None
    return found


def move(git_dir: Path, moves: Mapping[str, tuple[str | None, str | None]]) -> bool:
    """Move refs that have files of their own, all of them or none, under git's own locks and as durably as git does.

    Args:
        git_dir: The git dir.
        moves: For each full name the value it has and the value it gets.

    Returns:
        Whether it was done; where not, nothing has moved, and it is git's to do or to refuse.
    """
    with contextlib.ExitStack() as locks:
        held = []
        for name, (old, new) in moves.items():
            if old is None or new is None:
                return False
            lock = git_dir / f"{name}.lock"
            try:
                fd = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            except OSError:
                return False
            locks.callback(_drop, lock)
            try:
                if os.write(fd, text := f"{new}\n".encode()) < len(text):
                    return False
                os.fsync(fd)
            except OSError:
                return False
            finally:
                os.close(fd)
            held.append((lock, git_dir / name))
        if any(_value(target) != moves[name][0] for name, (_, target) in zip(moves, held, strict=True)):
            return False
        for lock, target in held:
            os.rename(lock, target)
        locks.pop_all()  # the locks are gone, and one of that name would be somebody else's by now
    return True


def tip_on_disk(git_dir: Path, name: str) -> str | None:
    """Where a ref of a repository on this machine's disks stands, if it is ours and the commit is whole.

    Args:
        git_dir: Its git dir.
        name: The full name.

    Returns:
        The 40-digit id; None when git has to be asked, which has its own opinion about other people's repositories.
    """
    try:
        if git_dir.stat().st_uid != os.geteuid():
            return None
    except OSError:
        return None
    oid = (read(git_dir, [name]) or {}).get(name)
    return oid if oid is not None and tree_of(git_dir / "objects", oid) is not None else None


def tree_of(objects: Path, oid: str) -> str | None:
    """The tree of a commit that lies in a file of its own and is what its name says; None for any other.

    Args:
        objects: Where the objects of a repository are.
        oid: The 40-digit name of the commit.
    """
    try:
        with open(objects / oid[:2] / oid[2:], "rb") as file:
            content = zlib.decompressobj().decompress(file.read(_COMMIT_LIMIT_BYTES), _COMMIT_LIMIT_BYTES)
    except (OSError, zlib.error):
        return None
    if hashlib.sha1(content, usedforsecurity=False).hexdigest() != oid:
        return None
    found = _COMMIT.match(content)
    return found[1].decode() if found else None


def _value(path: Path) -> str | None:
    """What a ref's own file says; None where there is none, or another text."""
    with contextlib.suppress(OSError):
        found = _OID.fullmatch(_loose(path) or b"")
        return found[1].decode() if found else None
    return None


def _loose(path: Path) -> bytes | None:
    """The file of a ref; None when there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return os.read(fd, 64)
    except IsADirectoryError:
        return None
    finally:
        os.close(fd)


def _packed(path: Path) -> dict[str, str] | None:
    """The refs that have no file of their own; None when that is not told by a look at a small file."""
    try:
        with open(path, "rb") as file:
            text = file.read(_PACKED_LIMIT_BYTES + 1)
    except FileNotFoundError:
        return {}
    if len(text) > _PACKED_LIMIT_BYTES:
        return None
    found = {}
    for line in text.splitlines():
        if line[:1] in (b"#", b"^"):  # how the file is sorted, and what a tag points at
            continue
        oid, blank, name = line.partition(b" ")
        if not blank or not _OID.fullmatch(oid):
            return None
        found[os.fsdecode(name)] = oid.decode()
    return found


def _drop(lock: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        lock.unlink()
