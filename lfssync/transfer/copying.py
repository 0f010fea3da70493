"""Makes a file out of an open descriptor, byte for byte what its name says, or nothing at all.

Used wherever LFS objects become local files: the bare remote, local copies, downloads from a bare remote.
The one thing to know: the bytes that are *written* are hashed, not those that were read before; where the file system
can clone, the clone is made first and then hashed, so it is one immutable state. Hard links are never used: an
in-place write to one name would damage the other.

Source: ioctl_ficlonerange(2), rename(2), fsync(2).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from lfssync.model import LfsObject
from lfssync.shares import hash_block

_FICLONE = 0x40049409
_BLOCK_BYTES = 1 << 20
_FLUSH_BYTES = 32 << 20
"""Written pages are handed to the disk, and leave the cache to the training job, in steps of this size."""

_PREFIX = "lfssync-"

Advance = Callable[[int], None]
"""Told how many bytes of the object are done."""


def copy_checked(source_fd: int, lfs: LfsObject, temporary: Path, advance: Advance) -> bool:
    """Write an object's bytes into a new file and say whether they are the object.

    The file is not yet synced; when the answer is False it is removed.

    Args:
        source_fd: Open descriptor to read from (its position is not used).
        lfs: What the bytes should be.
        temporary: The new file; its folder exists.
        advance: Progress in bytes.

    Returns:
        True when exactly `lfs.size_bytes` bytes with that sha256 are in the file.
    """
    target_fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    good = False
    try:
        good = (_clone if clones(source_fd, target_fd) else _copy)(source_fd, target_fd, lfs, advance)
        return good
    finally:
        os.close(target_fd)
        if not good:
            temporary.unlink(missing_ok=True)


def clones(source_fd: int, target_fd: int) -> bool:
    """Make an open file a clone of another, if the file system can."""
    try:
        fcntl.ioctl(target_fd, _FICLONE, source_fd)
    except OSError:
        return False
    return True


def _clone(_: int, target_fd: int, lfs: LfsObject, advance: Advance) -> bool:
    if os.fstat(target_fd).st_size > lfs.size_bytes:  # appended to since, and only the beginning is the object
        os.ftruncate(target_fd, lfs.size_bytes)
    return os.fstat(target_fd).st_size == lfs.size_bytes and digest(target_fd, lfs.size_bytes, advance) == lfs.oid


def _copy(source_fd: int, target_fd: int, lfs: LfsObject, advance: Advance) -> bool:
    hashed = hashlib.sha256()
    view = memoryview(bytearray(_BLOCK_BYTES))
    done = flushed = 0
    while done < lfs.size_bytes:
        count = os.preadv(source_fd, [view[: lfs.size_bytes - done]], done)
        if count == 0:
            return False
        hash_block(hashed, view[:count])
        written = 0
        while written < count:
            written += os.write(target_fd, view[written:count])
        done += count
        if done - flushed >= _FLUSH_BYTES:  # starts the writing out, so the fsync waits less
            os.posix_fadvise(target_fd, flushed, done - flushed, os.POSIX_FADV_DONTNEED)
            flushed = done
        advance(done)
    return hashed.hexdigest() == lfs.oid


def digest(fd: int, size_bytes: int, advance: Advance = lambda _: None) -> str:
    """The sha256 of the first `size_bytes` of an open file, in hex."""
    hashed = hashlib.sha256()
    view = memoryview(bytearray(_BLOCK_BYTES))
    done = 0
    while done < size_bytes and (count := os.preadv(fd, [view[: size_bytes - done]], done)):
        hash_block(hashed, view[:count])
        done += count
        advance(done)
    return hashed.hexdigest()


def holds(file: Path, lfs: LfsObject) -> bool:
    """Whether a file exists and is this object, read and hashed."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return os.fstat(fd).st_size == lfs.size_bytes and digest(fd, lfs.size_bytes) == lfs.oid
    finally:
        os.close(fd)


@contextlib.contextmanager
def workroom(folder: Path, prefix: str = _PREFIX) -> Iterator[Path]:
    """A new folder for temporary files, removed at the end; first clears away what killed runs left beside it.

    Whether a run still lives is told by its lock on its own folder and not by its process number, which in a
    container, or on another machine that shares the disk, may be ours.

    Args:
        folder: Where to make it; has to be there.
        prefix: How its name begins, as those of all that are looked for.
    """
    clear_leftovers(folder, prefix)
    while (made := _locked_room(folder, prefix)) is None:
        continue  # another run took it for a leftover before it was locked
    room, fd = made
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)
        os.close(fd)


def _locked_room(folder: Path, prefix: str) -> tuple[Path, int] | None:
    room = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
    try:
        fd = os.open(room, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with contextlib.suppress(OSError):  # where the file system has no locks, nobody clears anything away either
        fcntl.flock(fd, fcntl.LOCK_EX)
    if os.fstat(fd).st_nlink:
        return room, fd
    os.close(fd)
    return None


def clear_leftovers(folder: Path, prefix: str = _PREFIX) -> None:
    """Take away the rooms of runs that were killed, as far as they are ours."""
    for name in os.listdir(folder):
        if not name.startswith(prefix):
            continue
        with contextlib.suppress(OSError):
            fd = os.open(folder / name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(fd).st_uid == os.geteuid():
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder / name)
            finally:
                os.close(fd)


def sync_file(file: Path) -> None:
    """Make a file's or a folder's content durable."""
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
