"""Brings the LFS objects of a pass to the remote while files are still being read, a bounded number open at a time.

Stands between `stage` and the transfers. The one thing to know: an object counts as secured when the remote
acknowledged it, now or earlier; what changed while it was sent is deferred, never committed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lfssync.errors import BlockedError
from lfssync.model import Deferred, LfsObject, Monitor, Plan, Signature, Staged, State, show
from lfssync.stage import open_beneath, release
from lfssync.store import Store
from lfssync.transfer import Source, Transfer
from lfssync.transfer.copying import holds

OPEN_FILES = 64
"""So many LFS files are held open at a time; then they are sent before more are read."""

OPEN_BYTES = 4 << 30
"""Uploads begin at the latest when so much has been hashed."""


@dataclass(slots=True)
class Securing:
    """The securing of one pass.

    Args:
        transfer: The way to the remote.
        store: Evidence of earlier passes.
        monitor: Receives progress.
        copies: Folders in which independent copies of objects may be, laid out as git-lfs does.
        objects: Everything this pass found or brought to the remote so far.
        sent_bytes: What it sent.
    """

    transfer: Transfer
    store: Store
    monitor: Monitor
    copies: tuple[Path, ...]
    objects: set[LfsObject] = field(default_factory=set)
    sent_bytes: int = 0

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
        return done, deferred

    def _send(
        self, batch: list[Staged], done: list[Staged], deferred: list[Deferred], begins: Callable[[], None]
    ) -> None:
        sources = {
            one.lfs: Source(one.lfs, one.fd, one.path) for one in batch if one.lfs is not None and one.fd is not None
        }
        if not sources:
            return
        confirmed = self.store.confirmed(self.transfer.endpoint, (lfs.oid for lfs in sources))
        missing = self.transfer.missing([lfs for lfs in sources if lfs.oid not in confirmed])
        changed: tuple[LfsObject, ...] = ()
        if missing:
            begins()
            self.monitor(Plan(State.UPLOADING, len(missing), sum(lfs.size_bytes for lfs in missing)))
            uploaded = self.transfer.upload([sources[lfs] for lfs in missing], self.monitor)
            self.sent_bytes += uploaded.sent_bytes
            changed = uploaded.changed
        for one in batch:
            if one.lfs in changed:
                deferred.append(Deferred(one.path, "still changing", one.signature.size_bytes))
            else:
                done.append(one)
        self.objects |= sources.keys() - set(changed)
        release(batch)
        batch.clear()

    def ensure(self, objects: Iterable[LfsObject], root: Path) -> None:
        """Make sure that the remote has objects which commits of others, or of earlier passes, name.

        Args:
            objects: What the commits name.
            root: The mirrored directory, which may still hold them.

        Raises:
            BlockedError: One is neither there nor here.
        """
        wanted = list(dict.fromkeys(lfs for lfs in objects if lfs not in self.objects))
        for lfs in self.transfer.missing(wanted):
            fd, path = self._find(lfs, root)
            try:
                uploaded = self.transfer.upload([Source(lfs, fd, path)], self.monitor)
            finally:
                os.close(fd)
            if uploaded.changed:
                raise BlockedError(
                    f"the LFS object {lfs.oid} ({show(path)}) is damaged here and missing on the remote",
                    "restore that file",
                )
            self.sent_bytes += uploaded.sent_bytes
        self.objects |= set(wanted)

    def _find(self, lfs: LfsObject, root: Path) -> tuple[int, bytes]:
        """Open a place that holds an object: an unchanged file of the directory, else an independent copy."""
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
        raise BlockedError(
            f"the LFS object {lfs.oid} is named by a commit, but is neither here nor on the remote",
            "put the file back that it belongs to, or mirror to the remote that has it",
        )

    def confirm(self, at: float) -> None:
        """Have the remote confirm every object of this pass, and record that it did.

        Args:
            at: Now, in seconds since the epoch.
        """
        objects = sorted(self.objects, key=lambda lfs: lfs.oid)
        try:
            self.transfer.confirm(objects)
        except Exception:
            with self.store.transaction():
                self.store.forget_confirmed()
            raise
        with self.store.transaction():
            self.store.confirm(self.transfer.endpoint, (lfs.oid for lfs in objects), at)
