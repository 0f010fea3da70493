"""Puts what a pass read together to commits: whole groups only, one commit for each checkpoint.

Stands between staging and `plan`: `form` looks at the disk right after the scan, `sort` decides once everything was
read. The rules themselves are in `groups`.
The one thing to know: a file that was read under the signature that the scan saw did not change in between. So when
that holds for all that changed in a group, what was read is the group as it was at the end of the scan, one state, even
if rotation has deleted it meanwhile.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lfssync.line.opening import open_beneath
from lfssync.line.plan import CommitPlan, differs
from lfssync.line.waiting import Waiting
from lfssync.model import (
    STILL_CHANGING,
    Changes,
    Deferred,
    IncompletePolicy,
    Known,
    Mirror,
    Signature,
    Staged,
    show,
)
from lfssync.records.store import Store
from lfssync.records.told import told_about
from lfssync.rules import trainerstate
from lfssync.rules.commitmessage import group_message, message
from lfssync.rules.groups import Key, Kind, View, is_index, key_of, numbered, reason_to_wait, shards_of

COMMITS = 50
"""So many checkpoints of one pass get a commit each; the others come along in the first one."""

_INDEX_MAX_BYTES = 32 << 20

Stills = dict[bytes, tuple[float, float]]
"""For each group by its path: its newest change, and since when in monotonic seconds that has been the newest."""


@dataclass(frozen=True, slots=True)
class Part:
    """What becomes one commit.

    Args:
        key: The checkpoint that it is, or None for everything else.
        staged: What was read.
        removed: Recorded paths that are gone.
        verb: What happens to the checkpoint.
    """

    key: Key | None
    staged: tuple[Staged, ...]
    removed: tuple[bytes, ...]
    verb: str = ""


@dataclass(frozen=True, slots=True)
class Sorted:
    """What a pass commits, in this order, and what must wait.

    Args:
        parts: The commits: everything else, with the rules for what is LFS, before the checkpoints from the oldest on.
        deferred: What must wait, with what only waits for others of its group.
        warnings: Lines for people about groups that are committed although they are not whole.
    """

    parts: tuple[Part, ...]
    deferred: tuple[Deferred, ...]
    warnings: tuple[str, ...] = ()

    @property
    def staged(self) -> list[Staged]:
        """All that was read and is committed."""
        return [one for part in self.parts for one in part.staged]

    @property
    def removed(self) -> list[bytes]:
        """All deletions that are committed."""
        return [path for part in self.parts for path in part.removed]

    def in_parts(self, limit: int | None) -> tuple[Part, ...]:
        """As so many commits at most: beyond that, what is not a checkpoint and the oldest ones come together.

        Args:
            limit: How many, at least one; None for no limit.
        """
        if limit is None or len(self.parts) <= limit:
            return self.parts
        count = len(self.parts) - limit + 1
        first = self.parts[:count]
        staged = tuple(one for part in first for one in part.staged)
        return (Part(None, staged, tuple(path for part in first for path in part.removed)), *self.parts[count:])


@dataclass(slots=True)
class _Group:
    """A group of which something changed, as the scan and the disk say."""

    key: Key
    changed: dict[bytes, Signature] = field(default_factory=dict)
    removed: list[bytes] = field(default_factory=list)
    kept: set[bytes] = field(default_factory=set)
    missing: list[bytes] = field(default_factory=list)
    awaited: list[bytes] = field(default_factory=list)
    moved: list[bytes] = field(default_factory=list)
    index_ns: int | None = None
    newest_ns: int = 0


@dataclass(slots=True)
class Assembly:
    """The groups of one pass. `form` comes before anything is read, `sort` after.

    Args:
        root_fd: The mirrored directory.
        mirror: Its configuration.
        store: What is recorded.
        waiting: What earlier passes left behind.
        stills: Kept between passes by the caller, for file systems whose clock is not ours.
    """

    root_fd: int
    mirror: Mirror
    store: Store
    waiting: Waiting
    stills: Stills
    _scanned_at: float = 0.0
    _groups: dict[Key, _Group] = field(default_factory=dict)
    _keys: dict[bytes, Key] = field(default_factory=dict)

    def form(self, changes: Changes, scanned_at: float) -> None:
        """Find the groups that changes belong to, and look at what else there is of them.

        Args:
            changes: What the scan found.
            scanned_at: When it began, in seconds since the epoch.
        """
        self._scanned_at = scanned_at
        listings = self._listings([change.path for change in changes.changed], changes.removed)
        listed = {shard: index for index, shards in sorted(listings.items(), reverse=True) for shard in shards}
        for change in changes.changed:
            if group := self._group_of(change.path, listed):
                group.changed[change.path] = change.signature
        for path in changes.removed:
            is_gone = self._status(path) is None  # else it is only ignored now
            if is_gone and (group := self._group_of(path, listed)):
                group.removed.append(path)
        for group in self._groups.values():
            self._look(group, listings)

    def _group_of(self, path: bytes, listed: Mapping[bytes, bytes]) -> _Group | None:
        key = key_of(path, listed, self.mirror.groups)
        if key is None:
            return None
        self._keys[path] = key
        return self._groups.setdefault(key, _Group(key))

    def _listings(self, changed: Sequence[bytes], removed: Sequence[bytes]) -> dict[bytes, frozenset[bytes]]:
        """What the indexes beside all that changed list."""
        folders = {path.rpartition(b"/")[0] for path in (*changed, *removed)}
        found: dict[bytes, frozenset[bytes]] = {}
        for folder in folders:
            for name in filter(is_index, self._names(folder)):
                path = folder + b"/" + name if folder else name
                if shards := shards_of(path, self._content(path)):
                    found[path] = shards
        return found

    def _names(self, folder: bytes) -> list[bytes]:
        try:
            fd = open_beneath(self.root_fd, folder, os.O_DIRECTORY) if folder else os.dup(self.root_fd)
        except OSError:
            return []
        try:
            return [os.fsencode(name) for name in os.listdir(fd)]
        except OSError:
            return []
        finally:
            os.close(fd)

    def _content(self, path: bytes, expected: Signature | None = None, max_bytes: int = _INDEX_MAX_BYTES) -> bytes:
        """A small file of the directory; nothing where it is not one, cannot be read, or is not the expected one."""
        try:
            fd = open_beneath(self.root_fd, path)
        except OSError:
            return b""
        try:
            status = os.fstat(fd)
            is_it = status.st_size <= max_bytes and expected in (None, Signature.of(status))
            return os.pread(fd, status.st_size, 0) if is_it else b""
        except OSError:
            return b""
        finally:
            os.close(fd)

    def _look(self, group: _Group, listings: Mapping[bytes, frozenset[bytes]]) -> None:
        """Find what else there is of a group."""
        touched = group.changed.keys() | set(group.removed)
        if group.key.kind is Kind.FOLDER:
            group.kept = set(self.store.below(group.key.path)) - touched
            indexes = [path for path in listings if path.startswith(group.key.path + b"/")]
        else:
            indexes = [group.key.path] if group.key.path in listings else []
        listed = {shard for index in indexes for shard in listings[index]}
        there = {path: status for path in listed - group.changed.keys() if (status := self._status(path))}
        group.missing = sorted(listed - group.changed.keys() - there.keys())
        group.newest_ns = max((signature.ctime_ns for signature in group.changed.values()), default=0)
        if group.key.kind is Kind.FOLDER:
            folders = {path.rpartition(b"/")[0] for path in (*touched, *group.kept)} | {group.key.path}
            stamps = (self._status(folder) for folder in folders)
            group.newest_ns = max(group.newest_ns, *(status.st_ctime_ns for status in stamps if status), 0)
            return
        index = self._status(group.key.path)
        group.index_ns = index.st_ctime_ns if index else None
        recorded = self.store.known(group.key.path)
        if index and recorded and group.key.path not in touched and Signature.of(index) != recorded.signature:
            group.moved.append(group.key.path)  # since the scan, so it is not what will be committed
        group.kept = {path for path in there if self.store.known(path)}
        counted = {shard for names in set(map(numbered, group.changed)) if names for shard in names.all()}
        group.awaited = [path for path in counted - group.changed.keys() - listed if not self._status(path)]
        if index is None and group.changed:
            group.awaited.append(group.key.path)

    def _status(self, path: bytes) -> os.stat_result | None:
        try:
            return os.stat(path, dir_fd=self.root_fd, follow_symlinks=False)
        except OSError:
            return None

    def sort(
        self, staged: Iterable[Staged], deferred: Iterable[Deferred], removed: Iterable[bytes],
        known: Mapping[bytes, Known | None],
    ) -> Sorted:  # fmt: skip
        """Decide what is committed together, and what must wait for others.

        Args:
            staged: What was read.
            deferred: What could not be taken.
            removed: Recorded paths that are gone.
            known: What is recorded about paths that changed.
        """
        read: dict[Key | None, list[Staged]] = defaultdict(list)
        gone: dict[Key | None, list[bytes]] = defaultdict(list)
        waits: dict[Key | None, list[Deferred]] = defaultdict(list)
        for one in staged:
            read[self._keys.get(one.path)].append(one)
        for path in removed:
            gone[self._keys.get(path)].append(path)
        for left in deferred:
            waits[self._keys.get(left.path)].append(left)
        all_deferred = list(waits.pop(None, []))
        warnings = []
        for key, group in self._groups.items():
            view = self._view(group, read[key], waits[key], known)
            reason = reason_to_wait(view, self.mirror.quiet_s, self.mirror.max_wait_s)
            if reason and self._may_wait_no_longer(group, view):
                warnings.append(f"{show(key.path)}: {reason}; committed as it is")
                reason = None
            all_deferred += waits[key]
            if reason:
                all_deferred += [Deferred(one.path, reason, one.signature.size_bytes) for one in read.pop(key, [])]
                all_deferred += [Deferred(path, reason) for path in gone.pop(key, [])]
        for path in self.stills.keys() - {key.path for key in self._groups}:
            del self.stills[path]
        return Sorted(
            self._parts(read, gone, known), tuple(sorted(all_deferred, key=lambda one: one.path)), tuple(warnings)
        )

    def _view(
        self, group: _Group, read: Sequence[Staged], waits: Sequence[Deferred], known: Mapping[bytes, Known | None]
    ) -> View:
        fresh = [one for one in read if differs(one, known.get(one.path)) and not one.is_prefix]
        delayed = {one.path: one.reason for one in waits if not one.is_refused} | dict.fromkeys(
            group.moved, STILL_CHANGING
        )
        for one in fresh:
            if group.changed.get(one.path, one.signature) != one.signature:
                delayed[one.path] = STILL_CHANGING
        if not (fresh or group.removed):  # nothing in it is new
            return View(group.key, delayed)
        recorded_anew = [one for one in fresh if known.get(one.path)] or group.removed
        newest = max(fresh, key=lambda one: one.signature.ctime_ns, default=None)
        is_outdated = newest is not None and (group.index_ns is None or newest.signature.ctime_ns > group.index_ns)
        return View(
            group.key,
            delayed,
            tuple(group.missing),
            tuple(group.awaited),
            is_left=bool(group.changed or group.kept or group.missing or group.index_ns is not None),
            is_mixed=bool(recorded_anew and (group.kept or group.key.kind is Kind.SET)),
            outdates_index=newest.path if newest and is_outdated else None,
            still_s=self._still_s(group, [one.path for one in read if one.is_prefix]),
        )

    def _still_s(self, group: _Group, appended: Sequence[bytes]) -> float:
        """How long ago the newest change in a group was; files that are appended to for ever do not count."""
        newest_ns = group.newest_ns
        if appended:
            stamps = [signature.ctime_ns for path, signature in group.changed.items() if path not in appended]
            newest_ns = max(stamps, default=0)
        now_s = time.monotonic()
        seen_ns, since_s = self.stills.get(group.key.path, (newest_ns, now_s))
        if seen_ns != newest_ns:
            since_s = now_s
        self.stills[group.key.path] = (newest_ns, since_s)
        age_s = self._scanned_at - newest_ns / 1e9
        return max(age_s, now_s - since_s)

    def _may_wait_no_longer(self, group: _Group, view: View) -> bool:
        """Whether the mirror takes what is not whole, and this has had its time."""
        if self.mirror.incomplete is not IncompletePolicy.COMMIT:
            return False
        paths = (*group.changed, *group.removed)
        has_waited = any(self.waiting.has_waited(path, time.time(), self.mirror.max_wait_s) for path in paths)
        return has_waited or view.still_s >= self.mirror.max_wait_s

    def _parts(
        self,
        read: Mapping[Key | None, Sequence[Staged]],
        gone: Mapping[Key | None, Sequence[bytes]],
        known: Mapping[bytes, Known | None],
    ) -> tuple[Part, ...]:
        folders = [key for key in self._groups if key.kind is Kind.FOLDER and (read.get(key) or gone.get(key))]
        own = set(sorted(folders, key=lambda key: key.step)[-COMMITS:])
        rest = [key for key in {*read, *gone} if key not in own]
        first = Part(
            None,
            tuple(one for key in rest for one in read.get(key, ())),
            tuple(path for key in rest for path in gone.get(key, ())),
        )
        checkpoints = [
            Part(key, tuple(read.get(key, ())), tuple(gone.get(key, ())), self._verb(self._groups[key], known))
            for key in sorted(own, key=lambda key: key.step)
        ]
        return (first, *checkpoints)

    @staticmethod
    def _verb(group: _Group, known: Mapping[bytes, Known | None]) -> str:
        if not (group.changed or group.kept):
            return "Remove"
        was_there = group.kept or group.removed or any(known.get(path) for path in group.changed)
        return "Change" if was_there else "Add"

    def message(self, part: Part, made: CommitPlan) -> str:
        """The message of the commit that a part becomes, with what a trainer says about a checkpoint."""
        if part.key is None:
            return message(made.added, made.changed, made.removed, made.content_bytes, self._told(part))
        state = part.key.path + b"/" + trainerstate.NAME
        signature = next((one.signature for one in part.staged if one.path == state), None)
        text = self._content(state, signature, trainerstate.MAX_BYTES) if signature else b""
        paths = (made.added, made.changed, made.removed)
        telling = trainerstate.summary(text) or self._told(part)
        return group_message(part.verb, part.key.path, telling, paths, made.content_bytes)

    def _told(self, part: Part) -> str:
        """What the training program told when the newest file was written."""
        stamps = [one.signature.mtime_ns for one in part.staged if not one.is_prefix]
        return told_about(self.store.folder, max(stamps) / 1e9) if stamps else ""
