"""Releases: an annotated tag on a commit that is proven to be on the remote.

Beside the pass: `operations` syncs first and then comes here. The tag travels with the branch in one atomic push.
The one thing to know: a tag that exists anywhere is never moved. The tag object gets its local name only after the
remote has it, so a release that broke off leaves nothing behind that a later one would trip over.
"""

from __future__ import annotations

import contextlib
import time
from functools import partial
from pathlib import Path

from lfssync.errors import BlockedError, LfssyncError, TransientError, UserError
from lfssync.git.repository import Refs
from lfssync.git.workingcopy import WorkingCopy
from lfssync.line.classification import is_text_like_a_pointer, lfs_files
from lfssync.line.workbench import Session, Workbench, open_bench
from lfssync.model import Mirror, Receipt
from lfssync.records.lock import held
from lfssync.records.report import Report
from lfssync.records.store import Store
from lfssync.results import Release
from lfssync.rules import releasenotes
from lfssync.rules.refnames import check_tag
from lfssync.versions import training, trees
from lfssync.versions.contents import Contents
from lfssync.versions.looking import resolve
from lfssync.versions.tags import before, on_remote

_LOCK_WAIT_S = 3600.0


def release(
    mirror: Mirror, state_dir: Path, version: str, text: str | None, revision: str | None, session: Session
) -> Release:
    """Tag a commit on the remote.

    Args:
        mirror: The mirror, synced already.
        state_dir: Its state folder.
        version: The tag's name.
        text: The tag's message, or None for the name itself; notes about what is in the release stand below it.
        revision: What to tag: a tag, a branch or a commit; None for what was synced last.
        session: Who watches, and when to stop.

    Returns:
        The tag as the remote has it. A tag that already points at the same commit is a success.

    Raises:
        UserError: The name is no tag name, or the revision is unknown.
        BlockedError: The tag exists and points elsewhere.
    """
    check_tag(version)
    with held(state_dir, _LOCK_WAIT_S, session.stop), Store(state_dir / "state.db") as store:
        report = Report(store, mirror)
        try:
            done = _release(open_bench(mirror, state_dir, store, session), store, mirror, version, text, revision)
        except LfssyncError as error:
            if not isinstance(error, UserError | BlockedError):  # those are about the tag, and not about the mirror
                report.failure(error)
            raise
        record(store, report, done)
        return done


def record(store: Store, report: Report, done: Release) -> None:
    """Note a release: the evidence for it, and a line in the history when it is new."""
    is_new = store.receipt(done.receipt.ref) is None
    with store.transaction():
        store.record_receipt(done.receipt)
    if is_new:
        report.released(done.version, done.commit)


def _release(
    bench: Workbench, store: Store, mirror: Mirror, version: str, text: str | None, revision: str | None
) -> Release:
    refs = bench.refs()
    if refs.head is None:
        raise UserError(f"{mirror.name} has no commit to tag yet", "put files into its directory first")
    synced = store.receipt(bench.repository.head_ref)
    commit = _commit(bench, revision) if revision else synced.commit if synced else refs.tip or refs.head
    return tagged(bench, store, mirror, version, text, commit)


def tagged(bench: Workbench, store: Store, mirror: Mirror, version: str, text: str | None, commit: str) -> Release:
    """Put a tag on a commit, on the remote and then here; under the mirror's lock, and nothing is recorded.

    Args:
        bench: The mirror's.
        store: Its store.
        mirror: The mirror.
        version: The tag's name, checked.
        text: See `release`.
        commit: 40 hex digits of a commit that is here.

    Raises:
        BlockedError: The tag exists and points elsewhere, or the remote refuses.
    """
    repository = bench.repository
    refs = bench.refs()
    assert refs.head is not None
    name = f"refs/tags/{version}"
    if bench.copy:
        _require(f"in {mirror.path}", version, commit, _here(bench.copy, name))
    there = _target(bench, name)
    bench.securing.is_text = partial(is_text_like_a_pointer, repository, commit)
    if there is None:  # the branch goes along, with commits perhaps that were made while the remote was out of reach
        for outgoing in (refs.head, commit):
            bench.securing.ensure(bench.delivery.outgoing(outgoing, refs.tip), mirror.path)
    _require("", version, commit, there)
    objects = set(lfs_files(repository, commit).values())
    bench.securing.objects |= objects
    now = time.time()
    bench.securing.confirm(mirror.path, now, again=False)
    if there is None:
        text = f"{text or version}\n\n{_notes(bench, store, mirror, version, commit)}"
        _require("", version, commit, _push(bench, refs, commit, version, text))
    bench.delivery.fetch_tag(version)
    if bench.copy and _here(bench.copy, name) is None:
        bench.copy.git.run("update-ref", name, repository.git.run("rev-parse", name).text, "0" * 40)
    size_bytes = sum(lfs.size_bytes for lfs in objects)
    return Release(version, commit, Receipt(name, commit, len(objects), size_bytes, now))


def _notes(bench: Workbench, store: Store, mirror: Mirror, version: str, commit: str) -> str:
    """What is in a release, and what differs from the one before it; only git is asked, and what is nearby."""
    repository = bench.repository
    files = trees.files(repository, commit)
    near = Contents(repository, mirror.path, store, bench.securing.copies, lambda: bench.securing.transfer)
    telling = training.of(near, files).telling
    found = before(repository, version, commit, on_remote(bench.delivery))
    previous = (found[0], trees.differences(repository, found[1], commit)) if found else None
    return releasenotes.notes(files, telling, previous)


def _push(bench: Workbench, refs: Refs, commit: str, version: str, text: str) -> str:
    """Push a new tag; gives what the remote says that it points at afterwards."""
    who = bench.who()
    body = f"object {commit}\ntype commit\ntag {version}\ntagger ".encode() + who.line() + b"\n\n"
    body += text.encode("utf-8", "surrogateescape") + b"\n"
    tag_oid = bench.repository.git.run("mktag", given=body).text
    try:
        bench.delivery.push(refs, who, {version: tag_oid}, moves_head=bench.copy is None)
    except (BlockedError, TransientError):
        if _target(bench, f"refs/tags/{version}") is None:
            raise  # else somebody was faster
    there = _target(bench, f"refs/tags/{version}")
    if there is None:
        raise TransientError(f"{bench.delivery.url} took the tag {version} but does not show it", "it is tried again")
    return there


def _require(where: str, version: str, commit: str, there: str | None) -> None:
    """Make sure that a tag, if it exists, points at a commit."""
    if there not in (None, commit):
        raise BlockedError(
            f"the tag {version} exists already{where and ' '}{where} and points at {there[:7]}, not at {commit[:7]}",
            "choose another version; tags are never moved",
        )


def _here(copy: WorkingCopy, name: str) -> str | None:
    """The commit that a tag points at in the user's working copy, or None."""
    return copy.git.run("rev-parse", "--quiet", "--verify", f"{name}^{{commit}}", accept=(0, 1)).text or None


def _commit(bench: Workbench, revision: str) -> str:
    """The commit that a revision names: by the remote's tags and branches, else by what is known here."""
    with contextlib.suppress(UserError):  # no name of a tag or a branch, but a commit perhaps
        check_tag(revision)
        if found := bench.delivery.fetch_named(revision):
            return found
    return resolve(bench.repository, revision)


def _target(bench: Workbench, name: str) -> str | None:
    """The commit that a tag points at on the remote, or None."""
    found = bench.delivery.look(name, f"{name}^{{}}")
    return found.get(f"{name}^{{}}") or found.get(name)
