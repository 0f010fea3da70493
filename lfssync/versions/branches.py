"""Branches that move along with releases, such as `latest` or `best`; the mirrored branch is none of them.

Used by `applying`. The one thing to know: such a branch may go back to an older commit, and yet no commit is ever lost.
It leaves one behind only where another branch or tag has it, or where it was put there by this very mirror; and
the remote takes it only if the branch still is where it was seen (git-push(1), "--force-with-lease").
"""

from __future__ import annotations

from lfssync.errors import BlockedError, TransientError
from lfssync.line.workbench import Workbench
from lfssync.records.store import Store

_FACT = "moved"
"""The store's name for where this mirror put branches of the remote last."""

_TRIES = 3


def move(bench: Workbench, store: Store, name: str, commit: str) -> None:
    """Have a branch of the remote point at a commit of the mirrored branch, and have the remote say so.

    Args:
        bench: The mirror's, whose branch the remote was just proven to hold.
        store: Its store.
        name: The branch, checked.
        commit: 40 hex digits.

    Raises:
        BlockedError: The branch holds commits that nothing else has, or the remote refuses.
        TransientError: It is moved by others all the time, or the remote is out of reach.
    """
    if name == bench.repository.branch:
        raise BlockedError(f"{name} is the branch that is mirrored", "name another branch to move")
    recorded = store.fact(_FACT)
    moved = dict(recorded) if isinstance(recorded, dict) else {}
    for _ in range(_TRIES):
        there = _there(bench, name, commit, moved.get(name))
        if there == commit:
            break
        is_forward = there is not None and bench.repository.is_ancestor(there, commit)
        try:
            bench.delivery.push_branch(name, commit, there, force=not is_forward)
        except TransientError:
            if _look(bench, name) == there:
                raise  # else somebody was faster
    else:
        raise TransientError(f"the branch {name} moves faster than it can be put where it belongs", "it is tried again")
    if moved.get(name) != commit:
        with store.transaction():
            store.record_facts({_FACT: moved | {name: commit}})


def _look(bench: Workbench, name: str) -> str | None:
    ref = f"refs/heads/{name}"
    return bench.delivery.look(ref).get(ref)


def _there(bench: Workbench, name: str, commit: str, ours: str | None) -> str | None:
    """Where a branch of the remote is now, after it was made sure that nothing is lost if it goes elsewhere."""
    ref = f"refs/heads/{name}"
    refs = bench.delivery.look("refs/heads/*", "refs/tags/*")
    there = refs.pop(ref, None)
    if there is None or there in (commit, ours) or there in refs.values():
        return there
    tip = bench.refs().tip
    if bench.repository.is_ancestor(there, commit) or (tip and bench.repository.is_ancestor(there, tip)):
        return there
    raise BlockedError(
        f"the branch {name} is on {there[:7]}, which no other branch or tag has, so it is not put on {commit[:7]}",
        f"delete that branch, or give {there[:7]} a tag or a branch of its own",
    )
