"""One pass at a time for a mirror, whoever runs it, and one daemon for a state folder: locks on files.

Taken by `pipeline` and `releases` around everything they do, and by `daemon` for as long as it lives. The kernel drops
a lock when its holder dies, so none is ever stale.
The one thing to know: a lock is on the file and not on its name. Whoever gets one looks if the file is still there,
because `remove --purge` may have deleted it while others waited for it.

Source: flock(2).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from lfssync.errors import BlockedError, LfssyncError, TransientError, UserError

DAEMON_LOCK = "daemon.lock"
"""The daemon's lock in the state folder."""

_TRY_EVERY_S = 0.1
_LOOKERS_TAKE_S = 1.0
"""Whoever merely looks if a lock is held has it for a moment; so long is tried before somebody else counts as there."""

_PID_CHARACTERS = 20

# A person has to do something about these; all else (disk full, read-only after an error) may pass.
_LASTING = frozenset({errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENAMETOOLONG})


class BusyError(TransientError):
    """Another pass of the mirror is under way; nothing is wrong."""


@contextlib.contextmanager
def held(state_dir: Path, wait_s: float, stop: threading.Event) -> Iterator[None]:
    """Hold the lock of a state folder, which is created if it is not there.

    Args:
        state_dir: The mirror's state folder; readable by its user alone.
        wait_s: How long to wait for another holder, in seconds.
        stop: Gives up waiting when set.

    Raises:
        UserError: The folder may not be made or written.
        TransientError: It cannot be made or written just now, or `stop` was set.
        BusyError: Another pass took longer than that.
    """
    file = state_dir / "lock"
    deadline = time.monotonic() + wait_s
    fd = _open(file)
    try:
        while not (_try(fd) and _is_still(file, fd)):
            if not _is_still(file, fd):
                os.close(fd)
                fd = -1
                fd = _open(file)
                continue
            if time.monotonic() >= deadline:
                raise BusyError("another pass of this mirror is under way", "it goes on when that one is done")
            if stop.wait(_TRY_EVERY_S):
                raise TransientError("stopped while another pass was under way", "the next start goes on from here")
        yield
    finally:
        if fd >= 0:
            os.close(fd)


def is_held(state_dir: Path) -> bool:
    """Whether somebody holds the lock of a state folder right now."""
    return _holder(state_dir / "lock") is not None


@contextlib.contextmanager
def alone(file: Path) -> Iterator[None]:
    """Be the only daemon for a state folder, and say who that is.

    Args:
        file: The daemon's lock in the state folder.

    Raises:
        UserError: The folder may not be made or written.
        TransientError: It cannot be made or written just now.
        BlockedError: Another daemon runs.
    """
    fd = _open(file)
    try:
        deadline = time.monotonic() + _LOOKERS_TAKE_S
        while not _try(fd):
            if time.monotonic() >= deadline:
                pid = _pid(fd)
                raise BlockedError(
                    f"another lfssync daemon runs already (process {pid or 'unknown'})", f"end it first: kill {pid}"
                )
            time.sleep(_TRY_EVERY_S)
        try:
            # Always as long, so that on a full disk the next daemon writes where one wrote before.
            os.pwrite(fd, f"{os.getpid()}\n".rjust(_PID_CHARACTERS).encode(), 0)
        except OSError as error:
            raise unusable(file, error) from error
        yield
    finally:
        os.close(fd)


def running_daemon(file: Path) -> int | None:
    """The process that is `alone` with a file now, or None; 0 when it has not said yet who it is."""
    return _holder(file)


def _holder(file: Path) -> int | None:
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return None if _try(fd, fcntl.LOCK_SH) else _pid(fd)
    finally:
        os.close(fd)


def _pid(fd: int) -> int:
    text = os.pread(fd, _PID_CHARACTERS, 0).strip()
    return int(text) if text.isdigit() else 0


def _open(file: Path) -> int:
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unusable(file, error) from error


def unusable(file: Path, error: OSError) -> LfssyncError:
    """What it means that a file in the state folder cannot be made or changed."""
    message = f"{error.filename or file}: {(error.strerror or '').lower()}"
    if error.errno in _LASTING:
        return UserError(message, "make lfssync's state folder writable, or set LFSSYNC_STATE_DIR")
    return TransientError(message, "free disk space or mend the disk that lfssync's state is on; it is tried again")


def _is_still(file: Path, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(file), os.fstat(fd))
    except OSError:
        return False


def _try(fd: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
