"""One pass: the straight line scan -> settle -> stage -> secure -> commit -> push -> verify -> report for one mirror.

Called by `operations` (in this process) and by `worker` (in the daemon); both go through `run_pass`, which holds the
mirror's lock. The one thing to know: a pass is idempotent. Whatever broke off the last one, the next looks at disk,
git and remote again and does what is missing; nothing remembers work to be done.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path

from lfssync.errors import BlockedError, LfssyncError, StoppedError, TransientError
from lfssync.git.fastimport import FastImport
from lfssync.git.healing import heal
from lfssync.git.reconcile import place, reconcile
from lfssync.git.repository import Refs, Repository
from lfssync.git.workingcopy import WorkingCopy
from lfssync.line.assembly import Part
from lfssync.line.classification import NAME as ATTRIBUTES
from lfssync.line.classification import RULES_FACT, is_text_like_a_pointer
from lfssync.line.composing import Composing, with_card
from lfssync.line.intake import Intake, Taken
from lfssync.line.outofreach import OutOfReachError, WithheldError, again
from lfssync.line.plan import CommitPlan, Records, plan, still_unread, together
from lfssync.line.scan import IGNORE_FACT, most_is_gone, scan
from lfssync.line.upkeep import look_after
from lfssync.line.waiting import FACT as WAITING_FACT
from lfssync.line.waiting import Waiting
from lfssync.line.workbench import Session, Workbench, earlier_remotes, is_same_remote, open_bench
from lfssync.model import Changes, Deferred, DeletePolicy, Mirror, PassResult, Receipt, Staged, State
from lfssync.records.lock import held
from lfssync.records.report import Report
from lfssync.records.store import PROVEN_FACT, REMOTES_FACT, Store
from lfssync.rules.groups import widened
from lfssync.rules.weights import outdated
from lfssync.transfer.ahead import getting_ready

_ROOT_FACT = "root"
"""The store's name for which directory was mirrored last."""


class Aim(Enum):
    """How far a pass goes."""

    DELIVER = "deliver"
    PREPARE = "prepare"
    """Only what is complete is sent ahead, while writing goes on; nothing is committed."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a pass is asked for.

    Args:
        paths: Where to look, or None for everywhere.
        accept_deletions: The user approved what the mirror is blocked on.
        verify: Ask the remote even if nothing changed here.
        scrubs: Look at some of the remote's LFS objects afterwards, once a day.
        message: The commit message, instead of one made from the changes.
        replaces_weights: The directory is a model that was just saved, so other weights of it on the branch go.
        unreached: Why the remote is known to be out of reach: it is not asked, what has settled is kept here.
        wait_lock_s: How long to wait for another pass that is under way, in seconds.
        aim: How far it goes.
        commits: How many commits it may make, at least one; None for one for each checkpoint.
    """

    paths: frozenset[bytes] | None = None
    accept_deletions: bool = False
    verify: bool = False
    scrubs: bool = False
    message: str | None = None
    replaces_weights: bool = False
    unreached: LfssyncError | None = None
    wait_lock_s: float = 3600.0
    aim: Aim = Aim.DELIVER
    commits: int | None = None


def run_pass(mirror: Mirror, state_dir: Path, order: Order, session: Session) -> PassResult:
    """Run one pass and record what came of it.

    Args:
        mirror: What to mirror where.
        state_dir: The mirror's own state folder.
        order: See `Order`.
        session: See `Session`.

    Returns:
        What was committed, the evidence for it, and what must wait.

    Raises:
        LfssyncError: One of the four kinds, after it was recorded for `status`.
    """
    with held(state_dir, order.wait_lock_s, session.stop):
        try:
            try:
                return _attempt(mirror, state_dir, order, session)
            except LfssyncError as error:
                if not heal(mirror, state_dir, error):
                    raise
            return _attempt(mirror, state_dir, order, session)
        except LfssyncError as error:
            if isinstance(getattr(error, "cause", None), WithheldError):
                raise  # nothing is wrong, and all of it is recorded
            with Store(state_dir / "state.db") as store:
                report, is_over = Report(store, mirror), session.stop.is_set() or isinstance(error, StoppedError)
                (report.stopped if is_over else report.failure)(error)
            raise


