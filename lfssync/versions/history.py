"""The past of a mirror: what `log`, `diff` and `show` show. Reads git and writes nothing.

The one thing to know: a difference is told in the sizes of the *contents*: of the LFS object where there is one, not
of the 129 bytes of its pointer.
"""

from __future__ import annotations

from pathlib import Path

from lfssync.answers import LogEntry, LogKind
from lfssync.errors import UserError
from lfssync.git.gitcommand import clean_environment
from lfssync.line.workbench import Session
from lfssync.model import Mirror
from lfssync.records.store import reading
from lfssync.results import Difference, Revision
from lfssync.versions import training, trees
from lfssync.versions.contents import Contents
from lfssync.versions.looking import contents, own, seeing
from lfssync.versions.tensors import compared


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


def diff(
    mirror: Mirror, state_dir: Path, old: str | None, new: str | None, session: Session | None = None
) -> list[Difference]:
    """What differs between two revisions, by path; for safetensors files also which tensors do.

    Args:
        mirror: The mirror.
        state_dir: Its state folder.
        old: A tag, a branch or a commit; None for the commit before `new`.
        new: The same; None for what was committed last.
        session: When to stop, and who knows the login, should the remote have to be asked.

    Raises:
        UserError: A revision is unknown.
    """
    session = session or Session()
    names = (new or mirror.branch, *([old] if old else []))
    if (repository := own(mirror, state_dir, session)) is None or not repository.refs().head:
        raise UserError(f"{mirror.name} has no commit yet", f"run lfssync sync {mirror.name} first")
    with seeing(mirror, state_dir, session, names) as (repository, commits), reading(state_dir / "state.db") as store:
        old_oid = commits[1] if old else repository.before(commits[0])
        found = trees.differences(repository, old_oid, commits[0])
        return compared(contents(mirror, state_dir, repository, store, session), found)


def show(mirror: Mirror, state_dir: Path, revision: str, session: Session | None = None) -> Revision:
    """What a revision is.

    Args:
        mirror: The mirror.
        state_dir: Its state folder.
        revision: A tag, a branch or a commit.
        session: When to stop, and who knows the login, should the remote have to be asked.

    Raises:
        UserError: It is unknown here and on the remote.
    """
    session = session or Session()
    with (
        seeing(mirror, state_dir, session, (revision,)) as (repository, (commit,)),
        reading(state_dir / "state.db") as store,
    ):
        return described(contents(mirror, state_dir, repository, store, session), commit)


def described(near: Contents, commit: str) -> Revision:
    """What a commit is."""
    git = near.repository.git
    words = git.run("log", "-1", "--format=%ct%x00%an <%ae>%x00%B", commit).stdout.decode("utf-8", "backslashreplace")
    at, author, message = words.split("\0", 2)
    listed = git.run("for-each-ref", f"--points-at={commit}", "--format=%(refname:strip=2)", "refs/tags").stdout
    tags = tuple(listed.decode("utf-8", "surrogateescape").split("\n")[:-1])
    files = trees.files(near.repository, commit)
    told = training.of(near, files)
    return Revision(
        commit, float(at), author, message.strip("\n"), tuple(sorted(files.items())), tags,
        told.step, told.metrics, told.telling,
    )  # fmt: skip
