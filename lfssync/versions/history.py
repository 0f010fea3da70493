"""The past of a mirror: what `log` and `diff` show. Reads git and writes nothing.

The one thing to know: a difference is told in the sizes of the *contents*: of the LFS object where there is one, not
of the 129 bytes of its pointer.
"""

from __future__ import annotations

from pathlib import Path

from lfssync.answers import Difference, LogEntry, LogKind, Version
from lfssync.errors import UserError
from lfssync.git import workingcopy
from lfssync.git.fastimport import Edit
from lfssync.git.gitcommand import Git, clean_environment
from lfssync.git.repository import Repository
from lfssync.model import Mirror
from lfssync.records.store import reading
from lfssync.versions.releases import resolve


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
    with reading(state_dir / "state.db") as store:
        if store is not None:
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
    with clean_environment():
        from git import Repo  # which runs git at once
        from git.exc import GitCommandError

        with Repo(mirror.path if (mirror.path / ".git").exists() else folder) as repository:
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
    copy = workingcopy.find(mirror.path) if mirror.path.is_dir() else None
    repository = Repository(Git(folder, copy.objects if copy else None), mirror.branch)
    new_oid = resolve(repository, new or mirror.branch)
    old_oid = resolve(repository, old) if old else repository.before(new_oid)
    before = {edit.path: edit for edit in repository.differences(new_oid, old_oid)}
    after = {edit.path: edit for edit in repository.differences(old_oid, new_oid)}
    oids = [edit.blob_oid for edit in (*before.values(), *after.values()) if edit.blob_oid]
    pointers, sizes_bytes = repository.pointers(oids), repository.sizes_bytes(oids)

    def version(edit: Edit) -> Version | None:
        if edit.blob_oid is None or edit.git_mode is None:
            return None
        lfs = pointers.get(edit.blob_oid)
        size_bytes = lfs.size_bytes if lfs else sizes_bytes.get(edit.blob_oid, 0)
        return Version(edit.git_mode, size_bytes, edit.blob_oid, lfs.oid if lfs else None)

    return [Difference(path, version(before[path]), version(after[path])) for path in sorted(after)]
