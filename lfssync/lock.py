"""One pass at a time for a mirror, whoever runs it: a lock on a file in the mirror's state folder.

Taken by `pipeline` and `releases` around everything they do. The kernel drops it when its holder dies, so it is never
stale.

Source: flock(2).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from lfssync.errors import TransientError, UserError

_TRY_EVERY_S = 0.1


@contextlib.contextmanager
def held(state_dir: Path, wait_s: float, stop: threading.Event) -> Iterator[None]:
    """Hold the lock of a state folder, which is created if it is not there.

    Args:
        state_dir: The mirror's state folder; readable by its user alone.
        wait_s: How long to wait for another holder, in seconds.
        stop: Gives up waiting when set.

    Raises:
        UserError: The folder cannot be made or written.
        TransientError: Another pass took longer than that.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UserError(
            f"{error.filename or state_dir}: {(error.strerror or '').lower()}",
            "make lfssync's state folder writable, or set LFSSYNC_STATE_DIR",
        ) from error
    try:
        deadline = time.monotonic() + wait_s
        while not _try(fd):
            if time.monotonic() >= deadline:
                raise TransientError("another pass of this mirror is under way", "it goes on when that one is done")
            if stop.wait(_TRY_EVERY_S):
                raise TransientError("stopped while another pass was under way", "the next start goes on from here")
        yield
    finally:
        os.close(fd)


def is_held(state_dir: Path) -> bool:
    """Whether somebody holds the lock right now."""
    try:
        fd = os.open(state_dir / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _try(fd)
    finally:
        os.close(fd)


def _try(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
