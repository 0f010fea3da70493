"""Branches that move along with releases, such as `latest` or `best`; the mirrored branch is none of them.

Used by `applying`. The one thing to know: such a branch may go back to an older commit, and yet no commit is ever lost.
It leaves one behind only where another branch or tag has it; and the remote takes it only if the branch still is where
it was seen (git-push(1), "--force-with-lease").
"""

from __future__ import annotations

from lfssync.errors import BlockedError, TransientError
from lfssync.line.workbench import Workbench

_TRIES = 3


def move(bench: Workbench, name: str, commit: str) -> None:
    """Have a branch of the remote point at a commit of the mirrored branch, and have the remote say so.

    Args:
        bench: The mirror's, whose branch the remote was just proven to hold.
        name: The branch, checked.
        commit: 40 hex digits.

    Raises:
        BlockedError: The branch holds commits that nothing else has, or the remote refuses.
        TransientError: It is moved by others all the time, or the remote is out of reach.
    """
    if name == bench.repository.branch:
        raise BlockedError(f"{name} is the branch that is mirrored", "name another branch to move")
    for _ in range(_TRIES):
        there = _there(bench, name, commit)
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


def _look(bench: Workbench, name: str) -> str | None:
    ref = f"refs/heads/{name}"
    return bench.delivery.look(ref).get(ref)


def _there(bench: Workbench, name: str, commit: str) -> str | None:
    """Where a branch of the remote is now, after it was made sure that nothing is lost if it goes elsewhere."""
    ref = f"refs/heads/{name}"
    refs = bench.delivery.look("refs/heads/*", "refs/tags/*")
    there = refs.pop(ref, None)
    if there is None or there == commit or there in refs.values():
        return there
    tip = bench.refs().tip
    if bench.repository.is_ancestor(there, commit) or (tip and bench.repository.is_ancestor(there, tip)):
        return there
    raise BlockedError(
        f"the branch {name} is on {there[:7]}, which no other branch or tag has, so it is not put on {commit[:7]}",
        f"delete that branch, or give {there[:7]} a tag or a branch of its own",
    )