def _attempt(mirror: Mirror, state_dir: Path, order: Order, session: Session) -> PassResult:
    with _translated(mirror), Store(state_dir / "state.db") as store:
        report = Report(store, mirror)
        bench = open_bench(mirror, state_dir, store, session)
        under_way = _Pass(mirror, order, session, store, report, bench)
        with getting_ready(bench.securing.transfer):
            if order.aim is Aim.PREPARE:
                return under_way.prepare()
            result = under_way.run()
        session.is_tidy = True
        report.success(result)
        if order.scrubs:
            from lfssync.line.scrub import a_little

            with contextlib.suppress(LfssyncError):  # another pass does it
                a_little(bench, store, mirror, session, time.time())
        return look_after(bench, mirror, store, session.stop, time.time(), result)


def _identity(directory: Path) -> list[str | int] | None:
    """Which directory it is: where its path leads to, and its device and inode; None when it is not there."""
    try:
        status = os.stat(directory)
    except OSError:
        return None  # the scan says so
    return [os.path.realpath(directory), status.st_dev, status.st_ino]


@contextlib.contextmanager
def _translated(mirror: Mirror) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        where = getattr(error, "filename", None) or mirror.name
        raise TransientError(
            f"{where}: {getattr(error, 'strerror', None) or error}",
            "free disk space or mend permissions; it is tried again",
        ) from error


