"""Brings the LFS objects of a pass to the remote while files are still being read, a bounded number open at a time.

Stands between `stage` and the transfers. The one thing to know: an object counts as secured when the remote
acknowledged it, now or earlier; what changed while it was sent is deferred, never committed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from lfssync.errors import BlockedError, LfssyncError, TransientError
from lfssync.model import STILL_CHANGING, Deferred, LfsObject, Monitor, Plan, Signature, Staged, State, show
from lfssync.stage import open_beneath, release
from lfssync.store import PROVEN_FACT, Store
from lfssync.transfer import Source, Transfer
from lfssync.transfer.copying import holds, workroom
from lfssync.transfer.locks import holder

OPEN_FILES = 64
"""So many LFS files are held open at a time; then they are sent before more are read."""

OPEN_BYTES = 4 << 30
"""Uploads begin at the latest when so much has been hashed."""

NO_LOCKS_FACT = "no locks"
"""Name of the fact which endpoint knows no locks, and until when that is believed."""

NO_LOCKS_S = 86400.0

LOOK_AGAIN_OBJECTS = 1000
LOOK_AGAIN_S = 600.0
"""A pass that shall verify has everything confirmed again; of more objects than that, those confirmed so long ago."""


@dataclass(slots=True)
class Securing:
    """The securing of one pass.

    Args:
        transfer: The way to the remote.
        store: Evidence of earlier passes.
        monitor: Receives progress.
        copies: Folders in which independent copies of objects may be, laid out as git-lfs does.
        into: What stands before the mirror's paths in the repository.
        elsewhere: The ways to remotes that the mirror had before, asked for when an object is nowhere else.
        is_text: Whether what looks like a pointer is only a text like one, asked for when its object is nowhere.
        proven: Whether the remote has the objects of all recorded files, besides those that this pass confirms.
        objects: Everything this pass found or brought to the remote so far.
        sent_bytes: What it sent.
    """

    transfer: Transfer
    store: Store
    monitor: Monitor
    copies: tuple[Path, ...]
    into: bytes = b""
    elsewhere: Callable[[], Iterable[Transfer]] = tuple
    is_text: Callable[[LfsObject], bool] = lambda _: False
    proven: bool = False
    objects: set[LfsObject] = field(default_factory=set)
    sent_bytes: int = 0
    _locked: Mapping[bytes, str] | None = field(default=None, init=False)

    def secure(
        self, results: Iterable[Staged | Deferred], begins: Callable[[], None]
    ) -> tuple[list[Staged], list[Deferred]]:
        """Take staged files as they come, and bring the LFS objects among them to the remote.

        Args:
            results: What staging yields.
            begins: Called when uploading begins.

        Returns:
            What may be committed (its descriptors closed), and what must wait.
        """
        self.proven = self.store.fact(PROVEN_FACT) == self.transfer.endpoint
        done: list[Staged] = []
        deferred: list[Deferred] = []
        batch: list[Staged] = []
        try:
            for result in results:
                if isinstance(result, Deferred):
                    deferred.append(result)
                elif result.fd is None:
                    done.append(result)
                else:
                    batch.append(result)
                    if len(batch) >= OPEN_FILES or sum(one.signature.size_bytes for one in batch) >= OPEN_BYTES:
                        self._send(batch, done, deferred, begins)
            self._send(batch, done, deferred, begins)
        finally:
            release(batch)
        deferred += (Deferred(one.path, why, one.signature.size_bytes) for one in done if (why := self._held(one)))
        return [one for one in done if not self._held(one)], deferred

    def removable(self, removed: Sequence[bytes]) -> tuple[tuple[bytes, ...], list[Deferred]]:
        """Part files that are gone here into those that may go at the remote, and those that others have locked there.

        Args:
            removed: Recorded paths.
        """
        if any((known := self.store.known(path)) and known.lfs for path in removed):
            self._ask_for_locks()
        held = [Deferred(path, why) for path in removed if (why := self._lock_on(path))]
        return tuple(path for path in removed if not self._lock_on(path)), held

    def _ask_for_locks(self) -> None:
        """Ask the remote, once, which files others have locked; one without locks is not asked again for a day."""
        endpoint, now = self.transfer.endpoint, time.time()
        if self._locked is not None:
            return
        match self.store.fact(NO_LOCKS_FACT):
            case [str(name), int() | float() as until] if name == endpoint and now < until <= now + NO_LOCKS_S:
                self._locked = {}
                return
        locked = self.transfer.locked()
        self._locked = locked or {}
        if locked is None:
            with self.store.transaction():
                self.store.record_facts({NO_LOCKS_FACT: [endpoint, now + NO_LOCKS_S]})

    def _lock_on(self, path: bytes) -> str | None:
        """Words for who keeps a file from being changed, if anybody and if that was asked."""
        who = holder(self._locked, self.into + path) if self._locked else None
        return f"locked by {who} at the host" if who else None

    def _held(self, one: Staged) -> str | None:
        """The same for what was read, unless that is what is recorded."""
        why, known = self._lock_on(one.path), self.store.known(one.path) if self._locked else None
        is_as_before = known and (known.blob_oid, known.git_mode) == (one.blob_oid, one.signature.git_mode)
        return None if is_as_before else why

    def _send(
        self, batch: list[Staged], done: list[Staged], deferred: list[Deferred], begins: Callable[[], None]
    ) -> None:
        if not batch:
            return
        self._ask_for_locks()
        sources = {
            one.lfs: Source(one.lfs, one.fd, one.path)
            for one in batch
            if one.lfs is not None and one.fd is not None and not self._held(one)
        }
        confirmed = self.store.confirmed(self.transfer.endpoint, (lfs.oid for lfs in sources))
        missing = self.transfer.missing([lfs for lfs in sources if lfs.oid not in confirmed])
        changed: tuple[LfsObject, ...] = ()
        if missing:
            begins()
            self.monitor(Plan(State.UPLOADING, len(missing), sum(lfs.size_bytes for lfs in missing)))
            uploaded = self.transfer.upload([sources[lfs] for lfs in missing], self.monitor)
            self.sent_bytes += uploaded.sent_bytes
            changed = uploaded.changed
        self._acknowledged(sources.keys() - set(changed))
        for one in batch:
            if one.lfs in changed:
                deferred.append(Deferred(one.path, STILL_CHANGING, one.signature.size_bytes))
            else:
                done.append(one)
        release(batch)
        batch.clear()

    def _acknowledged(self, objects: Set[LfsObject]) -> None:
        """Note what the remote has: a pass that fails later does not ask for it again."""
        self.objects |= objects
        with self.store.transaction():
            self.store.confirm(self.transfer.endpoint, (lfs.oid for lfs in objects), time.time())

    def ensure(self, objects: Iterable[LfsObject], root: Path) -> None:
        """Make sure that the remote has objects which commits of others, or of earlier passes, name.

        Args:
            objects: What the commits name.
            root: The mirrored directory, which may still hold them.

        Raises:
            BlockedError: One is neither there nor here.
        """
        wanted = list(dict.fromkeys(lfs for lfs in objects if lfs not in self.objects))
        confirmed = self.store.confirmed(self.transfer.endpoint, (lfs.oid for lfs in wanted))
        asked = [lfs for lfs in wanted if lfs.oid not in confirmed]
        missing = self.transfer.missing(asked) if asked else []
        texts: set[LfsObject] = set()
        for start in range(0, len(missing), OPEN_FILES):
            sources: list[Source] = []
            try:
                for lfs in missing[start : start + OPEN_FILES]:
                    if (found := self._find(lfs, root)) is not None:
                        sources.append(Source(lfs, *found))
                    elif self.is_text(lfs):
                        texts.add(lfs)
                    else:
                        raise BlockedError(
                            f"the LFS object {lfs.oid} is named by a commit, but is neither here nor on the remote",
                            "put the file back that it belongs to, or mirror to the remote that has it",
                        )
                self._upload(sources)
            finally:
                for source in sources:
                    os.close(source.fd)
        self._acknowledged(set(wanted) - texts)

    def _upload(self, sources: list[Source]) -> None:
        uploaded = self.transfer.upload(sources, self.monitor)
        self.sent_bytes += uploaded.sent_bytes
        for source in sources:
            if source.lfs in uploaded.changed:
                where = f"{source.lfs.oid} ({show(source.path)})"
                raise BlockedError(
                    f"the LFS object {where} is damaged here and missing on the remote", "restore that file"
                )

    def ensure_recorded(self, root: Path) -> None:
        """See to it that the objects of all recorded files get confirmed, unless they were before.

        Args:
            root: The mirrored directory.
        """
        if not self.proven:
            self.ensure(self.store.unconfirmed(self.transfer.endpoint, inf), root)
            self.proven = True

    def _find(self, lfs: LfsObject, root: Path) -> tuple[int, bytes] | None:
        """Open a place that holds an object: an unchanged file of the directory, a copy, what a remote gives."""
        for path, signature in self.store.places(lfs.oid):
            root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fd = open_beneath(root_fd, path)
            except OSError:
                continue
            finally:
                os.close(root_fd)
            if Signature.of(os.fstat(fd)) == signature:
                return fd, path
            os.close(fd)
        for folder in self.copies:
            file = folder / lfs.oid[:2] / lfs.oid[2:4] / lfs.oid
            if holds(file, lfs):
                return os.open(file, os.O_RDONLY | os.O_CLOEXEC), os.fsencode(file.name)
        for transfer in (self.transfer, *self.elsewhere()):  # not every remote can say what it lacks
            if (fetched := self._fetched(transfer, lfs)) is not None:
                return fetched, lfs.oid.encode()
        return None

    def _fetched(self, transfer: Transfer, lfs: LfsObject) -> int | None:
        """An object from another remote, as a file without a name; None when that remote does not give it."""
        folder = self.copies[0]
        folder.mkdir(parents=True, exist_ok=True)
        with workroom(folder) as room:
            try:
                transfer.download(lfs, room / lfs.oid, self.monitor)
            except LfssyncError:
                return None  # gone, or not ours to read any more: the caller says what is missing
            return os.open(room / lfs.oid, os.O_RDONLY | os.O_CLOEXEC)

    def forget(self) -> None:
        """Believe nothing any more that the remote has confirmed: it lost something."""
        self.proven = False
        with self.store.transaction():
            self.store.forget_confirmed()

    def confirm(self, root: Path, at: float, again: bool) -> None:
        """Have the remote confirm every object of this pass, and record that it did.

        What it lost is sent again.

        Args:
            root: The mirrored directory.
            at: Now, in seconds since the epoch.
            again: Have it also confirm what is in the directory and was confirmed before.
        """
        endpoint = self.transfer.endpoint
        if again:
            recorded = self.store.unconfirmed(endpoint, at)
            if len(recorded) > LOOK_AGAIN_OBJECTS:
                recorded = self.store.unconfirmed(endpoint, at - LOOK_AGAIN_S)
            self.objects |= set(recorded)
        try:
            self.transfer.confirm(self._sorted())
        except TransientError:
            self.forget()
            before, self.objects = self.objects, set()
            self.ensure(before, root)
            self.ensure_recorded(root)
            self.transfer.confirm(self._sorted())
        with self.store.transaction():
            self.store.confirm(endpoint, (lfs.oid for lfs in self.objects), at)
            if self.proven:
                self.store.record_facts({PROVEN_FACT: endpoint})

    def _sorted(self) -> list[LfsObject]:
        return sorted(self.objects, key=lambda lfs: lfs.oid)
