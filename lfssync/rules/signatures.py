"""The numbers of a stat result that tell one state of a file from another. Pure; used by `model` and `scan`.

The one thing to know: each is kept as databases keep numbers, modulo 2^64 and signed. Some file systems make up inodes
of the full width, and people set times beyond the year 2262.
"""

from __future__ import annotations

import os

_HALF = 1 << 63


def signature_numbers(status: os.stat_result) -> tuple[int, int, int, int, int]:
    """Size in bytes, mtime and ctime in nanoseconds, inode, and mode. See stat(2)."""
    mtime_ns, ctime_ns, inode = status.st_mtime_ns, status.st_ctime_ns, status.st_ino
    if not (-_HALF <= mtime_ns < _HALF and -_HALF <= ctime_ns < _HALF and inode < _HALF):
        mtime_ns, ctime_ns, inode = ((number + _HALF) % (2 * _HALF) - _HALF for number in (mtime_ns, ctime_ns, inode))
    return status.st_size, mtime_ns, ctime_ns, inode, status.st_mode
