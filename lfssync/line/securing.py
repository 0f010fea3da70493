"""Brings the LFS objects of a pass to the remote while files are still being read, a bounded number open at a time.

Stands between `stage` and the transfers. The one thing to know: an object counts as secured when the remote
acknowledged it, now or earlier, or, with the remote out of reach, when a copy of it is kept here (`keeping`); what
changed while it was sent is deferred, never committed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path

from lfssync.errors import BlockedError, LfssyncError, RefusedError, TransientError
from lfssync.line.keeping import Keeper, admit
from lfssync.line.opening import open_beneath
from lfssync.line.outofreach import WithheldError
from lfssync.line.pins import PINS, Share
from lfssync.line.stage import release
from lfssync.model import STILL_CHANGING, Change, Deferred, LfsObject, Monitor, Plan, Signature, Staged, State, show
from lfssync.records.store import PROVEN_FACT, Store
from lfssync.rules.closing import BATCH_BYTES, LEFT, LastCall, TimeIsUp
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


@dataclass(slots=True)
class Securing:
    """The securing of one pass.

    Args:
        transfer: The way to the remote.
        store: Evidence of earlier passes.
        monitor: Receives progress.
        copies: Folders in which independent copies of objects may be, laid out as git-lfs does.
        keeper: Keeps copies in the first of them while the remote is out of reach.
        into: What stands before the mirror's paths in the repository.
        elsewhere: The ways to remotes that the mirror had before, asked for when an object is nowhere else.
        is_text: Whether what looks like a pointer is only a text like one, asked for when its object is nowhere.
        last_call: Until when files may be taken.
        unreached: Why the remote is out of reach, once it is.
        proven: Whether the remote has the objects of all recorded files, besides those that this pass confirms.
        objects: Everything this pass found or brought to the remote so far.
        sent_bytes: What it sent.
    """

    transfer: Transfer
    store: Store
    monitor: Monitor
    copies: tuple[Path, ...]
    keeper: Keeper
    into: bytes = b""
    elsewhere: Callable[[], Iterable[Transfer]] = tuple
    is_text: Callable[[LfsObject], bool] = lambda _: False
    last_call: LastCall = field(default_factory=LastCall)
    unreached: LfssyncError | None = None
    proven: bool = False
    objects: set[LfsObject] = field(default_factory=set)
    sent_bytes: int = 0
    _locked: Mapping[bytes, str] | None = field(default=None, init=False)

    def secure(
        self, stage: Callable[[Share], Iterable[Staged | Deferred | None]], begins: Callable[[], None]
    ) -> tuple[list[Staged], list[Deferred]]:
        """Take staged files as they come, and bring the LFS objects among them to the remote.

        Args:
            stage: Reads files, of which so many may be open at a time; gives None where it has to be waited for.
            begins: Called when uploading begins.

        Returns:
            What may be committed (its descriptors closed), and what must wait.
        """
        self.proven = self.store.fact(PROVEN_FACT) == self.transfer.endpoint
        done: list[Staged] = []
        deferred: list[Deferred] = []
        batch: list[Staged] = []
        try:
            with PINS.share() as share:
                for result in stage(share):
                    if isinstance(result, Deferred):
                        deferred.append(result)
                    elif result is not None and result.fd is None:
                        done.append(result)
                    elif result is not None:
                        batch.append(result)
                    share.unsent = len(batch)
                    if result is None or self._is_full(batch, share):
                        self._send(batch, done, deferred, begins)
                        share.unsent = 0
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
        if self._locked is not None or self.unreached is not None:
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

    def _is_full(self, batch: list[Staged], share: Share) -> bool:
        if not batch:
            return False  # asked after every small file
        if len(batch) >= min(OPEN_FILES, share.sends):
            return True
        most_bytes = BATCH_BYTES if self.last_call.was_given else OPEN_BYTES
        return sum(one.signature.size_bytes for one in batch) >= most_bytes

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
        waits = self._bring(sources, [lfs for lfs in sources if lfs.oid not in confirmed], begins)
        for one in batch:
            if one.lfs in waits:
                deferred.append(Deferred(one.path, waits[one.lfs], one.signature.size_bytes))
            else:
                done.append(one)
        release(batch)
        batch.clear()

    def _bring(
        self, sources: Mapping[LfsObject, Source], lacking: Sequence[LfsObject], begins: Callable[[], None]
    ) -> dict[LfsObject, str]:
        """Bring objects to the remote, or into copies here; says why those wait for which neither worked."""
        try:
            if self.unreached is None:
                try:
                    return self._to_remote(sources, lacking, begins)
                except TransientError as error:
                    self.lost(error)
            return self.keeper.keep([sources[lfs] for lfs in lacking], self.keeper.room(), self.monitor)
        except TimeIsUp:
            return dict.fromkeys(lacking, LEFT)

    def _to_remote(
        self, sources: Mapping[LfsObject, Source], lacking: Sequence[LfsObject], begins: Callable[[], None]
    ) -> dict[LfsObject, str]:
        missing = self.transfer.missing(lacking)
        changed: tuple[LfsObject, ...] = ()
        if missing:
            begins()
            self.monitor(Plan(State.UPLOADING, len(missing), sum(lfs.size_bytes for lfs in missing)))
            uploaded = self.transfer.upload([sources[lfs] for lfs in missing], self.monitor)
            self.sent_bytes += uploaded.sent_bytes
            changed = uploaded.changed
        self._acknowledged(sources.keys() - set(changed))
        return dict.fromkeys(changed, STILL_CHANGING)

    def lost(self, error: LfssyncError) -> None:
        """Take it that the remote is out of reach from here on, and keep copies instead.

        Raises:
            LfssyncError: That error, where nothing is kept.
        """
        if not self.keeper.may_keep:
            raise error
        self.unreached = error
        if isinstance(error, WithheldError):
            self.keeper = replace(self.keeper, why=error.message)

    def admit(
        self, changes: list[Change], was_read: Callable[[bytes, Signature], LfsObject | None]
    ) -> tuple[list[Change], list[Deferred]]:
        """Of what shall be read, what there is room for; everything, unless the remote is out of reach.

        Args:
            changes: What shall be read.
            was_read: What a file is, if it was read before; what is kept already needs no room.
        """
        if self.unreached is None:
            return changes, []
        kept = {one.path for one in changes if (lfs := was_read(one.path, one.signature)) and self.keeper.has(lfs)}
        taken, waiting = admit((one for one in changes if one.path not in kept), self.keeper.room())
        paths = kept | {one.path for one in taken}
        return [one for one in changes if one.path in paths], waiting

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
        if missing:
            self.monitor(Plan(State.UPLOADING, len(missing), sum(lfs.size_bytes for lfs in missing)))
        with PINS.share() as share:
            while missing:
                share.unsent = min(OPEN_FILES, share.sends)
                texts |= self._send_found(missing[: share.unsent], root)
                missing = missing[share.unsent :]
        self._acknowledged(set(wanted) - texts)

    def _send_found(self, objects: Sequence[LfsObject], root: Path) -> set[LfsObject]:
        """Send objects from wherever they are; gives those that are only texts like a pointer."""
        texts: set[LfsObject] = set()
        sources: list[Source] = []
        try:
            for lfs in objects:
                if (found := self._find(lfs, root)) is not None:
                    sources.append(Source(lfs, *found))
                elif self.is_text(lfs):
                    texts.add(lfs)
                else:
                    raise self._nowhere(lfs)
            self._upload(sources)
            self._acknowledged({source.lfs for source in sources})
        finally:
            for source in sources:
                os.close(source.fd)
        return texts

    def mend(self, lfs: LfsObject, root: Path) -> BlockedError | None:
        """Send an object again that the remote has lost; gives the reason where that cannot be done."""
        try:
            self._send_found([lfs], root)
        except RefusedError:
            raise
        except BlockedError as error:
            return error
        return None

    def _nowhere(self, lfs: LfsObject) -> BlockedError:
        aside = self.keeper.set_aside(lfs)
        return BlockedError(
            f"the LFS object {lfs.oid} is named by a commit, but is neither here nor on the remote"
            + (f"; the copy that was kept here is damaged ({aside})" if aside else ""),
            "put the file back that it belongs to, or mirror to the remote that has it",
        )

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
            self.objects |= set(self.store.unconfirmed(endpoint, at))
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
