"""What a pass commits, decided from what it read: pure, between staging and `repository.commit`.

The one thing to know: two pictures are kept. The *branch* gets our changes among whatever else the remote holds, with
the attributes file we compose; the *mirrored* picture gets the directory exactly as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lfssync.git.fastimport import Edit
from lfssync.model import Change, Deferred, DeletePolicy, Known, Staged

GitEntry = tuple[str, str]
"""Git mode and blob oid."""


@dataclass(frozen=True, slots=True)
class CommitPlan:
    """Edits by paths from the repository's root, and what they mean for people.

    Args:
        edits: For the branch; empty when there is nothing to commit.
        mirrored: For the picture of the directory.
        added, changed, removed: Paths of the directory, largest file first.
        content_bytes: Size of the added and changed files.
    """

    edits: tuple[Edit, ...]
    mirrored: tuple[Edit, ...]
    added: tuple[bytes, ...]
    changed: tuple[bytes, ...]
    removed: tuple[bytes, ...]
    content_bytes: int


def plan(
    staged: Sequence[Staged],
    known: Mapping[bytes, Known | None],
    removed: Sequence[bytes],
    on_branch: Mapping[bytes, GitEntry],
    prefix: bytes,
    delete: DeletePolicy,
    attributes: tuple[Edit, bool],
) -> CommitPlan:
    """Decide what to commit.

    Args:
        staged: What was read.
        known: What was recorded about those paths before.
        removed: Recorded paths that are gone.
        on_branch: Entries that the branch has already, by path from the root; only needed before the first commit.
        prefix: `into` with a `/` behind it, or empty.
        delete: What a deletion means for the branch.
        attributes: The composed `.gitattributes`, which goes along with every commit, and whether it needs one by
            itself.
    """
    attributes_edit, is_needed = attributes
    fresh = [one for one in staged if differs(one, known.get(one.path))]
    pairs = [(one, Edit(prefix + one.path, one.signature.git_mode, one.blob_oid)) for one in fresh]
    telling = [(one, edit) for one, edit in pairs if on_branch.get(edit.path) != (edit.git_mode, edit.blob_oid)]
    gone = [path for path in removed if delete is DeletePolicy.MIRROR]
    edits = [edit for _, edit in telling] + [Edit(prefix + path) for path in gone]
    if edits or is_needed:
        edits = [edit for edit in edits if edit.path != attributes_edit.path] + [attributes_edit]
    added: list[bytes] = []
    changed: list[bytes] = []
    for one, edit in sorted(telling, key=lambda pair: (-pair[0].signature.size_bytes, pair[0].path)):
        is_new = known.get(one.path) is None and edit.path not in on_branch
        (added if is_new else changed).append(one.path)
    return CommitPlan(
        tuple(edits),
        (*(edit for _, edit in pairs), *(Edit(prefix + path) for path in removed)),
        tuple(added),
        tuple(changed),
        tuple(gone),
        sum(one.signature.size_bytes for one, _ in telling),
    )


def together(plans: Sequence[CommitPlan]) -> CommitPlan:
    """What several commits mean for people."""
    return CommitPlan(
        tuple(edit for one in plans for edit in one.edits),
        tuple(edit for one in plans for edit in one.mirrored),
        tuple(path for one in plans for path in one.added),
        tuple(path for one in plans for path in one.changed),
        tuple(path for one in plans for path in one.removed),
        sum(one.content_bytes for one in plans),
    )


def differs(one: Staged, known: Known | None) -> bool:
    """Whether what was read is something else than what is recorded (a touched file is not)."""
    return known is None or (known.git_mode, known.blob_oid) != (one.signature.git_mode, one.blob_oid)


def known_of(changes: Sequence[Change]) -> dict[bytes, Known | None]:
    """What was recorded about changed paths."""
    return {change.path: change.known for change in changes}


@dataclass(frozen=True, slots=True)
class Records:
    """What to record once the commit is made: known files by path, and facts by name."""

    files: dict[bytes, Known]
    facts: dict[str, object]


def still_unread(reclassified: Sequence[Change], deferred: Sequence[Deferred]) -> dict[bytes, Known]:
    """What to record about unchanged files that were to be read again and could not be: they are read next time."""
    waiting = {one.path for one in deferred}
    return {
        change.path: change.known._replace(signature=None)
        for change in reclassified
        if change.known is not None and change.path in waiting
    }
