"""Independent copies of LFS objects on this machine, for as long as the remote is out of reach.

Beside `securing`, which keeps here what it cannot send, and sends it from here later. They lie in the mirror's own git
dir, laid out as git-lfs does. The one thing to know: a copy is a clone where the file system makes one, it counts once
it was hashed and is on the disk, and it never takes the room that others need (`headroom`).

Source: git-lfs docs/spec.md, "The server"; statvfs(3).
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lfssync.model import STILL_CHANGING, Change, Deferred, LfsObject, Monitor, Plan, Progress, State, human_bytes
from lfssync.transfer import Source
from lfssync.transfer.copying import clones, copy_checked, sync_file, workroom

OUT_OF_REACH = "the remote is out of reach"
_DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Room:
    """How much may still be kept; all in bytes.

    Args:
        free_bytes: What is free on the disk that holds the copies.
        kept_bytes: What is kept already.
        headroom_bytes: What must stay free.
        limit_bytes: How much may be kept in all.
        cloning: Whether a copy shares its blocks with the file, so that it takes nothing of what is free.
        why: Why it is kept at all, for people.
    """

    free_bytes: int
    kept_bytes: int
    headroom_bytes: int
    limit_bytes: int
    cloning: bool = False
    why: str = OUT_OF_REACH

    @property
    def left_bytes(self) -> int:
        """How much more may be kept; never below 0."""
        left_bytes = self.limit_bytes - self.kept_bytes
        if not self.cloning:
            left_bytes = min(left_bytes, self.free_bytes - self.headroom_bytes)
        return max(left_bytes, 0)

    def after(self, size_bytes: int) -> Room:
        """What is left once so much more is kept."""
        free_bytes = self.free_bytes if self.cloning else self.free_bytes - size_bytes
        return replace(self, free_bytes=free_bytes, kept_bytes=self.kept_bytes + size_bytes)

    def refusal(self) -> str:
        """Why something that is too large is not kept."""
        return f"{self.why}, and only {human_bytes(self.left_bytes)} may be kept here"


def admit(changes: Iterable[Change], room: Room) -> tuple[list[Change], list[Deferred]]:
    """Decide what is taken while the remote is out of reach, before anything of it is read.

    Returns:
        What has room, taken in the order given, and what has none.
    """
    taken: list[Change] = []
    waiting: list[Deferred] = []
    for change in changes:
        size_bytes = change.signature.size_bytes
        if size_bytes <= room.left_bytes:
            taken.append(change)
            room = room.after(size_bytes)
        else:
            waiting.append(Deferred(change.path, room.refusal(), size_bytes))
    return taken, waiting


@dataclass(frozen=True, slots=True)
class Keeper:
    """Keeps copies for one mirror, under its lock.

    Args:
        folder: Where they lie; need not be there.
        near: Where the files come from: clones can only be made on the same disk.
        headroom_bytes: What must stay free on that disk.
        limit_bytes: How much may be kept in all; 0 keeps nothing.
        stop: Set when the pass shall end.
        why: Why something is kept, for people.
    """

    folder: Path
    near: Path
    headroom_bytes: int
    limit_bytes: int
    stop: threading.Event
    why: str = OUT_OF_REACH

    @property
    def may_keep(self) -> bool:
        """Whether anything may be kept, ever and now."""
        return self.limit_bytes > 0 and not self.stop.is_set()

    def file(self, lfs: LfsObject) -> Path:
        """Where the copy of an object belongs."""
        return self.folder / lfs.oid[:2] / lfs.oid[2:4] / lfs.oid

    def has(self, lfs: LfsObject) -> bool:
        """Whether a copy of an object is kept; it was hashed when it was made, and is again before it is sent."""
        try:
            return self.file(lfs).stat().st_size == lfs.size_bytes
        except FileNotFoundError:
            return False

    def room(self) -> Room:
        """How much may be kept now."""
        self.folder.mkdir(parents=True, exist_ok=True)
        disk = os.statvfs(self.folder)
        kept_bytes = sum(file.stat().st_size for file in self._files())
        free_bytes = disk.f_bavail * disk.f_frsize
        return Room(free_bytes, kept_bytes, self.headroom_bytes, self.limit_bytes, self._makes_clones(), self.why)

    def keep(self, sources: Sequence[Source], room: Room, monitor: Monitor) -> dict[LfsObject, str]:
        """Keep copies of open files; durable when this returns.

        Args:
            sources: The files.
            room: How much may be kept.
            monitor: Receives progress.

        Returns:
            Why those objects wait of which no copy was made.
        """
        waits: dict[LfsObject, str] = {}
        monitor(Plan(State.STAGING, len(sources), sum(source.lfs.size_bytes for source in sources)))
        with workroom(self.folder) as scratch:
            for source in sources:
                if self.has(source.lfs):
                    continue
                if source.lfs.size_bytes > room.left_bytes:
                    waits[source.lfs] = room.refusal()
                elif reason := self._keep(source, scratch / source.lfs.oid, monitor):
                    waits[source.lfs] = reason
                else:
                    room = room.after(source.lfs.size_bytes)
        return waits

    def _keep(self, source: Source, scratch: Path, monitor: Monitor) -> str | None:
        size_bytes = source.lfs.size_bytes
        target = self.file(source.lfs)
        try:
            if not copy_checked(
                source.fd,
                source.lfs,
                scratch,
                lambda done: monitor(Progress(State.STAGING, source.path, done, size_bytes)),
            ):
                return STILL_CHANGING
            sync_file(scratch)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(scratch, target)
            for folder in (target.parent, target.parent.parent, self.folder):
                sync_file(folder)
        except OSError as error:
            scratch.unlink(missing_ok=True)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                return f"{self.why}, and there is no room here to keep a copy"
            return f"{self.why}, and no copy can be kept here: {(error.strerror or '').lower()}"
        return None

    def set_aside(self, lfs: LfsObject) -> Path | None:
        """Put a damaged copy where nobody takes it for good; says where, or None when there is no copy at all."""
        aside = self.folder.parent / _DAMAGED / lfs.oid
        if not self.file(lfs).exists():
            return aside if aside.exists() else None
        aside.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.file(lfs), aside)
        return aside

    def let_go(self) -> None:
        """Delete all copies: the remote has everything. Leaving some behind costs room and nothing else."""
        for folder in (self.folder, self.folder.parent / _DAMAGED):
            shutil.rmtree(folder, ignore_errors=True)

    def _files(self) -> Iterable[Path]:
        return self.folder.glob("??/??/*")

    def _makes_clones(self) -> bool:
        try:
            if os.stat(self.near).st_dev != os.stat(self.folder).st_dev:
                return False
            with tempfile.TemporaryFile(dir=self.folder) as one, tempfile.TemporaryFile(dir=self.folder) as other:
                one.write(b"a")
                one.flush()
                return clones(one.fileno(), other.fileno())
        except OSError:
            return False
