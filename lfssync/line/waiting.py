"""What could not be committed yet: since when each path waits, and what was read of it already.

Kept by the store between passes, as one fact; asked by `stage` and `assembly`, brought up to date by `pipeline`.
The one thing to know: `max_wait` counts from the first pass that had to leave a path behind, by the wall clock and
whoever ran that pass. So it means the same for the daemon and for a `sync` now and then. A file that nobody has
touched for `max_wait` has waited as well, also when it is seen for the first time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lfssync.model import Deferred, LfsObject, Signature, Staged

FACT = "waiting"
"""The store's name for it."""

PATHS = 2000
"""So many paths are remembered; a pass that leaves more behind reads the rest again next time."""

_SLACK = 0.95
"""Two clocks, the one that wakes the daemon and the one that stamps files, need not run equally fast."""


@dataclass(frozen=True, slots=True)
class Wait:
    """One path.

    Args:
        since: When a pass first left it behind, in seconds since the epoch.
        signature: The signature under which `lfs` was read; only with that.
        lfs: The LFS object that it was then, which the remote has; None when it was not read.
        is_appended: It does not wait now: its beginning was taken then, and the rest is to wait from then on.
    """

    since: float
    signature: Signature | None = None
    lfs: LfsObject | None = None
    is_appended: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """All paths that wait."""

    waits: Mapping[bytes, Wait] = field(default_factory=dict)

    def looked_at(self, paths: Iterable[bytes]) -> frozenset[bytes] | None:
        """Where a pass has to look that shall look at these paths: at all that waits as well, or everywhere.

        Args:
            paths: What changed, by hearsay.
        """
        if len(self.waits) >= PATHS:
            return None
        return frozenset((*paths, *(path for path, wait in self.waits.items() if not wait.is_appended)))

    def has_waited(self, path: bytes, now: float, max_wait_s: float) -> bool:
        """Whether a path was left behind for the first time so long ago.

        Args:
            path: The path.
            now: Seconds since the epoch.
            max_wait_s: How long.
        """
        wait = self.waits.get(path)
        return wait is not None and now - wait.since >= max_wait_s * _SLACK

    def was_read(self, path: bytes, signature: Signature) -> LfsObject | None:
        """The LFS object that a file is, when it was read under this very signature before."""
        wait = self.waits.get(path)
        return wait.lfs if wait is not None and wait.signature == signature else None

    def after(
        self, deferred: Iterable[Deferred], read: Iterable[Staged], removed: Iterable[bytes], now: float
    ) -> Waiting:
        """What waits after a pass that looked at all that waited before.

        Args:
            deferred: What it left behind.
            read: What it read, committed or not.
            removed: What is gone.
            now: Seconds since the epoch.
        """
        staged = {one.path: one for one in read}
        over = staged.keys() | set(removed)
        waits = {path: wait for path, wait in self.waits.items() if wait.is_appended and path not in over}
        waits |= {one.path: Wait(now, is_appended=True) for one in staged.values() if one.is_prefix}
        for path in dict.fromkeys(one.path for one in deferred):
            before = self.waits.get(path)
            since = now if before is None else min(before.since, now)
            one = staged.get(path)
            was_read = one is not None and one.lfs is not None and not one.is_prefix
            waits[path] = Wait(since, one.signature, one.lfs) if one and was_read else Wait(since)
        return Waiting(dict(list(waits.items())[:PATHS]))

    def with_read(self, read: Iterable[Staged], now: float) -> Waiting:
        """What waits after a look ahead, which left nothing behind but read something.

        Args:
            read: What it read.
            now: Seconds since the epoch.
        """
        waits = dict(self.waits)
        for one in read:
            if one.lfs is not None and (one.path in waits or len(waits) < PATHS):
                before = waits.get(one.path)
                waits[one.path] = Wait(before.since if before else now, one.signature, one.lfs)
        return Waiting(waits)

    def document(self) -> object:
        """As the store keeps it."""
        return [[os.fsdecode(path), wait.since, wait.is_appended, *_parts(wait)] for path, wait in self.waits.items()]

    @classmethod
    def of(cls, document: object) -> Waiting:
        """The inverse of `document`; what was written by another version is forgotten."""
        try:
            return cls(dict(_entry(row) for row in document))  # type: ignore[attr-defined]
        except (TypeError, ValueError):
            return cls()


def _parts(wait: Wait) -> list[int | str]:
    seen = wait.signature
    if seen is None or wait.lfs is None:
        return []
    return [wait.lfs.oid, seen.size_bytes, seen.mtime_ns, seen.ctime_ns, seen.inode, seen.mode]


def _entry(row: object) -> tuple[bytes, Wait]:
    match row:
        case [str() as path, float() as since, bool() as is_appended]:
            return os.fsencode(path), Wait(since, is_appended=is_appended)
        case [str() as path, float() as since, bool(), str() as oid, int() as size, *rest]:
            mtime, ctime, inode, mode = (part for part in rest if isinstance(part, int))
            return os.fsencode(path), Wait(since, Signature(size, mtime, ctime, inode, mode), LfsObject(oid, size))
        case _:
            raise TypeError("an entry of another version")
