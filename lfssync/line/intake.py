"""Reads what changed into git and to the remote, and says what of it may be committed: all between scan and commit.

Called by `pipeline`; puts classification, staging, securing and assembly together. The one thing to know: nothing that
was read moves a ref. What must wait for others of its group is on the remote already when those are ready.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from lfssync.formats import has_check
from lfssync.git.fastimport import Edit, FastImport, blob_oid
from lfssync.hosts.preflight import Preflight, preflight_of
from lfssync.line.assembly import Assembly, Sorted
from lfssync.line.classification import NAME as ATTRIBUTES
from lfssync.line.classification import Classification, classification
from lfssync.line.plan import known_of
from lfssync.line.stage import Policy, Stage
from lfssync.line.waiting import Waiting
from lfssync.line.workbench import Session, Workbench
from lfssync.model import Change, Changes, Deferred, DeletePolicy, Known, Mirror, Plan, Staged, State
from lfssync.records.report import Report
from lfssync.records.store import Store
from lfssync.rules.closing import in_order

EARLY_BYTES = 1 << 20
"""Smaller files are not sent ahead: the pass that commits them has them read in no time."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What was read, and what goes with it.

    Args:
        ready: What may be committed, and what must wait.
        read: Everything that was read.
        known: What is recorded about the paths that were to be read.
        again: Those that did not change, but may be stored in another way.
        rules: The attribute rules for them.
        text: The `.gitattributes` to commit.
        assembly: Knows what to say about each commit.
    """

    ready: Sorted
    read: tuple[Staged, ...]
    known: dict[bytes, Known | None]
    again: tuple[Change, ...]
    rules: Classification
    text: bytes
    assembly: Assembly

    @property
    def attributes(self) -> Edit:
        """The `.gitattributes` as a part of a commit."""
        oid = blob_oid(len(self.text), [self.text]) if self.text else None
        return Edit(self.rules.prefix + ATTRIBUTES, "100644" if oid else None, oid)


@dataclass(slots=True)
class Intake:
    """The reading of one pass.

    Args:
        mirror, session, store, report, bench: Those of the pass.
        waiting: What earlier passes left behind.
        warnings: Lines for people, added to.
    """

    mirror: Mirror
    session: Session
    store: Store
    report: Report
    bench: Workbench
    waiting: Waiting
    warnings: list[str] = field(default_factory=list)

    def take(self, root_fd: int, head: str | None, changes: Changes, scanned_at: float, stream: FastImport) -> Taken:
        """Read what changed.

        Args:
            root_fd: The mirrored directory.
            head: The commit that the next one builds on.
            changes: What the scan found.
            scanned_at: When the scan began, in seconds since the epoch.
            stream: Takes the blobs; its run goes on, for the commit.
        """
        mirror = self.mirror
        changes, held = self._without_locked(changes)
        gone = self._leaving(changes.removed)
        rules = classification(
            self.bench.repository, root_fd, os.fsencode(mirror.into), head, changes, gone, self.store
        )
        again = rules.reclassified(self.store, changes, os.fsencode(mirror.path), mirror.lfs_threshold_bytes)
        preflight = preflight_of(mirror.remote, mirror.into, os.environ)
        changed, crowded = self._with_room([*changes.changed, *again], gone, preflight)
        changed, unkept = self.bench.securing.admit(changed, self.waiting.was_read)
        if self.session.last_call.was_given:
            changed = in_order(changed)
        assembly = Assembly(root_fd, mirror, self.store, self.waiting, self.session.stills)
        assembly.form(changes, scanned_at)
        known = known_of([*changes.changed, *again])
        with self.session.last_call.taking():
            stage = self._stage(root_fd, rules, changed, preflight, stream)
            staged, deferred = self._secure(stage, changed)
            late = {one.path: one for one in rules.late(staged)}
            on_time = [one for one in staged if one.path not in late]
            deferred += [*late.values(), *crowded, *unkept, *held]
            ready = assembly.sort(on_time, deferred, changes.removed, known)
            waits = {one.path: known[one.path] for one in ready.deferred if one.path in known}
            text = rules.text(ready.staged, waits, stage.verdicts, self._leaving(ready.removed))
            if text:
                stream.blob(blob_oid(len(text), [text]), len(text), [text])
        self.warnings += [*dict.fromkeys(rules.warnings), *stage.warnings, *ready.warnings]
        self.warnings += preflight.remarks(ready.staged)
        self._forget_seen(ready.deferred)
        return Taken(ready, tuple(staged), known, tuple(again), rules, text, assembly)

    def _without_locked(self, changes: Changes) -> tuple[Changes, list[Deferred]]:
        """Leave at the remote what was removed here but is locked there by somebody."""
        free, held = self.bench.securing.removable(self._leaving(changes.removed))
        return (changes._replace(removed=free), held) if held else (changes, held)

    def prepare(self, root_fd: int, head: str | None, changes: Changes, scanned_at: float) -> list[Staged]:
        """Read only what is large, settled and complete by itself, and bring it to the remote; see `take`."""
        worthy = [change for change in changes.changed if self._is_worth_it(change, scanned_at)]
        if not worthy:
            return []
        gone = self._leaving(changes.removed)
        into = os.fsencode(self.mirror.into)
        rules = classification(self.bench.repository, root_fd, into, head, changes, gone, self.store)
        preflight = preflight_of(self.mirror.remote, self.mirror.into, os.environ)
        with FastImport(self.bench.repository.git) as stream, self.session.last_call.taking():
            staged, _ = self._secure(self._stage(root_fd, rules, worthy, preflight, stream), worthy)
            stream.finish()
        return staged

    def _is_worth_it(self, change: Change, scanned_at: float) -> bool:
        """Whether a look ahead reads a file; that of no known format has to have stood still, as it tells nothing."""
        seen = change.signature
        is_still = scanned_at - seen.ctime_ns / 1e9 >= self.mirror.quiet_s
        is_new = self.waiting.was_read(change.path, seen) is None
        return is_new and seen.size_bytes >= EARLY_BYTES and not seen.is_link and (has_check(change.path) or is_still)

    def _stage(
        self, root_fd: int, rules: Classification, changed: Sequence[Change], preflight: Preflight, stream: FastImport
    ) -> Stage:
        self.report.working(State.STAGING, changed)
        verdicts = rules.verdicts(change.path for change in changed)
        policy, session = self._policy(preflight), self.session
        return Stage(
            root_fd, policy, verdicts, stream.blob, session.progress, session.seen, self.waiting, session.hashed,
            session.last_call,
        )  # fmt: skip

    def _leaving(self, removed: Sequence[bytes]) -> Sequence[bytes]:
        """Those of the paths that are gone here which leave the branch as well."""
        return removed if self.mirror.delete is DeletePolicy.MIRROR else ()

    def _policy(self, preflight: Preflight) -> Policy:
        mirror = self.mirror
        return Policy(
            mirror.lfs_threshold_bytes, mirror.quiet_s, self.bench.copy is not None, preflight, mirror.max_wait_s,
            mirror.incomplete,
        )  # fmt: skip

    def _secure(self, stage: Stage, changed: Sequence[Change]) -> tuple[list[Staged], list[Deferred]]:
        size_bytes = sum(change.signature.size_bytes for change in changed)
        self.session.progress(Plan(State.STAGING, len(changed), size_bytes))
        run = partial(stage.run, changed)
        return self.bench.securing.secure(run, lambda: self.report.working(State.UPLOADING, changed))

    def _with_room(
        self, changed: list[Change], gone: Sequence[bytes], preflight: Preflight
    ) -> tuple[list[Change], list[Deferred]]:
        """Leave out new files for which the host has no room in their folder."""
        new = {change.path: change for change in changed if change.known is None}
        limit = preflight.limits.folder_entries
        if limit is None or self.store.count() + len(new) <= limit:
            return changed, []
        leaving = set(gone)
        present = (path for path, _ in self.store.everything() if path not in leaving)
        full = preflight.crowded(new, present)
        crowded = [Deferred(path, why, new[path].signature.size_bytes, is_refused=True) for path, why in full.items()]
        return [change for change in changed if change.path not in full], crowded

    def _forget_seen(self, deferred: Sequence[Deferred]) -> None:
        waiting = {one.path for one in deferred}
        for path in self.session.seen.keys() - waiting:
            del self.session.seen[path]
        for path in self.session.hashed.keys() - waiting:
            del self.session.hashed[path]
