"""A mirrored directory that is a git working copy itself: commits go to its branch, its `git status` stays clean.

Used by `pipeline` around `repository`. The mirror's own git dir (our configuration, no foreign hooks) writes its
objects into the working copy's object store; only the finished commit is published into the working copy: its branch
and its index.
The one thing to know: what others pushed is merged on the way to the remote only. The user's branch is never moved onto
commits whose files are not in the directory; `git pull` does that when the user wants it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lfssync.errors import BlockedError, UserError
from lfssync.gitcommand import Git
from lfssync.gitindex import Entry, UnsupportedIndexError, patch

_IN_PROGRESS = {
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase or an am",
    "BISECT_LOG": "a bisection",
}


@dataclass(frozen=True, slots=True)
class WorkingCopy:
    """Somebody's working copy.

    Args:
        directory: Its work tree.
        git_dir: Its git dir (of this worktree).
        common_dir: Where its refs and objects are.
    """

    directory: Path
    git_dir: Path
    common_dir: Path

    @property
    def objects(self) -> Path:
        """Its object store."""
        return self.common_dir / "objects"

    @property
    def git(self) -> Git:
        """Runs git on it: with our settings on top of its own, so that no hook or monitor of it runs."""
        return Git(self.git_dir)

    def branch(self) -> str:
        """The branch that is checked out.

        Raises:
            BlockedError: None is.
        """
        output = self.git.run("symbolic-ref", "--quiet", "HEAD", accept=(0, 1))
        if output.status or not output.text.startswith("refs/heads/"):
            raise BlockedError(f"{self.directory} has no branch checked out", "check one out there: git switch BRANCH")
        return output.text.removeprefix("refs/heads/")

    def head(self, branch: str) -> str | None:
        """The commit its branch points at, or None before the first one."""
        return (
            self.git.run("rev-parse", "--quiet", "--verify", f"refs/heads/{branch}^{{commit}}", accept=(0, 1)).text
            or None
        )

    def require_free(self, branch: str) -> None:
        """Make sure that it is ours to commit there now.

        Args:
            branch: The branch that is mirrored.

        Raises:
            BlockedError: Something of the user's is in progress, or another branch is checked out.
        """
        for name, words in _IN_PROGRESS.items():
            if (self.git_dir / name).exists():
                raise BlockedError(f"{words} is in progress in {self.directory}", "finish or abort it there")
        sparse = (self.git_dir / "info" / "sparse-checkout").exists()
        if (
            sparse
            and self.git.run("config", "--get", "--type=bool", "core.sparseCheckout", accept=(0, 1)).text == "true"
        ):
            raise BlockedError(
                f"{self.directory} is a sparse checkout", "check it out whole: git sparse-checkout disable"
            )
        if (current := self.branch()) != branch:
            raise BlockedError(
                f"{self.directory} is on branch {current}, but {branch} is mirrored",
                f"git switch {branch} there, or change the mirror's branch",
            )

    def publish(
        self, branch: str, old: str | None, new: str, entries: Mapping[bytes, Entry], gone: Iterable[bytes]
    ) -> None:
        """Make a commit of ours the working copy's own: move its branch, bring its index up to date.

        Args:
            branch: Its branch.
            old: Where the branch was when the commit was made; it must still be there.
            new: The commit.
            entries: What the commit set, with the stat data under which it was read, by path.
            gone: Paths that the commit removed.

        Raises:
            TransientError: The user moved the branch or holds the index meanwhile.
        """
        self.git.run("update-ref", "-m", "lfssync", f"refs/heads/{branch}", new, old or "0" * 40)
        try:
            patch(self.git_dir / "index", entries, gone)
        except UnsupportedIndexError:
            lines = [b"0 %b\t%b\0" % (b"0" * 40, path) for path in gone]
            lines += [b"%b %b\t%b\0" % (e.git_mode.encode(), e.blob_oid.encode(), path) for path, e in entries.items()]
            self.git.run("update-index", "-z", "--index-info", given=b"".join(lines))

    def keep(self, refs: Mapping[str, str | None]) -> None:
        """Pin commits that only we refer to, so that a `git gc` of the user's does not drop their objects.

        Args:
            refs: Names below `refs/lfssync/` and their commits.
        """
        lines = [f"update refs/lfssync/{name} {oid}\n" for name, oid in refs.items() if oid]
        self.git.run("update-ref", "--stdin", given="".join(lines).encode())


def find(directory: Path) -> WorkingCopy | None:
    """The working copy whose top is this directory, or None.

    Raises:
        UserError: It is of a kind that cannot be used.
    """
    entry = directory / ".git"
    if not os.path.lexists(entry):
        return None
    git_dir = entry
    try:
        if entry.is_file():  # a linked worktree or a submodule
            words = entry.read_bytes()[:4096]
            if not words.startswith(b"gitdir: "):
                raise UserError(f"{entry} is no git dir", "repair or remove it")
            git_dir = Path(os.path.normpath(directory / os.fsdecode(words[8:].rstrip(b"\n"))))
        common = git_dir / "commondir"
        common_dir = (
            Path(os.path.normpath(git_dir / os.fsdecode(common.read_bytes().rstrip(b"\n"))))
            if common.is_file()
            else git_dir
        )
    except OSError as error:
        raise UserError(f"{entry} cannot be read: {error.strerror}", "mend its permissions") from error
    if not (git_dir / "HEAD").is_file() or not (common_dir / "objects").is_dir():
        raise UserError(f"{entry} is no git dir", "repair or remove it")
    found = WorkingCopy(directory, git_dir, common_dir)
    if found.git.run("rev-parse", "--show-object-format").text != "sha1":
        raise UserError(
            f"{directory} is a repository with sha256 names, which git-lfs hosts do not take",
            "mirror a directory of its own",
        )
    return found
