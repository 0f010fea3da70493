"""Asks a remote about every LFS object that its history names, reads some of them, and mends what it can.

Beside the pass: `operations` has all of it looked at, `pipeline` a little each day; both under the mirror's lock. The
one thing to know: a repository on a disk is read as a whole, because there the objects can be hashed; of a server's
objects a sample is downloaded, and for the rest its word is all there is.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lfssync.errors import LfssyncError
from lfssync.git.fastimport import blob_oid
from lfssync.line.classification import is_text_like_a_pointer
from lfssync.line.workbench import Session, Workbench, open_bench
from lfssync.model import LfsObject, Mirror, Plan, State, show
from lfssync.records.lock import held
from lfssync.records.report import Report, last_scrub
from lfssync.records.store import Store
from lfssync.results import LostObject, Scrubbed
from lfssync.rules.scrubplan import all_seen_since, longest_unseen, portion
from lfssync.transfer.bare import BareTransfer
from lfssync.transfer.copying import workroom

DAY_SAMPLE = 1
DAY_SAMPLE_BYTES = 64 << 20
"""On an ordinary day one object is downloaded, and only a small one."""

DAY_PATIENCE_S = 120.0
"""A day's share ends early after so long: others want to work with the mirror, too."""

_CHUNK_OBJECTS = 100
_CHUNK_BYTES = 4 << 30
_LOCK_WAIT_S = 3600.0
_AT_THE_HOST = "the server says that it has it, and takes it from nobody: have it deleted there, then scrub again"


def scrub(mirror: Mirror, state_dir: Path, sample: int | None, session: Session) -> Scrubbed:
    """Look at everything.

    Args:
        mirror: The mirror.
        state_dir: Its state folder.
        sample: How many objects of a server to download; None for all that there is room for.
        session: Who watches, and when to stop.

    Raises:
        LfssyncError: The remote cannot be asked. What is lost there is no error but an answer.
    """
    with held(state_dir, _LOCK_WAIT_S, session.stop), Store(state_dir / "state.db") as store:
        scrubbing = _Scrubbing(open_bench(mirror, state_dir, store, session), store, mirror, session)
        objects = scrubbing.named()
        scrubbing.look(objects, math.inf)
        scrubbing.read(objects, len(objects) if sample is None else sample, math.inf)
        return scrubbing.finish(objects)


def a_little(bench: Workbench, store: Store, mirror: Mirror, session: Session, now: float) -> None:
    """Look at a day's share, if it is time for it; called at the end of a pass.

    Args:
        bench: The pass's.
        store: The mirror's.
        mirror: The mirror.
        session: Who watches, and when to stop.
        now: Seconds since the epoch.
    """
    last = last_scrub(store, mirror)
    if last is not None and not portion(1, last, now):
        return
    scrubbing = _Scrubbing(bench, store, mirror, session)
    objects = scrubbing.named()
    if last is not None:  # else everything has just been delivered
        share = longest_unseen(objects, store.seen(scrubbing.endpoint), portion(len(objects), last, now))
        looked = scrubbing.look(share, time.monotonic() + DAY_PATIENCE_S)
        scrubbing.read(looked, DAY_SAMPLE, DAY_SAMPLE_BYTES)
    scrubbing.finish(objects)


