"""Releases: an annotated tag on a commit that is proven to be on the remote.

Beside the pass: `operations` syncs first and then comes here. The tag travels with the branch in one atomic push.
The one thing to know: a tag that exists anywhere is never moved. The tag object gets its local name only after the
remote has it, so a release that broke off leaves nothing behind that a later one would trip over.
"""

from __future__ import annotations

import time
from pathlib import Path

from lfssync.answers import Release
from lfssync.errors import BlockedError, LfssyncError, UserError
from lfssync.lock import held
from lfssync.model import Mirror, Receipt
from lfssync.refnames import check_tag
from lfssync.report import Report
from lfssync.repository import Repository
from lfssync.store import Store
from lfssync.workbench import Session, Workbench, open_bench

_LOCK_WAIT_S = 3600.0


def release(
    mirror: Mirror, state_dir: Path, version: str, text: str | None, revision: str | None, session: Session
) -> Release:
    """Tag a commit on the remote.

    Args:
        mirror: The mirror, synced already.
        state_dir: Its state folder.
        version: The tag's name.
        text: The tag's message, or None for the name itself.
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
            done = _release(open_bench(mirror, state_dir, store, session), mirror, version, text, revision)
        except LfssyncError as error:
            if not isinstance(error, UserError):
                report.failure(error)
            raise
        with store.transaction():
            store.record_receipt(done.receipt)
        report.released(version, done.commit)
        return done


def _release(bench: Workbench, mirror: Mirror, version: str, text: str | None, revision: str | None) -> Release:
    repository = bench.repository
    refs = bench.refs()
    if refs.head is None:
        raise UserError(f"{mirror.name} has no commit to tag yet", "put files into its directory first")
    commit = resolve(repository, revision) if revision else refs.tip or refs.head
    name = f"refs/tags/{version}"
    there = _target(bench, name)
    if there is None:
        if not repository.is_ancestor(commit, refs.tip or ""):
            bench.securing.ensure(bench.delivery.outgoing(commit, refs.tip), mirror.path)
        who = bench.who()
        body = f"object {commit}\ntype commit\ntag {version}\ntagger ".encode() + who.line() + b"\n\n"
        body += (text or version).encode("utf-8", "surrogateescape") + b"\n"
        tag_oid = repository.git.run("mktag", given=body).text
        bench.delivery.push(refs, who, {version: tag_oid}, moves_head=bench.copy is None)
        there = _target(bench, name)
    if there != commit:
        raise BlockedError(
            f"the tag {version} exists already and points at {there[:7] if there else 'nothing'}, not at {commit[:7]}",
            "choose another version; tags are never moved",
        )
    bench.delivery.fetch_tag(version)
    if bench.copy:
        bench.copy.git.run("update-ref", name, repository.git.run("rev-parse", name).text)
    return Release(version, commit, Receipt(name, commit, 0, 0, time.time()))


def _target(bench: Workbench, name: str) -> str | None:
    """The commit that a tag points at on the remote, or None."""
    found = bench.delivery.look(name, f"{name}^{{}}")
    return found.get(f"{name}^{{}}") or found.get(name)


def resolve(repository: Repository, revision: str) -> str:
    """The commit that a tag, a branch or a (short) commit id names.

    Raises:
        UserError: There is none, or several.
    """
    if revision.startswith("-") or any(ord(c) < 0x21 for c in revision):
        raise UserError(f"{revision!r} is no revision", "give a tag, a branch or a commit")
    for name in (f"refs/tags/{revision}", f"refs/heads/{revision}", f"refs/remotes/origin/{revision}", revision):
        output = repository.git.run(
            "rev-parse", "--quiet", "--verify", "--end-of-options", f"{name}^{{commit}}", accept=(0, 1, 128)
        )
        if output.status == 0:
            return output.text
    raise UserError(f"no tag, branch or commit is called {revision}", "lfssync log shows what there is")
