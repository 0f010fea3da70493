"""Which LFS objects of a remote are looked at next, and how many: a little each day, the one seen longest ago first.

Used by `scrub`. Pure: times are passed in. The one thing to know: in a month everything has had its turn, however much
there is; and a day's share is small enough that nobody notices it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lfssync.model import LfsObject

DAY_S = 86400.0

DAYS = 30
"""Everything has had its turn after so many days."""

AT_LEAST = 20
"""So many objects are looked at on a day, however few there are."""


def portion(objects: int, last_at: float | None, now: float) -> int:
    """How many objects to look at now.

    Args:
        objects: How many there are.
        last_at: When the last portion was looked at, in seconds since the epoch; None when none ever was.
        now: Seconds since the epoch; a clock that was put back means that a day has passed.
    """
    if last_at is not None and 0 <= now - last_at < DAY_S:
        return 0
    return min(objects, max(AT_LEAST, -(-objects // DAYS)))


def longest_unseen(objects: Iterable[LfsObject], seen: Mapping[str, float], count: int) -> list[LfsObject]:
    """The objects whose turn it is, by when each was seen last; those that never were come first."""
    return sorted(objects, key=lambda lfs: (seen.get(lfs.oid, 0.0), lfs.oid))[:count]


def all_seen_since(objects: Sequence[LfsObject], *seen: Mapping[str, float]) -> float | None:
    """Since when every object has been seen; None while one never was, or there are none.

    Args:
        objects: All there are.
        seen: When objects were seen, by oid; the latest counts.
    """
    moments = [max((one[lfs.oid] for one in seen if lfs.oid in one), default=None) for lfs in objects]
    known = [moment for moment in moments if moment is not None]
    return min(known) if known and len(known) == len(moments) else None