@dataclass(slots=True)
class _Scrubbing:
    """One scrub under way."""

    bench: Workbench
    store: Store
    mirror: Mirror
    session: Session
    tip: str = ""
    good: set[LfsObject] = field(default_factory=set)
    missing: list[LfsObject] = field(default_factory=list)
    damaged: list[LfsObject] = field(default_factory=list)
    mended: list[LfsObject] = field(default_factory=list)
    sampled: int = 0

    @property
    def endpoint(self) -> str:
        return self.bench.securing.transfer.endpoint

    def named(self) -> list[LfsObject]:
        """Every object that the remote's branch and our releases name."""
        bench = self.bench
        if bench.securing.unreached is not None:
            raise bench.securing.unreached
        refs = bench.delivery.refresh(bench.refs(), moves_head=bench.copy is None)
        if refs.tip is None:
            return []
        self.tip = refs.tip
        tags = bench.repository.git.run("for-each-ref", "--format=%(refname)", "refs/tags/").stdout.decode().split()
        return bench.delivery.named(refs.tip, *tags)

    def look(self, objects: Sequence[LfsObject], until: float) -> list[LfsObject]:
        """Have the remote say which objects it lacks; gives those that were asked for in time.

        Args:
            objects: Which.
            until: When to stop at the latest, in monotonic seconds; a daemon that is told to end stops as well.
        """
        looked: list[LfsObject] = []
        transfer = self.bench.securing.transfer
        for chunk in _chunks(objects):
            if looked and (time.monotonic() >= until or self.session.last_call.was_given):
                break
            self.session.progress(Plan(State.STAGING, len(chunk), sum(lfs.size_bytes for lfs in chunk)))
            missing = [lfs for lfs in transfer.missing(chunk) if not self._is_text(lfs)]
            self.good |= set(chunk) - set(missing)
            self.missing += missing
            looked += chunk
        return looked

    def read(self, objects: Sequence[LfsObject], sample: int, most_bytes: float) -> None:
        """Download some of the objects that a server says it has; on a disk they all have been read."""
        if isinstance(self.bench.securing.transfer, BareTransfer):
            return
        room = self.bench.securing.keeper.room()
        most_bytes = min(most_bytes, room.free_bytes - room.headroom_bytes)
        fitting = [lfs for lfs in objects if lfs in self.good and lfs.size_bytes <= most_bytes]
        for lfs in random.sample(fitting, min(sample, len(fitting))):
            self.sampled += 1
            if not self._is_given(lfs):
                self.good.remove(lfs)
                self.damaged.append(lfs)

    def _is_given(self, lfs: LfsObject) -> bool:
        securing = self.bench.securing
        with workroom(securing.keeper.folder) as room:
            try:
                securing.transfer.download(lfs, room / lfs.oid, securing.monitor)
            except LfssyncError as error:
                if type(error) is not LfssyncError:  # it says nothing about the object
                    raise
                return False
        return True

    def finish(self, objects: Sequence[LfsObject]) -> Scrubbed:
        """Mend what can be mended, and record what was found."""
        bad = [*self.missing, *self.damaged]
        if bad:
            with self.store.transaction():
                self.store.forget_objects(self.endpoint, [lfs.oid for lfs in bad])
        lost = [one for lfs in bad if (one := self._mend(lfs)) is not None]
        good = {lfs.oid for lfs in self.good}
        now = time.time()
        with self.store.transaction():
            self.store.record_seen(self.endpoint, good, now)
        since = all_seen_since(objects, self.store.seen(self.endpoint), self.store.confirmations(self.endpoint))
        Report(self.store, self.mirror).scrubbed(self.endpoint, now, since, lost, good)
        looked = len(good) + len(lost)
        found = (tuple(self.missing), tuple(self.damaged), tuple(self.mended), tuple(lost))
        return Scrubbed(len(objects), looked, self.sampled, *found, since)

    def _mend(self, lfs: LfsObject) -> LostObject | None:
        """Send an object again; gives what is to be said about it when that does not help."""
        error = self.bench.securing.mend(lfs, self.mirror.path)
        if error is None and self._is_there(lfs):
            self.mended.append(lfs)
            self.good.add(lfs)
            return None
        path = next((path for _, path in self._appearances(lfs)), b"")
        return LostObject(lfs.oid, lfs.size_bytes, show(path), error.remedy if error else _AT_THE_HOST, error is None)

    def _is_there(self, lfs: LfsObject) -> bool:
        if self.bench.securing.transfer.missing([lfs]):
            return False
        return lfs not in self.damaged or self._is_given(lfs)

    def _is_text(self, lfs: LfsObject) -> bool:
        return is_text_like_a_pointer(self.bench.repository, self.tip, lfs) if any(self._appearances(lfs)) else False

    def _appearances(self, lfs: LfsObject) -> Iterator[tuple[str, bytes]]:
        pointer = lfs.pointer()
        return self.bench.repository.appearances(self.tip, blob_oid(len(pointer), [pointer]))


def _chunks(objects: Sequence[LfsObject]) -> Iterator[list[LfsObject]]:
    chunk: list[LfsObject] = []
    for lfs in objects:
        chunk.append(lfs)
        if len(chunk) == _CHUNK_OBJECTS or sum(one.size_bytes for one in chunk) >= _CHUNK_BYTES:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