@dataclass(slots=True)
class _Pass:
    """One pass under way. The methods are its steps, in order."""

    mirror: Mirror
    order: Order
    session: Session
    store: Store
    report: Report
    bench: Workbench
    warnings: list[str] = field(default_factory=list)
    waiting: Waiting = field(default_factory=Waiting)
    scanned_at: float = 0.0

    @property
    def repository(self) -> Repository:
        return self.bench.repository

    @property
    def copy(self) -> WorkingCopy | None:
        return self.bench.copy

    def run(self) -> PassResult:
        refs = reconcile(self.store, self.repository, self.bench.refs(), self.mirror, self.copy is not None)
        self.waiting = Waiting.of(self.store.fact(WAITING_FACT))
        changes = self._scan()
        last = self.store.receipt(self.repository.head_ref)
        is_delivered = refs.head == refs.tip and (last.commit if last else None) == refs.head
        is_asked = self.order.verify or self.order.unreached is not None
        if is_delivered and not (changes.changed or changes.removed or is_asked):
            self._remember([], [], changes)
            return PassResult(refs.head, last, warnings=tuple(self.warnings))
        refs = self._reach(refs)
        with self._root() as root_fd:
            committed, taken, made = self._read_and_commit(root_fd, refs, changes)
        result = PassResult(
            committed.head, None, len(made.added), len(made.changed), len(made.removed), made.content_bytes,
            self.bench.securing.sent_bytes, taken.ready.deferred, tuple(self.warnings),
        )  # fmt: skip
        try:
            head, receipt = self._deliver(refs, committed)
        except TransientError as error:
            raise self._cut_off(error, result) from error
        sent_bytes = self.bench.securing.sent_bytes
        return result._replace(commit=head, receipt=receipt, sent_bytes=sent_bytes, warnings=tuple(self.warnings))

    def _cut_off(self, error: TransientError, result: PassResult) -> LfssyncError:
        """Record where things stand without the remote; gives the error to end the pass with."""
        if self.session.stop.is_set():
            self.report.out_of_reach(result, (0, 0))
            return error
        undelivered = self.bench.delivery.undelivered(self.bench.refs(), self.bench.securing.into + ATTRIBUTES)
        is_withheld = isinstance(error, WithheldError)
        (self.report.withheld if is_withheld else self.report.out_of_reach)(result, undelivered)
        return OutOfReachError(error, result)

    def prepare(self) -> PassResult:
        """Send what is complete ahead."""
        refs = reconcile(self.store, self.repository, self.bench.refs(), self.mirror, self.copy is not None)
        self.waiting = Waiting.of(self.store.fact(WAITING_FACT))
        changes = self._scan()
        if self.order.unreached is not None:
            self.bench.securing.lost(self.order.unreached)
        with self._root() as root_fd:
            read = self._intake().prepare(root_fd, refs.head, changes, self.scanned_at)
        self._note(self.waiting.with_read(read, time.time()))
        self.report.working(State.SETTLING, changes.changed)
        last = self.store.receipt(self.repository.head_ref)
        return PassResult(refs.head, last, sent_bytes=self.bench.securing.sent_bytes)

    @contextlib.contextmanager
    def _root(self) -> Iterator[int]:
        root_fd = os.open(self.mirror.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield root_fd
        finally:
            os.close(root_fd)

    def _intake(self) -> Intake:
        return Intake(self.mirror, self.session, self.store, self.report, self.bench, self.waiting, self.warnings)

    def _scan(self) -> Changes:
        """Look at the disk; a directory that lost most of its files is a question and not a commit."""
        mirror = self.mirror
        root = _identity(mirror.path)
        recorded = self.store.fact(_ROOT_FACT)
        before = recorded if isinstance(recorded, list) else None
        if before and root and before[0] != root[0] and not self.order.accept_deletions:
            raise BlockedError(
                f"{mirror.path} leads to {root[0]} now, and not to {before[0]} any more",
                f"put it back, or approve with: lfssync sync --accept-deletions {mirror.name}",
            )
        paths = self.order.paths
        if paths is not None:
            paths = self.waiting.looked_at(widened(paths, mirror.groups))
        self.scanned_at = time.time()
        place, is_copy = os.fsencode(mirror.path), self.copy is not None
        changes = scan(place, paths, self.store, mirror.ignore, tracked_stays=is_copy, check=self.session.check)
        if self.order.aim is Aim.PREPARE:  # nothing is decided yet
            return changes
        self.warnings += changes.warnings
        is_a_question = mirror.delete is DeletePolicy.MIRROR and not self.order.accept_deletions
        if is_a_question and most_is_gone(changes, before is not None and before != root):
            raise BlockedError(
                f"{len(changes.removed)} of {changes.tracked} files are gone from {mirror.path}",
                f"bring them back, or approve with: lfssync sync --accept-deletions {mirror.name}",
            )
        if before != root:
            with self.store.transaction():
                self.store.record_facts({_ROOT_FACT: root})
        return changes

    def _reach(self, refs: Refs) -> Refs:
        """Where the remote stands now; or where it was last seen, when the pass has to go on without it."""
        error = self.bench.securing.unreached or self.order.unreached
        if error is None:
            try:
                return self._refresh(refs)
            except TransientError as met:
                error = met
        self.bench.securing.lost(error)
        return refs

    def _refresh(self, refs: Refs) -> Refs:
        """Ask the remote where it stands; one that lost what it confirmed once is asked about every object again."""
        refs = self.bench.delivery.refresh(refs, moves_head=self.copy is None)
        if self.copy:
            self.copy.keep(self.mirror.branch, {"tip": refs.tip})
        last = self.store.receipt(self.repository.head_ref)
        if last and (refs.tip is None or not self.repository.is_ancestor(last.commit, refs.tip)):
            self.bench.securing.forget()
        return refs

    def _read_and_commit(self, root_fd: int, refs: Refs, changes: Changes) -> tuple[Refs, Taken, CommitPlan]:
        """Read what changed, bring its LFS objects to safety, and commit what is whole: each checkpoint by itself."""
        with FastImport(self.repository.git) as stream:
            taken = self._intake().take(root_fd, refs.head, changes, self.scanned_at, stream)
            refs, made = self._commit_parts(root_fd, refs, taken, stream)
            stream.finish()  # what was read and has to wait
        self._remember(taken.ready.deferred, taken.read, changes)
        return refs, taken, made

    def _commit_parts(self, root_fd: int, refs: Refs, taken: Taken, stream: FastImport) -> tuple[Refs, CommitPlan]:
        """A commit for each part that is whole; gives the refs and what was committed."""
        first = refs.mirrored is None and refs.head is not None
        on_branch = {path: (mode, oid) for path, mode, oid in self.repository.entries(refs.head or "")} if first else {}
        ready, rules = taken.ready, taken.rules
        is_needed, text = rules.is_needed(taken.text), rules.committed
        unread = still_unread(taken.again, ready.deferred)
        composing = Composing(self.repository, self.store, self.session.compose, self.warnings)
        old = outdated((one.path for one in ready.staged), on_branch if self.order.replaces_weights else ())
        plans = []
        parts = ready.in_parts(1 if self.order.message else self.order.commits)
        for part in parts:
            gone, old = [*part.removed, *old], []
            made = plan(
                part.staged, taken.known, gone, on_branch, rules.prefix, self.mirror.delete,
                (taken.attributes, is_needed),
            )  # fmt: skip
            is_needed, text = False, taken.text if made.edits else text
            if part is parts[-1]:
                made = with_card(made, composing.card(root_fd, refs.head, ready, rules, stream))
            records = Records(
                {one.path: one.known() for one in part.staged} | unread,
                {IGNORE_FACT: list(self.mirror.ignore), RULES_FACT: rules.fact(text)},
            )
            before, refs = refs, self._commit(refs, made, part, taken.assembly.message(part, made), records, stream)
            if refs.head != before.head:  # else it came from the branch, by a `git pull` for example
                plans.append(made)
        return refs, together(plans)

    def _remember(self, deferred: Sequence[Deferred], read: Sequence[Staged], changes: Changes) -> None:
        """Note what waits, and what need not be read again once it may be committed."""
        self._note(self.waiting.after(deferred, read, changes.removed, time.time()))

    def _note(self, waiting: Waiting) -> None:
        if waiting != self.waiting:
            with self.store.transaction():
                self.store.record_facts({WAITING_FACT: waiting.document()})

    def _commit(
        self, before: Refs, made: CommitPlan, part: Part, text: str, records: Records, stream: FastImport
    ) -> Refs:
        """Commit, show it to the user's working copy if it is one, and record what is now known about each file."""
        refs = before
        if made.edits or made.mirrored:
            text = self.order.message or text
            texts = (text, place(self.mirror))
            publish = partial(self._publish, before, made, part.staged)
            who = self.bench.who()
            refs = self.repository.commit(before, list(made.edits), list(made.mirrored), who, texts, stream, publish)
            if refs.head and refs.head != before.head:
                self.report.committed(refs.head, text)
        with self.store.transaction():
            self.store.record(records.files.items(), part.removed)
            self.store.record_facts({"mirrored": refs.mirrored, **records.facts})
            if any(one.lfs for one in part.staged):  # until the remote has confirmed them
                self.store.record_facts({PROVEN_FACT: None})
        return refs

    def _publish(
        self, before: Refs, made: CommitPlan, staged: Sequence[Staged], head: str | None, mirrored: str
    ) -> None:
        """Make a commit the user's working copy's own. Our refs follow, so if this fails the next pass commits anew."""
        if self.copy is None:
            return
        self.copy.keep(self.mirror.branch, {"mirrored": mirrored})
        if head is not None and head != before.head:
            self.copy.publish(self.mirror.branch, before.head, head, made.edits, staged)

    def _deliver(self, before: Refs, refs: Refs) -> tuple[str | None, Receipt | None]:
        """Push what the remote lacks, then have it say so."""
        if unreached := self.bench.securing.unreached:
            raise again(unreached)
        if refs.head is None:
            return None, None
        self.report.working(State.PUSHING)
        repository, securing, root = self.repository, self.bench.securing, self.mirror.path
        securing.is_text = partial(is_text_like_a_pointer, repository, refs.head)
        if refs.head != refs.tip and not (refs.tip and repository.is_ancestor(refs.head, refs.tip)):
            if refs.head == before.head or before.head != before.tip:  # more than the commits made just now
                securing.ensure(self.bench.delivery.outgoing(refs.head, refs.tip), root)
            securing.ensure_recorded(root)
            refs = self.bench.delivery.push(refs, self.bench.who(), {}, moves_head=self.copy is None)
        securing.ensure_recorded(root)
        assert refs.head is not None
        self.bench.delivery.verify(refs.head, moves_head=self.copy is None)
        now = time.time()
        securing.confirm(root, now, again=self.order.verify)
        objects = securing.objects
        receipt = Receipt(repository.head_ref, refs.head, len(objects), sum(lfs.size_bytes for lfs in objects), now)
        with self.store.transaction():
            if not is_same_remote(self.store, self.mirror):  # what another remote confirmed, this one did not
                self.store.forget_receipts()
            self.store.record_receipt(receipt)
            self.store.record_facts({REMOTES_FACT: [*earlier_remotes(self.store, self.mirror), self.mirror.remote]})
        securing.keeper.let_go()
        if self.copy:
            self.copy.keep(self.mirror.branch, {"pushed": refs.head})
        return refs.head, receipt
