"""The past of a mirror: what `log` and `diff` show. Reads git through GitPython, writes nothing.

The one thing to know: a difference is told in the sizes of the *contents*: of the LFS object where there is one, not
    of the 129 bytes of its pointer.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lfssync.answers import Difference, LogEntry, LogKind, Version
from lfssync.attributes import parse_pointer
from lfssync.errors import LfssyncError, UserError
from lfssync.gitcommand import Git
from lfssync.model import Mirror
from lfssync.releases import resolve
from lfssync.repository import Repository
from lfssync.store import Store

if TYPE_CHECKING:
    from git.objects.blob import Blob

_POINTER_LIMIT_BYTES = 1024


def log(mirror: Mirror, state_dir: Path, limit: int) -> list[LogEntry]:
    """What was committed, released, refused; newest first.

    The store remembers all of it; commits that it does not know (it was lost, or others made them) come from git.

    Args:
        mirror: The mirror.
        state_dir: Its state folder.
        limit: At most so many lines.
    """
    told: list[LogEntry] = []
    tags: dict[str, list[str]] = {}
    if (state_dir / "state.db").is_file():
        with Store(state_dir / "state.db") as store:
            told = store.history(limit)
            for receipt in store.receipts():
                if receipt.ref.startswith("refs/tags/"):
                    tags.setdefault(receipt.commit, []).append(receipt.ref.removeprefix("refs/tags/"))
    known = {entry.commit for entry in told}
    entries = [*told, *(entry for entry in _commits(mirror, state_dir, limit) if entry.commit not in known)]
    entries.sort(key=lambda entry: entry.at, reverse=True)
    return [
        LogEntry(entry.at, entry.kind, entry.commit, entry.text, tuple(tags.get(entry.commit or "", ())))
        for entry in entries[:limit]
    ]


def _commits(mirror: Mirror, state_dir: Path, limit: int) -> list[LogEntry]:
    folder = state_dir / "repo.git"
    if not (folder / "HEAD").is_file():
        return []
    from git import Repo
    from git.exc import GitCommandError

    with Repo(folder) as repository:
        try:
            return [
                LogEntry(float(commit.committed_date), LogKind.COMMIT, commit.hexsha, str(commit.summary))
                for commit in repository.iter_commits(f"refs/heads/{mirror.branch}", max_count=limit)
            ]
        except GitCommandError:
            return []  # no commit yet


def diff(mirror: Mirror, state_dir: Path, old: str | None, new: str | None) -> list[Difference]:
    """What differs between two revisions, by path.

    Args:
        mirror: The mirror.
        state_dir: Its state folder.
        old: A tag, a branch or a commit; None for the commit before `new`.
        new: The same; None for what was committed last.

    Raises:
        UserError: A revision is unknown.
    """
    folder = state_dir / "repo.git"
    if not (folder / "HEAD").is_file():
        raise UserError(f"{mirror.name} has no commit yet", f"run lfssync sync {mirror.name} first")
    repository = Repository(Git(folder), mirror.branch)
    new_oid = resolve(repository, new or mirror.branch)
    from git import NULL_TREE, Repo

    with Repo(folder) as opened:
        commit = opened.commit(new_oid)
        if old is not None:
            found = opened.commit(resolve(repository, old)).diff(commit, no_renames=True)
        elif commit.parents:
            found = commit.parents[0].diff(commit, no_renames=True)
        else:
            found = commit.diff(NULL_TREE, no_renames=True, R=True)
        differences = [
            Difference(
                bytes(one.b_rawpath or one.a_rawpath or b""),
                None if one.new_file else _version(one.a_blob, one.a_mode),
                None if one.deleted_file else _version(one.b_blob, one.b_mode),
            )
            for one in found
        ]
    return sorted(differences, key=lambda one: one.path)


def _version(blob: Blob | None, mode: int | None) -> Version:
    if blob is None or mode is None:
        raise LfssyncError("git does not show both sides of a difference", "report this, with the two revisions")
    if blob.size < _POINTER_LIMIT_BYTES:
        lfs = parse_pointer(blob.data_stream.read())
        if lfs is not None:
            return Version(f"{mode:o}", lfs.size_bytes, blob.hexsha, lfs.oid)
    return Version(f"{mode:o}", blob.size, blob.hexsha, None)
