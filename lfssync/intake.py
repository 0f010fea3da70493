"""Reads what changed into git and to the remote, and says what of it may be committed: all between scan and commit.

Called by `pipeline`; puts classification, staging, securing and assembly together. The one thing to know: nothing that
was read moves a ref. What must wait for others of its group is on the remote already when those are ready.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from lfssync.assembly import Assembly, Sorted
from lfssync.classification import NAME as ATTRIBUTES
from lfssync.classification import Classification, classification
from lfssync.fastimport import Edit, FastImport, blob_oid
from lfssync.hosts.preflight import Preflight, preflight_of
from lfssync.model import Change, Changes, Deferred, DeletePolicy, Known, Mirror, Plan, Staged, State
from lfssync.plan import known_of
from lfssync.report import Report
from lfssync.stage import Policy, Stage
from lfssync.store import Store
from lfssync.waiting import Waiting
from lfssync.workbench import Session, Workbench


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

    def take(self, root_fd: int, head: str | None, changes: Changes, scanned_at: float) -> Taken:
        """Read what changed.

        Args:
            root_fd: The mirrored directory.
            head: The commit that the next one builds on.
            changes: What the scan found.
            scanned_at: When the scan began, in seconds since the epoch.
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
        assembly = Assembly(root_fd, mirror, self.store, self.waiting, self.session.stills)
        assembly.form(changes, scanned_at)
        self.report.working(State.STAGING, changed)
        verdicts = rules.verdicts(change.path for change in changed)
        self.warnings += dict.fromkeys(rules.warnings)
        known = known_of([*changes.changed, *again])
        with FastImport(self.bench.repository.git) as stream:
            stage = Stage(
                root_fd, self._policy(preflight), verdicts, stream.blob, self.session.progress, self.session.seen,
                self.waiting,
            )  # fmt: skip
            staged, deferred = self._secure(stage, changed)
            late = {one.path: one for one in rules.late(staged)}
            on_time = [one for one in staged if one.path not in late]
            ready = assembly.sort(on_time, [*deferred, *late.values(), *crowded, *held], changes.removed, known)
            waits = {one.path: known[one.path] for one in ready.deferred if one.path in known}
            text = rules.text(ready.staged, waits, verdicts, self._leaving(ready.removed))
            if text:
                stream.blob(blob_oid(len(text), [text]), len(text), [text])
            stream.finish()
        self.warnings += [*stage.warnings, *ready.warnings, *preflight.remarks(ready.staged)]
        self._forget_seen(ready.deferred)
        return Taken(ready, tuple(staged), known, tuple(again), rules, text, assembly)

    def _without_locked(self, changes: Changes) -> tuple[Changes, list[Deferred]]:
        """Leave at the remote what was removed here but is locked there by somebody."""
        free, held = self.bench.securing.removable(self._leaving(changes.removed))
        return (replace(changes, removed=free), held) if held else (changes, held)

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
        return self.bench.securing.secure(stage.run(changed), lambda: self.report.working(State.UPLOADING, changed))

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
