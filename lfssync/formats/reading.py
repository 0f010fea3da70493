"""What all format checks share: the ranges of a file that they read, and what they find.

The one thing to know: a finding is a reason to wait and never one to drop. INCOMPLETE is said only where more bytes
could make the file whole; what no waiting can mend, such as a wrong beginning, is UNKNOWN and is taken as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from lfssync.model import human_bytes

_FILE_MAX_BYTES = (1 << 63) - 1


class Completeness(Enum):
    """Whether a file is all there, as far as its format tells."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; the reason is for people and follows the file's name."""

    completeness: Completeness
    reason: str = ""

    @property
    def is_incomplete(self) -> bool:
        """Whether to wait for more."""
        return self.completeness is Completeness.INCOMPLETE


COMPLETE = Finding(Completeness.COMPLETE)


def incomplete(reason: str) -> Finding:
    """More is to come."""
    return Finding(Completeness.INCOMPLETE, reason)


def unknown(reason: str) -> Finding:
    """The format does not tell, or it is another one."""
    return Finding(Completeness.UNKNOWN, reason)


@dataclass(frozen=True, slots=True)
class Reader:
    """Ranges of one file.

    Args:
        size_bytes: How long it is.
        read: Gives so many bytes (the first argument) from an offset (the second) on, fewer at the end.
    """

    size_bytes: int
    read: Callable[[int, int], bytes]

    @classmethod
    def of(cls, fd: int, size_bytes: int) -> Reader:
        """A reader of an open file."""
        return cls(size_bytes, lambda count, offset: os.pread(fd, count, offset))

    def at(self, offset: int, count: int) -> bytes:
        """The bytes of a range, as far as the file goes; offsets may be whatever a file claims."""
        count = min(count, self.size_bytes - offset)
        return self.read(count, offset) if offset >= 0 and count > 0 else b""

    def against(self, wanted_bytes: int) -> Finding:
        """The finding for a file whose header tells how long it is."""
        if wanted_bytes > _FILE_MAX_BYTES:
            return unknown("claims to be larger than files can be")
        if self.size_bytes < wanted_bytes:
            there, wanted = human_bytes(self.size_bytes), human_bytes(wanted_bytes)
            if there == wanted:
                return incomplete(f"ends {human_bytes(wanted_bytes - self.size_bytes)} too early")
            return incomplete(f"ends after {there} of {wanted}")
        return COMPLETE if self.size_bytes == wanted_bytes else unknown("longer than its header says")

    def within_header(self) -> Finding:
        """The finding for a file that is too short to tell how long it will be."""
        return incomplete(f"ends within its header, after {human_bytes(self.size_bytes)}")

    def begins(self, magic: bytes) -> Finding | None:
        """None when the file begins so; else what that means."""
        start = self.at(0, len(magic))
        if start == magic:
            return None
        return self.within_header() if magic.startswith(start) else unknown("begins like no file of its kind")
