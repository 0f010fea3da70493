"""A repository to look into: this mirror's own where it knows what is asked about, else all that the remote has.

Used by whoever reads the past: `history`, `tags`, `restore`. The one thing to know: what is fetched for a look goes
into a git dir of its own, which has the mirror's objects beside it and is gone afterwards. So nothing here takes the
mirror's lock, and a pass under way meets nothing new in its git dir.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path

from lfssync.errors import UserError
from lfssync.git import workingcopy
from lfssync.git.gitcommand import NETWORK_TIMEOUT_S, Git
from lfssync.git.programs import require_programs
from lfssync.git.repository import Repository
from lfssync.line.transfers import transfer_for
from lfssync.line.workbench import Session
from lfssync.model import Mirror
from lfssync.records.store import Store
from lfssync.transfer import Transfer
from lfssync.transfer.copying import workroom
from lfssync.versions.contents import Contents


def own(mirror: Mirror, state_dir: Path, session: Session) -> Repository | None:
    """The mirror's own git dir, as it is; None before its first pass."""
    folder = state_dir / "repo.git"
    if not (folder / "HEAD").is_file():
        return None
    copy = workingcopy.find(mirror.path) if mirror.path.is_dir() else None
    return Repository(Git(folder, copy.objects if copy else None, session.stop, session.login), mirror.branch)


@contextlib.contextmanager
def everything(mirror: Mirror, state_dir: Path, session: Session) -> Iterator[Repository]:
    """All branches and tags of the remote, in a git dir that is gone afterwards."""
    require_programs()
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with workroom(state_dir, "lfssync-look-") as room:
        yield fetched(mirror, state_dir, Git(room / "git", stop=session.stop, login=session.login))


def fetched(mirror: Mirror, state_dir: Path, git: Git) -> Repository:
    """Make a git dir with everything that the remote has; what this machine has already is not fetched."""
    git_dir = git.git_dir
    git.run("init", "--quiet", "--bare", "--template=", "--initial-branch", mirror.branch, str(git_dir))
    copy = workingcopy.find(mirror.path) if mirror.path.is_dir() else None
    ours = [state_dir / "repo.git" / "objects", *([copy.objects] if copy else [])]
    beside = b"".join(os.fsencode(folder) + b"\n" for folder in ours if folder.is_dir() and "\n" not in str(folder))
    (git_dir / "objects" / "info").mkdir(exist_ok=True)
    (git_dir / "objects" / "info" / "alternates").write_bytes(beside)
    specs = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
    git.run(
        "fetch", "--quiet", "--no-write-fetch-head", "--update-head-ok", mirror.remote, *specs,
        timeout_s=NETWORK_TIMEOUT_S, remote=mirror.remote,
    )  # fmt: skip
    return Repository(git, mirror.branch)


@contextlib.contextmanager
def seeing(
    mirror: Mirror, state_dir: Path, session: Session, revisions: tuple[str, ...]
) -> Iterator[tuple[Repository, tuple[str, ...]]]:
    """A repository in which revisions are known, and the commits that they name.

    Args:
        mirror: The mirror.
        state_dir: Its state folder.
        session: When to stop, and who knows the login.
        revisions: Tags, branches or commits.

    Raises:
        UserError: One is unknown here and on the remote.
    """
    repository = own(mirror, state_dir, session)
    commits = _known(repository, revisions) if repository else None
    if repository is not None and commits is not None:
        yield repository, commits
        return
    with everything(mirror, state_dir, session) as all_there_is:
        yield all_there_is, tuple(resolve(all_there_is, revision) for revision in revisions)


def _known(repository: Repository, revisions: tuple[str, ...]) -> tuple[str, ...] | None:
    """The commits that revisions name; None when one of them is unknown here, though it may well look like one."""
    for revision in revisions:
        require_revision(revision)
    try:
        return tuple(resolve(repository, revision) for revision in revisions)
    except UserError:
        return None


def contents(
    mirror: Mirror, state_dir: Path, repository: Repository, store: Store | None, session: Session
) -> Contents:
    """Where the bytes of files of a mirror's commits are to be had.

    Args:
        mirror: The mirror.
        state_dir: Its state folder.
        repository: A repository with the commits.
        store: What is recorded about the directory.
        session: When to stop, and who knows the login.
    """
    state = state_dir / "repo.git"
    copy = workingcopy.find(mirror.path) if mirror.path.is_dir() else None
    kept = (state / "lfs" / "objects", *([copy.common_dir / "lfs" / "objects"] if copy else []))

    @functools.cache
    def remote() -> Transfer:
        return transfer_for(mirror, Git(state, stop=session.stop, login=session.login))

    return Contents(repository, mirror.path, store, kept, remote)


def require_revision(revision: str) -> None:
    """Make sure that a text may be a revision; nothing else of it comes near git.

    Raises:
        UserError: It would be an option, or has blanks or control characters in it.
    """
    if revision.startswith("-") or not revision or any(ord(c) < 0x21 or ord(c) == 0x7F for c in revision):
        raise UserError(f"{revision!r} is no revision", "give a tag, a branch or a commit")


def resolve(repository: Repository, revision: str) -> str:
    """The commit that a tag, a branch or a (short) commit id names.

    Raises:
        UserError: There is none, or several.
    """
    require_revision(revision)
    for name in (f"refs/tags/{revision}", f"refs/heads/{revision}", f"refs/remotes/origin/{revision}", revision):
        output = repository.git.run(
            "rev-parse", "--quiet", "--verify", "--end-of-options", f"{name}^{{commit}}", accept=(0, 1, 128)
        )
        if output.status == 0:
            return output.text
    raise UserError(f"no tag, branch or commit is called {revision}", "lfssync log shows what there is")
