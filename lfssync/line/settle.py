"""May this file be taken now, or must it wait?

Stands between `scan` and `stage`: `probe` asks the kernel whether anybody still writes, `judge` decides (pure). What
settled and is of a known format has to be complete as well, which `formats` tells.
The one thing to know: a read lease is only *tried* and given back at once, never held, so no opener ever waits for
us; and `F_SETSIG` comes before it, because a writer that opens in that instant makes the kernel send us a signal, and
the default one, SIGIO, would end the process.

Source: fcntl(2), "Leases".
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from lfssync.formats import has_check
from lfssync.model import STILL_CHANGING, Change, Signature

_F_SETSIG = 10  # not in Python's fcntl module; the number is the same on every Linux architecture

RACY_NS = 20_000_000
"""Time stamps move in ticks of up to 10 ms: a file touched less than two of them ago may change unseen."""

_SECOND_NS = 1_000_000_000
_COARSE_NS = 2 * _SECOND_NS + RACY_NS
"""Stamps in whole seconds move once in one, as those of ext3 and of ext4 with small inodes, or in two, as FAT's do."""

_LOOKS = 3


class Writer(Enum):
    """What the kernel says about writers of a file."""

    ABSENT = "absent"
    PRESENT = "present"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Seen:
    """A signature and since when (monotonic seconds) it has not moved."""

    signature: Signature
    since_s: float


def probe(fd: int) -> Writer:
    """Ask whether anybody has the file open for writing or mapped shared and writable. Takes about 10 µs.

    Args:
        fd: A descriptor opened read-only.

    Returns:
        UNKNOWN where leases do not work: file systems without them, or a file of another owner.
    """
    try:
        fcntl.fcntl(fd, _F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return Writer.PRESENT if error.errno in (errno.EAGAIN, errno.EBUSY) else Writer.UNKNOWN
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return Writer.ABSENT


def judge(writer: Writer, seen: Seen, now_s: float, quiet_s: float) -> str | None:
    """Decide whether a file is settled.

    Args:
        writer: What `probe` said.
        seen: Its signature and since when that has been the same.
        now_s: Monotonic seconds.
        quiet_s: How long a signature must stand still where the kernel cannot tell about writers.

    Returns:
        None when it may be taken, else the reason to wait.
    """
    if writer is Writer.PRESENT:
        return "open for writing"
    if writer is Writer.UNKNOWN and now_s - seen.since_s < quiet_s:
        return STILL_CHANGING
    return None


def is_appended(change: Change, size_bytes: int) -> bool:
    """Whether the beginning of a file that is being written may be taken alone: it only ever grew.

    What has a format that tells whether it is complete has to become so instead.

    Args:
        change: The file, with what is recorded about it.
        size_bytes: How large it is now.
    """
    known = change.known.signature if change.known else None
    return not has_check(change.path) and (known is None or known.size_bytes <= size_bytes)


def wait_if_racy(fd: int, clock: Callable[[], int] = time.time_ns) -> os.stat_result | None:
    """The stat of an open file, taken late enough that any later write must show in its time stamps.

    Args:
        fd: The open file.
        clock: Wall clock in nanoseconds, the clock that file systems stamp with.

    Returns:
        None when it is written all the time.
    """
    for left in reversed(range(_LOOKS)):
        status = os.fstat(fd)
        tick_ns = _COARSE_NS if status.st_ctime_ns % _SECOND_NS == 0 else RACY_NS
        age_ns = clock() - status.st_ctime_ns  # negative where another machine stamps
        if abs(age_ns) >= tick_ns:
            return status
        if left:
            time.sleep((tick_ns - max(age_ns, 0)) / 1e9)
    return None
